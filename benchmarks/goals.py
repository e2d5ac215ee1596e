"""The goals of the benchmarks, each with what was measured and, where it is missed, with what stands in the way."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .frame import table
from .speed.ratios import ratios, read_runs, wall_seconds
from .speed.systems import SYSTEMS


OF_INFORMED = {"gpt2-groups": 1.3, "qwen3": 2.0, "qwen3-groups": 1.15, "nanochat": 1.0}
# By the folder of the runs, and how a goal's title ends there.
SPEED_GOALS = {
    "speed": ({"stock": 6.0, "expert": 3.0, "nanogpt": 3.0}, ""),
    "speed-float32": ({"stock": 5.0, "expert": 3.0}, ", all in float32"),
    "speed-informed": (OF_INFORMED, ""),
    "speed-poems": (OF_INFORMED, ", on poems"),
}
# What stands in the way where a peer is given what we know.
IF_SLOWER = {
    "gpt2-groups": "one seed on one core beside other work",
    "qwen3-groups": "one seed on one core beside other work",
    "nanochat": "it has bounded logits, an output matrix from zero and a momentum that rises, which ours has not; see the lab book",
}
OURS = ("ours", "ours, no oneDNN")
OURS_COMPILED = ("ours, compiled", "ours, compiled, no oneDNN", "ours, int8, compiled")
GPU_NOT_RUN = ["on a GPU: 1.4× stock GPT-2 and Qwen3, MFU ≥ 50 %, a race ≥ 4×", "not run", "no", "no GPU was at hand"]
HEADINGS = ("goal", "measured", "met", "what stands in the way, and what was tried")


@dataclass(frozen=True)
class Goal:
    """One row of the table.

    Args:
        title: What is asked for.
        limit: The figure that each of `measured` is held against.
        measured: One figure of each case.
        if_missed: What stands in the way, and what was tried.
        at_most: Whether the limit is an upper one.
        unit: Of all figures.
    """

    title: str
    limit: float
    measured: tuple[float, ...]
    if_missed: str = ""
    at_most: bool = False
    unit: str = "×"

    @property
    def number_met(self) -> int:
        return sum(value <= self.limit if self.at_most else value >= self.limit for value in self.measured)

    def row(self) -> list[str]:
        low, high = (f"{value:.2f}" for value in (min(self.measured), max(self.measured)))
        cells = [
            f"{self.title}: {'≤' if self.at_most else '≥'} {self.limit:g}{self.unit}",
            f"{low}{self.unit}" if low == high else f"{low} to {high}{self.unit}",
        ]
        if self.number_met == len(self.measured):
            return [*cells, "yes", ""]
        return [*cells, f"{self.number_met} of {len(self.measured)}", self.if_missed]


def speed_goals(folder: str) -> list[Goal]:
    """Return the goals of the peers that were timed."""
    found = ratios(read_runs(folder), wall_seconds)
    limits, where = SPEED_GOALS[folder]
    measured = {peer: tuple(ratio.value for ratio in found if ratio.peer == peer) for peer in limits}
    return [
        Goal(f"faster than {SYSTEMS[peer].title}{where}", limits[peer], values, IF_SLOWER.get(peer, ""))
        for peer, values in measured.items()
        if values
    ]


def step_goals(record: dict[str, Any]) -> list[Goal]:
    def medians(compiled: bool) -> tuple[float, ...]:
        rows = (row for row in record["rows"] if row["compiled"] is compiled)
        return tuple(row[part]["ratio"]["median"] for row in rows for part in ("forward", "step"))

    return [
        Goal(
            "a forward pass or a step of GPT-2 beside transformers', not compiled",
            1.1,
            medians(False),
            "the forward pass that misses it is the same computation as one that does not",
        ),
        Goal(
            "the same, compiled",
            1.0,
            medians(True),
            "both sides are the same matrix multiplications between fused kernels, so that there is little to win; where the last "
            "hundredths "
            "go was not profiled; the loss in slices may take some time for the memory that it saves",
        ),
    ]


def memory_goals(record: dict[str, Any]) -> list[Goal]:
    return [
        Goal("less memory added by the loss", 5.0, (record["ratio_added"],)),
        Goal("less memory of a whole step", 1.7, (record["ratio_step"],)),
        Goal("time of that step beside stock's", 1.1, (record["ratio_seconds"],), at_most=True),
    ]


def generation_goals(rows: list[dict[str, Any]]) -> list[Goal]:
    def fastest(row: dict[str, Any]) -> float:
        """Of ours with the row's own weights: int8 reads half of what the bound counts and llama.cpp is given."""
        return max(speed for name, speed in row["tokens_per_second"].items() if name.startswith("ours") and "int8" not in name)

    return [
        Goal(
            "`generate` beside stock's, not compiled",
            1.4,
            tuple(row["ratio"][name]["median"] for row in rows for name in OURS if name in row["ratio"]),
            "half of a step at 15M and more at 124M are matrix multiplications of torch, the same on both sides, and much of the "
            "rest is "
            "`generate` itself; GELU in one operation was taken out; without oneDNN, the products of one row are faster in bfloat16 at "
            "15M",
        ),
        Goal(
            "the same at 15M with a static cache, compiled",
            2.0,
            tuple(
                row["ratio"][name]["median"]
                for row in rows
                if row["size"] == "15M"
                for name in OURS_COMPILED
                if name in row["ratio"]
            ),
            "in float32, reading the weights; in bfloat16, oneDNN's product of one row, and at batch 8 its products of "
            "eight; freezing, `max_autotune` and a wrapper in C++ were tried",
        ),
        Goal(
            "the bound of memory at 124M by the fastest of ours",
            2.0,
            tuple(row["bound_tokens_per_second"] / fastest(row) for row in rows if row["size"] == "124M"),
            "in bfloat16, oneDNN's product of one row, and int8 weights are the way around it; at batch 8, torch's products of eight "
            "rows, which are most of a step, where the bound counts the reading of the weights alone",
            at_most=True,
        ),
        Goal(
            "llama.cpp at batch 1 by the fastest of ours",
            2.0,
            tuple(row["tokens_per_second"]["llama.cpp"] / fastest(row) for row in rows if row["batch"] == 1),
            "at 15M in bfloat16, what Python and the guards around a compiled step cost; int8 weights come nearer",
            at_most=True,
        ),
    ]


