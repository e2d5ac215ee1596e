"""What an adapter's folder says of itself, for those who do without `peft`."""

from pathlib import Path
from typing import Any

from ..checks.boundary import read_object
from ..errors import InputError
from ..reports.records import RECORD_FILE, folder_hash, read_record


ADAPTER_CONFIG = "adapter_config.json"


def adapter_base(folder: str) -> str | None:
    """Return what an adapter's config says that it was trained on; `None` where there is no adapter.

    Raises:
        InputError: the config cannot be read.
    """
    if not (Path(folder) / ADAPTER_CONFIG).is_file():
        return None
    base = adapter_config(folder).get("base_model_name_or_path")
    if not isinstance(base, str):
        raise InputError(f"{Path(folder) / ADAPTER_CONFIG} names no base_model_name_or_path: copy it again.")
    return base


def adapter_config(folder: str) -> dict[str, Any]:
    """Return an adapter's config.

    Raises:
        InputError: it cannot be read.
    """
    return read_object(Path(folder) / ADAPTER_CONFIG, "copy it again.")


def is_same_base(folder: str, base: str) -> bool | None:
    """Return whether the weights in the folder `base` are those that an adapter was trained on; `None` where nothing tells.

    Raises:
        InputError: the record beside the adapter, which has their hash, cannot be read.
    """
    if not (Path(folder) / RECORD_FILE).is_file() or not Path(base).is_dir():
        return None
    wanted = read_record(Path(folder)).get("base_sha256")
    return None if wanted is None else folder_hash(Path(base)) == wanted
