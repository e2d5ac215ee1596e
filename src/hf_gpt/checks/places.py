"""Where a run, an export, an import or a picture may be written: what must not be a target is named before anything is."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError, shown


# Bytes that the names below a folder may take, and the longest path that Linux opens.
ROOM_BELOW, LONGEST_PATH = 200, 4096
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
# What our pictures say of themselves, and where in a PNG that is: a chunk of text in front of the pixels.
PICTURE_METADATA = {"Software": "hf-gpt"}
PICTURE_MARK, MARKED_BYTES = b"tEXtSoftware\0hf-gpt", 1024


def check_place(folder: Path, field: str) -> None:
    """Raise `InputError` when nothing should, or can, be written into a folder of that name, be it there already or not.

    Args:
        field: What the folder is called in the message, such as `output_dir`.
    """
    other = "another"
    try:
        wrong = _wrong_with_folder(folder)
        if folder.is_symlink() and folder.is_dir():
            other = "that"
    except OSError as error:
        wrong = f"cannot be a folder: {error.strerror or error}"
    except (ValueError, RuntimeError) as error:
        # A zero byte in the name; links in a circle.
        wrong = f"cannot be a folder: {error}"
    if wrong is not None:
        raise InputError(f"{field}={_short(folder)} {wrong}. Name {other} folder.")


def _short(path: Path) -> str:
    told = repr(str(path))
    return told if len(told) <= 200 else f"{told[:200]}…"


def _wrong_with_folder(folder: Path) -> str | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        os.lstat(folder)
    if folder.is_symlink():
        if not folder.exists():
            return "is a link that leads nowhere"
        leads_to = "folder" if folder.is_dir() else "file"
        return f"is a link and no folder itself: it leads to the {leads_to} {str(folder.resolve())!r}"
    for index, part in enumerate(folder.parts):
        # To make the folder would make this one too, wherever it leads.
        if part == ".." and not Path(*folder.parts[:index]).is_dir():
            return f"leads through {str(Path(*folder.parts[:index]))!r}, which is not there"
    parents = [folder, *folder.absolute().parents]
    there = next(parent for parent in parents if os.path.lexists(parent))
    if not there.exists():
        return f"lies below {str(there)!r}, a link that leads nowhere"
    if not there.is_dir():
        return "is a file" if there == folder else f"lies below {str(there)!r}, which is a file"
    resolved = folder.resolve()
    if len(os.fsencode(resolved)) + ROOM_BELOW > LONGEST_PATH:
        return "is too long a path"
    if holds(resolved, Path.cwd()):
        return "is the folder that the command is given in, or holds it"
    home = home_folder()
    if home is not None and holds(resolved, home):
        return "is your home folder, or holds it"
    if os.path.ismount(resolved):
        return "is where another disk is mounted: name a folder inside it"
    if os.path.lexists(folder / ".git"):
        return "is the working tree of a git repository"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"cannot be written: {str(there)!r} is read-only, or belongs to somebody else"
    return None


def holds(folder: Path, other: Path) -> bool:
    """Return whether a path is a folder or lies in it; both with their links resolved."""
    return folder == other or folder in other.parents


def check_outside(folder: Path, source: str, field: str) -> None:
    """Raise `InputError` when a folder that is to be written is the one that is read, or lies in it.

    Args:
        field: What the folder is called in the message.
    """
    if os.path.exists(source) and holds(Path(os.path.realpath(source)), Path(os.path.realpath(folder))):
        raise InputError(f"{field}={_short(folder)} is or lies in {shown(source)}, which is read: name a folder beside it.")


# What a shell replaces, of Windows too; and where a path of Windows begins.
VARIABLE = re.compile(r"\$[A-Za-z_]\w*(?![\w$])|\$\{\w+\}|%[A-Za-z_]\w*%")
DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def expand_home(value: str, field: str) -> str:
    """Return a path as a person writes it, its `~` made the home folder: a shell does so for a word that begins with it alone.

    Raises:
        InputError: there is no such home folder; or what another shell would have replaced is still there, and nothing has that name.
    """
    expanded = os.path.expanduser(value)
    if expanded.startswith("~"):
        raise InputError(
            f"{field}={shown(value)}: there is no home folder of that name: write ./{value} for what lies here, or the folder out."
        )
    variable = VARIABLE.search(value)
    if variable is not None and not os.path.lexists(expanded):
        raise InputError(
            f"{field}={shown(value)}: {variable[0]} is a variable that no shell has replaced: write the path out, or without single "
            "quotes."
        )
    if os.name != "nt" and DRIVE.match(value) and not os.path.lexists(value):
        raise InputError(f"{field}={shown(value)} is a path of Windows: here folders are separated by / and have no drive.")
    return expanded


def home_folder() -> Path | None:
    """Return the home folder, links resolved; `None` for a user who has none."""
    try:
        return Path.home().resolve()
    except (RuntimeError, OSError):
        return None


def check_new_file(path: Path, folder: Path) -> None:
    """Raise `InputError` when a new file below a folder, which is made if need be, would replace something or lie somewhere else.

    Args:
        folder: As it was named: it may be a link, but nothing below it.
    """
    try:
        if os.path.lexists(path):
            raise InputError(f"{path} exists: name another folder, so that nothing of yours is overwritten.")
        for parent in path.parents:
            is_below = parent != folder and folder in parent.parents
            if is_below and parent.is_symlink():
                raise InputError(f"{parent} is a link, and may lead out of {folder}. Name another folder.")
            if os.path.lexists(parent):
                if not parent.is_dir():
                    raise InputError(f"{path} would lie below {parent}, which is no folder: name another one.")
                if not os.access(parent, os.W_OK | os.X_OK):
                    raise InputError(
                        f"{parent} cannot be written: it is read-only, or belongs to somebody else. Name another."
                    )
                return
    except InputError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{_short(path)} cannot be written: {reason}. Name another folder.") from error


def check_picture(path: Path, field: str, replaces_any: bool = False) -> None:
    """Raise `InputError` when a picture cannot be written there, or would take the place of anything but a picture of ours.

    Args:
        replaces_any: Whether a PNG that something else has drawn may be replaced: the caller knows whose it is.
    """
    told = f"{field}={_short(path)}"
    try:
        if path.is_symlink():
            raise InputError(f"{told} is a link, which a picture would replace: name another file, or the one it leads to.")
        if os.path.lexists(path):
            if not path.is_file():
                raise InputError(f"{told} is a {'folder' if path.is_dir() else 'device'}, not a picture: name another file.")
            with path.open("rb") as file:
                head = file.read(MARKED_BYTES)
            if not head.startswith(PNG_HEAD):
                raise InputError(f"{told} is a file that is no PNG, which a picture would replace: name another file.")
            if PICTURE_MARK not in head and not replaces_any:
                raise InputError(f"{told} is a picture that hf-gpt has not drawn: name another file, or move that one away.")
        os.lstat(path.parent)
        if not path.parent.is_dir():
            raise InputError(f"{told}: {str(path.parent)!r} is no folder. Name another file.")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise InputError(f"{told}: {str(path.parent)!r} cannot be written. Name another file.")
    except OSError as error:
        raise InputError(f"{told} cannot be written: {error.strerror or error}. Name another file.") from error
    if path.suffix.lower() != ".png":
        raise InputError(f"{told} is not named as the PNG that a picture is: name another file, {path.stem or 'picture'}.png.")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, which takes its name when the block ends well: a reader sees the old file or the new one.

    What lies there already, a link of ill will among it, is taken away and not written through.
    """
    # The longest names that a file system takes leave no room for more.
    short = os.fsencode(path.name)[:ROOM_BELOW].decode("utf-8", "ignore")
    temporary = path.with_name(f".{short}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        os.replace(temporary, path)
    except Exception:
        temporary.unlink(missing_ok=True)
        raise


# What the system says of a file or a folder that a person has to do with, and not of a fault in a program.
PLACE_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENXIO, errno.ENODEV),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EBUSY, errno.ESTALE, errno.ETXTBSY),
    *(errno.EMFILE, errno.ENFILE),
)


