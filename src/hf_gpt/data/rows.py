"""Rows as people have them, in the columns, types and splits that a task reads: JSON in a cell, other layouts of dialogues."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetDict, Value

from ..checks.boundary import refused
from ..errors import InputError, counted, did_you_mean, listed, shown
from .dialogues import (
    LAYOUTS,
    MESSAGES,
    MESSAGES_WITH_MORE,
    MORE,
    SPOKEN_NAMES,
    adopt_layout,
    as_text,
    calls_tools,
    is_dialogue,
    read_messages,
    read_tools,
    read_turns,
)
from .labels import by_names_of, check_finite, check_labels, is_nan, kind_of, read_labels, read_literal
from .loading import is_float, is_mixed, load_rows, number_text
from .sources import FILE_FORMATS, TextSource, local_files
from .splits import SPLITS, text_hash
from .tables import read_table


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


# ------------------------------------------------------------------------------------------------------ rows of a task


def task_rows(source: TextSource, columns: dict[str, bool]) -> tuple[Dataset, list[str]]:
    """Load the rows of a task, their columns named as the task names them, and the names of the columns that are not read.

    Args:
        columns: The task's names of columns, and whether a row has to have them.

    Raises:
        InputError: a column that is not there, an unknown name in `columns`, a stream.
    """
    given = {"text": source.text_column, **(source.columns or {})}
    unknown = sorted(set(source.columns or {}) - set(columns))
    if unknown:
        raise InputError(f"dataset: columns names {unknown[0]!r}; the columns of this task are {', '.join(columns)}.")
    if source.mixture:
        raise InputError("dataset: mixture is for language modelling: a task has one dataset.")
    if source.streaming:
        raise InputError("dataset: streaming=true is for language modelling: a task reads its rows as a whole.")
    names = {column: given.get(column, column) for column in columns}
    texts = {name for column, name in names.items() if column in (*TEXTS, *WORDS, *TURNS, "messages", "tools")}
    if source.path == "text":
        raise InputError(
            f"dataset: files={shown(source.files)} is read as plain text, which has no columns: of a table, dataset.path says what it "
            f"is, one of {', '.join(path for path in FILE_FORMATS if path != 'text')}; of a folder it then reads those."
        )
    rows = load_rows(source, texts | set(LAYOUTS))
    known = {*names.values(), *(source.where or {})}
    for column, is_needed in columns.items():
        rows, read_from = adopt_layout(rows, names[column])
        known.update(read_from)
        if is_needed and names[column] not in rows.column_names:
            hint = did_you_mean(names[column], rows.column_names, " dataset.columns says what yours are called.")
            raise InputError(
                f"dataset: column {names[column]!r} is not a column; the columns are {listed(rows.column_names)}.{hint}"
            )
    kept: dict[str, str] = {}
    for column in (column for column in columns if names[column] in rows.column_names):
        if names[column] in kept:
            raise InputError(
                f"dataset: column {names[column]!r} is given for {kept[names[column]]} and {column}: name another one."
            )
        kept[names[column]] = column
    unread = [name for name in rows.column_names if name not in known]
    rows = rows.select_columns(list(kept))
    rows = read_columns(rows.rename_columns({old: new for old, new in kept.items() if old != new}))
    if "label" in rows.column_names:
        rows = read_labels(rows, read_table(local_files(source)[0]).sign if source.path == "csv" else None)
    check_finite(rows, source)
    return rows, unread


def _as_known(value: Any) -> Any:
    """Return a cell whose messages have no field that only those of other rows have: of the same row it is the same anywhere."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and MORE in value[0]:
        return [{name: part for name, part in turn.items() if name != MORE or part is not None} for turn in value]
    return value


def _row_keys(batch: dict[str, list], needed: list[str], group: str) -> dict[str, list]:
    keys: dict[str, list] = {"hash": [], "identity": [], "is_empty": []}
    for values in zip(*batch.values()):
        row = dict(zip(batch, map(_as_known, values)))
        whole = json.dumps([*row.values()], ensure_ascii=False, default=str)
        of_group = row[group] if isinstance(row[group], str) else json.dumps(row[group], ensure_ascii=False)
        # Rows of no group have none in common.
        keys["hash"].append(text_hash(whole if is_empty("group", row[group]) else of_group))
        keys["identity"].append(text_hash(whole))
        keys["is_empty"].append(any(is_empty(name, row[name]) for name in row if name in needed or name == "text_pair"))
    return keys


def _group_column(rows: Dataset, group: tuple[str, ...]) -> str:
    return next(name for name in group if name in rows.column_names)


