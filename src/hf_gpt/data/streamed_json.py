"""Rows of JSON one line after the other, as a stream reads them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError
from .json_columns import as_written
from .json_rows import check_json_rows, decoder_of, next_place, told_of
from .packed_files import opened


def are_lines(path: Path) -> bool:
    """Return whether the first line of a file that is not blank holds rows as a whole."""
    for file in opened(path):
        for line in file:
            if line.strip():
                try:
                    return all(isinstance(row, dict) for row in _rows_of_line(line, decoder_of(path)))
                except ValueError:
                    return False
    return False


def _rows_of_line(line: bytes, decoder: json.JSONDecoder) -> list[Any]:
    rows, text, place = [], line.decode("utf-8-sig").strip(" \t\r\n"), 0
    while place < len(text):
        row, place = decoder.raw_decode(text, place)
        rows.append(row)
        place = next_place(text, place)
    return rows


# What half of a character is written as.
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def stream_json_rows(files: list[str], columns: tuple[str, ...] = (), text_column: str = "") -> Iterator[dict[str, Any]]:
    """Return the rows of files of lines, each by itself: what other rows have in other columns does not matter.

    Args:
        columns: Those that are read; by default all that a row has.
        text_column: One of them, of which numbers are texts, each as the file has it.

    Raises:
        InputError: a line that holds something else.
    """
    for path in map(Path, files):
        # A file that has gone is not one that cannot be read.
        path.stat()
        decoder, count = decoder_of(path), 0
        for file in opened(path):
            for number, line in enumerate(file, start=1):
                try:
                    rows = _rows_of_line(line, decoder)
                    if not all(isinstance(row, dict) for row in rows) or _HALF.search(line):
                        check_json_rows(rows, path, count)
                except json.JSONDecodeError as error:
                    raise InputError(f"dataset: files={str(path)!r}: {told_of(error, path, number)}") from error
                except InputError:
                    raise
                except ValueError as error:
                    raise InputError(f"dataset: files={str(path)!r}: {error}") from error
                count += len(rows)
                for row in rows:
                    chosen = {name: row.get(name) for name in columns or row}
                    if isinstance(chosen.get(text_column), (int, float)):
                        chosen[text_column] = as_written(chosen[text_column])
                    yield chosen