def is_of_place(error: BaseException | None) -> bool:
    """Return whether an error is about a place, such as a full disk, that it names itself, and not about what lies there."""
    return isinstance(error, OSError) and error.errno in PLACE_ERRORS and error.filename is not None


# What libraries in Rust, and NumPy, say of a full disk, a quota, a file that is too large, and a read-only disk.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
DISK_MESSAGES = re.compile(rf"\(os error ({'|'.join(map(str, DISK_ERRORS))})\)|^\d+ requested and \d+ written$")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a disk that is full, of bytes or of inodes, into one line that names the folder that was written to.

    The error itself may name another file: the one that was copied, in an installed package.

    Raises:
        InputError: the disk is full, a quota is used up, a file becomes too large, or the disk is read-only.
    """
    try:
        yield
    except Exception as error:
        # tokenizers and safetensors have no type for this: what they raise is told apart by what it says.
        number = error.errno if isinstance(error, OSError) else None
        is_of_disk = number in DISK_ERRORS or (number is None and DISK_MESSAGES.search(str(error)) is not None)
        if not is_of_disk:
            raise
        reason = os.strerror(number) if number else " ".join(str(error).split())
        raise InputError(
            f"{folder} cannot be written: {reason} ({free_bytes(folder)}). What was finished before stays good: free or change the "
            "place, and rerun the same command."
        ) from error


def free_bytes(folder: Path) -> str:
    """Return how much room there is where a folder is or would be, for a message."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    # A disk of Windows has no number of inodes.
    inodes = f" and {os.statvfs(there).f_favail:,} inodes" if hasattr(os, "statvfs") else ""
    return f"{shutil.disk_usage(there).free:,} bytes{inodes} are free there"
