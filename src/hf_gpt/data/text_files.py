"""Files of text as they lie on a disk: their formats, compressed ones, those of a folder, and whole documents to the last byte."""

import gzip
import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from ..checks.places import home_folder
from ..errors import InputError, counted, listed
from .documents import PARQUET
from .encoding import pieces
from .packed_files import COMPRESSED, check_contents, members, opened, unreadable
from .utf8 import decoded


# What is none of these is read as plain text.
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".conll": "conll",
    ".conllu": "conllu",
}
# Of what is read as plain text, those that say no more than that it is.
PLAIN = (".txt", ".text", ".md")


@dataclass(frozen=True)
class FileState:
    """What tells that a file was written to or replaced, without reading it.

    Attributes:
        changed_ns: When it or what is known of it changed, which nobody sets: a link to it or another right changes that, too.
    """

    size: int
    modified_ns: int
    inode: int
    changed_ns: int


def file_state(path: Path) -> FileState:
    found = path.stat()
    return FileState(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)


# ------------------------------------------------------------------------------------------------------------ formats


def suffix_of(path: Path) -> str:
    """Return the suffix that tells the format, in lower case; of `corpus.jsonl.gz` it is `.jsonl`, of a zip that of what is in it."""
    suffix = path.suffix.lower()
    if suffix not in COMPRESSED:
        return suffix
    inner = Path(path.stem).suffix.lower()
    if suffix != ".zip" or inner in FORMATS or not path.is_file():
        return inner
    try:
        with zipfile.ZipFile(path) as archive:
            inside = {Path(member.filename).suffix.lower() for member in members(archive)}
    except zipfile.BadZipFile as error:
        check_contents(path)
        raise InputError(f"dataset: files={str(path)!r} cannot be unpacked: {error}") from error
    return inside.pop() if len(inside) == 1 else ""


def format_of(path: Path) -> str:
    """Return the `path` of a `dataset:` that reads a file: `text` for all that is no table."""
    return FORMATS.get(suffix_of(path), "text")


def source_of(path: Path) -> dict[str, Any]:
    """Return the `dataset:` that reads a file or a folder.

    Raises:
        InputError: a folder without a file that can be read.
    """
    # A path has no `./` in front, without which a `~` would be a home folder.
    name = os.path.join(".", path) if str(path).startswith("~") else str(path)
    if not path.is_dir():
        return {"path": format_of(path), "files": name}
    folder = read_folder(path)
    if not folder.files:
        check_folder(path)
        beside = f" beside {folder.beside()}" if folder.beside() else ""
        raise InputError(f"dataset: the folder {path} holds no text: no file below it{beside} is UTF-8 that is not hidden.")
    return {"path": folder.kind, "files": name}


def name_of(path: Path) -> str:
    """Return the name of a file without the suffixes of its format, or of a folder."""
    if path.is_dir():
        return path.resolve().name
    name = path.name
    while Path(name).stem.strip(".") and Path(name).suffix.lower() in (*COMPRESSED, *FORMATS, *PLAIN):
        name = Path(name).stem
    return name


# ------------------------------------------------------------------------------------------------------------ documents


def read_documents(
    files: list[str], states: list[tuple[str, str]], limit: int | None, whole: bool
) -> Iterator[dict[str, Any]]:
    """Return each file as one document, with all its bytes but a byte order mark.

    Args:
        files, states: Paths, and what tells one content from another: for who keeps what was read before.
        limit: Use only the first `limit` documents.
        whole: Give each document in one row; else a long one in several, so that it is never in memory as a whole.

    Yields:
        `text`; `is_first` and `is_last`: whether the row begins and ends a document; `mark`: bytes of a byte order mark before it.
    """
    del states
    number = 0
    for name in files:
        for file in opened(Path(name)):
            if limit is not None and number >= limit:
                return
            number += 1
            yield from _document(file, Path(name), whole)


def _document(file: BinaryIO, path: Path, whole: bool) -> Iterator[dict[str, Any]]:
    rest, is_first, mark = "", True, 0
    for chunk, _ in decoded(file, path):
        if is_first and not rest and not mark and chunk.startswith("\ufeff"):
            chunk, mark = chunk[1:], 3
        rest += chunk
        if whole:
            continue
        *ready, rest = pieces(rest)
        for text in ready:
            yield {"text": text, "is_first": is_first, "is_last": False, "mark": mark if is_first else 0}
            is_first = False
    yield {"text": rest, "is_first": is_first, "is_last": True, "mark": mark if is_first else 0}


# -------------------------------------------------------------------------------------------------------------- folders


# As they are counted.
LINKS = "links (to a folder or to nothing)"


@dataclass(frozen=True)
class Folder:
    """What a folder holds, hidden files and folders and those of runs left out.

    Attributes:
        files: The files that are read, sorted.
        kind: How they are read: a format of tables where all are of that one, else `text`.
        skipped: Number of files that are no text.
        runs: Number of folders of runs.
        links: Number of links to folders, which are not followed, since they may lead back here, and of those to nothing.
        tables: Files of tables that are read as text.
    """

    files: tuple[Path, ...]
    kind: str
    skipped: int
    runs: int = 0
    links: int = 0
    tables: tuple[Path, ...] = ()

    def as_text(self) -> str:
        """Return a line about tables that are read as text, nothing where none is."""
        if not self.tables:
            return ""
        many, names = "tables are read as text", listed((path.name for path in self.tables), 3)
        return f"{counted(len(self.tables), many)}, of {counted(len(self.files), 'files')}: {names}."

    def left_out(self) -> str:
        """Return what is not read of it, as the end of a list; nothing where all is read."""
        parts = " and ".join(filter(None, [counted(self.skipped, "others") if self.skipped else "", self.beside()]))
        return f", {parts} left out" if parts else ""

    def beside(self) -> str:
        """Return what was not looked into."""
        counts = {"run folders": self.runs, LINKS: self.links}
        return " and ".join(counted(count, what) for what, count in counts.items() if count)


