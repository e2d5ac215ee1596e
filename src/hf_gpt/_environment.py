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


# `python -m hf_gpt`, while it imports the package and not another's program that does, or the console script.
if (sys.argv[0] == "-m" and "hf_gpt" in sys.orig_argv) or Path(sys.argv[0]).name in ("hf-gpt", "hf-gpt.exe"):
    # Threads of OpenMP that wait by spinning make training several times slower beside any other busy program.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Pictures go into files, whatever is set for a notebook or a screen that is not here.
    os.environ["MPLBACKEND"] = "agg"
    # Libraries make numbers of these while they are imported, and fail.
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT", "HF_DATASETS_IN_MEMORY_MAX_SIZE", "TERMINAL_WIDTH"):
        if not os.environ.get(name, "0").isdecimal():
            del os.environ[name]
    # Importing takes seconds, in which a Ctrl-C would be a traceback of somebody else's; `cli.main` has a handler of its own.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
