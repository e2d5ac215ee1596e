"""Wall time to the same validation loss: our recipe beside what people use today.

python -m benchmarks speed              everything that has no record yet: tuning, then the timed runs, seed by seed; on a
                                        processor that emulates bfloat16 all in float32, with ten minutes a peer
python -m benchmarks speed --long       one seed against the first two peers with an hour each, at the learning rates found before
python -m benchmarks speed --informed   the same for peers that are given what we know, each with five minutes, tuned anew
python -m benchmarks speed --poems      one seed of these on another text, poems of the Tang dynasty, at the learning rates found before

Each run is a process of its own. The runs of a seed follow each other, so that the machine is the same for all of them. Writes
`benchmarks/records/speed/*.json`; `python -m benchmarks results` makes the tables of them.
"""

import argparse
import re
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hf_gpt.planning import hardware
from hf_gpt.reports.records import device_description

from ..frame import apart, load_record, record_path, write_record
from .clock import Clock
from .corpus import BLOCK, FILM_REVIEWS, Blocks, Corpus, load_corpus, random_corpus
from .ratios import INFORMED_PEERS, PEERS, ratios, read_runs, summary, wall_seconds
from .systems import SYSTEMS, Run


TUNING_SHARE = 1 / 6
CALIBRATION_STEPS = 30
# How often a grid is widened whose best rate lies at an edge.
REOPENED = 2
# Trains a system, and writes the record of that name.
Start = Callable[[str, Run, str], None]


