"""What Linux, macOS and Windows do not share: locks of folders, what reaches the disk, memory, and the signals that end a process."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


try:
    import fcntl
    import resource
except ImportError:
    # Windows.
    fcntl = resource = None  # type: ignore[assignment]

# What ends a run: a scheduler takes the machine away, a person presses Ctrl-C, a terminal is closed.
ENDING_SIGNALS = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGHUP") if name in signal.Signals.__members__)
# What a program gets that writes where nobody reads any more.
SIGPIPE = signal.Signals.__members__.get("SIGPIPE", signal.SIGTERM)
_held: set[int] = set()


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder for one process: the lock dies with it, and no child keeps it.

    It leaves no file: on Windows, where a folder cannot be locked, there is one beside it for as long as it is held.

    Raises:
        BlockingIOError: another process holds it.
    """
    if fcntl is None:
        try:
            with FileLock(folder.with_name(f".{folder.name}.lock"), blocking=False):
                yield
        except Timeout:
            raise BlockingIOError from None
        return
    descriptor = os.open(folder, os.O_RDONLY)
    _held.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            os.close(descriptor)


def _let_go() -> None:
    # A worker that outlives the killed process for a moment must not hold the folder against the restarted command.
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def to_disk(path: Path) -> None:
    """Return when a file, or the names in a folder, are on the disk and not in memory alone."""
    if fcntl is None and path.is_dir():
        # Windows opens no folder, and writes the names by itself.
        return
    descriptor = os.open(path, os.O_RDWR if fcntl is None else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def total_memory() -> int:
    """Return bytes of memory of this machine."""
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    import psutil

    return int(psutil.virtual_memory().total)


def memory_limits() -> list[int]:
    """Return bytes of memory that this process was limited to, by each that has limited it."""
    if resource is None:
        return []
    return [limit for limit in resource.getrlimit(resource.RLIMIT_AS) if limit != resource.RLIM_INFINITY]


def peak_bytes() -> int:
    """Return the largest resident size of this process so far."""
    if resource is None:
        import psutil

        info = psutil.Process().memory_info()
        return int(getattr(info, "peak_wset", info.rss))
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
