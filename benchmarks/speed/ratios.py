"""How many times faster our recipe has a peer's loss, and with how many times fewer tokens, from the records of the runs."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..frame import find_records


# What people use today, and what is given what we know: rates by group of weights, an untied output matrix, our schedule, or Muon.
PEERS = ("stock", "expert", "nanogpt")
INFORMED_PEERS = ("gpt2-groups", "qwen3", "qwen3-groups", "nanochat")
Cost = Callable[[dict[str, Any]], float]


@dataclass(frozen=True)
class Ratio:
    """One peer and one seed.

    Args:
        peer: Name of the system.
        seed: Of both sides.
        target: The peer's validation loss at its end, nats per token.
        peer_cost: What the peer took for it, in seconds or in tokens.
        our_cost: What ours takes for the same loss; None if no run of ours got there.
        is_bound: Whether the shortest run of ours was below the target already, so that our cost is an upper bound.
    """

    peer: str
    seed: int
    target: float
    peer_cost: float
    our_cost: float | None
    is_bound: bool

    @property
    def value(self) -> float:
        return 0.0 if self.our_cost is None else self.peer_cost / self.our_cost


def wall_seconds(record: dict[str, Any]) -> float:
    return record["seconds"]


def seconds_after_compiling(record: dict[str, Any]) -> float:
    return record["seconds"] - record["compile_seconds"]


def tokens(record: dict[str, Any]) -> float:
    return record["tokens"]


def cost_to(target: float, runs: list[tuple[float, float]]) -> tuple[float | None, bool]:
    """Return the cost of a loss from `(cost, loss)` of whole runs of several lengths, each with a schedule of its own.

    Between two runs, the loss is taken to fall with the logarithm of the cost.

    Returns:
        The cost, None if no run got there, and whether the shortest run was there already.
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


def ratios(runs: list[dict[str, Any]], cost: Cost) -> list[Ratio]:
    """Return every peer and seed that has its runs."""
    found = []
    for peer in (*PEERS, *INFORMED_PEERS):
        for record in runs:
            ours = [(cost(run), run["loss"]) for run in runs if run["system"] == "ours" and run["seed"] == record["seed"]]
            if record["system"] == peer and ours:
                needed, is_bound = cost_to(record["loss"], ours)
                found.append(Ratio(peer, record["seed"], record["loss"], cost(record), needed, is_bound))
    return found


def summary(
    found: list[Ratio],
    peer: str,
    style: str = "{bound}{median:.{digits}f}×{spread}",
    span: str = " ({low:.{digits}f} to {high:.{digits}f})",
    digits: int = 1,
    below_one: str | None = None,
) -> str:
    """Median and range over the seeds, such as `5.2× (4.9 to 5.5)`; "at least" where our shortest run was below already.

    Args:
        below_one: The style of the inverse, where the median is below one: how many times slower.
    """
    values = sorted(ratio.value for ratio in found if ratio.peer == peer)
    if not values:
        return ""
    if values[0] == 0.0:
        return "not reached"
    if below_one and statistics.median(values) < 1:
        style, values = below_one, sorted(1 / value for value in values)
    bound = "≥ " if any(ratio.is_bound for ratio in found if ratio.peer == peer) else ""
    spread = span.format(low=values[0], high=values[-1], digits=digits) if len(values) > 1 else ""
    return style.format(bound=bound, median=statistics.median(values), spread=spread, digits=digits)
