"""Rows of JSON as files have them: one a line, a list of them, or an object around them."""

import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError, shown
from .packed_files import opened
from .text_files import suffix_of


# Lists of objects that are a cell of one row, and no rows.
CELLS = ("messages", "conversations", "prompt", "chosen", "rejected", "answers", "tools")


# Python's json and pandas write NaN where nothing is, which is no JSON.
CONSTANTS = {"NaN": None, "Infinity": math.inf, "-Infinity": -math.inf}


def is_list_of_rows(path: Path) -> bool:
    """Return whether a file begins as a list of rows, and not with the first of them.

    Raises:
        InputError: a line is `null` and no row: of nothing but these, PyArrow's reader ends the process; or one is nested too deeply.
    """
    is_list = False
    for file in opened(path):
        for number, line in enumerate(file, start=1):
            line = line.strip()
            is_list = is_list or (number == 1 and line.startswith(b"["))
            if line == b"null" and not is_list:
                raise InputError(f"dataset: files={str(path)!r}: line {number} is null, where a row is an object in braces.")
            if is_nested_too_deeply(line):
                raise _too_deep(path, f"line {number}")
    return is_list


# Levels that a row may have: real ones have a dozen, and Python gives up at a thousand.
MOST_LEVELS = 100
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_NO_BRACKETS = bytes(sign for sign in range(256) if sign not in b"[]{}")
_PAIR = re.compile(rb"\[\]|\{\}")


def is_nested_too_deeply(text: bytes) -> bool:
    """Return whether JSON, or a part of it, has more levels than a row may have."""
    if text.count(b"[") + text.count(b"{") <= MOST_LEVELS:
        return False
    left, before = _STRING.sub(b"", text).translate(None, _NO_BRACKETS), b""
    for _ in range(MOST_LEVELS):
        # The innermost level goes.
        left, before = _PAIR.sub(b"", left), left
        if len(left) == len(before):
            break
    return left.count(b"[") + left.count(b"{") > (MOST_LEVELS if len(left) == len(before) else 0)


def _too_deep(path: Path, where: str) -> InputError:
    return InputError(
        f"dataset: files={str(path)!r}: {where} is nested in more than {MOST_LEVELS} levels: write what it holds flat, or leave it out."
    )


def read_json_rows(path: Path) -> list[Any]:
    """Return the rows of a file of JSON, one behind another or in one list, as Python reads them.

    Raises:
        ValueError: something else.
    """
    rows: list[Any] = []
    decoder = decoder_of(path)
    for file in opened(path):
        text = file.read().decode("utf-8-sig")
        with _read_flat(path, text):
            if text.lstrip().startswith("["):
                rows += decoder.decode(text)
                continue
            place = next_place(text, 0)
            while place < len(text):
                row, place = decoder.raw_decode(text, place)
                rows.append(row)
                place = next_place(text, place)
    return rows


@contextmanager
def _read_flat(path: Path, text: str) -> Iterator[None]:
    """Within it, a level too many of JSON that goes over several lines is an `InputError` that names the line of the deepest."""
    try:
        yield
    except RecursionError as error:
        line, depth, deepest = 1, 0, (0, 1)
        for found in re.finditer(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}\n]', text):
            line += found[0] == "\n"
            depth += (found[0] in "[{") - (found[0] in "]}")
            deepest = max(deepest, (depth, -line))
        raise _too_deep(path, f"line {-deepest[1]}") from error


def check_json_rows(rows: list[Any], file: Path, first: int = 0) -> None:
    """Raise `ValueError` for a row that is no object, or has half of a character, as a text has it that was cut by UTF-16's units;
    `InputError` for one that is nested too deeply.

    Args:
        first: The number of the first of them.
    """
    for number, row in enumerate(rows, start=first):
        if not isinstance(row, dict):
            found = "null" if row is None else shown(row, 60)
            raise ValueError(
                f'row {number} of {file.name} is {found}, where a row is an object in braces, such as {{"text": ...}}'
            )
        try:
            written = json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start].encode("unicode_escape").decode()
            raise ValueError(
                f"row {number} of {file.name} holds half of a character, {half}: write the whole one, or leave the row out"
            ) from error
        except RecursionError as error:
            raise _too_deep(file, f"row {number}") from error
        if is_nested_too_deeply(written):
            raise _too_deep(file, f"row {number}")


def decoder_of(path: Path) -> json.JSONDecoder:
    """Return what reads the rows of a file."""
    return json.JSONDecoder(parse_constant=CONSTANTS.get, object_pairs_hook=partial(_each_key_once, path))


def _each_key_once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, of which Python would keep the last of two values with one key.

    Raises:
        InputError: a key comes twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        key = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        values = " and ".join(shown(value, 60) for name, value in pairs if name == key)
        raise InputError(f"dataset: files={str(path)!r} has a row with the key {key!r} twice, for {values}: keep one of them.")
    return found


# What JSON calls white space.
_GAP = re.compile(r"[ \t\n\r]*")


def next_place(text: str, place: int) -> int:
    return _GAP.match(text, place).end()  # type: ignore[union-attr]


