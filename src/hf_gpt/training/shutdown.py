"""How a run ends before its time: after its step, with a checkpoint, so that nothing is lost."""

import contextlib
import errno
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..checks.system import ENDING_SIGNALS, SIGPIPE
from ..reports.terminal import silence
from ..run_folder.checkpoints import newest, rerun
from .trainer import GuardedTrainer


# Launchers and shells pass on what a whole group has got already; a person who wants an end presses the keys later, or without one.
ECHO_SECONDS = 2.0
# What writing fails with where nobody reads any more: a pipe's other end is closed, or the terminal is.
UNREAD = (errno.EPIPE, errno.EIO)


class GracefulShutdown(TrainerCallback):
    """On a signal, or when nobody reads its output any more, the run writes a checkpoint after the step and ends; on a second signal
    it ends at once. Between `with` and its end, the handlers are those of this class.

    transformers' own `enable_jit_checkpoint` waits three seconds first and saves before the step that it is in has changed the
    weights, when the random numbers of that step are drawn already: what resumes from there is another run.

    Args:
        trainer: What is notified, and knows when all its processes agree.
    """

    def __init__(self, trainer: GuardedTrainer) -> None:
        self.trainer = trainer
        self.has_stopped = False
        self.signal: signal.Signals | None = None
        self._received_at = 0.0
        self._before: dict[int, Any] = {}
        self._streams = contextlib.ExitStack()

    def __enter__(self) -> "GracefulShutdown":
        if threading.current_thread() is threading.main_thread():
            for number in ENDING_SIGNALS:
                # `nohup` has this one ignored, and means it.
                if number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle_signal)
        self._streams.enter_context(contextlib.redirect_stdout(WatchedStream(sys.stdout, self._notify)))
        self._streams.enter_context(contextlib.redirect_stderr(WatchedStream(sys.stderr, self._notify)))
        return self

    def __exit__(self, *error: Any) -> None:
        self._streams.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle_signal(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if self.signal is None:
            self._received_at = now
            self._notify(signal.Signals(number))
            saving = "saving after this step, then stopping" if self.can_save else "stopping after this step"
            _say(f"{self.signal_name}: {saving}; once more stops at once.", self.is_talking)
        elif now - self._received_at >= ECHO_SECONDS or (number == signal.SIGINT and not _is_launched()):
            folder = Path(str(self.trainer.args.output_dir))
            _say(f"Stopped at once; {newest(folder)}: {rerun(folder)}.", self.is_talking)
            os._exit(128 + number)

    def _notify(self, number: signal.Signals) -> None:
        if self.signal is None:
            self.signal = number
        self.trainer.is_notified = True

    @property
    def is_talking(self) -> bool:
        return bool(self.trainer.is_world_process_zero())

    @property
    def signal_name(self) -> str:
        return (self.signal or signal.SIGTERM).name

    def on_step_end(self, args, state, control, **kwargs):
        # A single process need not wait for the step after the one in which it was notified.
        is_time = self.trainer.has_to_stop or (args.world_size == 1 and self.trainer.is_notified)
        if is_time and state.global_step < state.max_steps:
            control.should_training_stop = self.has_stopped = True
            control.should_save = self.can_save

    @property
    def can_save(self) -> bool:
        """Whether there is a checkpoint to resume from: not of matrices that `Trainer` cannot write."""
        return int(self.trainer.get_tp_size()) == 1

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal, as a shell has it; of a process that was told by another one, that of SIGTERM."""
        return 128 + (self.signal or signal.SIGTERM)


class WatchedStream(io.TextIOBase):
    """A text stream that does not fail when nobody reads it any more: it tells so, once, and what is written then is gone.

    Args:
        stream: What is written to.
        notify: Called with SIGPIPE, which is what a program gets that does not look after this.
    """

    def __init__(self, stream: Any, notify: Callable[[signal.Signals], None]) -> None:
        self._stream, self._notify = stream, notify

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._attempt(partial(self._stream.write, text))
        if "\n" in text:
            self.flush()
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def isatty(self) -> bool:
        return bool(self._stream.isatty())

    def fileno(self) -> int:
        return int(self._stream.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(self._stream.encoding)

    def _attempt(self, write: Callable[[], Any]) -> None:
        try:
            write()
        except OSError as error:
            if error.errno not in UNREAD:
                raise
            silence(self._stream)
            self._notify(SIGPIPE)


def _say(message: str, is_talking: bool) -> None:
    """Write from a handler, in which the streams of Python may be in the middle of a write."""
    if is_talking:
        with contextlib.suppress(OSError):
            os.write(2, f"\n{message}\n".encode())


def _is_launched() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("WORLD_SIZE", 1)) > 1
