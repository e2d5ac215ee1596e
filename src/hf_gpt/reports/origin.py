"""What a model came from: the licence and the base that its card names, and the data whose terms keep its weights at home."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.repocard import metadata_load
from transformers.utils import cached_file

from ..data.packages import PACKAGES
from ..errors import InputError
from .records import RECORD_FILE, read_record


LICENSE_KEYS = ("license", "license_name", "license_link")


def origin_of(name: str) -> dict[str, Any]:
    """Return what a model that is trained from another one takes over from it.

    Args:
        name: A folder or a repository on the Hub, as it is loaded.

    Returns:
        What its card says of its licence and, of a folder, its `base_model`; and `unpublishable`, see there.

    Raises:
        InputError: the metadata of its card or its record cannot be read.
    """
    keys = (*LICENSE_KEYS, *(("base_model",) if Path(name).is_dir() else ()))
    found: dict[str, Any] = {}
    if path := _file_of(name, "README.md"):
        try:
            card = metadata_load(path) or {}
        except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} has metadata that cannot be read ({reason}): fix or remove it.") from error
        found = {key: card[key] for key in keys if isinstance(card.get(key), str)}
    if path := _file_of(name, RECORD_FILE):
        packages = unpublishable(read_record(Path(path).parent))
        found |= {"unpublishable": packages} if packages else {}
    return found


def write_origin(folder: Path, origin: dict[str, Any]) -> None:
    """Give a model that was imported or exported a card with its licence and base, and no figure; none where neither is known."""
    card = {key: value for key, value in origin.items() if isinstance(value, str)}
    if card:
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n\nConverted by hf-gpt.\n", encoding="utf-8")


def _file_of(name: str, file: str) -> str | None:
    return cached_file(name, file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False)


def unpublishable(record: dict[str, Any]) -> list[str]:
    """Return the packages that a model learned from, or the one that it was trained from did, whose terms forbid to publish weights."""
    own = [path for path in _sources(record.get("data")) if path in PACKAGES and not PACKAGES[path].is_publishable]
    origin = record.get("origin")
    before = origin.get("unpublishable") if isinstance(origin, dict) else None
    return sorted({*own, *(name for name in PACKAGES if isinstance(before, list) and name in before)})


def _sources(data: Any) -> Iterator[str]:
    """Yield what a model learned from, the parts of a mixture among it; held-out data only score it."""
    parts = data.get("mixture") if isinstance(data, dict) else None
    for part in [data, *(parts if isinstance(parts, list) else [])]:
        if isinstance(part, dict):
            yield str(part.get("path"))


def check_publishable(packages: list[str], what: str) -> None:
    """Raise `InputError` when weights must not be published, and say by which terms."""
    if packages:
        terms = " ".join(dict.fromkeys(PACKAGES[name].caveat for name in packages))
        raise InputError(f"{what}: weights that learned from {', '.join(packages)} are not published. {terms}")
