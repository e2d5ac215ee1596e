"""Labels as files have them: numbers as a country writes them, lists as text, classes by name or number, and cells without any."""

import ast
import io
import json
import math
import re
import tokenize
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import datasets
import yaml
from datasets import Dataset, Value

from ..errors import InputError, listed, shown
from .sources import TextSource


# A whole number of more digits may be of no type; beyond 2**53, two of them may be one number with a point.
WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
LARGEST_EXACT = 2**53
# As a number is written, and not as a name of digits is: 01, 1_1.
NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)", re.IGNORECASE)
# 1.234,5 and 1,234.5
COMMA_NUMBER = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?")
POINT_NUMBER = re.compile(r"[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?")


def truth_of(word: str) -> bool | None:
    """Return the truth value that YAML reads a word as, such as `yes` and `off`; none of most."""
    return yaml.SafeLoader.bool_values.get(word.lower())


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def check_labels(column: str, feature: Any) -> None:
    """Raise `InputError` for a column of anything but values, names of classes, or lists of either."""
    inner = feature.feature if isinstance(feature, datasets.List) else feature
    if not isinstance(inner, (Value, datasets.ClassLabel)) or (column == "tags" and inner is feature):
        what = "a list of tags" if column == "tags" else "a label or a list of labels"
        raise InputError(f"dataset: column {column!r} holds {kind_of(feature)}, and not {what}: name another one.")


def kind_of(feature: Any) -> str:
    return type(feature).__name__ if isinstance(feature, datasets.ClassLabel) else str(feature)


def read_labels(rows: Dataset, sign: str | None) -> Dataset:
    """Return the rows with labels that are what was meant.

    Those of a table are whole numbers, numbers, lists or text, and empty ones are null. Elsewhere, whole numbers stay such where others
    are NaN, and -1 is none of a `ClassLabel`.

    Args:
        sign: What separates the cells of a table; none of other files.

    Raises:
        InputError: a number that may be one of two, or a list among other labels.
    """
    feature, labels = rows.features["label"], rows["label"]
    if sign is not None:
        cells = [(cell or "").strip() for cell in labels]
        lists = read_lists(cells)
        values, kind = lists if lists is not None else _cells(cells, sign)
        return rows.remove_columns("label").add_column("label", values, feature=kind)
    if isinstance(feature, datasets.ClassLabel) and any(label is not None and label < 0 for label in labels):
        values = [None if label is None or label < 0 else label for label in labels]
        return rows.remove_columns("label").add_column("label", values, feature=feature)
    if not isinstance(feature, Value):
        return rows
    if feature.dtype in ("string", "large_string"):
        lists = read_lists([(label or "").strip() for label in labels])
        return rows if lists is None else rows.remove_columns("label").add_column("label", lists[0], feature=lists[1])
    if feature.dtype.startswith("decimal"):
        return rows.cast_column("label", Value("float64"))
    if feature.dtype.startswith("float"):
        # NumPy and pandas have no whole number that is missing.
        whole = _whole_beside_missing([None if label is None or math.isnan(label) else label for label in labels])
        return rows if whole is None else rows.remove_columns("label").add_column("label", whole, feature=Value("int64"))
    return rows


def trimmed_labels(cells: list[str | None]) -> dict[str, int]:
    """Return, with what is said of them, how many labels of a table have white space at an end beside others that have not: they are
    read as these. Where all have it, it belongs to what separates the cells."""
    written: dict[str, set[str]] = defaultdict(set)
    for cell in filter(None, cells):
        written[cell.strip()].add(cell)
    several = {cell: forms for cell, forms in written.items() if cell and len(forms) > 1}
    changed = [cell for cell in cells if cell and cell.strip() in several and cell != cell.strip()]
    if not changed:
        return {}
    example = f"{shown(changed[0], 40)} as {shown(changed[0].strip(), 40)}"
    return {f"labels ({example}) are read without white space at an end": len(changed)}


def _whole_beside_missing(numbers: list[float | None]) -> list[int | None] | None:
    found = [number for number in numbers if number is not None]
    if len(found) == len(numbers) or not all(number.is_integer() for number in found):
        return None
    return [None if number is None else int(number) for number in numbers]


def _cells(cells: list[str], sign: str) -> tuple[list[Any], Value]:
    """Return the cells of a table as what all of them are."""
    # Among numbers, what is none is an empty cell.
    found = [cell for cell in cells if cell and cell.lower() != "nan"]
    plain = _plain_numbers(found, sign)
    written = [plain.get(cell, cell) for cell in found]
    if not written or not all(NUMBER.fullmatch(cell) for cell in written):
        return [cell or None for cell in cells], Value("string")
    is_whole = all(WHOLE.fullmatch(cell) for cell in written)
    read: Callable[[str], Any] = int if is_whole else float
    values = [None if cell.lower() in ("", "nan") else read(plain.get(cell, cell)) for cell in cells]
    whole = None if is_whole else _whole_beside_missing(values)
    return (values, Value("int64" if is_whole else "float64")) if whole is None else (whole, Value("int64"))


