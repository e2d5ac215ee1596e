"""Sentences from files of a word a line: CoNLL-2003 (Tjong Kim Sang and De Meulder 2003) and CoNLL-U (Universal Dependencies)."""

import io
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError, counted
from .packed_files import opened


# Place of the word and of its tag in a line: CoNLL-2003's last column is the entity, CoNLL-U's fourth the part of speech.
CONLL_COLUMNS = {"conll": (0, -1), "conllu": (1, 3)}
DOCUMENT = "-DOCSTART-"
FEWEST_COLUMNS = {"conll": 2, "conllu": 4}
# What begins a line above a sentence that says whose it is (MultiCoNER, OntoNotes), and may be a word, too.
COMMENT = re.compile(r"#+( |$)|#(begin|end)\b")


def read_conll(files: list[Path], layout: str) -> Iterator[dict[str, list[str]]]:
    """Return sentences with `tokens` and `tags`; an empty line ends one.

    Args:
        layout: `conll` (columns by spaces or tabs; `-DOCSTART-` lines and comments left out) or `conllu` (columns by tabs; comments,
            contracted words and empty nodes left out).

    Raises:
        InputError: a line with too few columns, or of `conll` with another number of them than the others.
    """
    for file in files:
        for part in opened(file):
            lines = [_columns(line, layout) for line in io.TextIOWrapper(part, "utf-8-sig").read().split("\n")]
            yield from _sentences(lines, file, layout)


def _columns(line: str, layout: str) -> list[str]:
    """Return the columns of a line: a word may hold a space where tabs separate them, and one that does not break anywhere."""
    line = line.rstrip(" \t")
    if not line.strip():
        return []
    return line.split("\t") if layout == "conllu" or "\t" in line else re.split(" +", line.lstrip(" "))


def _sentences(lines: list[list[str]], file: Path, layout: str) -> Iterator[dict[str, list[str]]]:
    word_column, tag_column = CONLL_COLUMNS[layout]
    is_comment = _comments(lines) if layout == "conll" else [bool(row) and not row[0].isdigit() for row in lines]
    tokens: list[str] = []
    tags: list[str] = []
    usual: tuple[int, int] | None = None
    for number, (row, is_left_out) in enumerate(zip(lines, is_comment), start=1):
        if is_left_out or (row and row[0].startswith(DOCUMENT)):
            continue
        if not row:
            if tokens:
                yield {"tokens": tokens, "tags": tags}
            tokens, tags = [], []
            continue
        if len(row) < FEWEST_COLUMNS[layout] or not row[word_column] or not row[tag_column]:
            raise InputError(
                f"dataset: line {number} of {file} has {counted(len(row), 'columns')}, and {layout!r} needs "
                f"{FEWEST_COLUMNS[layout]}: fix the line, or give the other of 'conll' and 'conllu'."
            )
        usual = usual or (number, len(row))
        # Of a word that holds a space, only its first part would be read.
        if layout == "conll" and len(row) != usual[1]:
            raise InputError(
                f"dataset: line {number} of {file} has {counted(len(row), 'columns')}, and line {usual[0]} has {usual[1]}: "
                "give each word as many, with tabs between them where a word holds a space."
            )
        tokens.append(row[word_column])
        tags.append(row[tag_column])
    if tokens:
        yield {"tokens": tokens, "tags": tags}


def _comments(lines: list[list[str]]) -> list[bool]:
    """Return which lines say whose a sentence is: above one, of another number of columns than words have or with a tag of no word."""
    candidates, is_above = [], True
    for row in lines:
        is_candidate = is_above and bool(row) and COMMENT.match(row[0]) is not None
        candidates.append(is_candidate)
        is_above = is_candidate or not row or row[0].startswith(DOCUMENT)
    words = [row for row, is_candidate in zip(lines, candidates) if row and not is_candidate]
    usual = Counter(map(len, words)).most_common(1)
    alike = {(length, row[-1]) for length, _ in usual for row in words}
    return [is_candidate and (len(row), row[-1]) not in alike for row, is_candidate in zip(lines, candidates)]
