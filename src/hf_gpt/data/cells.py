"""Cells of rows as people have them, in the types that a task reads: JSON in a cell, dialogues in other layouts, and what is empty."""

from collections.abc import Callable
from functools import partial
from typing import Any

import datasets
from datasets import Dataset, Value

from ..checks.boundary import refused
from ..errors import InputError, shown
from .dialogues import (
    MESSAGES,
    MESSAGES_WITH_MORE,
    MORE,
    SPOKEN_NAMES,
    as_text,
    calls_tools,
    is_dialogue,
    read_messages,
    read_tools,
    read_turns,
)
from .labels import check_labels, is_nan, kind_of, read_literal
from .loading import is_float, is_mixed, number_text


# What the columns of the tasks hold, by their names.
TEXTS = ("text", "text_pair", "question", "context", "source", "target", "answer", "system")
WORDS = ("tokens", "choices")
# Either a text or messages, and who says them.
TURNS = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}

ANSWERS = {"text": datasets.List(Value("string")), "answer_start": datasets.List(Value("int64"))}


def read_columns(rows: Dataset) -> Dataset:
    """Return the rows with each column of a task in the type that the task reads.

    Raises:
        InputError: a column or a cell that cannot be read as that.
    """
    rows = _in_plain_types(rows)
    for column, feature in list(rows.features.items()):
        if column in TEXTS or (column in TURNS and _is_text(rows, column, feature)):
            rows = _as_texts(rows, column, feature)
        elif column in WORDS:
            rows = _as_words(rows, column, feature)
        elif column == "tags" and (isinstance(feature, Value) or is_mixed(getattr(feature, "feature", feature))):
            rows = _read(rows, column, datasets.List(Value("string")), _words)
        elif column == "label" and is_mixed(feature):
            rows = _read(rows, column, Value("string"), as_text)
        elif column in ("tags", "label"):
            check_labels(column, feature)
        elif column == "messages" or column in TURNS:
            read = partial(read_turns, role=TURNS[column]) if column in TURNS else read_messages
            rows = _as_messages(rows, column, feature, read)
        elif column == "tools":
            rows = _read(rows, column, Value("string"), read_tools)
        elif column == "answers":
            rows = _read(rows, column, ANSWERS, _answers)
    return rows


def _in_plain_types(rows: Dataset) -> Dataset:
    """Return the rows without lists of large offsets, which Polars writes, and with bytes of a label as text."""
    plain = {name: _plain_type(feature) for name, feature in rows.features.items()}
    if "label" in plain and plain["label"] in (Value("binary"), Value("large_binary")):
        plain["label"] = Value("string")
    with refused("dataset: the rows cannot be read as text"):
        return rows if plain == dict(rows.features) else rows.cast(datasets.Features(plain))


def _plain_type(feature: Any) -> Any:
    if isinstance(feature, dict):
        return {name: _plain_type(inner) for name, inner in feature.items()}
    if isinstance(feature, (datasets.List, datasets.LargeList)):
        length = getattr(feature, "length", -1)
        return datasets.List(_plain_type(feature.feature), length=length)
    return feature


def _is_text(rows: Dataset, column: str, feature: Any) -> bool:
    """Return whether no prompt or answer is messages. A prompt with a `system` text before it is such."""
    if not isinstance(feature, Value) and not is_mixed(feature):
        return False
    has_system = (
        column == "prompt" and "system" in rows.column_names and any(str(text or "").strip() for text in rows["system"])
    )
    return not has_system and not any(map(is_dialogue, rows[column]))


def _as_texts(rows: Dataset, column: str, feature: Any) -> Dataset:
    if is_mixed(feature):
        return _read(rows, column, Value("string"), as_text)
    if is_float(feature):
        return _read(rows, column, Value("string"), number_text)
    if not isinstance(feature, Value):
        raise InputError(
            f"dataset: column {column!r} holds {kind_of(feature)}, and not text: name another one in dataset.columns."
        )
    with refused(f"dataset: column {column!r} cannot be read as text"):
        return rows if feature.dtype in ("string", "large_string") else rows.cast_column(column, Value("string"))


