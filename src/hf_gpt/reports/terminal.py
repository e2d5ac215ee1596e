"""What a person at a terminal does not see: what libraries tell their own developers, and the traceback of a Ctrl-C."""

import logging
import os
import re
import signal
import sys
import warnings
from typing import Any

from ..errors import visible


# What a logger of a library says that nothing follows from, by the name of the logger.
NOISE = {
    "transformers.training_args": re.compile(r"The speedups for torchdynamo|Setting TF32"),
    # Of a tied matrix, which is written once.
    "transformers.trainer": re.compile(r"missing keys in the checkpoint model loaded: \['[\w.]*lm_head\.weight'\]"),
    # What our own line says of a file that cannot be read.
    **{
        f"datasets.packaged_modules.{kind}.{kind}": re.compile(r"Failed to (read|load)") for kind in ("json", "csv", "parquet")
    },
    # A recipe's shares of the run, before their number was known and after.
    "transformers.trainer_utils": re.compile(r"arguments do not match the ones in the `trainer_state\.json`"),
}
# What loading a model reports, a table of weights: ours refuses in a line what is not meant to be so.
REPORTS = ("transformers.modeling_utils", "transformers.utils.loading_report", "transformers.integrations.peft")


class Interruption:
    """Handles Ctrl-C outside of training: it ends the process; the workers of a pool, which get it too, end without a word.

    Attributes:
        has_come: Whether this process was interrupted, whatever that has led to.
    """

    def __init__(self) -> None:
        self.has_come = False
        self._process = os.getpid()
        signal.signal(signal.SIGINT, self._handle_signal)

    def _handle_signal(self, number: int, frame: Any) -> None:
        if os.getpid() != self._process:
            os._exit(128 + number)
        self.has_come = True
        raise KeyboardInterrupt


def silence(stream: Any) -> None:
    """Send what is written to a stream nowhere, what waits in its buffer too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def end_bars() -> None:
    """End the line of each bar that an exception has left as it was: what is printed next begins a line of its own."""
    # Where nothing has imported it, there is no bar.
    std = sys.modules.get("tqdm.std")
    for bar in list(std.tqdm._instances) if std is not None else ():
        bar.close()


def is_worth_telling(record: logging.LogRecord) -> bool:
    """Return whether what a library logs says something to whoever trains a model."""
    message = record.getMessage()
    if record.name in REPORTS and "LOAD REPORT" in message:
        # What could not be converted is in the table alone.
        return "CONVERSION" in message
    return record.name not in NOISE or NOISE[record.name].search(message) is None


def silence_libraries() -> None:
    """Leave out what libraries say to their developers; what they say of a user's data and files stays."""
    for category in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
        warnings.simplefilter("ignore", category)
    # On a processor without them, too.
    warnings.filterwarnings("ignore", message=".*TensorFloat32 tensor cores")
    for name in (*NOISE, *REPORTS):
        logging.getLogger(name).addFilter(is_worth_telling)


def hide_bars_of_weights() -> None:
    """Leave out transformers' bars of weights that are read and written, which are full at once; downloads from the Hub keep theirs."""
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging as transformers_logging

    are_wanted = not are_progress_bars_disabled()
    transformers_logging.disable_progress_bar()
    if are_wanted:
        enable_progress_bars()


def notice(message: str) -> None:
    """Print a line for the user, not through the middle of a bar."""
    from tqdm.auto import tqdm

    tqdm.write(visible(message))
    sys.stdout.flush()
