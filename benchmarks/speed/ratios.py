"""How many times faster our recipe has a peer's loss, from the records of the runs."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..frame import find_records


PEERS = ("stock", "expert", "nanogpt")
Seconds = Callable[[dict[str, Any]], float]


@dataclass(frozen=True)
class Ratio:
    """One peer and one seed.

    Args:
        peer: Name of the system.
        seed: Of both sides.
        target: The peer's validation loss at its end, nats per token.
        peer_seconds: What the peer took for it.
        our_seconds: What ours takes for the same loss; None if no run of ours got there.
        is_bound: Whether the shortest run of ours was below the target already, so that our seconds are an upper bound.
    """

    peer: str
    seed: int
    target: float
    peer_seconds: float
    our_seconds: float | None
    is_bound: bool

    @property
    def value(self) -> float:
        return 0.0 if self.our_seconds is None else self.peer_seconds / self.our_seconds


def wall_seconds(record: dict[str, Any]) -> float:
    return record["seconds"]


def seconds_after_compiling(record: dict[str, Any]) -> float:
    return record["seconds"] - record["compile_seconds"]


def seconds_to(target: float, runs: list[tuple[float, float]]) -> tuple[float | None, bool]:
    """Return seconds to a loss from `(seconds, loss)` of whole runs of several lengths, each with a schedule of its own.

    Between two runs, the loss is taken to fall with the logarithm of the time.

    Returns:
        The seconds, None if no run got there, and whether the shortest run was there already.
    """
    runs = sorted(runs)
    if runs[0][1] <= target:
        return runs[0][0], True
    for (early, high), (late, low) in pairwise(runs):
        if low <= target:
            share = (high - target) / (high - low)
            return math.exp(math.log(early) + share * (math.log(late) - math.log(early))), False
    return None, False


def read_runs(folder: str) -> list[dict[str, Any]]:
    """Return the timed runs among the records of that folder."""
    return find_records(f"{folder}/*-seed-*")


def ratios(runs: list[dict[str, Any]], seconds: Seconds) -> list[Ratio]:
    """Return every peer and seed that has its runs."""
    found = []
    for peer in PEERS:
        for record in runs:
            ours = [(seconds(run), run["loss"]) for run in runs if run["system"] == "ours" and run["seed"] == record["seed"]]
            if record["system"] == peer and ours:
                needed, is_bound = seconds_to(record["loss"], ours)
                found.append(Ratio(peer, record["seed"], record["loss"], seconds(record), needed, is_bound))
    return found


def summary(found: list[Ratio], peer: str) -> str:
    """Median and range over the seeds, such as `5.2 (4.9 to 5.5)`; "at least" where our shortest run was below already."""
    values = sorted(ratio.value for ratio in found if ratio.peer == peer)
    if not values:
        return ""
    if values[0] == 0.0:
        return "not reached"
    bound = "≥ " if any(ratio.is_bound for ratio in found if ratio.peer == peer) else ""
    spread = f" ({values[0]:.1f} to {values[-1]:.1f})" if len(values) > 1 else ""
    return f"{bound}{statistics.median(values):.1f}×{spread}"