def train(system: str, run: Run, name: str, corpus: Corpus) -> None:
    """One run in this process, and its record."""
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        # Where the environment keeps torch to that, the compiler would still write for what the processor can.
        torch._inductor.config.cpp.simdlen = 256
    precision = "bfloat16" if hardware.multiplies_natively() else "float32"
    scored = {max(1, run.steps * part // run.scores) for part in range(1, run.scores + 1)}
    clock = Clock(Blocks(corpus.validation), scored, bf16=system != "stock" and precision == "bfloat16")
    model = SYSTEMS[system].train(run, corpus, clock)
    content = {
        "system": system,
        "setup": SYSTEMS[system].setup.replace("bfloat16", precision),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": run.steps,
        "learning_rate": run.learning_rate,
        "others": run.others,
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


def train_recorded(system: str, run: Run, name: str, text: str) -> None:
    train(system, run, name, load_corpus(text))


def in_a_process(system: str, run: Run, name: str, text: str = FILM_REVIEWS) -> None:
    """One run in a process of its own."""
    apart(train_recorded, system, run, name, text)


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
        folder: Of the records.
        budget: Seconds of steps of a peer's run.
        shares: Parts of the budget that ours runs for, each a run of its own with a schedule of its own, from the shortest on until one
            is below every peer.
        peers: Names of the systems that ours is timed against.
        tuned_as: The plan whose calibration and learning rates this one takes; its own by default.
        seeds: One run of everything for each.
        scores: How often a run is scored, evenly over its length.
        start: How a run is made.
    """

    folder: str
    budget: float
    shares: tuple[Fraction, ...]
    peers: tuple[str, ...]
    tuned_as: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    scores: int = 8
    start: Start = in_a_process


SHARES = (Fraction(1, 24), Fraction(1, 12), Fraction(1, 6), Fraction(1, 4), Fraction(1, 3))
# Peers that know as much are nearer: ours is given more of their time, and half as much again to find out how much slower it is.
INFORMED_SHARES = (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), Fraction(1), Fraction(3, 2))
PLANS = {
    # The lowest and the highest of five hold the median of all seeds with a probability of 94 %.
    "speed": Plan("speed", 600.0, SHARES, PEERS, seeds=(0, 1, 2, 3, 4)),
    # On a processor that emulates bfloat16, all in float32.
    "float32": Plan("speed-float32", 600.0, SHARES, PEERS),
    # An hour has the rates that ten minutes found.
    "long": Plan("speed-long", 3600.0, SHARES, ("stock", "expert"), tuned_as="speed", seeds=(0,)),
    "informed": Plan("speed-informed", 300.0, INFORMED_SHARES, INFORMED_PEERS),
    "poems": Plan(
        "speed-poems",
        300.0,
        INFORMED_SHARES,
        INFORMED_PEERS,
        tuned_as="informed",
        seeds=(0,),
        start=partial(in_a_process, text="chinese-poetry-tang"),
    ),
}


def search(loss_at: Callable[[float], float], grid: tuple[float, ...], reopened: int = REOPENED) -> float:
    """Return the best rate of a grid, which goes on by factors of two while its best is the lowest or the highest of several."""
    tried = {rate: loss_at(rate) for rate in grid}
    for _ in range(reopened if len(grid) > 1 else 0):
        best = min(tried, key=tried.__getitem__)
        if min(tried) < best < max(tried):
            break
        wider = best * 2 if best == max(tried) else best / 2
        tried[wider] = loss_at(wider)
    return min(tried, key=tried.__getitem__)


def tune(
    plan: Plan, steps: int = CALIBRATION_STEPS, tries: int | None = None, reopened: int = REOPENED
) -> dict[str, tuple[float, Run]]:
    """Return seconds of a step on this processor, and a run with the best rates of each system.

    A try is a sixth of the system's longest timed run, in steps of the processor that it was tuned on.
    """
    found = {}
    for system in ("ours", *plan.peers):
        described = SYSTEMS[system]
        calibration = Run(steps, described.learning_rates[2], seed=100, scores=1)
        name = f"{plan.folder}/calibration-{system}-{processor()}"
        step_seconds = started(system, calibration, name, plan.start)["median_step_seconds"]
        whole = plan.budget * (min(1.0, float(plan.shares[-1])) if system == "ours" else 1.0)
        run = Run(steps_in(whole * TUNING_SHARE, step_seconds), 0.0, seed=100, scores=1)

        def loss_at(rate: float, others: float = 1.0, system: str = system, run: Run = run) -> float:
            name = f"{plan.folder}/tuning-{system}-{rate:g}{f'-others-{others:g}' if others != 1 else ''}"
            return started(system, replace(run, learning_rate=rate, others=others), name, plan.start)["loss"]

        rate = search(loss_at, described.learning_rates[:tries], reopened)
        others = search(partial(loss_at, rate), described.others[-tries:] if tries else described.others, reopened)
        found[system] = step_seconds, replace(run, learning_rate=rate, others=others)
    return found


def own_name(share: Fraction) -> str:
    return "-of-".join(str(part) for part in share.as_integer_ratio() if part != 1) or "1"


def measure(plan: Plan, tuned: dict[str, tuple[float, Run]]) -> None:
    """The timed runs; those of a seed follow each other."""
    for seed in plan.seeds:
        targets = []
        for system in plan.peers:
            step_seconds, best = tuned[system]
            run = replace(best, steps=steps_in(plan.budget, step_seconds), seed=seed, scores=plan.scores)
            targets.append(started(system, run, f"{plan.folder}/{system}-seed-{seed}", plan.start)["loss"])
        step_seconds, best = tuned["ours"]
        for share in plan.shares:
            run = replace(best, steps=steps_in(plan.budget * float(share), step_seconds), seed=seed, scores=plan.scores)
            name = f"{plan.folder}/ours-{own_name(share)}-seed-{seed}"
            if started("ours", run, name, plan.start)["loss"] <= min(targets):
                break
    found = ratios(read_runs(plan.folder), wall_seconds)
    for peer in plan.peers:
        print(f"{peer}: {summary(found, peer)}", flush=True)


def smoke(folder: Path) -> None:
    """Everything with two steps and without compiling: what it asserts is that it runs and that ratios come out."""
    torch._dynamo.config.disable = True
    start = partial(train, corpus=random_corpus())
    for plan in (PLANS["speed"], PLANS["informed"]):
        plan = replace(plan, budget=0.0, shares=plan.shares[:1], seeds=(0,), scores=1, start=start)
        measure(plan, tune(plan, steps=2, tries=1, reopened=0))
        assert {ratio.peer for ratio in ratios(read_runs(plan.folder), wall_seconds)} == set(plan.peers)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--long", dest="plan", action="store_const", const="long")
    parser.add_argument("--informed", dest="plan", action="store_const", const="informed")
    parser.add_argument("--poems", dest="plan", action="store_const", const="poems")
    parser.add_argument("--seeds", type=int, nargs="+")


def run(options: argparse.Namespace) -> None:
    is_native = hardware.multiplies_natively()
    if options.plan and not is_native:
        sys.exit(f"This processor emulates bfloat16: --{options.plan} is measured where it does not.")
    plan = PLANS[options.plan or ("speed" if is_native else "float32")]
    tuned = tune(replace(PLANS[plan.tuned_as], peers=plan.peers) if plan.tuned_as else plan)
    measure(replace(plan, seeds=tuple(options.seeds or plan.seeds)), tuned)
