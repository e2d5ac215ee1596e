"""What a run has settled for itself, such as its number of steps, kept in its folder: a resumed run reads it again."""

import json
from pathlib import Path
from typing import Any

from .checkpoints import write_atomically
from .manifest import announce


SETTLED_FILE = "settled.json"


def read_settled(folder: Path) -> dict[str, Any]:
    """What the run in a folder has settled; empty where it has settled nothing."""
    path = folder / SETTLED_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def settle(folder: Path, **values: Any) -> None:
    """Adds values to what the run in a folder has settled, all of them or none."""
    announce(folder, [SETTLED_FILE])
    write_atomically(folder / SETTLED_FILE, json.dumps({**read_settled(folder), **values}, indent=2) + "\n")
