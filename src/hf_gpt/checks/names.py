"""Names that are a folder here or a repository on the Hub: which of both is decided before anything is asked over a network."""

import re
from pathlib import Path

from ..errors import InputError, shown


# Where our recipes write to: no account of the Hub is meant by it.
RUNS_FOLDER = "runs"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
# What files are called, and repositories are not.
FILE_NAME = re.compile(r".+\.(txt|md|jsonl?|ndjson|csv|tsv|parquet|gz|zip|xz|zst|ya?ml|safetensors|gguf|pt)", re.IGNORECASE)


def check_name(name: str, field: str) -> None:
    """Raise `InputError` for a name that is no path here and cannot be, or is not meant to be, one on the Hub.

    `openai-community/gpt2` is looked for on the Hub unless there is a folder `openai-community` here, in which it is missed.

    Args:
        field: What the name was given as, for the message.
    """
    try:
        if name and Path(name).exists():
            return
        missing = [parent for parent in Path(name).parents if parent.is_dir()]
    except (OSError, ValueError) as error:
        raise InputError(f"{field}={shown(name)} is no path: {error}.") from None
    owner = name.partition("/")[0]
    is_local = (
        not HUB_NAME.fullmatch(name)
        or FILE_NAME.fullmatch(name)
        or owner == RUNS_FOLDER
        or ("/" in name and Path(owner).exists())
    )
    if is_local:
        near = f" {missing[0]} is there." if missing and str(missing[0]) not in (".", "/") else ""
        raise InputError(f"{field}={shown(name)} does not exist: give a folder that does, or owner/name of the Hub.{near}")
