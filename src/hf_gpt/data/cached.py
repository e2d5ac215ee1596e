"""The key under which rows are cached on disk: it has the code that makes them and what their files hold.

`datasets` knows a function by its name alone, and a file by its path and time: an unpacked one may have those of another.
"""

import hashlib
from functools import cache
from pathlib import Path

from datasets import Dataset, IterableDataset
from datasets.fingerprint import Hasher

from .packages import sha256_of
from .text_files import FileState, file_state


@cache
def code_hash() -> str:
    """Return one hash over the modules that make rows: what is cached under it is what today's code makes."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def content_of(path: Path) -> str:
    """Return the SHA-256 of a file, which is read once while it stays as it is."""
    return _content_of(path, file_state(path))


@cache
def _content_of(path: Path, state: FileState) -> str:
    del state
    return sha256_of(path)


def by_this_code(rows: Dataset | IterableDataset, content: list[str]) -> Dataset | IterableDataset:
    """Return the same rows, of which nothing is made from a cache that other code has filled, or files of other content."""
    if isinstance(rows, IterableDataset):
        return rows
    return rows.select_columns(rows.column_names, new_fingerprint=Hasher.hash((rows._fingerprint, code_hash(), content)))
