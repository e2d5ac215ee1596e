"""Where rows come from: a package, files, or the Hub, as a recipe's `dataset:` names them."""

import glob
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from datasets import Dataset
from huggingface_hub.dataclasses import type_validator
from huggingface_hub.errors import StrictDataclassFieldValidationError

from ..checks.names import FILE_NAME
from ..checks.places import expand_home
from ..errors import InputError, counted, did_you_mean, shown
from .cached import content_of
from .conll import CONLL_COLUMNS
from .documents import PARQUET
from .packages import PACKAGES, provenance
from .packed_files import check_contents
from .text_files import (
    LINKS,
    FileState,
    check_folder,
    check_names,
    dataset_files,
    file_state,
    links_below,
    read_folder,
    source_of,
)


FILE_FORMATS = ("csv", "json", "parquet", "text", *CONLL_COLUMNS)
# What one text of a plain text file is; the words are those of `datasets`.
SAMPLE_BY = ("document", "paragraph", "line")


@dataclass(frozen=True)
class TextSource:
    """What a recipe's `dataset:` says. `path` is a package of `PACKAGES`, a file format, or a Hub id.

    Attributes:
        files: Files of a format, patterns and folders among them.
        text_column: The column that a language model reads.
        sample_by: Of plain text, what one text is: a whole file, a paragraph or a line.
        field: Of a file of JSON that is one object, the key that holds the rows.
        split: Of a dataset on the Hub.
        columns: For a task, its names of columns and what the dataset calls them.
        where: Columns and the value that a row needs there to be used, or a list of values of which it needs one; none of `{}`.
        limit: Use only the first `limit` rows.
        validation, test: What is held out in place of a share of this one, read as this one is where it says nothing else.
        mixture: Sources and their weights, in place of all of the above but `streaming`.
    """

    path: str
    name: str | None = None
    files: str | list[str] | None = None
    text_column: str = "text"
    sample_by: str | None = None
    field: str | None = None
    split: str = "train"
    streaming: bool = False
    revision: str | None = None
    columns: dict[str, str] | None = None
    where: dict[str, Any] | None = None
    limit: int | None = None
    validation: "TextSource | None" = None
    test: "TextSource | None" = None
    mixture: tuple[tuple["TextSource", float], ...] = ()

    @property
    def named(self) -> str:
        """The key that says where its rows are, with its value."""
        return f"path={self.path!r}" if self.files is None else f"files={shown(self.files)}"


def text_source(value: dict[str, Any] | str, key: str = "dataset.") -> TextSource:
    """Parse the value of `dataset:`.

    Args:
        key: What its keys are called on a command line.

    Raises:
        InputError: an unknown key, no path, a path that is a file, or a file format without files.
    """
    given: dict[str, Any] = {"path": value} if isinstance(value, str) else dict(value)
    unknown = sorted(set(given) - set(DATASET_KEYS), key=str)
    if unknown:
        raise InputError(f"dataset: unknown key {shown(unknown[0])}; the keys are {', '.join(DATASET_KEYS)}.")
    check_types(given)
    if "mixture" in given:
        return _mixture(given)
    if not given.get("path"):
        raise InputError(f"dataset: path is missing: one of {', '.join((*PACKAGES, *FILE_FORMATS))}, or a Hub id.")
    if given["path"].startswith("~"):
        given["path"] = expand_home(given["path"], "dataset: path")
    is_known = given["path"] in (*PACKAGES, *FILE_FORMATS)
    if os.path.isfile(given["path"]) and not is_known:
        check_contents(Path(given["path"]), besides=PARQUET)
    if not is_known and (os.path.isfile(given["path"]) or FILE_NAME.fullmatch(given["path"])):
        # Nobody is asked on the Hub for what is a file here, or was meant to be.
        is_here = "" if os.path.isfile(given["path"]) else ". There is none of that name here"
        raise InputError(
            f"dataset: path={given['path']!r} is the name of a file: give it as {key}files={given['path']}{is_here}."
        )
    if given["path"] in FILE_FORMATS and not given.get("files"):
        raise InputError(
            f"dataset: path={given['path']!r} needs files: a file, a folder, a pattern such as 'data/*.txt', or a list."
        )
    if given["path"] not in FILE_FORMATS and given.get("files"):
        raise InputError(
            f"dataset: path={given['path']!r} reads no files, and files={shown(given['files'])} is given: set path to one of "
            f"{', '.join(FILE_FORMATS)}, or leave files out."
        )
    if given["path"] == "text":
        # Whole files are not drawn one by one.
        given.setdefault("sample_by", "line" if given.get("streaming") else "document")
    elif given.get("sample_by") is not None:
        raise InputError(
            f"dataset: sample_by is for path='text', and not for {given['path']!r}, where a row is a text: leave it out."
        )
    if given.get("field") is not None and given["path"] != "json":
        raise InputError(f"dataset: field is for path='json', and not for {given['path']!r}: leave it out.")
    if given.get("sample_by") not in (None, *SAMPLE_BY):
        hint = did_you_mean(given["sample_by"], SAMPLE_BY)
        raise InputError(f"dataset: sample_by={given['sample_by']!r} is none of {', '.join(SAMPLE_BY)}.{hint}")
    inherited: dict[str, Any] = {key: given[key] for key in ("path", "columns", "text_column") if key in given}
    # Of another dataset, there may be no such part.
    of_path = {key: given[key] for key in ("name", "revision") if given.get(key) is not None}
    for name in ("validation", "test"):
        held_out = given.get(name)
        if held_out is not None:
            own = held_out if isinstance(held_out, dict) else {"path": held_out}
            # A file that holds several splits is named once.
            same_file = {"files": given["files"]} if "field" in own and "files" in given else {}
            more = {**own_format(own, given["path"]), **own}
            more = more if "path" in more else {**of_path, **more}
            # Of another dataset, a column of that name may be something else.
            is_other = more.get("path", given["path"]) != given["path"] and (
                "path" in own or given["path"] not in FILE_FORMATS
            )
            more = more if is_other or "where" not in given else {"where": given["where"], **more}
            given[name] = text_source({**inherited, **same_file, **more}, f"dataset.{name}.")
    return TextSource(**given)


