"""The one place where what a library raises of a person's files and values becomes an `InputError`."""

import errno
import pickle
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from ..errors import InputError, reason_of
from .places import DISK_ERRORS


# What libraries raise of a config, weights, a record or a value that they cannot use; few have a type of their own for that.
UNUSABLE = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError, ArithmeticError),
    *(EOFError, MemoryError),
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