def _plain_numbers(numbers: list[str], sign: str) -> dict[str, str]:
    """Return numbers as Python writes them, where some have a comma: before decimals, or between thousands.

    Raises:
        InputError: it may be either, or stand between two classes.
    """
    example = next((cell for cell in numbers if "," in cell or cell.count(".") > 1), None)
    by_comma, by_point = (all(form.fullmatch(cell) for cell in numbers) for form in (COMMA_NUMBER, POINT_NUMBER))
    if example is None or not (by_comma or by_point):
        return {}
    # Excel separates cells by commas where its decimals have a point, and by semicolons where they have a comma.
    if by_comma and "," in example and not (sign == "," if by_point else sign != ","):
        raise InputError(
            f"dataset: label {example!r} may be one number, another one, or several classes: write numbers as 1234.5, and several "
            "classes as a list such as [1, 2]."
        )
    if by_point:
        return {cell: cell.replace(",", "") for cell in numbers}
    return {cell: cell.replace(".", "").replace(",", ".") for cell in numbers}


def check_finite(rows: Dataset, source: TextSource) -> None:
    """Raise `InputError` for a label that is an infinity, of which no loss can be computed, or too large to be told from the next."""
    feature = rows.features.get("label")
    if not isinstance(feature, Value) or not feature.dtype.startswith("float"):
        return
    named = source.named
    for number, label in enumerate(rows["label"]):
        if label is not None and math.isinf(label):
            raise InputError(
                f"dataset: row {number} of {named} has label {label}: give a finite number, or leave the row out."
            )
        if label is not None and abs(label) >= LARGEST_EXACT:
            raise InputError(
                f"dataset: row {number} of {named} has label {label:.0f}, or one beside it that is the same number: write it as a text."
            )


# ------------------------------------------------------------------------------------------------------- lists as text


def read_lists(cells: list[str]) -> tuple[list[list[Any] | None], Any] | None:
    """Return labels that are lists written as text, JSON's or Python's, empty ones as null, and their type; none where they are names.

    Raises:
        InputError: a label that is no list where others are.
    """
    found: list[list[Any] | None] = []
    fault: int | None = None
    for number, cell in enumerate(cells):
        value = None
        if cell:
            try:
                value = read_literal(cell) if cell.startswith("[") else None
            except ValueError:
                value = None
            if not isinstance(value, list) or any(isinstance(item, (list, dict, tuple)) or item is None for item in value):
                value, fault = None, number if fault is None else fault
        found.append(value)
    if all(value is None for value in found):
        return None
    if fault is not None:
        raise InputError(
            f"dataset: row {fault} has label {shown(cells[fault])} where others are lists such as {shown(next(filter(None, found)))}: "
            "write all of them as lists."
        )
    items = [item for value in found for item in value or []]
    kinds = {bool: "bool", int: "int64", float: "float64"}
    kind = next((name for types, name in kinds.items() if all(type(item) is types for item in items)), "string")
    if kind == "string":
        found = [None if value is None else [str(item) for item in value] for value in found]
    return found, datasets.List(Value(kind))


def read_literal(text: str) -> Any:
    """Return what a text says in JSON, as Python shows it, or as NumPy shows an array.

    Raises:
        ValueError: none of them, or half of a character in it.
    """
    value = _literal(text)
    json.dumps(value, ensure_ascii=False, default=str).encode()
    return value


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(text) from error
    except ValueError:
        pass
    if re.fullmatch(r"\[[-+\d.eE\s]*\]", text):
        return [float(item) if re.search("[.eE]", item) else int(item) for item in text[1:-1].split()]
    try:
        return ast.literal_eval(_with_commas(text) if re.search(r"['\"]\s+['\"]", text) else text)
    except (SyntaxError, tokenize.TokenError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(text) from error


def _with_commas(text: str) -> str:
    """Return a list as Python shows it where NumPy has left out the commas, without which Python joins texts."""
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline) if token.type != tokenize.NL]
    parts = []
    for before, token in zip([None, *tokens], tokens):
        if before is not None and before.type == token.type == tokenize.STRING and before.end != token.start:
            parts.append((tokenize.OP, ","))
        parts.append((token.type, token.string))
    return tokenize.untokenize(parts)


# --------------------------------------------------------------------------------------------------------- held-out rows


def by_names_of(train: Dataset, held: Dataset, split: str) -> Dataset:
    """Return held-out rows whose classes have the numbers that they have in the training data, where these have names.

    Raises:
        InputError: a class that training has not.
    """
    for column in ("label", "tags"):
        wanted, found = train.features.get(column), held.features.get(column)
        named = getattr(wanted, "feature", wanted)
        if wanted == found or not isinstance(named, datasets.ClassLabel) or found is None:
            continue
        own = getattr(found, "feature", found)
        read = partial(_number_of, numbers={name: number for number, name in enumerate(named.names)}, own=own, split=split)
        values = [[read(item) for item in row] if isinstance(row, list) else read(row) for row in held[column]]
        kind = datasets.List(named) if isinstance(found, datasets.List) else named
        held = held.remove_columns(column).add_column(column, values, feature=kind)
    return held


def _number_of(label: Any, numbers: dict[str, int], own: Any, split: str) -> int | None:
    name = own.int2str(label) if isinstance(own, datasets.ClassLabel) and label is not None else label
    if name is None or name in numbers:
        return numbers.get(name)
    if isinstance(name, str) or name not in numbers.values():
        raise InputError(
            f"dataset: label {shown(name)} of the {split} split is none of the training data's, which are {listed(numbers)}."
        )
    return name
