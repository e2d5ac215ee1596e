"""The rows of a source: of a package, of files, of the Hub, or of a mixture of these."""

import glob
import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, IterableDataset
from datasets.fingerprint import Hasher
from huggingface_hub import constants, get_session
from huggingface_hub.errors import HTTPError
from pyarrow.parquet import read_schema

from ..checks.boundary import refused
from ..checks.names import check_name
from ..checks.places import is_of_place
from ..errors import InputError, listed, reason_of, shown
from .cached import by_this_code, code_hash, content_of
from .conll import CONLL_COLUMNS, read_conll
from .documents import PARQUET
from .json_columns import json_dataset
from .json_rows import check_json_rows, find_fault, is_list_of_rows, read_json_rows, rows_in_object
from .labels import NUMBER, truth_of
from .packages import PACKAGES, provenance, read_package
from .packed_files import BROKEN_ARCHIVES, check_contents, is_misnamed
from .reading import read_on
from .saved import load_saved
from .sources import FILE_FORMATS, TextSource, files_of, local_files, parts_of
from .streamed_json import are_lines, stream_json_rows
from .tables import check_rows, quoting_of, read_table
from .text_files import is_saved, read_documents
from .utf8 import check_utf8


# `datasets` would ask six times before it says so.
HUB_SECONDS = 10.0
# Of a stream, those that say what its columns are.
FIRST_ROWS = 1000
# Of the order in which the parts of a mixture are drawn: part of the data, not of a run, so that no seed moves a text.
MIXTURE_SEED = 0


def load_rows(source: TextSource, texts: Collection[str] | None = None, is_part: bool = False) -> Dataset | IterableDataset:
    """Return the rows of a source, before any split of ours.

    Args:
        texts: Of a task, columns that hold texts, where they are there; by default `text_column`, which has to be.
        is_part: Whether rows are drawn one by one, beside those of other sources; a row is then a whole text.

    Raises:
        InputError: files, columns or a dataset that are not there, text that is not UTF-8, or no rows.
    """
    if source.mixture:
        return _load_mixture(source)
    if source.path in PACKAGES:
        # The arguments are the key of datasets' cache of rows, which must not outlive the data or the code that read it.
        state = {**provenance(PACKAGES[source.path]), "code": code_hash()}
        rows = Dataset.from_generator(_package_rows, gen_kwargs={"name": source.path, "state": state})
    elif source.path in FILE_FORMATS:
        rows = load_files(source, texts, is_part)
        if source.sample_by == "document":
            return rows
    else:
        rows = _load_dataset(source, name=source.name, split=source.split, revision=source.revision)
    # A stream of lines does not say what its columns are before it is read.
    found = rows.column_names or list(next(read_on(rows), {}))
    if texts is None and source.text_column not in found:
        raise InputError(
            f"dataset: text_column={source.text_column!r} is not a column; the columns are {listed(found) or 'none'}."
            f"{nameless_hint(source)}"
        )
    whole = by_this_code(rows, _content(source))
    rows = _chosen(whole, source)
    if isinstance(rows, Dataset) and len(rows) == 0:
        where = f" with where={shown(source.where)}{_values_line(whole, source.where)}" if source.where else ""
        raise InputError(f"dataset: path={source.path!r} has no rows{where}.")
    return rows


def _values_line(rows: Dataset, where: dict[str, Any]) -> str:
    """Return, for a message, the values that the first rows have in the columns that rows are chosen by."""
    first = rows.take(min(len(rows), 1000))
    found = {column: listed(dict.fromkeys(shown(cell, 60) for cell in first[column])) for column in where}
    return "".join(f"; column {column!r} has {values}" for column, values in found.items() if values)


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


