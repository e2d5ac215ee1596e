"""How long it takes until one can begin. Writes benchmarks/records/startup.json."""

import argparse
import subprocess
import sys
from functools import partial

from .frame import write_record
from .pairs import alternate


COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "from transformers import PreTrainedModel": [sys.executable, "-c", "from transformers import PreTrainedModel"],
    "import hf_gpt": [sys.executable, "-c", "import hf_gpt"],
    "hf-gpt --help": [sys.executable, "-m", "hf_gpt", "--help"],
}


def printed(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def run(options: argparse.Namespace) -> None:
    tasks = {name: partial(printed, command) for name, command in COMMANDS.items()}
    seconds = alternate(tasks, rounds=1 if options.smoke else 11, warm_up=0 if options.smoke else 2)
    best = {name: min(found) for name, found in seconds.items()}
    print(best)
    added = best["import hf_gpt"] - best["from transformers import PreTrainedModel"]
    write_record("startup", "startup", seconds=seconds, best=best, added_seconds=added)
