"""Rows as people have them, in the columns and types that a task reads: numbers as text, JSON in a cell, other layouts of dialogues."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import datasets
from datasets import Dataset, Value

from ..errors import InputError


# What the columns of the tasks hold, by their names.
TEXTS = ("text", "text_pair", "question", "context", "source", "target")
WORDS = ("tokens", "choices")
# Either a text or messages.
TURNS = ("prompt", "chosen", "rejected")

MESSAGES = datasets.List({"role": Value("string"), "content": Value("string")})
ANSWERS = {"text": datasets.List(Value("string")), "answer_start": datasets.List(Value("int64"))}
# Who speaks, in the words of ShareGPT.
SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant"}


def adopt_layout(rows: Dataset, wanted: str) -> Dataset:
    """The rows with a column that they have under another name or in several: dialogues of ShareGPT, instructions of Alpaca."""
    if wanted in rows.column_names or wanted != "messages":
        return rows
    if "conversations" in rows.column_names:
        return rows.rename_column("conversations", "messages")
    if {"instruction", "output"} <= set(rows.column_names):
        return rows.map(_from_instruction, features=datasets.Features({**rows.features, "messages": MESSAGES}))
    return rows


def _from_instruction(row: dict[str, Any]) -> dict[str, Any]:
    """Instruction and input, with an empty line between, are the user's message."""
    asked = [row[name] for name in ("instruction", "input") if row.get(name)]
    turns = [("user", "\n\n".join(map(str, asked)) or None), ("assistant", row["output"])]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def read_columns(rows: Dataset) -> Dataset:
    """The rows with each column of a task in the type that the task reads.

    Raises:
        InputError: a column or a cell that cannot be read as that.
    """
    for column, feature in list(rows.features.items()):
        if column in TEXTS or (column in TURNS and isinstance(feature, Value)):
            rows = _as_texts(rows, column, feature)
        elif column in WORDS:
            rows = _as_words(rows, column, feature)
        elif column == "tags" and isinstance(feature, Value):
            rows = _read(rows, column, datasets.List(Value("string")), _from_json)
        elif column == "messages":
            rows = _read(rows, column, MESSAGES, _messages)
        elif column == "answers":
            rows = _read(rows, column, ANSWERS, _answers)
    return rows


def _as_texts(rows: Dataset, column: str, feature: Any) -> Dataset:
    if not isinstance(feature, Value):
        raise InputError(
            f"dataset: column {column!r} holds {_kind(feature)}, and not text: name another one in dataset.columns."
        )
    return rows if feature.dtype in ("string", "large_string") else rows.cast_column(column, Value("string"))


def _as_words(rows: Dataset, column: str, feature: Any) -> Dataset:
    if isinstance(feature, Value):
        return _read(rows, column, datasets.List(Value("string")), _from_json)
    if not isinstance(feature, datasets.List) or not isinstance(feature.feature, Value):
        raise InputError(f"dataset: column {column!r} holds {_kind(feature)}, and not a list of texts: name another one.")
    is_text = feature.feature.dtype in ("string", "large_string")
    return rows if is_text else rows.cast_column(column, datasets.List(Value("string")))


def _kind(feature: Any) -> str:
    return type(feature).__name__ if isinstance(feature, datasets.ClassLabel) else str(feature)


def _read(rows: Dataset, column: str, kind: Any, read: Callable[[Any], Any]) -> Dataset:
    features = datasets.Features({**rows.features, column: kind})
    return rows.map(partial(_read_row, column=column, read=read), with_indices=True, features=features)


def _read_row(row: dict[str, Any], number: int, column: str, read: Callable[[Any], Any]) -> dict[str, Any]:
    try:
        return {column: None if row[column] is None and column != "answers" else read(row[column])}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        shown = repr(row[column])
        raise InputError(
            f"dataset: column {column!r} of row {number} cannot be read: {shown if len(shown) < 80 else shown[:80] + '…'}."
        ) from error


def _from_json(value: Any) -> list[str | None]:
    found = json.loads(value)
    if not isinstance(found, list):
        raise ValueError(value)
    return [word if word is None else str(word) for word in found]


def _messages(value: Any) -> list[dict[str, Any]]:
    """Messages as such, as ShareGPT's turns, or either as a JSON string."""
    turns = json.loads(value) if isinstance(value, str) else value
    read = []
    for turn in turns:
        role = turn["role"] if turn.get("role") is not None else turn["from"]
        content = turn["content"] if turn.get("content") is not None else turn.get("value")
        read.append({"role": SPEAKERS.get(role, role), "content": content if content is None else str(content)})
    return read


def _answers(value: Any) -> dict[str, list[Any]]:
    """Answers as `{text: [...], answer_start: [...]}`, from SQuAD's own list of answers, or from none."""
    if value is None:
        value = []
    if isinstance(value, str):
        value = json.loads(value)
    if isinstance(value, dict):
        texts, starts = value["text"], value["answer_start"]
        if isinstance(texts, str):
            texts, starts = [texts], [starts]
        return {"text": list(texts or []), "answer_start": list(starts or [])}
    return {"text": [answer["text"] for answer in value], "answer_start": [answer["answer_start"] for answer in value]}


def is_empty(column: str, value: Any) -> bool:
    """Whether a value is nothing to learn from: nothing, white space, a list without anything or with a hole in it."""
    if column == "messages" or (column in TURNS and isinstance(value, list)):
        return not value or any(turn["content"] is None for turn in value)
    if column in WORDS:
        return not value or any(word is None for word in value)
    if column == "answers" or isinstance(value, (int, float)):
        return False
    return not value or not str(value).strip()
