"""What an adapter's folder says of itself, for those who do without `peft`."""

import hashlib
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..checks.boundary import read_object
from ..data.packages import cache_folder
from ..errors import InputError
from ..reports.records import RECORD_FILE, folder_hash, read_record


ADAPTER_CONFIG = "adapter_config.json"
# Younger files may change again within one tick of the clock of their file system.
SETTLED_NS = 2 * 10**9


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
    return None if wanted is None else _has_hash(Path(base), str(wanted))


def _has_hash(base: Path, wanted: str) -> bool:
    """Return whether the weights of a folder have that hash. That they have is kept in the cache folder, as an empty file, for as long
    as no weights are touched: large ones take seconds. That they have not is never kept."""
    weights = {file.name: file.stat() for file in sorted(base.glob("*.safetensors"))}
    # A time of modification can be set, and that of the last change of any kind (on Windows of creation) cannot.
    states = [(name, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns) for name, at in weights.items()]
    key = hashlib.sha256(repr((str(base.resolve()), states, wanted)).encode()).hexdigest()
    kept = cache_folder() / "bases" / key
    if kept.is_file():
        return True
    newest = max((max(at.st_mtime_ns, at.st_ctime_ns) for at in weights.values()), default=0)
    is_settled = newest < time.time_ns() - SETTLED_NS
    is_same = folder_hash(base) == wanted
    if is_same and is_settled:
        with suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.touch()
    return is_same
