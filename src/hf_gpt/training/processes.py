"""Processes that this one starts end with it, killed or not."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


# Of <sys/prctl.h>: which signal a process gets when its parent dies.
PR_SET_PDEATHSIG = 1

# Of the process that is about to fork, where its children are to end with it; else 0.
_parent = [0]
_is_wanted = [False]


@contextmanager
def children_end_with_this_process() -> Iterator[None]:
    """Within it, what is forked is killed by the system as soon as this process is dead, however it dies.

    The workers of a pool that tokenises hold the ends of each other's pipes, so that none of them would see that nobody is left to give
    it work. Systems other than Linux have no such order to give.
    """
    _is_wanted[0] = sys.platform.startswith("linux")
    try:
        yield
    finally:
        _is_wanted[0] = False


def _before_fork() -> None:
    # The system counts the end of a thread as that of the parent: a process that a thread starts is left alone.
    is_main = threading.current_thread() is threading.main_thread()
    _parent[0] = os.getpid() if _is_wanted[0] and is_main else 0


def _in_child() -> None:
    if _parent[0]:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != _parent[0]:
            # It died before the system was told.
            os.kill(os.getpid(), signal.SIGKILL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_in_child)