def load_files(source: TextSource, texts: Collection[str] | None, is_part: bool) -> Dataset | IterableDataset:
    """Return the rows of files of a format; see `load_rows`."""
    files = local_files(source)
    for file in files:
        if source.path == "parquet":
            check_contents(file, besides=PARQUET)
        else:
            check_utf8(file)
        if source.sample_by != "document" and is_misnamed(file):
            # `datasets` goes by the name.
            raise InputError(
                f"dataset: files={str(file)!r} is not packed as its name says: name it as what it is, such as {file.stem}."
            )
    if source.path in CONLL_COLUMNS:
        return _load_conll(source.path, files)
    if source.sample_by == "document":
        return _load_documents(source, files, whole=source.streaming or is_part)
    if source.path == "json":
        # `datasets` holds a list as a whole, too, and of a key that comes twice it keeps one value.
        checked = [is_list_of_rows(file) for file in files]
        objects = [rows_in_object(file, source.field) for file in files]
        if texts is not None or any(checked) or any(part is not None for part in objects):
            return _load_json(source, files, objects, texts)
        if source.streaming:
            # What goes over several lines is read as a whole.
            is_read_by_line = all(map(are_lines, files))
            return _stream_json(files, source.text_column) if is_read_by_line else _load_json(source, files, objects, None)
    # A name is no pattern here, whatever signs are in it.
    names = [glob.escape(str(file)) for file in files]
    reading = _reading(source, files)
    _check_columns(source.path, files)
    try:
        rows = _load_dataset(source, data_files=names, split="train", **reading)
    except InputError:
        # Later rows, or another file, may have columns that the first have not, or other values in them.
        if source.path != "json" or find_fault(files) is not None:
            raise
        return _load_json(source, files, [None] * len(files), None)
    if source.path == "csv":
        found = rows.column_names or list(read_table(files[0]).names)
        clean = {name: clean_name(name) for name in found if clean_name(name) not in ("", *found)}
        rows = rows.rename_columns(clean) if clean and len(set(clean.values())) == len(clean) else rows
    if source.path == "json" and not _is_as_written((rows.features or {}).get(source.text_column)):
        return _load_json(source, files, [None] * len(files), None)
    return rows


def _is_as_written(feature: Any) -> bool:
    """Return whether `datasets` reads a column of JSON as the texts that it holds, and not as times, numbers or JSON once more."""
    return "timestamp" not in str(feature) and not is_mixed(feature) and not is_float(feature)


def _load_json(
    source: TextSource, files: list[Path], objects: list[list[Any] | None], texts: Collection[str] | None
) -> Dataset | IterableDataset:
    """Return the rows of files of JSON, of which some may be an object around them, each value as it is written."""
    with refused(f"dataset: files={shown(source.files)} cannot be read as json"):
        try:
            parts = [read_json_rows(file) if part is None else part for file, part in zip(files, objects)]
            for file, part in zip(files, parts):
                check_json_rows(part, file)
        except InputError:
            raise
        except ValueError as error:
            raise ValueError(find_fault(files) or error) from error
        rows = json_dataset([row for part in parts for row in part], (source.text_column,) if texts is None else texts)
    return rows.to_iterable_dataset() if source.streaming else rows


def _stream_json(files: list[Path], text_column: str) -> IterableDataset:
    """Return the rows of files of lines, in the columns that the first rows have."""
    names = [str(file) for file in files]
    columns = dict.fromkeys(name for row in islice(stream_json_rows(names), FIRST_ROWS) for name in row)
    arguments = {"files": names, "columns": tuple(columns), "text_column": text_column}
    return IterableDataset.from_generator(stream_json_rows, gen_kwargs=arguments)


def _load_documents(source: TextSource, files: list[Path], whole: bool) -> Dataset | IterableDataset:
    """Return the documents of plain text files, see `read_documents`."""
    if source.where or source.text_column != "text":
        raise InputError("dataset: a plain text file has the column text alone: leave text_column and where out.")
    columns = {"text": "large_string", "is_first": "bool", "is_last": "bool", "mark": "int8"}
    arguments: dict[str, Any] = {
        "generator": read_documents,
        "features": datasets.Features({name: datasets.Value(kind) for name, kind in columns.items()}),
        "gen_kwargs": {
            "files": [str(file) for file in files],
            "states": [(code_hash(), state) for state in _content(source) or [""] * len(files)],
            "limit": None if whole else source.limit,
            "whole": whole,
        },
    }
    rows = IterableDataset.from_generator(**arguments) if source.streaming else Dataset.from_generator(**arguments)
    return _chosen(rows.select_columns("text"), source) if whole else rows


