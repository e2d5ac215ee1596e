"""What a run has settled for itself, such as its number of steps, kept in its folder: a resumed run reads it again."""

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from .checkpoints import write_atomically
from .manifest import announce


SETTLED_FILE = "settled.json"
BUDGET_KEYS = ("provisional_steps", "fixed_after")


def read_settled(folder: Path) -> dict[str, Any]:
    """Return what the run in a folder has settled; empty where it has settled nothing.

    Raises:
        InputError: the file is damaged, so that nobody knows which run would be resumed.
    """
    path = folder / SETTLED_FILE
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not _is_whole(values):
        raise InputError(
            f"{path} is damaged, and says what this run has decided for itself: restore it, or choose another output_dir."
        )
    return values


def _is_whole(values: dict[str, Any]) -> bool:
    """Return whether the number of steps, and how it came about, are what a run writes."""
    if "max_steps" not in values:
        return True
    budget = values.get("time_budget")
    steps = (values["max_steps"], *(budget.get(name) for name in BUDGET_KEYS)) if isinstance(budget, dict) else (None,)
    return all(isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**53 for number in steps)


def settle(folder: Path, **values: Any) -> None:
    """Add values to what the run in a folder has settled, all of them or none."""
    announce(folder, [SETTLED_FILE])
    write_atomically(folder / SETTLED_FILE, json.dumps({**read_settled(folder), **values}, indent=2) + "\n")
