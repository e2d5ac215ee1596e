"""Times several things in turns, so that a machine that slows down slows all of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def alternate(tasks: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Return seconds of each task in each round; every round runs all tasks once, in an order that turns by one."""
    names = list(tasks)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(warm_up):
        for name in names:
            tasks[name]()
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            begun = time.perf_counter()
            tasks[name]()
            seconds[name].append(time.perf_counter() - begun)
    return seconds


def ratio(slower: list[float], faster: list[float]) -> dict[str, float]:
    """Return how many times as long the first took, round by round: median, and the quartiles as its spread."""
    ratios = [a / b for a, b in zip(slower, faster)]
    low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {"median": median, "low": low, "high": high}
