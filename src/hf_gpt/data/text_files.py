"""Files of text as they lie on a disk: their formats, compressed ones, those of a folder, and whole documents to the last byte."""

import bz2
import codecs
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..checks.places import home_folder
from ..errors import InputError
from .encoding import pieces


COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
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
CHUNK = 1 << 20
# As git decides: a file with a zero byte near its beginning is no text.
HEAD = 8000


@dataclass(frozen=True)
class FileState:
    """What tells that a file was written to or replaced, without reading it."""

    size: int
    modified_ns: int
    inode: int


def file_state(path: Path) -> FileState:
    found = path.stat()
    return FileState(found.st_size, found.st_mtime_ns, found.st_ino)


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
            inside = {Path(member.filename).suffix.lower() for member in _members(archive)}
    except zipfile.BadZipFile as error:
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
    if not path.is_dir():
        return {"path": format_of(path), "files": str(path)}
    folder = read_folder(path)
    if not folder.files:
        raise InputError(f"dataset: the folder {path} holds no text: no file below it is UTF-8 that is not hidden.")
    return {"path": folder.kind, "files": str(path)}


def name_of(path: Path) -> str:
    """Return the name of a file without the suffixes of its format, or of a folder."""
    if path.is_dir():
        return path.resolve().name
    name = path.name
    while Path(name).stem.strip(".") and Path(name).suffix.lower() in (*COMPRESSED, *FORMATS, *PLAIN):
        name = Path(name).stem
    return name


# ---------------------------------------------------------------------------------------------------- files that are packed


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files of an archive that hold somebody's text."""
    return [member for member in archive.infolist() if not (member.is_dir() or member.filename.startswith("__MACOSX/"))]


def _zip(path: Path) -> Iterator[BinaryIO]:
    with zipfile.ZipFile(path) as archive:
        for member in _members(archive):
            with archive.open(member) as file:
                yield cast(BinaryIO, file)


class _Frames(io.RawIOBase):
    """What a file of Zstandard frames holds. The library's own reader takes a frame that is cut off for a whole one.

    Args:
        begin: Makes what unpacks a frame.
        damage: What that raises of a frame that is broken.
    """

    def __init__(self, file: BinaryIO, begin: Callable[[], Any], damage: type[Exception]):
        super().__init__()
        self.file, self.begin, self.damage = file, begin, damage
        self.frame: Any = None
        self.packed = self.unpacked = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.unpacked:
            self.packed = self.packed or self.file.read(CHUNK)
            if not self.packed:
                if self.frame is not None:
                    raise EOFError("it ends before its last frame does")
                return 0
            self.frame = self.frame or self.begin()
            try:
                self.unpacked = self.frame.decompress(self.packed)
            except self.damage as error:
                raise EOFError(str(error)) from error
            self.packed = self.frame.unused_data if self.frame.eof else b""
            self.frame = None if self.frame.eof else self.frame
        part = self.unpacked[: len(buffer)]
        self.unpacked = self.unpacked[len(part) :]
        buffer[: len(part)] = part
        return len(part)


def _zstandard(path: Path) -> Iterator[BinaryIO]:
    try:
        import zstandard
    except ImportError as error:
        raise InputError(
            f"dataset: files={str(path)!r} needs zstandard to be read: pip install zstandard, or unpack it."
        ) from error
    with path.open("rb") as file:
        yield io.BufferedReader(_Frames(file, lambda: zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError))


def _alone(module: Any, path: Path) -> Iterator[BinaryIO]:
    with module.open(path, "rb") as file:
        yield file


# What a packed file begins with; its name says nothing of that for sure.
OPENERS: dict[bytes, Callable[[Path], Iterator[BinaryIO]]] = {
    b"\x1f\x8b": partial(_alone, gzip),
    b"\xfd7zXZ\x00": partial(_alone, lzma),
    b"BZh91AY&SY": partial(_alone, bz2),
    b"PK\x03\x04": _zip,
    b"\x28\xb5\x2f\xfd": _zstandard,
}


# What other documents begin with: what is in them is not what a person reads there, or no text at all.
DOCUMENTS = {
    b"PK\x03\x04": "an archive of parts, such as those of Word, Excel or an e-book",
    b"%PDF": "a PDF",
    b"\xd0\xcf\x11\xe0": "a document of Word or Excel",
    b"{\\rtf": "rich text",
    b"PAR1": "a table of Parquet under another name",
    b"SQLite format 3": "a database",
    b"\x93NUMPY": "an array",
    b"ARROW1": "a table of Arrow",
}


# What libraries raise of an archive that is cut off, changed, or locked by a password.
BROKEN_ARCHIVES = (
    *(EOFError, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error),
    *(NotImplementedError, RuntimeError),
)


