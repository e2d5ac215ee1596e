"""Sentences from files of a word a line: CoNLL-2003 (Tjong Kim Sang and De Meulder 2003) and CoNLL-U (Universal Dependencies)."""

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError


# Place of the word and of its tag in a line: CoNLL-2003's last column is the entity, CoNLL-U's fourth the part of speech.
CONLL_COLUMNS = {"conll": (0, -1), "conllu": (1, 3)}


def read_conll(files: list[Path], layout: str) -> Iterator[dict[str, list[str]]]:
    """Return sentences with `tokens` and `tags`; an empty line ends one.

    Args:
        layout: `conll` (columns by spaces or tabs, `-DOCSTART-` lines left out) or `conllu` (columns by tabs; comments, contracted
            words and empty nodes left out).

    Raises:
        InputError: a line with too few columns.
    """
    word_column, tag_column = CONLL_COLUMNS[layout]
    needed = 4 if layout == "conllu" else 2
    for file in files:
        tokens: list[str] = []
        tags: list[str] = []
        for number, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), start=1):
            if not line.strip():
                if tokens:
                    yield {"tokens": tokens, "tags": tags}
                tokens, tags = [], []
                continue
            # A word may hold a space where tabs separate the columns, and one that does not break anywhere.
            columns = line.strip().split("\t") if layout == "conllu" or "\t" in line else re.split(" +", line.strip(" \r"))
            if columns[0].startswith("-DOCSTART-") or (layout == "conllu" and not columns[0].isdigit()):
                continue
            if len(columns) < needed:
                raise InputError(
                    f"dataset: line {number} of {file} has {len(columns)} columns, and {layout!r} needs {needed}: fix the line, "
                    "or give the other of 'conll' and 'conllu'."
                )
            tokens.append(columns[word_column])
            tags.append(columns[tag_column])
        if tokens:
            yield {"tokens": tokens, "tags": tags}
