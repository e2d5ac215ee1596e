"""Tables as text: what separates their cells, whether quotes hold cells together, and whether every cell has a name."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Literal

from ..errors import InputError, counted, listed, shown
from .headers import names_like_rows
from .labels import NUMBER
from .packed_files import CHUNK, opened
from .text_files import FileState, file_state, suffix_of


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
    names, and more of them; or what Excel says in the first line."""
    head = _head(path)
    signs = SEPARATORS.get(suffix_of(path), SEPARATORS[".csv"])
    # Where quotes close nothing, they are text.
    for has_quotes in (True, False):
        columns = {sign: _columns(head, sign, has_quotes) for sign in signs}
        if max(columns.values()) > 1:
            break
    return _excel_sign(head) or max(signs, key=lambda sign: columns[sign])


def _head(path: Path) -> str:
    return next(file.read(CHUNK).decode("utf-8-sig", "ignore").replace("\0", "") for file in opened(path))


def _excel_sign(head: str) -> str | None:
    """Return the separator that a first line of `sep=;` names."""
    found = re.match(r'"?sep=(.)"?\r?\n', head)
    return found and found[1]


def quoting_of(has_quotes: bool) -> Literal[0, 3]:
    """Return what csv and pandas call it that double quotes hold cells together, or are text."""
    return csv.QUOTE_MINIMAL if has_quotes else csv.QUOTE_NONE


def _columns(head: str, sign: str, has_quotes: bool) -> int:
    """Return how many columns a table has by a sign; 1 where its first rows have another number of cells, or a column has no name."""
    try:
        found = csv.reader(io.StringIO(head, newline=""), delimiter=sign, quoting=quoting_of(has_quotes))
        names, *rows = islice(filter(None, found), ROWS_AT_FIRST)
    except (csv.Error, ValueError):
        return 1
    # The last row may be cut where the part that was read ends.
    whole = rows[:-1] if len(head) >= CHUNK // 4 else rows
    # The numbers of rows that pandas writes have no name.
    named = names[1:] if len(names) > 2 else names
    # A sentence that stands above others has not as many parts as they.
    return len(names) if all(name.strip() for name in named) and all(len(row) == len(names) for row in whole) else 1


@dataclass(frozen=True)
class Table:
    """How a table is read.

    Attributes:
        names: Of its columns, as they are written.
        sign: What separates its cells.
        has_quotes: Whether double quotes hold cells together; else they are text.
        above: Lines above the names: Excel's `sep=;`.
        like_rows: Names that look like cells of their columns.
        short: Number of rows with fewer cells than names, and the line of the first.
    """

    names: tuple[str, ...]
    sign: str
    has_quotes: bool = True
    above: int = 0
    like_rows: tuple[str, ...] = ()
    short: tuple[int, int] = (0, 0)

    def notices(self, path: Path) -> list[str]:
        """Return a line for each thing that is read in another way than the file's suffix says."""
        lines = [] if self.sign == usual_separator(path) else [f"{path.name} is read with {self.sign!r} as its separator."]
        if not self.has_quotes:
            lines.append(f"{path.name} is read with its quotes as text: paired, they would hold whole rows.")
        twice = [name for name, count in Counter(self.names).items() if count > 1 and name]
        lines += [f"{path.name} has several columns {name!r}: the first is read." for name in twice]
        count, line = self.short
        if count:
            lines.append(
                f"{path.name}: {counted(count, 'rows have')} fewer cells than names, the first in line {line}: put a text of several "
                "lines into double quotes."
            )
        return [*lines, *filter(None, [self.nameless(path)])]

    def nameless(self, path: Path) -> str:
        """Return a line about a first row that may be none of names, empty where nothing tells of one."""
        if not self.like_rows:
            return ""
        return (
            f"{path.name} may have no line of names: its first row is read as that and not as a row, though it holds "
            f"{listed(map(shown, self.like_rows), 3)}, as rows do. If it is a row, write a line of names above it, such as "
            f" {self.sign.join(['text', 'label'][: len(self.names)])!r}."
        )


def read_table(path: Path) -> Table:
    """Return how a table is read.

    Raises:
        InputError: a row with more cells than names, of which pandas would drop the first ones; a row that is the rest of the one above
            it; or quotes that hold whole rows, or that are escaped in a way that pandas does not read.
    """
    return _read_table(path, file_state(path))


@cache
def _read_table(path: Path, state: FileState) -> Table:
    del state
    sign, above = separator_of(path), int(_excel_sign(_head(path)) is not None)
    names, *first = [row.cells for row in islice(_rows(path, sign, above), ROWS_AT_FIRST) if row.cells] or [[]]
    table = Table(tuple(names), sign, above=above, like_rows=tuple(names_like_rows(names, first)) if names else ())
    held, short = check_rows(path, table)
    if held is None:
        return replace(table, short=short)
    table = replace(table, has_quotes=False)
    counts = (len(row.cells) for row in _rows(path, sign, above, has_quotes=False) if row.cells)
    if sign == "\t" or all(count == len(names) for count in counts):
        return replace(table, short=check_rows(path, table)[1])
    raise InputError(
        f"dataset: files={str(path)!r}: line {held.first} opens a double quote that holds the rows up to line {held.last}: put a text "
        "with quotes in it into double quotes, and write those in it twice."
    )


