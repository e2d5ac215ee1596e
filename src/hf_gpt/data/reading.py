"""What a stream gives, of which a fault shows only where it is come to: one line then, whatever its reader raises."""

from collections.abc import Iterable, Iterator
from typing import Any

from datasets.exceptions import DatasetsError
from huggingface_hub.errors import HTTPError
from pyarrow import ArrowException

from ..checks.boundary import UNUSABLE
from ..checks.places import is_of_place
from ..errors import InputError, reason_of
from .packed_files import BROKEN_ARCHIVES


def read_on(rows: Iterable[Any]) -> Iterator[Any]:
    """Yield what a stream gives.

    Raises:
        InputError: it cannot be read any further.
        OSError: a file has gone, or a disk is full.
    """
    try:
        yield from rows
    except (InputError, FileNotFoundError):
        raise
    except (*UNUSABLE, *BROKEN_ARCHIVES, ArrowException, DatasetsError, HTTPError) as error:
        if is_of_place(error):
            raise
        raise InputError(f"dataset: the stream cannot be read on: {reason_of(error)}") from error