# Those that texts have, as JSON writes them.
CONTROLS = {r"\n": "the end of a line", r"\r": "the end of a line", r"\t": "a tab"}


def find_fault(paths: list[Path]) -> str | None:
    """Return where the first fault in files of JSON is; none where Python reads all of them."""
    for path in paths:
        try:
            check_json_rows(read_json_rows(path), path)
        except json.JSONDecodeError as error:
            return told_of(error, path, error.lineno)
        except InputError:
            # It names the file.
            raise
        except ValueError as error:
            return str(error)
    return None


def told_of(error: json.JSONDecodeError, path: Path, number: int) -> str:
    """Return what is wrong in a line of a file."""
    place = f"line {number} of {path.name}, column {error.colno}"
    if error.msg.startswith("Invalid control character"):
        written = json.dumps(error.doc[error.pos])[1:-1]
        closes = ", or a quote closes the text" if written in (r"\n", r"\r") else ""
        return f"{place}: {CONTROLS.get(written, 'a control character')} within a text, where JSON has {written}{closes}"
    if error.msg == "Extra data":
        return f"{place}: more behind the list that the file begins with: write one list, or an object in braces on each line"
    line = error.doc.split("\n")[error.lineno - 1]
    told = shown(line[max(0, error.colno - 60) :].strip(), 80)
    return f"{place}: {error.msg.removesuffix(' starting at').removesuffix(' at')}, in {told}"


def rows_in_object(path: Path, field: str | None) -> list[dict[str, Any]] | None:
    """Return the rows of a file that is one object around them: `{"data": [...]}`, columns, or what pandas writes of a table; none
    where each row is an object of its own.

    Args:
        field: The key that holds them.

    Raises:
        InputError: several keys hold rows, or `field` none.
    """
    value = _only_object(path)
    if value is None and field is None:
        return None
    named = f"dataset: files={str(path)!r}"
    if field is not None:
        if not isinstance(value, dict) or not isinstance(value.get(field), (list, dict)):
            keys = ", ".join(list(value)[:20]) if isinstance(value, dict) else "none"
            raise InputError(f"{named} has no rows under field={field!r}; the keys of its object are {keys}.")
        value = value[field]
    rows = value if isinstance(value, list) else _rows_of(value or {}, named, suffix_of(path) == ".json")
    if rows is None and field is not None:
        raise InputError(f"{named} has no rows under field={field!r}: it holds a {type(value).__name__} of something else.")
    return rows if rows is None else [row for group in rows for row in _questions(group)]


def _only_object(path: Path) -> dict[str, Any] | None:
    """Return what a file holds if that is one object."""
    for file in opened(path):
        text = io.TextIOWrapper(file, "utf-8-sig")
        first = ""
        for line in text:
            first += line
            if line.strip():
                break
        if not first.lstrip().startswith("{"):
            return None
        try:
            json.loads(first)
        except ValueError:
            pass
        else:
            if any(line.strip() for line in text):
                return None
        whole = first + text.read()
        try:
            with _read_flat(path, whole):
                value = decoder_of(path).decode(whole)
        except InputError:
            raise
        except ValueError:
            return None
        return value if isinstance(value, dict) else None
    return None


def _rows_of(value: dict[str, Any], named: str, may_be_columns: bool) -> list[dict[str, Any]] | None:
    parts = list(value.values())
    lists = [key for key, part in value.items() if _are_objects(part) and key not in CELLS]
    if len(lists) > 1:
        raise InputError(
            f"{named} has rows under {', '.join(lists)}: choose with dataset.field={lists[0]}, and held-out rows with "
            f"dataset.validation.field and dataset.test.field."
        )
    if lists:
        return value[lists[0]]
    if {"columns", "data"} <= set(value) and all(isinstance(row, list) for row in value["data"]):
        return [dict(zip(value["columns"], row)) for row in value["data"]]
    if len(parts) > 1 and all(isinstance(part, dict) for part in parts) and len({tuple(part) for part in parts}) == 1:
        # A table of pandas has a row for each number, by columns or by rows.
        by_number = all(key.isdigit() for key in parts[0])
        return [dict(zip(value, cells)) for cells in zip(*(part.values() for part in parts))] if by_number else parts
    are_columns = may_be_columns and len(parts) > 1 and all(isinstance(part, list) and len(part) > 1 for part in parts)
    if are_columns and len({len(part) for part in parts}) == 1:
        return [dict(zip(value, cells)) for cells in zip(*parts)]
    return None


def _are_objects(part: Any) -> bool:
    return isinstance(part, list) and len(part) > 0 and all(isinstance(row, dict) for row in part)


def _questions(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row; an article of SQuAD as a row for each question."""
    if not isinstance(row, dict) or not _are_objects(row.get("paragraphs")):
        return [row]
    kept = {key: cell for key, cell in row.items() if key != "paragraphs"}
    return [
        {**kept, "context": paragraph.get("context"), **question}
        for paragraph in row["paragraphs"]
        for question in paragraph.get("qas") or []
    ]
