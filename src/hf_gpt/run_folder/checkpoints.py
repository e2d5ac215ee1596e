"""A checkpoint is whole or it is not there: its files are listed with their hashes, and it gets its name last."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from transformers.trainer_utils import get_last_checkpoint

from ..checks.places import replacing
from ..checks.system import exclusive, to_disk
from ..data.packages import sha256_of
from ..errors import InputError


# In each checkpoint: the SHA-256 of every other file of it. No file that is loaded has this name.
HASHES_FILE = "sha256.json"
# Where a checkpoint or a finished model is written before it gets its place; a push leaves out names with an underscore in front.
DAMAGED = "damaged-"
STAGING_FOLDER = "_writing"


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder but the list itself, by its path in the folder.

    Raises:
        InputError: a link among them, which may lead out of the folder.
    """
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise InputError(f"{path} is a link: a checkpoint holds files only, and none is read or written through a link.")
        if path.is_file() and path.name != HASHES_FILE:
            hashes[path.relative_to(folder).as_posix()] = sha256_of(path)
    return hashes


def write_hashes(folder: Path) -> None:
    """List the hashes of a folder in it, and return when all of it is on the disk: from then on damage is found."""
    hashes = file_hashes(folder)
    (folder / HASHES_FILE).write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
    for name in (*hashes, HASHES_FILE):
        to_disk(folder / name)


def finalize(written: Path, place: Path) -> None:
    """List the hashes of a checkpoint that was written somewhere and give it its name: from then on it counts.

    Args:
        written: Its folder, on the same disk.
        place: Where it belongs; what is there is replaced.
    """
    write_hashes(written)
    if place.exists():
        shutil.rmtree(place)
    os.replace(written, place)
    to_disk(place.parent)


def find_damage(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint: the end of a sentence about it; `None` for a whole one."""
    try:
        expected = json.loads((checkpoint / HASHES_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return "was not written to its end"
    except (ValueError, RecursionError):
        return f"is damaged: its {HASHES_FILE} cannot be read"
    found = file_hashes(checkpoint)
    if not isinstance(expected, dict) or not expected or set(found) != set(expected):
        return f"is damaged: its files are not those that its {HASHES_FILE} lists"
    changed = [name for name in found if found[name] != expected[name]]
    return f"is damaged: {changed[0]} has another SHA-256 than when it was written" if changed else None


def last_valid(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest valid checkpoint of a run folder, and a line for each newer one, which is set aside under another name: somebody may
    know better what it is worth."""
    lines: list[str] = []
    while (name := get_last_checkpoint(str(folder))) is not None:
        if (wrong := find_damage(Path(name))) is None:
            return Path(name), lines
        aside = Path(name).with_name(f"{DAMAGED}{Path(name).name}")
        shutil.rmtree(aside, ignore_errors=True)
        Path(name).rename(aside)
        lines.append(f"{name} {wrong}, and is set aside as {aside.name}.")
    return None, lines


def newest(folder: Path) -> str:
    """For a message: the checkpoint that the same command would resume from."""
    name = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    return f"the last good checkpoint is {name}" if name else "there is no checkpoint yet"


def rerun(folder: Path) -> str:
    """For a message, behind `newest`: what the same command does."""
    return (
        f"rerun the same command to {'resume' if folder.is_dir() and get_last_checkpoint(str(folder)) else 'start it again'}"
    )


# --------------------------------------------------------------------------------------------- the folder of a run


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a folder for one process. The lock dies with the process, and no child keeps it; it leaves no file behind.

    Raises:
        InputError: another process holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(folder))
        except BlockingIOError:
            raise InputError(
                f"output_dir={str(folder)!r} is in use by another process, which trains into it: wait for it, or name another folder."
            ) from None
        _held[folder] = os.stat(folder)
        stack.callback(_held.pop, folder)
        yield


_held: dict[Path, os.stat_result] = {}


def check_in_place(folder: Path) -> None:
    """Raise `InputError` when a folder that this process holds was moved or replaced: what is written now would lie beside the run."""
    for held, state in _held.items():
        if os.path.abspath(held) != os.path.abspath(folder):
            continue
        try:
            is_same = os.path.samestat(state, os.stat(folder))
        except OSError:
            is_same = False
        if not is_same:
            raise InputError(
                f"{folder} is no longer the folder that this run began in: it was moved, or something else is in its place. What was "
                "saved is whole: rerun the same command with output_dir= the place where it lies now."
            )


def check_links(folder: Path) -> None:
    """Raise `InputError` for a link inside a run folder: a run makes none, and writing through one may reach anywhere."""
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise InputError(f"{path} is a link: a run folder holds files only. Take it out, or choose another output_dir.")


def move_files(written: Path, folder: Path) -> None:
    """Move the files of one folder into another, each one whole or not at all, and remove the first."""
    for path in sorted(written.rglob("*")):
        target = folder / path.relative_to(written)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            to_disk(path)
            os.replace(path, target)
    shutil.rmtree(written)


def write_atomically(path: Path, text: str) -> None:
    """Write a file under another name first."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
