"""The one place where what a library raises of a person's files and values becomes an `InputError`."""

import errno
import json
import pickle
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from ..errors import InputError, reason_of
from .places import DISK_ERRORS


# What libraries raise of a config, weights, a record or a value that they cannot use; few have a type of their own for that.
UNUSABLE = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError, ArithmeticError),
    *(EOFError, MemoryError, struct.error),
    *(SafetensorError, StrictDataclassError, pickle.UnpicklingError),
)


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Turn what a library raises inside of it into an `InputError` that names what it was given.

    Args:
        what: The field and its value, or the file.
    """
    try:
        yield
    except InputError:
        raise
    except UNUSABLE as error:
        # The fault is not in what was read: a disk is full, or nobody reads what is printed.
        if isinstance(error, OSError) and error.errno in (*DISK_ERRORS, errno.EPIPE):
            raise
        raise InputError(f"{what}: {reason_of(error)}") from error


def read_object(path: Path, hint: str) -> dict[str, Any]:
    """Return the JSON object in a file; `InputError` with a hint when it holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}): {hint}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not an object: {hint}")
    return content
