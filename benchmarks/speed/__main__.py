"""Wall time to the same validation loss: our recipe beside what people use today.

python -m benchmarks.speed              everything that has no record yet: tuning, then the timed runs, seed by seed
python -m benchmarks.speed --long       one seed against the first two peers with an hour each, at the learning rates found before
python -m benchmarks.speed --smoke      everything with two steps on random ids, in one process, into a temporary folder

Each run is a process of its own. The runs of a seed follow each other, so that the machine is the same for all of them. Writes
`benchmarks/records/speed/*.json`; `python -m benchmarks.results` makes the tables of them.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hf_gpt.reports.records import code_state, device_description, make_record, write_json

from .clock import Clock
from .corpus import BLOCK, Blocks, Corpus, load_corpus, random_corpus
from .ratios import PEERS, ratios, read_runs, summary, wall_seconds
from .systems import SYSTEMS, Run


ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "benchmarks" / "records" / "speed"
LONG_RECORDS = ROOT / "benchmarks" / "records" / "speed-long"
CORPUS = ROOT / "runs" / "bench" / "corpus"
BUDGET_SECONDS, LONG_BUDGET_SECONDS = 720.0, 3600.0
SHARES = (1 / 12, 1 / 6, 1 / 4, 1 / 3)
TUNING_SHARE = 1 / 6
SCORES = 8
# Trains a system, and writes the record of that name into that folder.
Start = Callable[[str, Run, str, Path], None]


def train(system: str, run: Run, name: str, folder: Path, corpus: Corpus) -> None:
    """One run in this process, and its record."""
    code_state()
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
    write_json(folder / f"{name}.json", make_record("speed", **content))


def in_a_process(system: str, run: Run, name: str, folder: Path) -> None:
    """One run in a process of its own."""
    values = [str(run.steps), str(run.learning_rate), str(run.seed), str(run.scores)]
    subprocess.run([sys.executable, "-m", "benchmarks.speed", "--one", system, name, str(folder), *values], check=True)


def started(system: str, run: Run, name: str, folder: Path, start: Start) -> dict[str, Any]:
    """The record of a run, made now if it is not there."""
    path = folder / f"{name}.json"
    if not path.is_file():
        print(f"{name}: {run}", flush=True)
        start(system, run, name, folder)
    found = json.loads(path.read_text(encoding="utf-8"))
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
        folder: Where the records of the timed runs go.
        budget: Seconds of steps of a peer's run.
        shares: Parts of the budget that ours runs for, each a run of its own with a schedule of its own, from the shortest on until one
            is below every peer.
        peers: Names of the systems that ours is timed against.
        seeds: One run of everything for each.
        scores: How often a run is scored, evenly over its length.
        start: How a run is made.
    """

    folder: Path
    budget: float
    shares: tuple[float, ...]
    peers: tuple[str, ...]
    seeds: tuple[int, ...]
    scores: int
    start: Start = in_a_process


def tune(
    folder: Path, budget: float, calibration_steps: int, tries: int | None = None, start: Start = in_a_process
) -> dict[str, tuple[float, float]]:
    """Seconds of a step on this processor, and the best learning rate of each system.

    A try is a sixth of the system's longest timed run, in steps of the processor that it was tuned on.
    """
    found = {}
    for system, described in SYSTEMS.items():
        calibration = Run(calibration_steps, described.learning_rates[2], seed=100, scores=1)
        name = f"calibration-{system}-{processor()}"
        step_seconds = started(system, calibration, name, folder, start)["median_step_seconds"]
        whole = budget * (SHARES[-1] if system == "ours" else 1)
        steps = steps_in(whole * TUNING_SHARE, step_seconds)
        tried = {
            rate: started(system, Run(steps, rate, seed=100, scores=1), f"tuning-{system}-{rate:g}", folder, start)["loss"]
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
            targets.append(started(system, run, f"{system}-seed-{seed}", plan.folder, plan.start)["loss"])
        step_seconds, rate = tuned["ours"]
        for share in plan.shares:
            run = Run(steps_in(plan.budget * share, step_seconds), rate, seed, plan.scores)
            if started("ours", run, f"ours-{round(1 / share)}-seed-{seed}", plan.folder, plan.start)["loss"] <= min(targets):
                break
    found = ratios(read_runs(plan.folder), wall_seconds)
    for peer in plan.peers:
        print(f"{peer}: {summary(found, peer)}", flush=True)


def smoke() -> None:
    """Everything with two steps and without compiling: what it asserts is that it runs and that ratios come out."""
    torch._dynamo.config.disable = True
    start = partial(train, corpus=random_corpus())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tuned = tune(folder, 0.0, 2, 1, start)
        measure(Plan(folder, 0.0, SHARES[:1], PEERS, (0,), 1, start), tuned)
        assert {ratio.peer for ratio in ratios(read_runs(folder), wall_seconds)} == set(PEERS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--one", nargs=7, metavar=("SYSTEM", "NAME", "FOLDER", "STEPS", "RATE", "SEED", "SCORES"))
    options = parser.parse_args()
    if options.one is not None:
        system, name, folder, steps, rate, seed, scores = options.one
        train(system, Run(int(steps), float(rate), int(seed), int(scores)), name, Path(folder), load_corpus(CORPUS))
    elif options.smoke:
        smoke()
    else:
        RECORDS.mkdir(parents=True, exist_ok=True)
        LONG_RECORDS.mkdir(parents=True, exist_ok=True)
        tuned = tune(RECORDS, BUDGET_SECONDS, 30)
        if options.long:
            measure(Plan(LONG_RECORDS, LONG_BUDGET_SECONDS, SHARES, ("stock", "expert"), (0,), SCORES), tuned)
        else:
            measure(Plan(RECORDS, BUDGET_SECONDS, SHARES, PEERS, tuple(options.seeds), SCORES), tuned)


if __name__ == "__main__":
    main()
