"""Packages in a cache of their own."""

import dataclasses
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from hf_gpt.data import packages


def archive(path: Path, contents: dict[str, str]) -> Path:
    """A zip or a compressed tar, by the name of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as file:
            for name, text in contents.items():
                file.writestr(name, text)
    else:
        with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as file:
            for name, text in contents.items():
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                file.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HF_GPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packages"


@pytest.fixture
def patch(monkeypatch):
    """Changes fields of a package and returns it."""

    def change(name: str, **fields) -> packages.Package:
        monkeypatch.setitem(packages.PACKAGES, name, dataclasses.replace(packages.PACKAGES[name], **fields))
        return packages.PACKAGES[name]

    return change
