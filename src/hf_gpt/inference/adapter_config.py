"""What an adapter's folder says of itself, for those who do without `peft`."""

import json
from pathlib import Path

from ..errors import InputError


def adapter_base(folder: str) -> str | None:
    """Return what an adapter's config says that it was trained on; `None` where there is no adapter.

    Raises:
        InputError: the config cannot be read.
    """
    path = Path(folder) / "adapter_config.json"
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}): copy it again.") from error
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(base, str):
        raise InputError(f"{path} names no base_model_name_or_path: copy it again.")
    return base
