"""Where rows come from: a package, files, or the Hub, as a recipe's `dataset:` names them."""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import datasets
import numpy as np
from datasets import Dataset, IterableDataset
from huggingface_hub.dataclasses import type_validator
from huggingface_hub.errors import StrictDataclassFieldValidationError

from ..errors import InputError, did_you_mean, shown
from .conll import CONLL_COLUMNS, read_conll
from .packages import PACKAGES, provenance, read_package, readers_hash, sha256_of
from .text_files import FileState, check_utf8, file_state, read_documents, read_folder, suffix_of


FILE_FORMATS = ("csv", "json", "parquet", "text", *CONLL_COLUMNS)
DATASET_KEYS = (
    "path",
    "name",
    "files",
    "text_column",
    "sample_by",
    "split",
    "streaming",
    "revision",
    "columns",
    "where",
    "limit",
    "validation",
    "test",
    "mixture",
)
# What one text of a plain text file is; the words are those of `datasets`.
SAMPLE_BY = ("document", "paragraph", "line")
# Of the order in which the parts of a mixture are drawn: part of the data, not of a run, so that no seed moves a text.
MIXTURE_SEED = 0


@dataclass(frozen=True)
class TextSource:
    """What a recipe's `dataset:` says. `path` is a package of `PACKAGES`, a file format, or a Hub id.

    Attributes:
        files: Files of a format, patterns and folders among them.
        text_column: The column that a language model reads.
        sample_by: Of plain text, what one text is: a whole file, a paragraph or a line.
        split: Of a dataset on the Hub.
        columns: For a task, its names of columns and what the dataset calls them.
        where: Columns and the value that a row needs there to be used.
        limit: Use only the first so many rows.
        validation, test: A `dataset:` of the same kind that is held out, in place of a share of this one.
        mixture: Sources and their weights, in place of all of the above but `streaming`.
    """

    path: str
    name: str | None = None
    files: str | list[str] | None = None
    text_column: str = "text"
    sample_by: str | None = None
    split: str = "train"
    streaming: bool = False
    revision: str | None = None
    columns: dict[str, str] | None = None
    where: dict[str, Any] | None = None
    limit: int | None = None
    validation: dict[str, Any] | str | None = None
    test: dict[str, Any] | str | None = None
    mixture: tuple[tuple["TextSource", float], ...] = ()


def text_source(value: dict[str, Any] | str) -> TextSource:
    """A `TextSource` from the value of `dataset:`.

    Raises:
        InputError: an unknown key, no path, or a file format without files.
    """
    given = {"path": value} if isinstance(value, str) else dict(value)
    unknown = sorted(set(given) - set(DATASET_KEYS), key=str)
    if unknown:
        raise InputError(f"dataset: unknown key {shown(unknown[0])}; the keys are {', '.join(DATASET_KEYS)}.")
    check_types(given)
    if "mixture" in given:
        return _mixture(given)
    if not given.get("path"):
        raise InputError(f"dataset: path is missing: one of {', '.join((*PACKAGES, *FILE_FORMATS))}, or a Hub id.")
    if given["path"] in FILE_FORMATS and not given.get("files"):
        raise InputError(
            f"dataset: path={given['path']!r} needs files: a file, a folder, a pattern such as 'data/*.txt', or a list."
        )
    if given["path"] == "text":
        # Whole files are not drawn one by one.
        given.setdefault("sample_by", "line" if given.get("streaming") else "document")
    elif given.get("sample_by") is not None:
        raise InputError(
            f"dataset: sample_by is for path='text', and not for {given['path']!r}, where a row is a text: leave it out."
        )
    if given.get("sample_by") not in (None, *SAMPLE_BY):
        hint = did_you_mean(given["sample_by"], SAMPLE_BY)
        raise InputError(f"dataset: sample_by={given['sample_by']!r} is none of {', '.join(SAMPLE_BY)}.{hint}")
    source = TextSource(**given)
    for name in ("validation", "test"):
        held_out(source, name)
    return source


