"""Sums of two numbers of two digits: data that no registry has to send, written here from a seed, and checked by hash as all are."""

import json
import random
from pathlib import Path
from typing import Any

from .package import Package


SEED = 0
# By how much a worse answer misses: a carry forgotten, or miscounted; or it has one digit more than there should be.
MISSES, LEAPS = (-10, -2, -1, 1, 2, 10), (80, 90, 100)


def write_sums(package: Package, folder: Path) -> None:
    """Write every sum once, in the columns of `chat`, of `reward` and of `reinforcement`; `group` is the pair in whichever order."""
    # Of the generators of Python, this method alone is promised to give the same numbers in every version.
    draw = random.Random(SEED).random
    with (folder / package.file).open("w", encoding="utf-8", newline="\n") as file:
        for first in range(10, 100):
            for second in range(10, 100):
                faults = worse_answers(first, second)
                fault = [*faults][int(draw() * len(faults))]
                answers = faults[fault]
                file.write(json.dumps(sum_row(first, second, fault, answers[int(draw() * len(answers))])) + "\n")


def worse_answers(first: int, second: int) -> dict[str, list[str]]:
    """Return worse answers by what is wrong with them: to see a miss takes a sum, the others show it in their form or their size."""
    total = first + second
    return {
        "miss": [str(total + error) for error in MISSES],
        "leap": [str(total + error) for error in LEAPS],
        "operand": [str(first), str(second)],
        "question": [f"{first} + {second} ="],
    }


def sum_row(first: int, second: int, fault: str, worse: str) -> dict[str, Any]:
    asked = [{"role": "user", "content": f"What is {first} + {second}?"}]
    right, wrong = ([{"role": "assistant", "content": answer}] for answer in (str(first + second), worse))
    return {
        "messages": [*asked, *right],
        "prompt": asked,
        "chosen": right,
        "rejected": wrong,
        "fault": fault,
        "answer": str(first + second),
        "group": f"{min(first, second)} + {max(first, second)}",
    }
