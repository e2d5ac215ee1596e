"""What the command sets before torch is loaded; `hf_gpt` imports it first. A program that imports the package keeps its own."""

import os
import signal
import sys
from pathlib import Path
from typing import Any


INTERRUPTED = "interrupted; rerun the same command to start it again."


def _end(number: int, frame: Any) -> None:
    print(f"hf-gpt: {INTERRUPTED}", file=sys.stderr, flush=True)
    os._exit(128 + number)


# `python -m hf_gpt`, while it imports the package, or the console script.
if sys.argv[0] == "-m" or Path(sys.argv[0]).name == "hf-gpt":
    # Threads of OpenMP that wait by spinning make training several times slower beside any other busy program.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Importing takes seconds, in which a Ctrl-C would be a traceback of somebody else's; `cli.main` has a handler of its own.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


__all__ = ["INTERRUPTED"]