def check_types(given: dict[str, Any]) -> None:
    """Raises `InputError` for a value of `dataset:` of another type than its field of `TextSource`, or an empty text."""
    hints = get_type_hints(TextSource)
    for key, value in given.items():
        try:
            if key != "mixture":
                type_validator(key, value, hints[key])
        except (StrictDataclassFieldValidationError, TypeError, ValueError):
            kind = str(hints[key]).removeprefix("<class '").removesuffix("'>").replace("typing.", "")
            raise InputError(
                f"dataset: {key}={shown(value)} is of type {type(value).__name__}, expected {kind.replace('None', 'null')}."
            ) from None
        if value == "" or (key == "files" and value is not None and not all(value)):
            raise InputError(f"dataset: {key}={shown(value)} is empty: leave the key out, or give it a value.")
        if key == "limit" and value is not None and not 1 <= value < 2**31:
            raise InputError(f"dataset: limit={shown(value)} must be at least 1, and less than 2**31.")


def held_out(source: TextSource, name: str) -> TextSource | None:
    """What a source says of its `validation` or `test`, which is read as the source is where it says nothing else."""
    value = {"validation": source.validation, "test": source.test}[name]
    if value is None:
        return None
    inherited = {"path": source.path, "columns": source.columns, "text_column": source.text_column}
    return text_source({**inherited, **(value if isinstance(value, dict) else {"path": value})})


def _mixture(given: dict[str, Any]) -> TextSource:
    others = sorted(set(given) - {"mixture", "streaming"})
    if others:
        raise InputError(f"dataset: {others[0]} belongs into a part of the mixture: beside mixture stands only streaming.")
    parts = given["mixture"]
    if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
        raise InputError("dataset: mixture is a list of datasets, each with a weight: [{path: ..., weight: 0.7}, ...].")
    streaming = given.get("streaming", False)
    sources = []
    for part in parts:
        weight = part.get("weight")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight <= 1e12:
            raise InputError(
                f"dataset: weight={shown(weight)} of {shown(part.get('path'))} in the mixture must be a number above 0."
            )
        if "mixture" in part or "streaming" in part:
            raise InputError("dataset: a part of a mixture has neither mixture nor streaming: set streaming beside mixture.")
        lines = {"sample_by": "line"} if part.get("path") == "text" else {}
        chosen = {key: value for key, value in part.items() if key != "weight"}
        source = text_source({**lines, **chosen, "streaming": streaming})
        sources.append((source, float(weight)))
    return TextSource("mixture", streaming=streaming, mixture=tuple(sources))


def local_files(source: TextSource) -> list[Path]:
    """The files that `files` names, patterns resolved, in sorted order.

    Raises:
        InputError: a file that does not exist, a pattern that matches nothing.
    """
    found: list[Path] = []
    for pattern in [source.files] if isinstance(source.files, str) else source.files or []:
        path = Path(pattern).expanduser()
        if path.is_file():
            matches = [path]
        elif path.is_dir():
            matches = list(read_folder(path, source.path).files)
        else:
            # A folder may have a bracket in its name, which a pattern has a meaning for.
            folder = glob.escape(str(path.parent)) if path.parent.is_dir() else str(path.parent)
            names = glob.glob(f"{folder}/{path.name}", recursive=True)
            matches = sorted(match for match in map(Path, names) if match.is_file())
        if not matches:
            raise InputError(f"dataset: files={pattern!r} matches no file: give the path of an existing one.")
        found += matches
    return found


def file_states(source: TextSource) -> dict[Path, FileState]:
    """The state of each local file that a source reads, the parts of a mixture included."""
    if source.mixture:
        return {path: state for part, _ in source.mixture for path, state in file_states(part).items()}
    return {path: file_state(path) for path in (local_files(source) if source.path in FILE_FORMATS else [])}


def check_unchanged(states: dict[Path, FileState]) -> None:
    """Raises `InputError` for a file that is not as it was, and `FileNotFoundError` for one that is gone."""
    for path, state in states.items():
        if file_state(path) != state:
            raise InputError(
                f"dataset: {path} has changed while the run reads it. Put it back as it was and give the same command again, or start "
                "anew elsewhere."
            )