def own_format(held_out: dict[str, Any], path: str) -> dict[str, str]:
    """Return, as `{"path": ...}`, the format that the suffix of held-out files tells; empty where that of the training data holds."""
    check_types(held_out)
    files = held_out.get("files")
    if not files or "path" in held_out:
        return {}
    found = source_of(Path(os.path.expanduser(files if isinstance(files, str) else files[0])))["path"]
    return {} if found == "text" and path in FILE_FORMATS else {"path": found}


DATASET_KEYS = tuple(item.name for item in fields(TextSource))
HELD_OUT = dict[str, Any] | str | None
# As they are written in a recipe.
TYPES = {key: hint for key, hint in get_type_hints(TextSource).items() if key != "mixture"} | {
    "validation": HELD_OUT,
    "test": HELD_OUT,
}


def check_types(given: dict[str, Any]) -> None:
    """Raise `InputError` for a value of `dataset:` of another type than its key has, or an empty text."""
    for key, value in given.items():
        try:
            if key in TYPES:
                type_validator(key, value, TYPES[key])
        except (StrictDataclassFieldValidationError, TypeError, ValueError):
            kind = str(TYPES[key]).removeprefix("<class '").removesuffix("'>").replace("typing.", "")
            raise InputError(
                f"dataset: {key}={shown(value)} is of type {type(value).__name__}, expected {kind.replace('None', 'null')}."
            ) from None
        if value == "" or (key == "files" and value is not None and not all(value)):
            raise InputError(f"dataset: {key}={shown(value)} is empty: leave the key out, or give it a value.")
        if key == "limit" and value is not None and not 1 <= value < 2**31:
            raise InputError(f"dataset: limit={shown(value)} must be at least 1, and less than 2**31.")


def _mixture(given: dict[str, Any]) -> TextSource:
    others = sorted(set(given) - {"mixture", "streaming"})
    if others:
        raise InputError(f"dataset: {others[0]} belongs in a part of the mixture: beside mixture, give streaming alone.")
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
        source = text_source({**lines, **chosen, "streaming": streaming}, "")
        sources.append((source, float(weight)))
    return TextSource("mixture", streaming=streaming, mixture=tuple(sources))


