"""Names that are a folder here or a repository on the Hub: which of both is decided before anything is asked over a network."""

import os
import re
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import InputError, shown
from .boundary import read_object


# Where our recipes write to: no account of the Hub is meant by it.
RUNS_FOLDER = "runs"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
# What files are called, and repositories are not.
FILE_NAME = re.compile(
    r".+\.(txt|md|jsonl?|ndjson|csv|tsv|parquet|gz|zip|xz|zst|ya?ml|safetensors|gguf|pt|xlsx?|ods|docx?|pdf|pkl|npy|arrow|sqlite)",
    re.IGNORECASE,
)


def check_name(name: str, field: str) -> None:
    """Raise `InputError` for a name that is no path here and cannot be, or is not meant to be, one on the Hub; or for a folder whose
    weights lie elsewhere, see `check_inside`.

    `openai-community/gpt2` is looked for on the Hub unless there is a folder `openai-community` here, in which it is missed.

    Args:
        field: What the name was given as, for the message.
    """
    try:
        if name and Path(name).exists():
            check_inside(Path(name))
            return
        missing = [parent for parent in Path(name).parents if parent.is_dir()]
    except InputError:
        raise
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


def leaves(name: str) -> bool:
    """Return whether a name leads out of the folder that it is a name in."""
    # A Windows path counts as one everywhere: the disk may be one that Windows reads.
    parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
    return ".." in parts or PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).drive) or name.startswith("\\")


def check_inside(folder: Path) -> None:
    """Raise `InputError` when weights of a folder lie outside of it, by a name in their index or by a link: it may be a stranger's.

    A snapshot in the cache of the Hub has links to the blobs beside it.
    """
    names = [path.name for pattern in ("*.safetensors", "*.bin", "*.pt") for path in folder.glob(pattern)]
    for index in folder.glob("*.index.json"):
        named: list[str] = []
        # Who reads the weights tells what else is wrong with an index.
        with suppress(InputError, OSError, LookupError, AttributeError):
            named = [str(name) for name in read_object(index, "copy it again.")["weight_map"].values()]
        for name in filter(leaves, named):
            raise InputError(f"{index} names {shown(name)}, which lies outside of that folder: nothing is read there.")
        names += named
    root = Path(os.path.realpath(folder))
    roots = [root, *([root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [])]
    for name in sorted(set(names)):
        leads_to = Path(os.path.realpath(folder / name))
        if not any(leads_to.is_relative_to(inside) for inside in roots):
            raise InputError(
                f"{folder / name} is a link out of that folder, and is not followed: put the file itself in its place."
            )
