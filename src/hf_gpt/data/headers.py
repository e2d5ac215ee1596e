"""Whether the first row of a table names its columns, or is a row like the others."""

import re
from statistics import median

from .labels import NUMBER


YEAR = re.compile("(19|20)\\d\\d")
# What an index is called by pandas.
INDEX = ("", "index", "Unnamed: 0")
# Of a sentence: words, signs where no spaces are between them, and what it ends with. A survey calls its columns by questions.
WORDS, SIGNS, ENDS = 8, 24, tuple(".!…。！")
QUESTIONS = tuple("?？:：")


def names_like_rows(names: list[str], rows: list[list[str]]) -> list[str]:
    """Return the names of columns that look like cells of them; none where programs number the columns.

    A name does that comes again below it, is a sentence above others, a number above numbers, or differs from most cells in digits
    alone.

    Args:
        rows: The first ones.
    """
    numbered = names[1:] if names[0] in INDEX else names
    if numbered == [str(number) for number in range(len(numbered))]:
        return []
    # What is a row of names once more says nothing: files were put one behind the other.
    others = [row for row in rows if row != names]
    # Several are the years or the values of something.
    numbers = [name for name in names if NUMBER.fullmatch(name.strip())]
    found = []
    for place, name in enumerate(names):
        cells = [row[place].strip() for row in others if len(row) > place and row[place].strip()]
        is_alone = len(numbers) == 1 and name in numbers and name != "0" and not YEAR.fullmatch(name)
        if cells and name.strip() and _is_like(name.strip(), cells, is_alone):
            found.append(name)
    return found


def _is_like(name: str, cells: list[str], is_number: bool) -> bool:
    if cells.count(name) > 1 or (is_number and all(map(NUMBER.fullmatch, cells))):
        return True
    if re.search(r"\d", name) and not NUMBER.fullmatch(name):
        shape = _shape(name)
        return 2 * sum(_shape(cell) == shape for cell in cells) > len(cells) > 1 or _is_sentence(name, cells)
    return _is_sentence(name, cells)


def _shape(cell: str) -> str:
    return re.sub(r"\d", "9", cell)


def _is_sentence(name: str, cells: list[str]) -> bool:
    words = len(name.split())
    if name.endswith(QUESTIONS) and 2 * sum(cell.endswith(QUESTIONS) for cell in cells) <= len(cells):
        return False
    is_long = words >= WORDS or (len(name) >= SIGNS and not name.isascii() and words <= 2)
    is_closed = name.endswith((*ENDS, *QUESTIONS)) and (words >= 3 or (not name.isascii() and len(name) >= WORDS))
    # Above numbers and words, it says what they are.
    return (is_long or is_closed) and median(map(len, cells)) >= len(name) / 4