def check_rows(path: Path, table: Table) -> tuple["_Row | None", tuple[int, int]]:
    """Return the first row whose quotes hold other rows, and which rows are short, see `Table`.

    Raises:
        InputError: a row that would be read as another than it is.
    """
    known: list[set[str]] = [set() for _ in table.names]
    has_long = False
    for row in _rows(path, table.sign, table.above, table.has_quotes):
        fault = _fault(row, table.sign) if table.has_quotes else ""
        if fault and (row.is_long or fault == UNCLOSED):
            return row, (0, 0)
        has_long = has_long or row.is_long
        if not row.is_long:
            for cells, cell in zip(known, row.cells):
                if len(cells) < MOST_KNOWN and len(cell) <= LONGEST_KNOWN:
                    cells.add(cell)
    count, first, names, width, has_whole = 0, 0, len(table.names), 0, False
    ends: list[_Row] = []
    for row in _rows(path, table.sign, table.above, table.has_quotes):
        if has_long and row.is_long and _are_rows(row, table, known):
            return row, (0, 0)
        if len(row.cells) > names:
            raise InputError(
                f"dataset: files={str(path)!r}: line {row.last} has {counted(len(row.cells), 'cells')} under "
                f"{counted(len(table.names), 'names')}: put a text with {table.sign!r} in it into double quotes, and write a "
                "double quote in it twice."
            )
        if table.has_quotes and '\\"' in row.text and _fault(row, table.sign):
            raise InputError(
                f"dataset: files={str(path)!r}: line {row.last} has a double quote behind a backslash: write it twice instead."
            )
        if not row.text.strip():
            continue
        is_short, joined = len(row.cells) < names, width + len(row.cells) - 1
        has_whole = has_whole or not (is_short or row.cells == list(table.names))
        if is_short:
            count, first = count + 1, first or row.first
            if joined == names and len(ends) < MOST_KNOWN:
                ends.append(row)
        # Of the row above with this one as its rest, where it may be that.
        width = joined if is_short and joined <= names else len(row.cells)
    rest = _rest(ends, path, table, has_whole) if ends else None
    if rest is not None:
        raise InputError(
            f"dataset: files={str(path)!r}: line {rest.first} has {counted(len(rest.cells), 'cells')} under {counted(names, 'names')}, "
            "and they are the rest of the row above it: put a text of several lines into double quotes, and take out what is no row."
        )
    return None, (count, first)


def _rest(ends: list["_Row"], path: Path, table: Table, has_whole: bool) -> "_Row | None":
    """Return the first of some short rows with a cell of another kind than whole rows, or else all others, have in its column.

    Cells that Excel leaves out at the end of a row move no other one.
    """
    kinds: list[Counter[str]] = [Counter() for _ in table.names]
    lines = {row.first for row in ends}
    for row in _rows(path, table.sign, table.above, table.has_quotes):
        is_other = len(row.cells) == len(table.names) if has_whole else row.first not in lines
        if is_other and row.cells != list(table.names):
            for found, cell in zip(kinds, row.cells):
                if cell.strip() and len(found) < MOST_KNOWN:
                    found[_kind(cell)] += 1
    # A column of texts has many kinds, of which some are there once.
    known = [found if len(found) < MOST_KNOWN and min(found.values(), default=0) > 1 else None for found in kinds]
    for row in ends:
        pairs = ((found, cell) for found, cell in zip(known, row.cells) if found is not None and cell.strip())
        if any(_kind(cell) not in found for found, cell in pairs):
            return row
    return None


def _kind(cell: str) -> str:
    """Return what cells have in common that are numbers, dates or ids of one form, or the same word."""
    cell = cell.strip()[: LONGEST_KNOWN + 1]
    return "0" if NUMBER.fullmatch(cell) else re.sub(r"\d", "9", cell)


@dataclass(frozen=True)
class _Row:
    """A row of a table, the lines that it takes, and what is written there."""

    cells: list[str]
    first: int
    last: int
    text: str

    @property
    def is_long(self) -> bool:
        return self.first != self.last


def _rows(path: Path, sign: str, above: int, has_quotes: bool = True) -> Iterator[_Row]:
    """Return each row of a table; none of what the csv module cannot read, which others refuse."""
    for file in opened(path):
        lines: list[str] = []
        text = _kept(io.TextIOWrapper(file, "utf-8-sig", newline=""), lines)
        reader = csv.reader(text, delimiter=sign, quoting=quoting_of(has_quotes))
        try:
            for cells in reader:
                if reader.line_num > above:
                    yield _Row(cells, reader.line_num - len(lines) + 1, reader.line_num, "".join(lines))
                lines.clear()
        except csv.Error:
            return


def _kept(lines: Iterable[str], kept: list[str]) -> Iterator[str]:
    for line in lines:
        kept.append(line)
        yield line


# What the csv module says of a cell whose quote is not closed before the file ends.
UNCLOSED = "unexpected end of data"


def _fault(row: _Row, sign: str) -> str:
    """Return what is wrong with the quotes of a row: one closes nowhere, or a cell goes on behind it."""
    if '"' not in row.text:
        return ""
    try:
        next(csv.reader(io.StringIO(row.text, newline=""), delimiter=sign, strict=True))
    except csv.Error as error:
        return str(error)
    return ""


# Cells of a column that are remembered, and the longest of them: those of a label come again.
MOST_KNOWN, LONGEST_KNOWN = 10_000, 64


def _are_rows(row: _Row, table: Table, known: list[set[str]]) -> bool:
    """Return whether each line of a long row is a row by itself, with a cell that other rows have in that column."""
    if table.sign == "\t" and any("\t" in cell and "\n" in cell for cell in row.cells):
        return True
    names, is_known, lines = len(table.names), False, re.split(r"\r\n|\r|\n", row.text.rstrip("\r\n"))
    for place, cells in enumerate(csv.reader(lines, delimiter=table.sign, quoting=csv.QUOTE_NONE)):
        if len(cells) != names or names == 1:
            return False
        is_known = is_known or (place < len(lines) - 1 and any(cell in cells_of for cells_of, cell in zip(known, cells)))
    return is_known