def _keys(rows: Dataset, needed: list[str], group: tuple[str, ...]) -> dict[str, np.ndarray]:
    return rows.map(
        partial(_row_keys, needed=needed, group=_group_column(rows, group)),
        batched=True,
        remove_columns=rows.column_names,
        features=datasets.Features({"hash": Value("int64"), "identity": Value("int64"), "is_empty": Value("bool")}),
        desc="Hashing rows",
    ).with_format("numpy")[:]


def task_splits(
    source: TextSource, columns: dict[str, bool], group: tuple[str, ...], validation: float, test: float
) -> tuple[DatasetDict, dict[str, int], dict[str, dict[str, int]]]:
    """Split the rows of a task by a hash of one of their columns, or take the held-out data that `dataset:` names.

    Args:
        columns: See `task_rows`.
        group: Columns; the first that is there decides the split of a row.
        validation, test: Shares that are held out where `dataset:` does not name held-out data.

    Returns:
        The splits, how many rows were left out for which reason, and by split what else is counted: columns that are not read, and
        rows of held-out data with the text of a training row.

    Raises:
        InputError: see `task_rows`; or a split without rows, or held-out data of nothing but rows to train on.
    """
    needed = [column for column, is_needed in columns.items() if is_needed]
    dropped = {"empty rows": 0, "repeated rows": 0}
    shares = {"validation": validation, "test": test}
    splits: dict[str, Dataset] = {}
    held: dict[str, dict[str, np.ndarray]] = {}
    rows, unread = task_rows(source, columns)
    counts: dict[str, dict[str, int]] = {}
    if unread:
        counts["train"] = {f"columns not read: {listed(unread)}": len(unread)}
    for name in shares:
        part = getattr(source, name)
        if part is not None:
            own, more = task_rows(part, columns)
            more = [column for column in more if column not in unread]
            if more:
                counts[name] = {f"columns not read: {listed(more)}": len(more)}
            whole, shares[name] = by_names_of(rows, own, name), 0.0
            held[name] = _keys(whole, needed, group)
            is_full = ~np.asarray(held[name]["is_empty"])
            held[name] = {key: np.asarray(values)[is_full] for key, values in held[name].items()}
            splits[name] = whole.select(np.flatnonzero(is_full))
            dropped["empty rows"] += len(whole) - len(splits[name])
    keys = _keys(rows, needed, group)
    is_full = ~np.asarray(keys["is_empty"])
    dropped["empty rows"] += int((~is_full).sum())
    full = np.flatnonzero(is_full)
    first = full[np.sort(np.unique(np.asarray(keys["identity"])[full], return_index=True)[1])]
    dropped["repeated rows"] = len(full) - len(first)
    place = np.asarray(keys["hash"])[first] / 2.0**63
    end = shares["validation"] + shares["test"]
    chosen = {"train": place >= end, "validation": place < shares["validation"]}
    chosen["test"] = (place >= shares["validation"]) & (place < end)
    parts = {name: splits[name] if name in splits else rows.select(first[chosen[name]]) for name in SPLITS}
    for name, part in parts.items():
        if len(part) == 0:
            left_out = " and ".join(counted(count, reason) for reason, count in dropped.items() if count)
            what = f"without {left_out}, " if left_out else ""
            raise InputError(
                f"dataset: {what}{counted(len(first), 'rows leave')} none for the {name} split: give more rows, a larger share, or "
                f"dataset.{name if name != 'train' else 'files'}."
            )
    for name, part in held.items():
        if np.isin(part["identity"], keys["identity"]).all():
            raise InputError(
                f"dataset: dataset.{name} holds nothing but rows of the training data, {len(splits[name])} of them: give other rows, "
                "or leave it out to have a share of the rows held out."
            )
        count = int(np.isin(part["hash"], np.asarray(keys["hash"])[first[chosen["train"]]]).sum())
        if count:
            counts.setdefault(name, {})[f"rows with the {_group_column(rows, group)} of a training row"] = count
    return DatasetDict(parts), {reason: count for reason, count in dropped.items() if count}, counts


def sample_rows(rows: Dataset, limit: int | None, seed: int) -> Dataset:
    """Sample `limit` rows, preserving order; all of them without a limit, or where there are not as many."""
    if limit is None or limit >= len(rows):
        return rows
    # Datasets are often sorted by label: the first rows would be of one class.
    return rows.select(np.sort(np.random.default_rng(seed).choice(len(rows), limit, replace=False)))
