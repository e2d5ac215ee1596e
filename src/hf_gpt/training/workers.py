"""The processes that read data for a run: they end with it, and not before."""

import atexit
import multiprocessing
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from accelerate.data_loader import DataLoaderAdapter
from torch.utils.data import DataLoader

from ..checks.system import ENDING_SIGNALS


def outlive_signals(loader: DataLoader) -> DataLoader:
    """The loader, whose workers end with their process and not by a signal to its group, which would take the run's last step."""
    base: Any = loader.base_dataloader if isinstance(loader, DataLoaderAdapter) else loader
    base.worker_init_fn = partial(_ignore_signals, base.worker_init_fn)
    return loader


def _ignore_signals(prepare: Callable[[int], None] | None, worker: int) -> None:
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if prepare is not None:
        prepare(worker)


@atexit.register
def _end_workers() -> None:
    """End what still reads data when the process does: Python asks for it by SIGTERM, and then waits for ever."""
    workers = [child for child in multiprocessing.active_children() if child.daemon]
    if workers and hasattr(signal, "SIGCHLD"):
        # torch takes a worker that is killed for an accident.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for worker in workers:
        worker.kill()
