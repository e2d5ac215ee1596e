"""Values of YAML as the types that a key may have."""

import types
import typing
from typing import Any, Literal

from huggingface_hub.dataclasses import type_validator
from huggingface_hub.errors import StrictDataclassFieldValidationError

from ..errors import InputError, did_you_mean, shown


def checked(key: str, value: Any, hint: Any) -> Any:
    """The value, with a number written as `1e-3` made one (YAML 1.1 reads it as text), and `no` left a word (it reads it as false)."""
    allowed = flat_types(hint)
    if value is False and str in allowed and bool not in allowed:
        value = "no"
    if isinstance(value, str) and float in allowed and str not in allowed:
        try:
            value = float(value)
        except ValueError:
            raise InputError(f"{key}={shown(value)} must be a number.") from None
    if isinstance(value, int) and not isinstance(value, bool) and float in allowed and int not in allowed:
        try:
            value = float(value)
        except OverflowError:
            raise InputError(f"{key}={shown(value)} is larger than any number of {key} may be.") from None
    try:
        type_validator(key, value, hint)
    except (StrictDataclassFieldValidationError, TypeError, ValueError) as error:
        choices = [choice for kind in allowed if typing.get_origin(kind) is Literal for choice in typing.get_args(kind)]
        if choices and isinstance(value, str):
            raise InputError(
                f"{key}={shown(value)} must be one of {', '.join(choices)}.{did_you_mean(value[:100], choices)}"
            ) from error
        names = " or ".join(sorted({_type_name(kind) for kind in allowed}))
        raise InputError(f"{key}={shown(value)} is of type {type(value).__name__}, expected {names}.") from error
    return value


def flat_types(hint: Any) -> list[Any]:
    """Return the types of a union, or the one that a hint is."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(hint) for kind in flat_types(part)]
    return [hint]


def _type_name(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(kind))
    if kind is type(None):
        return "null"
    return kind.__name__ if isinstance(kind, type) and typing.get_origin(kind) is None else str(kind)
