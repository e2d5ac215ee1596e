"""Dialogues and instructions in the layouts that people have: of ShareGPT, of Alpaca, and messages in parts."""

from collections.abc import Callable
from functools import partial
from typing import Any

import datasets
from datasets import Dataset, Value

from ..errors import InputError, shown
from .labels import read_literal


MESSAGES = datasets.List({"role": Value("string"), "content": Value("string")})
# Columns of texts in other layouts than ours.
LAYOUTS = ("conversations", "instruction", "input", "output")
# Who speaks, in the words of ShareGPT.
SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant"}


def adopt_layout(rows: Dataset, wanted: str) -> Dataset:
    """Return the rows with a column that they have under another name or in several: dialogues of ShareGPT, instructions of Alpaca."""
    if wanted in rows.column_names:
        return rows
    if wanted == "messages" and "conversations" in rows.column_names:
        return rows.rename_column("conversations", "messages")
    if wanted in FROM_INSTRUCTIONS and {"instruction", "output"} <= set(rows.column_names):
        kind, read = FROM_INSTRUCTIONS[wanted]
        features = datasets.Features({**rows.features, wanted: kind})
        return rows.map(partial(_from_instruction, column=wanted, read=read), with_indices=True, features=features)
    return rows


def _from_instruction(row: dict[str, Any], number: int, column: str, read: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    try:
        return {column: read(row)}
    except ValueError as error:
        raise InputError(
            f"dataset: instruction, input and output of row {number} are texts, and it has {shown(error.args[0], 80)} there."
        ) from error


def as_text(value: Any) -> str:
    """Return a text or a number as text; raise `ValueError` for what holds others."""
    if isinstance(value, (dict, list)):
        raise ValueError(value)
    return str(value)


def _asked(row: dict[str, Any]) -> str | None:
    """Return instruction and input, with an empty line between."""
    return "\n\n".join(as_text(row[name]) for name in ("instruction", "input") if row.get(name)) or None


def _said(row: dict[str, Any]) -> str | None:
    return None if row["output"] is None else as_text(row["output"])


# What of a row of Alpaca a column of ours is.
FROM_INSTRUCTIONS: dict[str, tuple[Any, Callable[[dict[str, Any]], Any]]] = {
    "messages": (
        MESSAGES,
        lambda row: [{"role": "user", "content": _asked(row)}, {"role": "assistant", "content": _said(row)}],
    ),
    "source": (Value("string"), _asked),
    "target": (Value("string"), _said),
}


def read_messages(value: Any) -> list[dict[str, Any]]:
    """Return messages as such, as ShareGPT's turns, or either as a JSON string."""
    turns = read_literal(value) if isinstance(value, str) else value
    read = []
    for turn in turns:
        role = turn["role"] if turn.get("role") is not None else turn["from"]
        content = turn["content"] if turn.get("content") is not None else turn.get("value")
        read.append({"role": SPEAKERS.get(role, role), "content": _content(content)})
    return read


# What transformers and the APIs of OpenAI call a part of a message that is text.
TEXT_PARTS = ("text", "input_text", "output_text")


def _content(value: Any) -> str | None:
    """Return the text of a message; of one in parts, these one behind the other, as chat templates write them.

    Raises:
        InputError: a part that is no text.
    """
    if not isinstance(value, list):
        return None if value is None else as_text(value)
    for part in value:
        is_text = isinstance(part, str) or (part.get("type", "text") in TEXT_PARTS and isinstance(part.get("text"), str))
        if not is_text:
            kind = part.get("type") or shown(part, 80)
            raise InputError(f"a part of a message is of type {kind!r}, and only text is learned: leave the row out.")
    return "".join(part if isinstance(part, str) else part["text"] for part in value)
