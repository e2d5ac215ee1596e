"""Rows as people have them, in the columns and splits that a task reads."""

import json
from functools import partial
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, DatasetDict, Value

from ..errors import InputError, counted, did_you_mean, listed, shown
from .cells import TEXTS, TURNS, WORDS, is_empty, read_columns
from .dialogues import LAYOUTS, MORE
from .labels import by_names_of, check_finite, read_labels, trimmed_labels
from .layouts import adopt_layout, rows_apart
from .loading import load_rows, nameless_hint
from .saved import unread_splits
from .sources import FILE_FORMATS, TextSource, local_files, parts_of
from .splits import SPLITS, text_hash
from .tables import read_table
from .utf8 import check_utf8


def task_rows(
    source: TextSource, columns: dict[str, bool]
) -> tuple[Dataset, list[str], dict[str, np.ndarray], dict[str, int]]:
    """Load the rows of a task, their columns named as the task names them, the names of the columns that are not read, the numbers
    of rows that are of another layout, see `rows_apart`, and labels that are read as others, see `trimmed_labels`.

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
        # What is no text has no columns either way.
        for file in local_files(source):
            check_utf8(file)
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
            otherwise = nameless_hint(source) or " dataset.columns says what yours are called."
            hint = did_you_mean(names[column], rows.column_names, otherwise)
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
    needed = {name: column for name, column in kept.items() if columns[column] or column == "text_pair"}
    apart = rows_apart(rows, needed, unread)
    rows = rows.select_columns(list(kept))
    rows = read_columns(rows.rename_columns({old: new for old, new in kept.items() if old != new}))
    trimmed: dict[str, int] = {}
    if "label" in rows.column_names:
        sign = read_table(local_files(source)[0]).sign if source.path == "csv" else None
        trimmed = {} if sign is None else trimmed_labels(rows["label"])
        rows = read_labels(rows, sign)
    check_finite(rows, source)
    return rows, unread, apart, trimmed


# What a task learns of a row, and what it reads of it is the rest.
LABELS = ("label", "tags")


def _as_known(value: Any) -> Any:
    """Return a cell whose messages have no field that only those of other rows have: of the same row it is the same anywhere."""
    if isinstance(value, list) and value and isinstance(value[0], dict) and MORE in value[0]:
        return [{name: part for name, part in turn.items() if name != MORE or part is not None} for turn in value]
    return value


def _row_keys(batch: dict[str, list], needed: list[str], group: str) -> dict[str, list]:
    keys: dict[str, list] = {"hash": [], "identity": [], "given": [], "labels": [], "is_empty": []}
    for values in zip(*batch.values()):
        row = dict(zip(batch, map(_as_known, values)))
        whole = json.dumps([*row.values()], ensure_ascii=False, default=str)
        of_group = row[group] if isinstance(row[group], str) else json.dumps(row[group], ensure_ascii=False)
        # Rows of no group have none in common.
        keys["hash"].append(text_hash(whole if is_empty("group", row[group]) else of_group))
        keys["identity"].append(text_hash(whole))
        given = [value for name, value in row.items() if name not in (*LABELS, "group")]
        keys["given"].append(text_hash(json.dumps(given, ensure_ascii=False, default=str)))
        labels = [row[name] for name in LABELS if name in row]
        keys["labels"].append(text_hash(json.dumps(labels, default=str)))
        keys["is_empty"].append(any(is_empty(name, row[name]) for name in row if name in needed or name == "text_pair"))
    return keys


def _group_column(rows: Dataset, group: tuple[str, ...]) -> str:
    return next(name for name in group if name in rows.column_names)


def _keys(rows: Dataset, needed: list[str], group: tuple[str, ...]) -> dict[str, np.ndarray]:
    return rows.map(
        partial(_row_keys, needed=needed, group=_group_column(rows, group)),
        batched=True,
        remove_columns=rows.column_names,
        features=datasets.Features(
            {**dict.fromkeys(("hash", "identity", "given", "labels"), Value("int64")), "is_empty": Value("bool")}
        ),
        desc="Hashing rows",
    ).with_format("numpy")[:]


def _contradicted(keys: dict[str, np.ndarray], numbers: np.ndarray) -> np.ndarray:
    """Return which of some rows are as another one of them but for the label."""
    given, labels = (np.asarray(keys[name])[numbers] for name in ("given", "labels"))
    distinct = np.unique(np.stack([given, labels]), axis=1)[0]
    found, times = np.unique(distinct, return_counts=True)
    return np.isin(given, found[times > 1])


def _full(keys: dict[str, np.ndarray], apart: dict[str, np.ndarray], dropped: dict[str, int]) -> np.ndarray:
    """Return which rows have something to learn from, and count the others by their reasons."""
    is_full = ~np.asarray(keys["is_empty"])
    for reason, numbers in apart.items():
        dropped[reason] = dropped.get(reason, 0) + len(numbers)
        # Not empty, and yet nothing of it is read.
        is_full[numbers] = True
    dropped["empty rows"] += int((~is_full).sum())
    for numbers in apart.values():
        is_full[numbers] = False
    return is_full


def task_splits(
    source: TextSource, columns: dict[str, bool], group: tuple[str, ...], validation: float, test: float
) -> tuple[DatasetDict, dict[str, int], dict[str, dict[str, int]]]:
    """Split the rows of a task by a hash of one of their columns, or take the held-out data that `dataset:` names.

    Args:
        columns: See `task_rows`.
        group: Columns; the first that is there decides the split of a row.
        validation, test: Shares that are held out where `dataset:` does not name held-out data.

    Returns:
        The splits, how many rows were left out for which reason, and by split what else is counted: columns that are not read,
        rows that differ in nothing but the label, and rows of held-out data with the text of a training row.

    Raises:
        InputError: see `task_rows`; or a split without rows, or held-out data of nothing but rows to train on.
    """
    for named in parts_of(source):
        # Before any is read, which may take its time.
        local_files(named)
    needed = [column for column, is_needed in columns.items() if is_needed]
    dropped = {"empty rows": 0, "repeated rows": 0}
    shares = {"validation": validation, "test": test}
    splits: dict[str, Dataset] = {}
    held: dict[str, dict[str, np.ndarray]] = {}
    rows, unread, apart, trimmed = task_rows(source, columns)
    counts: dict[str, dict[str, int]] = {"train": trimmed} if trimmed else {}
    doubted: dict[str, int] = {}
    for name, (own, count) in unread_splits(source, rows).items():
        reason = f"rows (the dataset's own split {own!r}) are not read: dataset.{name}.split={own} holds them out in place of a share"
        counts[name] = {reason: count}
    if unread:
        counts.setdefault("train", {})[f"columns not read: {listed(unread)}"] = len(unread)
    for name in shares:
        part = getattr(source, name)
        if part is not None:
            own, more, others, trimmed = task_rows(part, columns)
            more = [column for column in more if column not in unread]
            found = trimmed | ({f"columns not read: {listed(more)}": len(more)} if more else {})
            if found:
                counts[name] = found
            whole, shares[name] = by_names_of(rows, own, name), 0.0
            held[name] = _keys(whole, needed, group)
            is_full = _full(held[name], others, dropped)
            held[name] = {key: np.asarray(values)[is_full] for key, values in held[name].items()}
            splits[name] = whole.select(np.flatnonzero(is_full))
            doubted[name] = int(_contradicted(held[name], np.arange(len(splits[name]))).sum())
    keys = _keys(rows, needed, group)
    is_full = _full(keys, apart, dropped)
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
            hint = (
                "a smaller validation_share and test_share" if name == "train" else f"a larger {name}_share, or dataset.{name}"
            )
            column, groups = _group_column(rows, group), len(np.unique(place))
            wanted = (
                f"rows with more than the {groups} values of {column!r}, by which they are split"
                if groups < len(first)
                else "more rows"
            )
            raise InputError(
                f"dataset: {what}{counted(len(first), 'rows leave')} none for the {name} split: give {wanted}, or {hint}."
            )
    is_doubted = _contradicted(keys, first)
    doubted = {name: int(is_doubted[of_split].sum()) for name, of_split in chosen.items()} | doubted
    for name in (name for name in SPLITS if doubted[name]):
        counts.setdefault(name, {})["rows are as another one is, but for the label"] = doubted[name]
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
