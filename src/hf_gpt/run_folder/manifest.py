"""`run.json`: which files and folders of an output folder a run has written. No others are ever replaced or removed."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..data.packages import sha256_of
from ..errors import InputError
from .checkpoints import DAMAGED, HASHES_FILE, STAGING_FOLDER, check_in_place, write_atomically


MANIFEST_FILE = "run.json"
# What a run measured, written when it is over.
RECORD_FILE = "record.json"
# What a run makes and removes again; a kill may leave it behind.
SPLIT_FOLDER = "weights-to-split"
TEMPORARY_FOLDERS = (STAGING_FOLDER, SPLIT_FOLDER)
EVENTS_FOLDER = "runs"
# In a checkpoint without a list of its files, what `Trainer` and its libraries call theirs.
CHECKPOINT_FILES = re.compile(
    r"([\w.-]+\.(safetensors|json|pt|pth|bin|py|jinja|distcp)|\.metadata|latest|tokenizer\.model|vocab\.txt|merges\.txt|README\.md)"
)
# What tokenizers of transformers save.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
)
EVENTS_FILES = re.compile(r"events\.out\.tfevents\..+")

# A run has its folder, its record, and everything; one that is about to be replaced is no run any more.
Stage = Literal["claimed", "recorded", "finished", "replaced"]


@dataclass
class Manifest:
    """What is in `run.json`.

    Attributes:
        recipe: What makes a run the one that it is: the values of its recipe but those that only change what is reported.
        data: What identifies its data.
        files: The SHA-256 of each file that it has written to the end; `None` for one that it is about to write.
        folders: Names of its folders.
    """

    recipe: dict[str, Any]
    data: dict[str, Any]
    stage: Stage = "claimed"
    files: dict[str, str | None] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a run folder; `None` where there is none.

    Raises:
        InputError: it cannot be read, so that nobody knows what belongs to the run.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest(**values)
    except (ValueError, TypeError, RecursionError, OSError) as error:
        raise _unreadable(path) from error
    is_right = isinstance(manifest.files, dict) and isinstance(manifest.folders, list)
    if not is_right or not isinstance(manifest.recipe, dict) or not isinstance(manifest.data, dict):
        raise _unreadable(path)
    if any(not is_plain(name) for name in (*manifest.files, *manifest.folders)):
        raise _unreadable(path)
    return manifest


def _unreadable(path: Path) -> InputError:
    return InputError(f"{path} is damaged, and says which files are the run's: restore it, or choose another output_dir.")


def is_plain(name: Any) -> bool:
    """Return whether a name is that of a file or folder right below another."""
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name


def write_manifest(folder: Path, manifest: Manifest) -> None:
    write_atomically(folder / MANIFEST_FILE, json.dumps(asdict(manifest), indent=2) + "\n")


def announce(folder: Path, files: Iterable[str] = (), folders: Iterable[str] = ()) -> None:
    """Say what a run is about to write, before the names are there: a kill in between leaves nothing that belongs to nobody.

    Raises:
        InputError: somebody else has put something there meanwhile, or moved the folder.
    """
    check_in_place(folder)
    files, folders = list(files), list(folders)
    manifest = read_manifest(folder)
    if manifest is None:
        return
    for name in (*files, *folders):
        if os.path.lexists(folder / name) and not _is_own(folder / name, manifest):
            raise InputError(f"{folder / name} is nothing that the run has written: take it out, and rerun the same command.")
    manifest.files |= dict.fromkeys(files)
    manifest.folders = sorted({*manifest.folders, *folders})
    write_manifest(folder, manifest)


def note_written(folder: Path, stage: Stage | None = None, *, names: Iterable[str] | None = None) -> None:
    """Keep the hashes of files that are written to their end: after this, one that somebody changed is known.

    Args:
        stage: How far the run has come.
        names: Of the files; by default all that were announced.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return
    for name in manifest.files if names is None else names:
        path = folder / name
        manifest.files[name] = sha256_of(path) if path.is_file() else None
    manifest.stage = manifest.stage if stage is None else stage
    write_manifest(folder, manifest)


# ------------------------------------------------------------------------------------------------------ what is foreign


def own_paths(folder: Path, manifest: Manifest) -> Iterator[Path]:
    """Return what is there of a run and may be removed; the manifest itself is not among it."""
    for path in sorted(folder.iterdir()):
        if path.name != MANIFEST_FILE and _is_own(path, manifest):
            yield path


def _is_own(path: Path, manifest: Manifest) -> bool:
    if path.is_symlink():
        return False
    name = path.name
    if path.is_dir():
        return name in TEMPORARY_FOLDERS or name in manifest.folders or name.removeprefix(DAMAGED) in manifest.folders
    temporary = re.fullmatch(r"\.(.+)\.tmp", name)
    known = {MANIFEST_FILE, *manifest.files}
    return path.is_file() and (name in known or (temporary is not None and temporary[1] in known))


def first_foreign(folder: Path, manifest: Manifest, unchecked: tuple[str, ...] = ()) -> str | None:
    """Return what in a run folder is not the run's, as the beginning of a sentence; `None` when everything is.

    Args:
        unchecked: Files of the run that may have been changed.
    """
    for path in sorted(folder.iterdir()):
        if not _is_own(path, manifest):
            return f"{path} is nothing that the run has written"
        if path.is_dir() and path.name not in TEMPORARY_FOLDERS:
            inner = _foreign_inside(path)
            if inner is not None:
                return f"{inner} is nothing that the run has written"
        expected = manifest.files.get(path.name)
        if expected is not None and path.name not in unchecked and sha256_of(path) != expected:
            return f"{path} is not the file that the run wrote"
    return None


def _foreign_inside(folder: Path) -> Path | None:
    """Return the first file of a checkpoint that its list does not name, or of a folder of events that is none."""
    listed = None
    if folder.name != EVENTS_FOLDER:
        try:
            found = json.loads((folder / HASHES_FILE).read_text(encoding="utf-8"))
            listed = {*found, HASHES_FILE} if isinstance(found, dict) else None
        except (OSError, ValueError, RecursionError):
            listed = None
    pattern = EVENTS_FILES if folder.name == EVENTS_FOLDER else CHECKPOINT_FILES
    for directory, names, files in os.walk(folder):
        for name in sorted((*names, *files)):
            path = Path(directory) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                return path
            if path.is_file() and not (relative in listed if listed is not None else pattern.fullmatch(name)):
                return path
    return None