def _reading(source: TextSource, files: list[Path]) -> dict[str, Any]:
    """Return the arguments that tell `datasets` how files are read."""
    if source.path == "text":
        return {"sample_by": source.sample_by, "encoding": "utf-8-sig"}
    if source.path == "parquet" and source.streaming:
        with refused(f"dataset: {source.named} cannot be read as parquet"):
            names = read_schema(files[0]).names
        # A value of another type in another column does not end the stream.
        needed = [name for name in dict.fromkeys([source.text_column, *(source.where or {})]) if name in names]
        return {"columns": needed} if source.text_column in needed else {}
    if source.path != "csv":
        return {}
    tables = {file: read_table(file) for file in files}
    kinds = {(table.sign, table.above): file.name for file, table in tables.items()}
    if len(kinds) > 1:
        named = " and ".join(f"{name} by {sign!r}" for (sign, _), name in kinds.items())
        raise InputError(f"dataset: files are not separated by the same sign, {named}: give those of one kind.")
    first, has_quotes = tables[files[0]], all(table.has_quotes for table in tables.values())
    if not has_quotes:
        # All files are read in one way.
        for file, table in tables.items():
            check_rows(file, replace(table, has_quotes=False))
    return {
        "sep": first.sign,
        "skiprows": first.above,
        "keep_default_na": False,
        "quoting": quoting_of(has_quotes),
        # A cell of NA, null or 007 is a text; and of another type, a column would be what its first rows say.
        "converters": dict.fromkeys(range(len(first.names)), str),
    }


def _check_columns(path: str, files: list[Path]) -> None:
    """Raise `InputError` for files of which one has a column that another has not, where `datasets` names neither."""
    if path not in ("csv", "parquet") or len(files) == 1:
        return
    with refused(f"dataset: {files[0]} and those beside it cannot be read as {path}"):
        columns = {file: read_table(file).names if path == "csv" else read_schema(file).names for file in files}
    for file in files[1:]:
        pairs = [(file, files[0])] if path == "parquet" else [(file, files[0]), (files[0], file)]
        for one, other in pairs:
            more = [name for name in columns[one] if name not in columns[other]]
            if more:
                raise InputError(
                    f"dataset: {one.name} has the column {more[0]!r}, which {other.name} has not: give files of the same columns."
                )


def clean_name(name: str) -> str:
    """Return the name of a column without white space around it, and signs of no width."""
    return name.strip(" \t\u00a0\u200b\u200c\u200d\ufeff")


def file_lines(source: TextSource) -> list[str]:
    """Return a line for each file that is read in another way than its suffix says."""
    files = [(part.path, file) for part in parts_of(source) if part.path in FILE_FORMATS for file in local_files(part)]
    lines = [
        f"{file.name} is not packed as its name says: it is read as what it is." for _, file in files if is_misnamed(file)
    ]
    return lines + [line for kind, file in files if kind == "csv" for line in read_table(file).notices(file)]


def nameless_hint(source: TextSource) -> str:
    """Return the end of a message about a column that is not there: a table may have no line of names."""
    files = local_files(source) if source.path == "csv" else []
    return next((f" {line}" for line in (read_table(file).nameless(file) for file in files) if line), "")


def text_rows(rows: Any, text_column: str) -> Any:
    """Return the column of the texts alone, as `text`; numbers are texts, too.

    Raises:
        InputError: the column holds something else.
    """
    others = [name for name in ("is_first", "is_last", "mark") if name in (rows.column_names or [])]
    rows = rows.select_columns([text_column, *others])
    rows = rows if text_column == "text" else rows.rename_column(text_column, "text")
    if rows.features is None:
        return rows.map(partial(_as_text, name=text_column))
    kind = rows.features["text"]
    if is_mixed(kind) or is_float(kind):
        features = datasets.Features({**rows.features, "text": datasets.Value("string")})
        return rows.map(partial(_as_text, name=text_column), features=features)
    if not isinstance(kind, datasets.Value):
        name = type(kind).__name__ if isinstance(kind, datasets.ClassLabel) else kind
        raise InputError(f"dataset: text_column={text_column!r} is a column of {name}, and not of text: name another one.")
    with refused(f"dataset: text_column={text_column!r} cannot be read as text"):
        return rows if kind.dtype in ("string", "large_string") else rows.cast_column("text", datasets.Value("string"))


def is_mixed(feature: Any) -> bool:
    """Return whether the values of a column are of several types, such as texts and numbers."""
    # No class of the oldest version of datasets that is used.
    return type(feature).__name__ == "Json"


def is_float(feature: Any) -> bool:
    """Return whether a column holds numbers with a point, of which NaN is none."""
    return isinstance(feature, datasets.Value) and feature.dtype.startswith(("float", "double"))


def number_text(value: float) -> str | None:
    """Return a number as a text, without a point where it is whole, since pandas knows no whole number that is missing; NaN and an
    infinity are none."""
    return str(value).removesuffix(".0") if math.isfinite(value) else None


def _as_text(row: dict[str, Any], name: str) -> dict[str, Any]:
    value = row["text"]
    if isinstance(value, (dict, list)):
        raise InputError(
            f"dataset: text_column={name!r} is a column of {type(value).__name__}, and not of text: name another one."
        )
    if value is None or isinstance(value, str):
        return {"text": value}
    return {"text": number_text(value) if isinstance(value, float) else str(value)}


