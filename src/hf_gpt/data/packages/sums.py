"""Sums of two numbers of two digits: data that no registry has to send, written here from a seed, and checked by hash as all are."""

import json
import random
from pathlib import Path
from typing import Any

from .package import Package


SEED = 0
# By how much a worse answer misses: it has forgotten to carry, or has miscounted.
MISSES = (-10, -2, -1, 1, 2, 10)


def write_sums(package: Package, folder: Path) -> None:
    """Write every sum once, in the columns of `chat`, of `reward` and of `reinforcement`; `group` is the pair in whichever order."""
    # Of the generators of Python, this method alone is promised to give the same numbers in every version.
    draw = random.Random(SEED).random
    with (folder / package.file).open("w", encoding="utf-8", newline="\n") as file:
        for first in range(10, 100):
            for second in range(10, 100):
                file.write(json.dumps(sum_row(first, second, MISSES[int(draw() * len(MISSES))])) + "\n")


def sum_row(first: int, second: int, miss: int) -> dict[str, Any]:
    asked = [{"role": "user", "content": f"What is {first} + {second}?"}]
    right, wrong = ([{"role": "assistant", "content": str(first + second + error)}] for error in (0, miss))
    return {
        "messages": [*asked, *right],
        "prompt": asked,
        "chosen": right,
        "rejected": wrong,
        "answer": str(first + second),
        "group": f"{min(first, second)} + {max(first, second)}",
    }