# What `save_to_disk` of `datasets` writes beside its tables: of one dataset, and of several splits.
SAVED_DATASET, SAVED_SPLITS = ("state.json", "dataset_info.json"), "dataset_dict.json"


def is_saved(folder: Path) -> bool:
    """Return whether a folder is one that `save_to_disk` of `datasets` wrote."""
    return (folder / SAVED_SPLITS).is_file() or all((folder / name).is_file() for name in SAVED_DATASET)


# Of version control, and what tools write beside a source; others of their kind begin with a dot.
SKIPPED_FOLDERS = ("CVS", "__pycache__", "node_modules")
# What marks the folder of a run, and keys that no other file of that name has: what a model wrote is no text of the user's, and grows
# from run to run.
RUN_FILES = {"run.json": {"recipe", "data", "stage", "files"}, "record.json": {"kind", "recipe", "model_sha256"}}


def read_folder(folder: Path, kind: str | None = None) -> Folder:
    """Return the text files below a folder.

    Args:
        kind: The format to read; by default that of all files, or `text`.

    Raises:
        InputError: a folder or a file in it cannot be read, or has a name that is not UTF-8; or it is the home folder, or holds it: of
            all that a person has, no text is meant.
    """
    home = home_folder()
    if home is not None and (folder.resolve() == home or folder.resolve() in home.parents):
        raise InputError(f"dataset: the folder {folder} is your home folder, or holds it: name the folder of the texts.")
    if is_saved(folder):
        raise InputError(
            f"dataset: the folder {folder} holds a dataset that save_to_disk of datasets wrote: a recipe reads it as "
            f"dataset.path={folder}, and not as files."
        )
    found, runs, links = _files_below(folder)
    files = sorted(path for path in found if path.is_file())
    formats = {path: format_of(path) for path in files}
    if kind is None:
        kinds = set(formats.values())
        kind = kinds.pop() if len(kinds) == 1 else "text"
    if kind == "text":
        kept = tuple(path for path in files if is_text(path, file_state(path)))
    else:
        kept = tuple(path for path in files if formats[path] == kind and path.stat().st_size)
    check_names(kept)
    tables = tuple(path for path in kept if kind == "text" and formats[path] != "text")
    return Folder(kept, kind, len(files) - len(kept), runs, links, tables)


def dataset_files(folder: Path) -> list[Path]:
    """Return the files of a folder that `datasets` reads as a dataset, sorted by name; hidden ones and runs are none of it."""
    if is_saved(folder):
        # Beside its tables, `datasets` keeps what was made of them.
        tables = (path for path in folder.rglob("*.arrow") if not path.name.startswith("cache-"))
        return sorted([*tables, *folder.rglob(SAVED_DATASET[1])])
    files = sorted(path for path in _files_below(folder)[0] if path.is_file())
    check_names(files)
    return files


def check_names(paths: Iterable[Path]) -> None:
    """Raise `InputError` for a name that is not UTF-8, as archives of old systems have them: no record could hold it."""
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise InputError(f"dataset: the name {str(path)!r} is not UTF-8: rename it.") from None


def check_folder(folder: Path) -> None:
    """Raise `InputError` with what a file right below a folder is, if that is no text; of one without any that is read."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            check_contents(path, besides=PARQUET)


def links_below(folder: Path) -> int:
    """Return how many links to folders or to nothing are below a folder, those in runs and in hidden folders left out."""
    return _files_below(folder)[2]


def _files_below(folder: Path) -> tuple[list[Path], int, int]:
    """Return the files, those of runs left out, the number of runs, and of links that are not followed."""
    files: list[Path] = []
    runs = links = 0

    def refuse(error: OSError) -> None:
        raise unreadable(Path(error.filename), error) from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS]
        if any(_is_of_run(Path(place, name)) for name in names if name in RUN_FILES):
            folders.clear()
            runs += 1
        elif is_saved(Path(place)):
            # What lies beside its tables is no text.
            folders.clear()
            files += (Path(place, name) for name in names if name.endswith(".arrow"))
        else:
            found = [Path(place, name) for name in names if not name.startswith(".")]
            links += sum(Path(place, name).is_symlink() for name in folders)
            links += sum(path.is_symlink() and not path.exists() for path in found)
            files += found
    return files, runs, links


def _is_of_run(path: Path) -> bool:
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return isinstance(found, dict) and set(found) >= RUN_FILES[path.name]
    return False


@cache
def is_text(path: Path, state: FileState) -> bool:
    """Return whether a file, unpacked if it is packed, is UTF-8 without a zero byte, and not empty."""
    del state
    total = 0
    try:
        for file in opened(path):
            total += sum(size for _, size in decoded(file, path))
    except InputError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, gzip.BadGzipFile):
            raise
        return False
    return total > 0