def _load_conll(layout: str, files: list[Path]) -> Dataset:
    words = datasets.List(datasets.Value("string"))
    rows = list(read_conll(files, layout))
    columns = {name: [row[name] for row in rows] for name in ("tokens", "tags")}
    return Dataset.from_dict(columns, features=datasets.Features({"tokens": words, "tags": words}))


def _chosen(rows, source: TextSource):
    """The rows that `where` and `limit` keep."""
    where = source.where or {}
    found = (rows.column_names or list(next(read_on(rows), {}))) if where else []
    for column in where:
        if column not in found:
            raise InputError(
                f"dataset: where names {column!r}, which is not a column; the columns are {listed(found)}. "
                "Held-out data have the where of dataset unless they are given their own; all their rows are read with where={}."
            )
    if where:
        rows = rows.filter(partial(_matches, where=where))
    if source.limit is not None:
        rows = rows.take(source.limit)
    return rows


def _matches(row: dict[str, Any], where: dict[str, Any]) -> bool:
    for column, value in where.items():
        cell, values = row[column], [value, *(value if isinstance(value, list) else ())]
        if cell not in values and not (isinstance(cell, str) and any(_is_written(cell.strip(), one) for one in values)):
            return False
    return True


def _is_written(cell: str, value: Any) -> bool:
    """Return whether a cell of a table, which is a text, is how a value is written: `True` and `yes`, 5 and 5.0, nothing for null."""
    if value is None:
        return cell == ""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and NUMBER.fullmatch(cell):
        return float(cell) == value
    return cell == str(value) or (isinstance(value, bool) and truth_of(cell) is value)


def _package_rows(name: str, state: dict[str, Any]) -> Iterator[dict[str, Any]]:
    del state
    yield from read_package(name)


def _check_hub(named: str) -> None:
    """Raise `InputError` where a stream cannot be read, since nobody is there: what was streamed before is kept nowhere."""
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
    except (HTTPError, OSError) as error:
        raise InputError(
            f"dataset: {named} is streamed from {constants.ENDPOINT}, which cannot be reached ({reason_of(error)}): connect to a "
            "network, or give text of your own with dataset.files=PATH."
        ) from error


def _content(source: TextSource) -> list[str]:
    """Return what tells the local files of a source from others of the same names; nothing of a stream, which is kept nowhere."""
    return [] if source.streaming else [content_of(file) for _, file in files_of(source)]


def _load_dataset(source: TextSource, **arguments: Any) -> Dataset | IterableDataset:
    named = source.named
    if is_saved(Path(source.path)):
        return load_saved(source)
    if source.path not in FILE_FORMATS and not Path(source.path).exists():
        check_name(source.path, "dataset: path")
    if source.streaming and source.path not in FILE_FORMATS and not Path(source.path).is_dir():
        _check_hub(named)
    if content := _content(source):
        arguments["cache_dir"] = str(Path(datasets.config.HF_DATASETS_CACHE, Hasher.hash(content)))
    try:
        rows = datasets.load_dataset(source.path, streaming=source.streaming, trust_remote_code=False, **arguments)
        if source.streaming and source.files is not None:
            # Nothing is read of it before, and so no fault found.
            next(iter(rows), None)
        return rows
    except (datasets.exceptions.DatasetGenerationError, datasets.exceptions.DatasetNotFoundError) as error:
        if is_of_place(error.__cause__):
            raise error.__cause__ from error
        fault = find_fault(local_files(source)) if source.path == "json" else None
        reason = fault or str(error.__cause__ or error).splitlines()[0]
        raise InputError(f"dataset: {named} cannot be read as {source.path}: {reason}") from error
    except (*BROKEN_ARCHIVES, OSError, ValueError) as error:
        if is_of_place(error):
            raise
        reason = reason_of(error)
        if source.files is not None:
            reason = (find_fault(local_files(source)) if source.path == "json" else None) or reason
            what = "holds no rows" if "corresponds to no data" in reason else f"cannot be read as {source.path}: {reason}"
            raise InputError(f"dataset: {named} {what}.") from error
        raise InputError(
            f"dataset: path={source.path!r} cannot be loaded: {reason} (a path is one of "
            f"{', '.join((*PACKAGES, *FILE_FORMATS))}, or the id of a dataset on the Hub)"
        ) from error
