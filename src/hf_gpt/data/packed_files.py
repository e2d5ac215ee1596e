"""Files that are packed: told and opened by what they begin with."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import InputError
from .documents import HEAD, ZIP, check_head


# What a packed file begins with; its name says nothing of that for sure.
COMPRESSED: dict[str, tuple[bytes, ...]] = {
    ".gz": (b"\x1f\x8b",),
    ".bz2": tuple(b"BZh%d1AY&SY" % level for level in range(1, 10)),
    ".xz": (b"\xfd7zXZ\x00",),
    ".zst": (b"\x28\xb5\x2f\xfd",),
    ".zip": (ZIP,),
}
CHUNK = 1 << 20


def members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files of an archive that hold somebody's text."""
    return [member for member in archive.infolist() if not (member.is_dir() or member.filename.startswith("__MACOSX/"))]


def _zip(path: Path) -> Iterator[BinaryIO]:
    with zipfile.ZipFile(path) as archive:
        for member in members(archive):
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


OPENERS: dict[str, Callable[[Path], Iterator[BinaryIO]]] = {
    ".gz": partial(_alone, gzip),
    ".bz2": partial(_alone, bz2),
    ".xz": partial(_alone, lzma),
    ".zst": _zstandard,
    ".zip": _zip,
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
    head = _head(path)
    check_head(path, head)
    unpack = next((OPENERS[kind] for kind, begin in COMPRESSED.items() if head.startswith(begin)), None)
    try:
        if unpack is None:
            yield from _alone(io, path)
            return
        for packed in unpack(path):
            check_head(path, cast(Any, packed).peek(HEAD)[:HEAD])
            yield packed
    except (*BROKEN_ARCHIVES, OSError) as error:
        # Of an archive, where its contents are said to be; what is in it is read by others.
        raise InputError(f"dataset: files={str(path)!r} cannot be unpacked: {error}") from error


def is_misnamed(path: Path) -> bool:
    """Return whether a file is not packed as its name says."""
    begin = COMPRESSED.get(path.suffix.lower())
    return begin is not None and not _head(path).startswith(begin)


def check_contents(path: Path, besides: tuple[str, str] | None = None) -> None:
    """Raise `InputError` for a file whose contents are no text, whatever its name; see `check_head`."""
    check_head(path, _head(path), besides)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> InputError:
    what = "folder" if path.is_dir() else "file"
    return InputError(
        f"dataset: the {what} {str(path)!r} cannot be read: {error.strerror or error}. Give this user the right to read it, or take "
        "it out."
    )
