"""What an adapter's folder says of itself, for those who do without `peft`."""

from pathlib import Path

from ..checks.boundary import read_object
from ..errors import InputError


def adapter_base(folder: str) -> str | None:
    """Return what an adapter's config says that it was trained on; `None` where there is no adapter.

    Raises:
        InputError: the config cannot be read.
    """
    path = Path(folder) / "adapter_config.json"
    if not path.is_file():
        return None
    base = read_object(path, "copy it again.").get("base_model_name_or_path")
    if not isinstance(base, str):
        raise InputError(f"{path} names no base_model_name_or_path: copy it again.")
    return base
