"""Tables as text: what separates their cells, whether quotes hold cells together, and whether every cell has a name."""

import csv
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ..errors import InputError
from .text_files import CHUNK, opened, suffix_of


# A cell may hold a book.
csv.field_size_limit(2**31 - 1)

# What separates the cells of a table, by its suffix and by how often it is met.
SEPARATORS = {".csv": (",", ";", "\t", "|"), ".tsv": ("\t", ";", ",", "|")}


def usual_separator(path: Path) -> str:
    return SEPARATORS.get(suffix_of(path), SEPARATORS[".csv"])[0]


# Rows that are looked at to find the sign.
ROWS_AT_FIRST = 200


def separator_of(path: Path) -> str:
    """Return what separates the cells of a table: what its suffix says, unless another sign gives each row as many cells as there are
    names, and more of them."""
    signs = SEPARATORS.get(suffix_of(path), SEPARATORS[".csv"])
    head = ""
    for file in opened(path):
        head = file.read(CHUNK).decode("utf-8-sig", "ignore").replace("\0", "")
        break
    columns = {sign: _columns(head, sign) for sign in signs}
    return max(signs, key=lambda sign: columns[sign])


def _columns(head: str, sign: str) -> int:
    """Return how many columns a table has by a sign; 1 where its first rows have another number of cells, or a column has no name."""
    try:
        names, *rows = islice(filter(None, csv.reader(io.StringIO(head, newline=""), delimiter=sign)), ROWS_AT_FIRST)
    except (csv.Error, ValueError):
        return 1
    # The last row may be cut where the part that was read ends.
    whole = rows[:-1] if len(head) >= CHUNK // 4 else rows
    # A sentence that stands above others has not as many parts as they.
    return len(names) if all(name.strip() for name in names) and all(len(row) == len(names) for row in whole) else 1


def _table(path: Path, sign: str, has_quotes: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Return each row of a table with the number of its last line; none of what the csv module cannot read, which others refuse."""
    for file in opened(path):
        reader = csv.reader(
            io.TextIOWrapper(file, "utf-8-sig", newline=""),
            delimiter=sign,
            quoting=csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE,
        )
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error:
            return


def column_names(path: Path, sign: str) -> list[str]:
    """Return the names in the first line of a table."""
    return next((row for _, row in _table(path, sign) if row), [])


def quotes_are_text(path: Path, sign: str) -> bool:
    """Return whether a table by tabs has quotes that close nothing: a cell that goes on to another row would hold that row's cells."""
    return sign == "\t" and any(sign in cell and "\n" in cell for _, row in _table(path, sign) for cell in row)


def check_cells(path: Path, sign: str, has_quotes: bool) -> None:
    """Raise `InputError` with the line of a row that has more cells than the table has names: pandas would drop the first ones."""
    names: list[str] = []
    for line, row in _table(path, sign, has_quotes):
        names = names or row
        if len(row) > len(names):
            raise InputError(
                f"dataset: files={str(path)!r}: line {line} has {len(row)} cells under {len(names)} names: put a text with {sign!r} in "
                "it into double quotes, and write a double quote in it twice."
            )
