"""Columns of rows of JSON: each value as the file has it, in one type for a column."""

import json
import math
from collections.abc import Collection
from functools import reduce
from typing import Any

import datasets
from datasets import Dataset, Value


# Of a message, what is a text even where it is a number. What its other fields hold, such as the arguments of a tool, is of a type
# of its own in each.
SPOKEN = ("role", "from", "content", "value", "text")
# What a column holds: the name of a type, a list of one kind, a dictionary of kinds, `None` of nulls alone, or values of which some
# hold others.
MIXED = "mixed"
SCALARS = {bool: "bool", int: "int64", float: "float64", str: "string"}


def json_dataset(rows: list[Any], texts: Collection[str]) -> Dataset:
    """Return rows of JSON. `datasets` reads texts beside numbers as JSON once more: 007 would be 7, and a text of null none.

    Args:
        texts: Columns of which numbers are texts, too, each as the file has it.
    """
    columns, features = {}, {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        kind = reduce(_merged, (_kind(value, name in texts) for value in values), None)
        if _is_mixed(kind):
            if not hasattr(datasets, "Json"):
                raise ValueError(f"column {name!r} holds values of several types: give values of one")
            features[name] = datasets.Json()
            columns[name] = [None if value is None else json.dumps(value) for value in values]
        else:
            features[name] = _feature(kind)
            columns[name] = [_fitted(value, kind) for value in values]
    return Dataset.from_dict(columns, features=datasets.Features(features))


def _kind(value: Any, is_text: bool) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return [reduce(_merged, (_kind(item, is_text) for item in value), None)]
    if isinstance(value, dict):
        return {name: _field(name, item) if is_text else _kind(item, False) for name, item in value.items()}
    # A number of more digits than a type has is written out.
    is_large = type(value) is int and not -(2**63) <= value < 2**63
    return "string" if is_text or is_large else SCALARS[type(value)]


def _field(name: str, value: Any) -> Any:
    """Return what a field of a message holds."""
    return MIXED if name not in SPOKEN and isinstance(value, (dict, list)) else _kind(value, name in SPOKEN)


def _merged(one: Any, other: Any) -> Any:
    if one is None or one == other:
        return other
    if other is None:
        return one
    if isinstance(one, list) and isinstance(other, list):
        return [_merged(one[0], other[0])]
    if isinstance(one, dict) and isinstance(other, dict):
        return {**one, **{name: _merged(one.get(name), kind) for name, kind in other.items()}}
    if isinstance(one, str) and isinstance(other, str) and MIXED not in (one, other):
        return "float64" if {one, other} == {"int64", "float64"} else "string"
    return MIXED


def _is_mixed(kind: Any) -> bool:
    # Arrow has no object without keys.
    if kind in (MIXED, {}):
        return True
    return any(map(_is_mixed, kind.values() if isinstance(kind, dict) else kind if isinstance(kind, list) else ()))


def _feature(kind: Any) -> Any:
    if isinstance(kind, list):
        return datasets.List(_feature(kind[0]))
    if isinstance(kind, dict):
        return {name: _feature(inner) for name, inner in kind.items()}
    return Value(kind or "null")


def _fitted(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, list):
        return [_fitted(item, kind[0]) for item in value]
    if isinstance(kind, dict):
        return {name: _fitted(value.get(name), inner) for name, inner in kind.items()}
    if kind == "string":
        return as_written(value)
    return float(value) if kind == "float64" else value


def as_written(value: Any) -> str | None:
    """Return a value as a text. Among texts, an infinity is none."""
    return None if isinstance(value, float) and not math.isfinite(value) else str(value)