def load_rows(source: TextSource, columns: tuple[str, ...] | None = None, is_part: bool = False) -> Dataset | IterableDataset:
    """The rows of a source, before any split of ours.

    Args:
        columns: Columns that have to be there; by default `text_column`.
        is_part: Whether rows are drawn one by one, beside those of other sources; a row is then a whole text.

    Raises:
        InputError: files, columns or a dataset that are not there, text that is not UTF-8, or no rows.
    """
    if source.mixture:
        return _load_mixture(source)
    if source.path in PACKAGES:
        # The arguments are the key of datasets' cache of rows, which must not outlive the data or the code that read it.
        state = {**provenance(PACKAGES[source.path]), "readers": readers_hash()}
        rows = Dataset.from_generator(_package_rows, gen_kwargs={"name": source.path, "state": state})
    elif source.path in FILE_FORMATS:
        rows = _load_files(source, columns, is_part)
        if source.sample_by == "document":
            return rows
    else:
        rows = _load_dataset(source, name=source.name, split=source.split, revision=source.revision)
    # A stream of lines does not say what its columns are before it is read.
    found = rows.column_names or list(next(iter(rows), {}))
    for column in (source.text_column,) if columns is None else columns:
        if column not in found:
            name = "text_column=" if columns is None else "column "
            raise InputError(f"dataset: {name}{column!r} is not a column; the columns are {', '.join(found) or 'none'}.")
    rows = _chosen(rows, source)
    if isinstance(rows, Dataset) and len(rows) == 0:
        raise InputError(f"dataset: path={source.path!r} has no rows.")
    return rows


def _load_mixture(source: TextSource) -> Dataset | IterableDataset:
    """Texts of all parts, drawn by their weights until one part has no more: no text comes twice, and the weights hold to the end."""
    parts = []
    # What a column of a stream is found to be, where it does not say; and in memory the one without a limit of 2 GB.
    kind = "string" if source.streaming else "large_string"
    for part, _ in source.mixture:
        rows = load_rows(part, is_part=True)
        if source.streaming and isinstance(rows, Dataset):
            rows = rows.to_iterable_dataset()
        rows = text_rows(rows, part.text_column)
        parts.append(rows if rows.features is None else rows.cast_column("text", datasets.Value(kind)))
    total = sum(weight for _, weight in source.mixture)
    shares = [weight / total for _, weight in source.mixture]
    return datasets.interleave_datasets(parts, probabilities=shares, seed=MIXTURE_SEED, stopping_strategy="first_exhausted")


def _load_files(source: TextSource, columns: tuple[str, ...] | None, is_part: bool) -> Dataset | IterableDataset:
    """The rows of files of a format; see `load_rows`."""
    files = local_files(source)
    if source.path != "parquet":
        for file in files:
            check_utf8(file)
    if source.path in CONLL_COLUMNS:
        return _load_conll(source.path, files)
    if source.sample_by == "document":
        return _load_documents(source, files, whole=source.streaming or is_part)
    # A name is no pattern here, whatever signs are in it.
    names = [glob.escape(str(file)) for file in files]
    return _load_dataset(source, data_files=names, split="train", **_reading(source, files, columns))


# Rows that are looked at to find the column of the texts.
FIRST_ROWS = 200


def find_text_column(source: TextSource) -> str:
    """The column of a table that holds its texts: `text`, else the one with the longest.

    Raises:
        InputError: no column of text; or see `load_rows`.
    """
    rows = list(_load_files(source, None, False).take(FIRST_ROWS))
    lengths: dict[str, int] = {}
    for row in rows:
        for column, value in row.items():
            if isinstance(value, str):
                lengths[column] = lengths.get(column, 0) + len(value)
    if "text" in lengths:
        return "text"
    if not lengths:
        columns = list(rows[0]) if rows else []
        raise InputError(f"dataset: no column holds text; the columns are {', '.join(columns) or 'none'}.")
    return max(lengths, key=lambda column: lengths[column])


def _load_documents(source: TextSource, files: list[Path], whole: bool) -> Dataset | IterableDataset:
    """The documents of plain text files, see `read_documents`."""
    if source.where or source.text_column != "text":
        raise InputError("dataset: a plain text file has the column text alone: leave text_column and where out.")
    columns = {"text": "large_string", "is_first": "bool", "is_last": "bool", "mark": "int8"}
    arguments: dict[str, Any] = {
        "generator": read_documents,
        "features": datasets.Features({name: datasets.Value(kind) for name, kind in columns.items()}),
        "gen_kwargs": {
            "files": [str(file) for file in files],
            "states": [file_state(file) for file in files],
            "limit": None if whole else source.limit,
            "whole": whole,
        },
    }
    rows = IterableDataset.from_generator(**arguments) if source.streaming else Dataset.from_generator(**arguments)
    return _chosen(rows.select_columns("text"), source) if whole else rows