def _as_words(rows: Dataset, column: str, feature: Any) -> Dataset:
    inner = getattr(feature, "feature", feature)
    if isinstance(feature, Value) or is_mixed(inner) or is_float(inner):
        return _read(rows, column, datasets.List(Value("string")), _words)
    if not isinstance(feature, datasets.List) or not isinstance(feature.feature, Value):
        raise InputError(f"dataset: column {column!r} holds {kind_of(feature)}, and not a list of texts: name another one.")
    is_text = feature.feature.dtype in ("string", "large_string")
    return rows if is_text else rows.cast_column(column, datasets.List(Value("string")))


def _as_messages(rows: Dataset, column: str, feature: Any, read_cell: Callable[[Any], Any]) -> Dataset:
    fields = getattr(feature, "feature", None)
    if not isinstance(fields, dict) or not set(fields) <= set(SPOKEN_NAMES):
        read = _read(rows, column, MESSAGES_WITH_MORE, read_cell)
        if any(turn[MORE] for turns in read[column] for turn in turns or []):
            return read
    return _read(rows, column, MESSAGES, read_cell)


def _read(rows: Dataset, column: str, kind: Any, read: Callable[[Any], Any]) -> Dataset:
    features = datasets.Features({**rows.features, column: kind})
    return rows.map(partial(_read_row, column=column, read=read), with_indices=True, features=features)


def _read_row(row: dict[str, Any], number: int, column: str, read: Callable[[Any], Any]) -> dict[str, Any]:
    try:
        value = None if is_nan(row[column]) else row[column]
        return {column: None if value is None and column != "answers" else read(value)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = error if isinstance(error, InputError) else f"{shown(row[column], 80)}."
        raise InputError(f"dataset: column {column!r} of row {number} cannot be read: {why}") from error


def _words(value: Any) -> list[str | None]:
    """Return a list of texts, or what is one as a JSON string."""
    found = read_literal(value) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise ValueError(value)
    return [None if word is None or is_nan(word) else as_text(word) for word in found]


def _answers(value: Any) -> dict[str, list[Any]] | None:
    """Return answers as `{text: [...], answer_start: [...]}`, blank ones left out, from SQuAD's own list of answers, or from none;
    `None` where all that there are are blank."""
    if isinstance(value, str):
        value = read_literal(value)
    if value is None:
        value = []
    if isinstance(value, dict):
        texts, starts = value["text"], value["answer_start"]
        if not isinstance(texts, list):
            texts, starts = [texts], [starts]
        pairs = list(zip(texts or [], starts or [], strict=True))
    else:
        pairs = [(answer["text"], answer["answer_start"]) for answer in value]
    full = [(as_text(text), int(start)) for text, start in pairs if not _is_blank(text)]
    return {"text": [text for text, _ in full], "answer_start": [start for _, start in full]} if full or not pairs else None


def _is_blank(value: Any) -> bool:
    return value is None or is_nan(value) or not str(value).strip()


def is_empty(column: str, value: Any) -> bool:
    """Return whether a value is nothing to learn from: nothing, NaN, white space, a list without anything or with a hole in it."""
    if is_nan(value):
        return True
    if column == "messages" or (column in TURNS and isinstance(value, list)):
        return not value or any(map(_says_nothing, value))
    if column in WORDS or column == "tags":
        return not value or any(map(_is_blank, value))
    if column == "label" and isinstance(value, list):
        # A text of no class is one to learn from.
        return any(map(_is_blank, value))
    if column == "answers":
        return value is None or value["text"] is None
    if isinstance(value, (int, float)):
        return False
    return not value or _is_blank(value)


def _says_nothing(turn: dict[str, Any]) -> bool:
    # A system message of nothing keeps a template from writing one of its own, and a tool may have nothing to return.
    return not (turn["content"] or "").strip() and turn["role"] not in ("system", "tool") and not calls_tools(turn)