def local_files(source: TextSource) -> list[Path]:
    """Return the files that `files` names, patterns resolved, in sorted order.

    Raises:
        InputError: a file that does not exist, a pattern that matches nothing, a name that is not UTF-8.
    """
    found: list[Path] = []
    for pattern in [source.files] if isinstance(source.files, str) else source.files or []:
        path = Path(expand_home(pattern, "dataset: files"))
        if path.is_file():
            matches = [path]
        elif path.is_dir():
            folder = read_folder(path, source.path)
            matches = list(folder.files)
            if not matches:
                check_folder(path)
                raise InputError(
                    f"dataset: files={pattern!r} is a folder without a file that is read as {source.path}{folder.left_out()}."
                )
        else:
            # A folder may have a bracket in its name, which a pattern has a meaning for.
            place = glob.escape(str(path.parent)) if path.parent.is_dir() else str(path.parent)
            names = glob.glob(f"{place}/{path.name}", recursive=True)
            matches = sorted(match for match in map(Path, names) if match.is_file())
        if not matches:
            raise InputError(f"dataset: files={pattern!r} matches no file: give the path of an existing one.")
        found += matches
    check_names(found)
    return found


def parts_of(source: TextSource) -> list[TextSource]:
    """Return a source, its held-out data and the parts of its mixture."""
    parts = (source.validation, source.test, *(part for part, _ in source.mixture))
    return [source, *(inner for part in parts if part is not None for inner in parts_of(part))]


def folder_lines(source: TextSource) -> list[str]:
    """Return a line for each folder of which not all is read, or not all as it is meant."""
    lines = []
    for part in parts_of(source):
        for path in (Path(name).expanduser() for name in ([part.files] if isinstance(part.files, str) else part.files or [])):
            folder = read_folder(path, part.path) if path.is_dir() else None
            if folder is not None and folder.left_out():
                lines.append(f"{path}: {counted(len(folder.files), 'files are read')}{folder.left_out()}.")
            if folder is not None and folder.tables:
                lines.append(f"{path}: {folder.as_text()}")
        if links := links_below(Path(part.path)) if is_folder(part) else 0:
            lines.append(f"{part.path}: {counted(links, f'{LINKS} are left out')}.")
    return lines


def is_folder(source: TextSource) -> bool:
    """Return whether `path` is a folder here, which `datasets` reads."""
    return source.path not in (*PACKAGES, *FILE_FORMATS) and not source.mixture and Path(source.path).is_dir()


def files_of(source: TextSource) -> list[tuple[str, Path]]:
    """Return each local file that a source reads, and what a record calls it; those of a mixture are its parts'."""
    if source.path in FILE_FORMATS:
        return [(file.name, file) for file in local_files(source)]
    if not is_folder(source):
        return []
    folder = Path(source.path)
    return [(file.relative_to(folder).as_posix(), file) for file in dataset_files(folder)]


def file_states(source: TextSource) -> dict[Path, FileState]:
    """Return the state of each local file that a source reads, the parts of a mixture included."""
    if source.mixture:
        return {path: state for part, _ in source.mixture for path, state in file_states(part).items()}
    return {path: _written(path) for _, path in files_of(source)}


def _written(path: Path) -> FileState:
    # A backup may link to a file while it is read.
    return replace(file_state(path), changed_ns=0)


def check_unchanged(states: dict[Path, FileState]) -> None:
    """Raise `InputError` for a file that is not as it was, and `FileNotFoundError` for one that is gone."""
    for path, state in states.items():
        if _written(path) != state:
            raise InputError(
                f"dataset: {path} has changed while the run reads it. Put it back as it was and rerun the same command, or start "
                "anew elsewhere."
            )


def fingerprint(source: TextSource, rows) -> dict[str, Any]:
    """Return what identifies the data in a record: no folder names, which would tell whose machine it was."""
    described: dict[str, Any] = {"path": source.path}
    if source.mixture:
        described["mixture"] = [{**fingerprint(part, None), "weight": weight} for part, weight in source.mixture]
        if isinstance(rows, Dataset):
            described["rows"] = len(rows)
        return described
    if source.path in PACKAGES:
        described |= provenance(PACKAGES[source.path])
    elif source.path not in FILE_FORMATS:
        described |= {"name": source.name, "revision": source.revision}
    if files := files_of(source):
        described["files"] = [{"name": name, "sha256": content_of(file)} for name, file in files]
    for name in ("validation", "test"):
        part = getattr(source, name)
        if part is not None:
            described[name] = fingerprint(part, None)
    if isinstance(rows, Dataset):
        described["rows"] = text_count(rows)
    return described


def text_count(rows: Dataset) -> int:
    """Number of texts, of which a long one may take several rows."""
    return int(np.sum(rows.with_format("numpy")["is_first"][:])) if "is_first" in rows.column_names else len(rows)
