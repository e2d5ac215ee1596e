"""Rows of several layouts in one dataset: each is read by its own, and one that the task has none for is told from an empty one."""

import json
from collections import defaultdict
from collections.abc import Collection
from functools import partial
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Value

from ..errors import InputError, listed, shown
from .dialogues import FROM_INSTRUCTIONS, as_text
from .labels import is_nan


def adopt_layout(rows: Dataset, wanted: str) -> tuple[Dataset, tuple[str, ...]]:
    """Return the rows with a column that they, or some of them, have under another name or in several, dialogues of ShareGPT or
    instructions of Alpaca; and what of those it was read from."""
    columns = set(rows.column_names)
    has_turns = wanted in ("messages", "prompt") and "conversations" in columns
    has_instructions = wanted in FROM_INSTRUCTIONS and {"instruction", "output"} <= columns
    own = [name for name, is_there in ((wanted, wanted in columns), ("conversations", has_turns)) if is_there]
    if own in ([], [wanted]) and not has_instructions:
        return rows, ()
    # The first of them that all rows have is read alone.
    for name in own:
        if is_filled(rows, name).all():
            return (rows, ()) if name == wanted else (rows.rename_column(name, wanted), ())
    if not own and has_instructions:
        read_from, kind, _ = FROM_INSTRUCTIONS[wanted]
        features = datasets.Features({**rows.features, wanted: kind})
        return rows.map(partial(_from_instruction, wanted=wanted), with_indices=True, features=features), read_from
    if own == ["conversations"] and not has_instructions:
        return rows.rename_column("conversations", wanted), ()
    features = datasets.Features({**rows.features, wanted: Value("string")})
    choose = partial(_first_of, own=own, wanted=wanted, has_instructions=has_instructions)
    instructions = FROM_INSTRUCTIONS[wanted][0] if has_instructions else ()
    return rows.map(choose, with_indices=True, features=features), (*own, *instructions)


def _from_instruction(row: dict[str, Any], number: int, wanted: str) -> dict[str, Any]:
    columns, _, read = FROM_INSTRUCTIONS[wanted]
    if not any(_says_something(row.get(name)) for name in columns):
        return {wanted: None}
    try:
        return {wanted: read(row)}
    except ValueError as error:
        raise InputError(
            f"dataset: instruction, input and output of row {number} are texts, history is pairs of texts, and it has "
            f"{shown(error.args[0], 80)} there."
        ) from error


def _first_of(row: dict[str, Any], number: int, own: list[str], wanted: str, has_instructions: bool) -> dict[str, Any]:
    """Return what a row has in the first of the layouts that has anything there; messages as JSON, since each has fields of its own."""
    value = next((row[name] for name in own if _says_something(row[name])), None)
    if value is None and has_instructions:
        value = _from_instruction(row, number, wanted)[wanted]
    if value is None or isinstance(value, str):
        return {wanted: value}
    return {wanted: json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (dict, list)) else as_text(value)}


def _says_something(value: Any) -> bool:
    return not (value is None or is_nan(value) or value in ([], {}) or (isinstance(value, str) and not value.strip()))


def is_filled(rows: Dataset, column: str, may_be_empty: bool = False) -> np.ndarray:
    """Return which rows have anything in a column.

    Args:
        may_be_empty: Whether a list of nothing is something.
    """
    cells = rows.select_columns([column]).with_format("arrow")[:][column]
    if isinstance(cells.type, pa.BaseExtensionType):
        cells = pa.chunked_array([chunk.storage for chunk in cells.chunks], cells.type.storage_type)
    found = pc.invert(pc.is_null(cells, nan_is_null=True))
    size = None
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        size = pc.binary_length(pc.utf8_trim_whitespace(cells))
    elif not may_be_empty and (pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type)):
        size = pc.list_value_length(cells)
    if size is not None:
        found = pc.and_(found, pc.fill_null(pc.greater(size, 0), False))
    return np.asarray(found.to_pylist(), dtype=bool)


# Of a row without a label or an answer, a list of nothing says that there is none.
MAY_BE_EMPTY = ("label", "answers")


def rows_apart(rows: Dataset, needed: dict[str, str], others: Collection[str], what: str = "rows") -> dict[str, np.ndarray]:
    """Return the numbers of rows that lack a column and have something in others instead, which rows with that column have rarely:
    they are of another layout, and not empty; by the reason for which they are left out.

    Args:
        needed: Columns of the rows, and what the task calls them.
        others: Columns that are not read.
        what: What a row is called, in the plural.
    """
    filled = {name: is_filled(rows, name, called in MAY_BE_EMPTY) for name, called in needed.items()}
    lacks = ~np.logical_and.reduce([*filled.values()]) if filled else np.zeros(len(rows), dtype=bool)
    if not lacks.any():
        return {}
    instead = {}
    for name in others:
        found = is_filled(rows, name)
        if found[lacks].any() and (lacks.all() or found[~lacks].mean() < 0.5):
            instead[name] = found
    numbers: dict[str, list[int]] = defaultdict(list)
    for number in np.flatnonzero(lacks).tolist():
        has = [name for name, found in instead.items() if found[number]]
        missing = [name for name, found in filled.items() if not found[number]]
        if has:
            numbers[f"{what} (of another layout: {listed(has)} in place of {listed(missing)})"].append(number)
        elif [needed[name] for name in missing] == ["text_pair"]:
            numbers[f"{what} (of another layout: without {missing[0]})"].append(number)
    return {reason: np.array(found) for reason, found in numbers.items()}
