"""Which column of a table holds the texts of a language model, and which tables are rows of a task instead."""

import re
import shlex
from collections.abc import Iterable
from typing import Any

from ..errors import InputError, listed
from .labels import NUMBER
from .loading import load_files
from .sources import TextSource


# Rows that are looked at.
FIRST_ROWS = 200
# Columns that rows of a task have, the recipe that reads them, and what it calls them where they have other names.
OF_TASKS: list[tuple[tuple[str, ...], str, dict[str, str]]] = [
    (("chosen", "rejected"), "finetune/preference", {}),
    (("question", "context", "answers"), "finetune/question-answering", {}),
    (("question", "choices"), "finetune/multiple-choice", {}),
    (("instruction", "output"), "finetune/chat", {}),
    (("tokens", "tags"), "finetune/part-of-speech", {}),
    (("source", "target"), "finetune/summarization", {}),
    *(
        (pair, "finetune/summarization", dict(zip(("source", "target"), pair)))
        for pair in (
            *(("prompt", "completion"), ("prompt", "response"), ("instruction", "response")),
            *(("question", "answer"), ("input", "output"), ("inputs", "targets")),
        )
    ),
]
# Of ids, which tell rows apart and say nothing.
ID = re.compile("[!-~]{1,64}")


def find_text_column(source: TextSource, wanted: Iterable[str] = (), key: str = "dataset.text_column") -> str:
    """Return the column of a table that holds its texts: `text`, else the one with the longest, of ids never.

    Args:
        wanted: Names of columns that come first where they are there.
        key: What names another one, for messages.

    Raises:
        InputError: no column of text, or rows of a task; or see `load_rows`.
    """
    rows = list(load_files(source, None, False).take(FIRST_ROWS))
    columns = list(dict.fromkeys(column for row in rows for column in row))
    # Who calls a column so means it, also where it holds numbers.
    for name in (*wanted, "text"):
        if name in columns:
            return name
    _check_task(source, rows, columns, key)
    texts = {column: [row[column] for row in rows if isinstance(row.get(column), str)] for column in columns}
    if source.path == "csv":
        # Where each cell is read as a text, some are numbers and no texts.
        texts = {column: found for column, found in texts.items() if not all(map(_is_value, found))}
    lengths = {
        column: sum(map(len, found)) for column, found in texts.items() if found and (len(columns) == 1 or not _are_ids(found))
    }
    if not columns:
        raise InputError(f"dataset: {source.named} holds no rows.")
    if not lengths:
        raise InputError(
            f"dataset: no column holds text; the columns are {listed(columns) or 'none'}: {key} names one that does."
        )
    return max(lengths, key=lambda column: lengths[column])


def _is_value(cell: str) -> bool:
    """Return whether a cell of a table is a number, however many zeros are before it, a truth value or nothing."""
    cell = cell.strip()
    return bool(NUMBER.fullmatch(cell.lstrip("0") or "0")) or cell.lower() in ("", "nan", "true", "false")


def _are_ids(texts: list[str]) -> bool:
    """Return whether texts are all different, short and without a space, and more than words alone."""
    is_short = len(set(texts)) == len(texts) and all(map(ID.fullmatch, texts))
    return is_short and not all(text.isalpha() for text in texts)


def _check_task(source: TextSource, rows: list[dict[str, Any]], columns: list[str], key: str) -> None:
    """Raise `InputError` for rows of a task, of which a language model would read one column."""
    found = [(names, recipe, called) for names, recipe, called in OF_TASKS if set(names) <= set(columns)]
    for column in columns:
        if any(_is_dialogue(row.get(column)) for row in rows):
            called = {} if column in ("messages", "conversations") else {"messages": column}
            found.append(((column,), "finetune/chat", called))
    if not found:
        return
    names, recipe, called = found[0]
    given = source.files if isinstance(source.files, str) else str(source.files)
    chosen = [f"dataset.files={given}"]
    if called:
        chosen.append(f"dataset.columns={{{', '.join(f'{name}: {column}' for name, column in called.items())}}}")
    raise InputError(
        f"dataset: files={given!r} has rows of a task, with {' and '.join(names)}: hf-gpt train {recipe} "
        f"{' '.join(map(shlex.quote, chosen))}, or with {key}=COLUMN one of its columns is read as text."
    )


def _is_dialogue(cell: Any) -> bool:
    return isinstance(cell, list) and any(isinstance(turn, dict) and {"role", "from"} & set(turn) for turn in cell)