def _reading(source: TextSource, files: list[Path], columns: tuple[str, ...] | None) -> dict[str, Any]:
    """What `datasets` is told of how files are read."""
    if source.path == "text":
        return {"sample_by": source.sample_by, "encoding": "utf-8-sig"}
    if source.path != "csv":
        return {}
    is_tabs = {suffix_of(file) == ".tsv" for file in files}
    if len(is_tabs) > 1:
        raise InputError("dataset: files has .csv and .tsv, which are not separated by the same sign: give those of one kind.")
    # A text of NA or null is a text. Of a task, an empty cell stands for no value.
    words = {"keep_default_na": False} if columns is None else {}
    return {"sep": "\t" if is_tabs.pop() else ",", **words}


def text_rows(rows: Any, text_column: str) -> Any:
    """The column of the texts alone, as `text`; numbers are texts, too.

    Raises:
        InputError: the column holds something else.
    """
    others = [name for name in ("is_first", "is_last", "mark") if name in (rows.column_names or [])]
    rows = rows.select_columns([text_column, *others])
    rows = rows if text_column == "text" else rows.rename_column(text_column, "text")
    if rows.features is None:
        return rows.map(partial(_as_text, name=text_column))
    kind = rows.features["text"]
    if not isinstance(kind, datasets.Value):
        name = type(kind).__name__ if isinstance(kind, datasets.ClassLabel) else kind
        raise InputError(f"dataset: text_column={text_column!r} is a column of {name}, and not of text: name another one.")
    return rows if kind.dtype in ("string", "large_string") else rows.cast_column("text", datasets.Value("string"))


def _as_text(row: dict[str, Any], name: str) -> dict[str, Any]:
    value = row["text"]
    if isinstance(value, (dict, list)):
        raise InputError(
            f"dataset: text_column={name!r} is a column of {type(value).__name__}, and not of text: name another one."
        )
    return {"text": value if value is None or isinstance(value, str) else str(value)}


def _load_conll(layout: str, files: list[Path]) -> Dataset:
    words = datasets.List(datasets.Value("string"))
    rows = list(read_conll(files, layout))
    columns = {name: [row[name] for row in rows] for name in ("tokens", "tags")}
    return Dataset.from_dict(columns, features=datasets.Features({"tokens": words, "tags": words}))


def _chosen(rows, source: TextSource):
    """The rows that `where` and `limit` keep."""
    where = source.where or {}
    for column in where:
        if column not in (rows.column_names or []):
            raise InputError(f"dataset: where names {column!r}, which is not a column; the columns are {rows.column_names}.")
    if where:
        rows = rows.filter(partial(_matches, where=where))
    if source.limit is not None:
        rows = rows.take(source.limit)
    return rows


def _matches(row: dict[str, Any], where: dict[str, Any]) -> bool:
    return all(row[column] == value for column, value in where.items())


def _package_rows(name: str, state: dict[str, Any]) -> Iterator[dict[str, Any]]:
    del state
    yield from read_package(name)


def _load_dataset(source: TextSource, **arguments: Any) -> Dataset | IterableDataset:
    try:
        return datasets.load_dataset(source.path, streaming=source.streaming, trust_remote_code=False, **arguments)
    except (datasets.exceptions.DatasetGenerationError, datasets.exceptions.DatasetNotFoundError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise InputError(f"dataset: path={source.path!r} cannot be read: {reason}") from error
    except (FileNotFoundError, ConnectionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"dataset: path={source.path!r} cannot be loaded: {reason} (a path is one of "
            f"{', '.join((*PACKAGES, *FILE_FORMATS))}, or the id of a dataset on the Hub)"
        ) from error


def fingerprint(source: TextSource, rows) -> dict[str, Any]:
    """What identifies the data in a record: no folder names, which would tell whose machine it was."""
    described: dict[str, Any] = {"path": source.path}
    if source.mixture:
        described["mixture"] = [{**fingerprint(part, None), "weight": weight} for part, weight in source.mixture]
        if isinstance(rows, Dataset):
            described["rows"] = len(rows)
        return described
    if source.path in PACKAGES:
        described |= provenance(PACKAGES[source.path])
    elif source.path in FILE_FORMATS:
        described["files"] = [{"name": file.name, "sha256": sha256_of(file)} for file in local_files(source)]
    else:
        described |= {"name": source.name, "revision": source.revision}
    for name in ("validation", "test"):
        part = held_out(source, name)
        if part is not None:
            described[name] = fingerprint(part, None)
    if isinstance(rows, Dataset):
        described["rows"] = text_count(rows)
    return described


def text_count(rows: Dataset) -> int:
    """Number of texts, of which a long one may take several rows."""
    return int(np.sum(rows.with_format("numpy")["is_first"][:])) if "is_first" in rows.column_names else len(rows)
