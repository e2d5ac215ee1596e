"""Wall time to the same validation loss: our recipe beside what people use today.

python -m benchmarks speed              everything that has no record yet: tuning, then the timed runs, seed by seed
python -m benchmarks speed --long       one seed against the first two peers with an hour each, at the learning rates found before


Each run is a process of its own. The runs of a seed follow each other, so that the machine is the same for all of them. Writes
`benchmarks/records/speed/*.json`; `python -m benchmarks results` makes the tables of them.
"""

import argparse
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hf_gpt.reports.records import device_description

from ..frame import apart, load_record, record_path, write_record
from .clock import Clock
from .corpus import BLOCK, Blocks, Corpus, load_corpus, random_corpus
from .ratios import PEERS, ratios, read_runs, summary, wall_seconds
from .systems import SYSTEMS, Run


BUDGET_SECONDS, LONG_BUDGET_SECONDS = 720.0, 3600.0
SHARES = (1 / 12, 1 / 6, 1 / 4, 1 / 3)
TUNING_SHARE = 1 / 6
SCORES = 8
# Trains a system, and writes the record of that name.
Start = Callable[[str, Run, str], None]


def train(system: str, run: Run, name: str, corpus: Corpus) -> None:
    """One run in this process, and its record."""
    scored = {max(1, run.steps * part // run.scores) for part in range(1, run.scores + 1)}
    clock = Clock(Blocks(corpus.validation), scored, bf16=system != "stock")
    model = SYSTEMS[system].train(run, corpus, clock)
    content = {
        "system": system,
        "setup": SYSTEMS[system].setup,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": run.steps,
        "learning_rate": run.learning_rate,
        "seed": run.seed,
        "tokens": run.steps * SYSTEMS[system].batch * BLOCK,
        "seconds": clock.seconds,
        "compile_seconds": clock.compile_seconds,
        "median_step_seconds": statistics.median(clock.steps),
        "median_wait_seconds": statistics.median(clock.waits),
        "loss": clock.history[-1]["loss"],
        "history": clock.history,
        "corpus_sha256": corpus.sha256,
    }
    write_record(name, "speed", **content)


def train_recorded(system: str, run: Run, name: str) -> None:
    train(system, run, name, load_corpus())


def in_a_process(system: str, run: Run, name: str) -> None:
    """One run in a process of its own."""
    apart(train_recorded, system, run, name)


def started(system: str, run: Run, name: str, start: Start) -> dict[str, Any]:
    """Return the record of a run, made now if it is not there."""
    if not record_path(name).is_file():
        print(f"{name}: {run}", flush=True)
        start(system, run, name)
    found = load_record(name)
    print(f"{name}: loss {found['loss']:.3f} after {found['tokens']:,} tokens and {found['seconds']:.0f} s", flush=True)
    return found


def processor() -> str:
    """This machine's processor, as part of a file's name: how long a step takes is measured once for each."""
    return re.sub("[^a-z0-9]+", "-", device_description()["processor"].lower()).strip("-")


def steps_in(seconds: float, step_seconds: float) -> int:
    return max(2, round(seconds / step_seconds))


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Args:
        folder: Of the records of the timed runs.
        budget: Seconds of steps of a peer's run.
        shares: Parts of the budget that ours runs for, each a run of its own with a schedule of its own, from the shortest on until one
            is below every peer.
        peers: Names of the systems that ours is timed against.
        seeds: One run of everything for each.
        scores: How often a run is scored, evenly over its length.
        start: How a run is made.
    """

    folder: str
    budget: float
    shares: tuple[float, ...]
    peers: tuple[str, ...]
    seeds: tuple[int, ...]
    scores: int
    start: Start = in_a_process


def tune(
    budget: float, calibration_steps: int, tries: int | None = None, start: Start = in_a_process
) -> dict[str, tuple[float, float]]:
    """Return seconds of a step on this processor, and the best learning rate of each system.

    A try is a sixth of the system's longest timed run, in steps of the processor that it was tuned on.
    """
    found = {}
    for system, described in SYSTEMS.items():
        calibration = Run(calibration_steps, described.learning_rates[2], seed=100, scores=1)
        name = f"speed/calibration-{system}-{processor()}"
        step_seconds = started(system, calibration, name, start)["median_step_seconds"]
        whole = budget * (SHARES[-1] if system == "ours" else 1)
        steps = steps_in(whole * TUNING_SHARE, step_seconds)
        tried = {
            rate: started(system, Run(steps, rate, seed=100, scores=1), f"speed/tuning-{system}-{rate:g}", start)["loss"]
            for rate in described.learning_rates[:tries]
        }
        found[system] = step_seconds, min(tried, key=tried.__getitem__)
    return found


def measure(plan: Plan, tuned: dict[str, tuple[float, float]]) -> None:
    """The timed runs; those of a seed follow each other."""
    for seed in plan.seeds:
        targets = []
        for system in plan.peers:
            step_seconds, rate = tuned[system]
            run = Run(steps_in(plan.budget, step_seconds), rate, seed, plan.scores)
            targets.append(started(system, run, f"{plan.folder}/{system}-seed-{seed}", plan.start)["loss"])
        step_seconds, rate = tuned["ours"]
        for share in plan.shares:
            run = Run(steps_in(plan.budget * share, step_seconds), rate, seed, plan.scores)
            name = f"{plan.folder}/ours-{round(1 / share)}-seed-{seed}"
            if started("ours", run, name, plan.start)["loss"] <= min(targets):
                break
    found = ratios(read_runs(plan.folder), wall_seconds)
    for peer in plan.peers:
        print(f"{peer}: {summary(found, peer)}", flush=True)


def smoke(folder: Path) -> None:
    """Everything with two steps and without compiling: what it asserts is that it runs and that ratios come out."""
    torch._dynamo.config.disable = True
    start = partial(train, corpus=random_corpus())
    measure(Plan("speed", 0.0, SHARES[:1], PEERS, (0,), 1, start), tune(0.0, 2, 1, start))
    assert {ratio.peer for ratio in ratios(read_runs("speed"), wall_seconds)} == set(PEERS)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])


def run(options: argparse.Namespace) -> None:
    tuned = tune(BUDGET_SECONDS, 30)
    if options.long:
        measure(Plan("speed-long", LONG_BUDGET_SECONDS, SHARES, ("stock", "expert"), (0,), SCORES), tuned)
    else:
        measure(Plan("speed", BUDGET_SECONDS, SHARES, PEERS, tuple(options.seeds), SCORES), tuned)
