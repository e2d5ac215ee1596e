"""The text of a file: UTF-8, or refused with the encoding that its bytes look like and how to convert it."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError
from .packed_files import BROKEN_ARCHIVES, CHUNK, opened, unreadable


def check_utf8(path: Path) -> None:
    """Raise `InputError` with the offset of the first byte that is not UTF-8 or zero, or if the file is empty."""
    total = 0
    for file in opened(path):
        for text, size in decoded(file, path):
            del text
            total += size
    if total == 0:
        raise InputError(f"dataset: files={str(path)!r} is empty: give a file with text.")


# The marks of UTF-32 come first: that of UTF-16 begins as one of them.
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
# What text may be in that is not UTF-8, by what it is written in. The first two read nearly any bytes as something.
ENCODINGS = {
    "WINDOWS-1252": "Western Europe",
    "WINDOWS-1251": "Cyrillic",
    "GB18030": "Chinese",
    "BIG5": "traditional Chinese",
    "SHIFT_JIS": "Japanese",
    "EUC-KR": "Korean",
}
# Encodings of two and four bytes a sign, without a mark, and of those of two the place of the zero byte in a Latin letter.
WIDE = {"UTF-32LE": None, "UTF-32BE": None, "UTF-16LE": 1, "UTF-16BE": 0}
# Bytes that are looked at for that, and the share of the zero ones that has to be at such places: Chinese has a few elsewhere.
HEAD, SHARE = 8000, 0.5


def _encoding_hint(content: bytes, offset: int, path: Path) -> str:
    """Return the end of a message: how to convert a text, from what its bytes may be in.

    Args:
        content: What was read of it last, or a part of that.
        offset: Where that begins in the file.
    """
    marked = next((name for mark, name in MARKS.items() if content.startswith(mark)), None) if offset == 0 else None
    if marked or (wide := _wide_encoding(content[-offset % 4 :][:HEAD])):
        in_excel = ", or save it in Excel as CSV UTF-8" if {".csv", ".tsv"} & set(map(str.lower, path.suffixes)) else ""
        return f": convert it first: iconv -f {marked or wide} -t UTF-8{in_excel}"
    if b"\0" in content[:HEAD]:
        return ", and holds zero bytes: it is no text"
    possible = [f"{name} for {script}" for name, script in ENCODINGS.items() if _is_in(content, name)]
    return f": convert it first, iconv -f ENCODING -t UTF-8, from what it was saved in: {', '.join(possible) or 'unknown'}"


def _wide_encoding(content: bytes) -> str | None:
    """Return the encoding of two or four bytes a sign that bytes are in; none of bytes with hardly a zero one, or that it makes no text
    of."""
    zeros = content.count(0)
    if zeros * 50 < len(content):
        return None
    for name, place in WIDE.items():
        if (place is None or content[place::2].count(0) >= SHARE * zeros) and _is_in(content, name, is_text=True):
            return name
    return None


def _is_in(content: bytes, encoding: str, is_text: bool = False) -> bool:
    """Return whether bytes can be read in an encoding; `is_text`, and give nothing but signs and white space."""
    try:
        # The last sign may be cut where the part that was read ends.
        text = codecs.getincrementaldecoder(encoding)().decode(content)
    except UnicodeDecodeError:
        return False
    return not is_text or (text != "" and all(sign.isprintable() or sign.isspace() for sign in text))


def decoded(file: BinaryIO, path: Path) -> Iterator[tuple[str, int]]:
    """Return the text of a file, chunk by chunk, and the bytes that were read for each.

    Raises:
        InputError: it is not UTF-8, or has a zero byte, which no text has.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    is_last = False
    while not is_last:
        try:
            chunk = file.read(CHUNK)
        except BROKEN_ARCHIVES as error:
            raise InputError(f"dataset: files={str(path)!r} cannot be unpacked: {error}") from error
        except OSError as error:
            raise unreadable(path, error) from error
        is_last = not chunk
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=is_last)
        except UnicodeDecodeError as error:
            start = offset - pending
            hint = _encoding_hint(error.object, start, path)
            raise InputError(f"dataset: files={str(path)!r} is not UTF-8 at byte {start + error.start}{hint}.") from error
        if b"\0" in chunk:
            raise InputError(_told_of_zeros(chunk, offset, path))
        offset += len(chunk)
        yield text, len(chunk)


def _told_of_zeros(chunk: bytes, offset: int, path: Path) -> str:
    """Return the message about bytes that are UTF-8, and no text for a zero one among them: another encoding, or what is no sign."""
    first = chunk.index(0)
    named = f"dataset: files={str(path)!r}"
    if _wide_encoding(chunk[-offset % 4 :][:HEAD]) is not None:
        return f"{named} is not UTF-8 at byte {offset + first}{_encoding_hint(chunk, offset, path)}."
    return (
        f"{named} holds zero bytes: it is no text. The first is byte {offset + first}; of a text with a few of them, "
        "tr -d '\\000' leaves them out."
    )