def optimizer_goals(record: dict[str, Any]) -> list[Goal]:
    return [Goal("Muon's step by a pass of the quickstart, float32", 0.1, (record["share"]["median"],), at_most=True, unit="")]


def start_goals(record: dict[str, Any]) -> list[Goal]:
    added, help_seconds = record["added_seconds"], record["best"]["hf-gpt --help"]
    return [
        Goal(
            "`import hf_gpt` beyond transformers' own base class",
            0.2,
            (added,),
            "the auto classes, peft's tables, the conversion and Muon are imported with it",
            at_most=True,
            unit=" s",
        ),
        Goal(
            "`hf-gpt --help`",
            3.0,
            (help_seconds,),
            "importing the package registers its classes, for which transformers' own base class is imported",
            at_most=True,
            unit=" s",
        ),
    ]


def data_goals(record: dict[str, Any]) -> list[Goal]:
    return [Goal("text tokenised and packed, a core", 1.0, (record["megabytes_per_second"],), unit=" MB/s")]


# Of each figure of `benchmarks/gpu/run.py`: the goal, whether it is the most, and its unit.
GPU_GOALS = {
    "gpt2 beside stock GPT-2": (1.4, False, "×"),
    "gpt2 beside nanoGPT's model": (1.05, False, "×"),
    "modern-124m beside stock Qwen3": (1.4, False, "×"),
    "MFU, the best": (0.5, False, ""),
    "Muon's share of a step": (0.08, True, ""),
    "first step, seconds": (45.0, True, " s"),
    "hf-gpt train beside the bare loop": (0.95, False, "×"),
    "race, times as fast": (4.0, False, "×"),
}


def gpu_goals(record: dict[str, Any]) -> list[Goal]:
    return [
        Goal(f"on a GPU: {name}", value, (record["figures"][name],), at_most=at_most, unit=unit)
        for name, (value, at_most, unit) in GPU_GOALS.items()
        if name in record["figures"]
    ]


# By the name of the record that they are read from.
OF_RECORD = {
    "tokenisation": data_goals,
    "step_time": step_goals,
    "optimizer_step/float32": optimizer_goals,
    "loss_memory": memory_goals,
    "startup": start_goals,
    "gpu": gpu_goals,
}


def goals_table(goals: Iterable[Goal], has_gpu: bool) -> list[str]:
    rows = [goal.row() for goal in goals if goal.measured]
    return table(HEADINGS, rows if has_gpu else [*rows, GPU_NOT_RUN])