def opened(path: Path) -> Iterator[BinaryIO]:
    """Return the file, unpacked if it is packed; of a zip each file that is in it.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise _unreadable(path, error) from error
    document = next((what for magic, what in DOCUMENTS.items() if head.startswith(magic)), None)
    if document is not None and path.suffix.lower() not in ("", ".zip", ".parquet"):
        raise InputError(f"dataset: files={str(path)!r} is {document}: save what is in it as text, or as .csv or .jsonl.")
    try:
        yield from next((OPENERS[magic] for magic in OPENERS if head.startswith(magic)), partial(_alone, io))(path)
    except (*BROKEN_ARCHIVES, OSError) as error:
        # Of an archive, where its contents are said to be; what is in it is read by others.
        raise InputError(f"dataset: files={str(path)!r} cannot be unpacked: {error}") from error


def check_utf8(path: Path) -> None:
    """Raise `InputError` with the offset of the first byte that is not UTF-8, or if the file is empty."""
    total = 0
    for file in opened(path):
        for text, size in _decoded(file, path):
            del text
            total += size
    if total == 0:
        raise InputError(f"dataset: files={str(path)!r} is empty: give a file with text.")


def _unreadable(path: Path, error: OSError) -> InputError:
    what = "folder" if path.is_dir() else "file"
    return InputError(
        f"dataset: the {what} {str(path)!r} cannot be read: {error.strerror or error}. Give this user the right to read it, or take "
        "it out."
    )


UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# What text may be in that is not UTF-8, by what it is written in. The first two read nearly any bytes as something.
ENCODINGS = {
    "WINDOWS-1252": "Western Europe",
    "WINDOWS-1251": "Cyrillic",
    "GB18030": "Chinese",
    "BIG5": "traditional Chinese",
    "SHIFT_JIS": "Japanese",
    "EUC-KR": "Korean",
}


def _encoding_hint(content: bytes) -> str:
    """Return the end of a message: how to convert a text, from what its bytes may be in."""
    if content[:2] in UTF16_MARKS:
        return ": convert it first: iconv -f UTF-16 -t UTF-8, or save it in Excel as CSV UTF-8"
    if b"\0" in content[:HEAD]:
        return ", and holds zero bytes: it is no text"
    possible = [f"{name} for {script}" for name, script in ENCODINGS.items() if _is_in(content, name)]
    return f": convert it first, iconv -f ENCODING -t UTF-8, from what it was saved in: {', '.join(possible) or 'unknown'}"


def _is_in(content: bytes, encoding: str) -> bool:
    try:
        # The last sign may be cut where the part that was read ends.
        codecs.getincrementaldecoder(encoding)().decode(content)
    except UnicodeDecodeError:
        return False
    return True


def _decoded(file: BinaryIO, path: Path) -> Iterator[tuple[str, int]]:
    """Return the text of a file, chunk by chunk, and the bytes that were read for each."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    is_last = False
    while not is_last:
        try:
            chunk = file.read(CHUNK)
        except BROKEN_ARCHIVES as error:
            raise InputError(f"dataset: files={str(path)!r} cannot be unpacked: {error}") from error
        except OSError as error:
            raise _unreadable(path, error) from error
        is_last = not chunk
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=is_last)
        except UnicodeDecodeError as error:
            raise InputError(
                f"dataset: files={str(path)!r} is not UTF-8 at byte {offset - pending + error.start}{_encoding_hint(error.object)}."
            ) from error
        offset += len(chunk)
        yield text, len(chunk)


# ------------------------------------------------------------------------------------------------------------ documents


def read_documents(files: list[str], states: list[FileState], limit: int | None, whole: bool) -> Iterator[dict[str, Any]]:
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
    for chunk, _ in _decoded(file, path):
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


@dataclass(frozen=True)
class Folder:
    """What a folder holds, hidden files and folders and those of runs left out.

    Attributes:
        files: The files that are read, sorted.
        kind: How they are read: a format of tables where all are of that one, else `text`.
        skipped: Number of files that are no text.
    """

    files: tuple[Path, ...]
    kind: str
    skipped: int


# Of version control, and what tools write beside a source; others of their kind begin with a dot.
SKIPPED_FOLDERS = ("CVS", "__pycache__", "node_modules")
# What marks the folder of a run: what a model wrote is no text of the user's, and grows from run to run.
RUN_FILES = ("run.json", "record.json")


def read_folder(folder: Path, kind: str | None = None) -> Folder:
    """Return the text files below a folder.

    Args:
        kind: The format to read; by default that of all files, or `text`.

    Raises:
        InputError: a folder or a file in it cannot be read; or it is the home folder, or holds it: of all that a person has, no text
            is meant.
    """
    home = home_folder()
    if home is not None and (folder.resolve() == home or folder.resolve() in home.parents):
        raise InputError(f"dataset: the folder {folder} is your home folder, or holds it: name the folder of the texts.")
    files = sorted(path for path in _files_below(folder) if path.is_file())
    formats = {path: format_of(path) for path in files}
    if kind is None:
        kinds = set(formats.values())
        kind = kinds.pop() if len(kinds) == 1 else "text"
    if kind == "text":
        kept = tuple(path for path in files if is_text(path, file_state(path)))
    else:
        kept = tuple(path for path in files if formats[path] == kind and path.stat().st_size)
    return Folder(kept, kind, len(files) - len(kept))


def _files_below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise _unreadable(Path(error.filename), error) from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS]
        if set(RUN_FILES).isdisjoint(names):
            yield from (Path(place, name) for name in names if not name.startswith("."))
        else:
            folders.clear()


@cache
def is_text(path: Path, state: FileState) -> bool:
    """Return whether a file, unpacked if it is packed, is UTF-8 without a zero byte near its beginning, and not empty."""
    del state
    total = 0
    try:
        for file in opened(path):
            for number, (text, size) in enumerate(_decoded(file, path)):
                if number == 0 and "\0" in text[:HEAD]:
                    return False
                total += size
    except InputError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, gzip.BadGzipFile):
            raise
        return False
    return total > 0
