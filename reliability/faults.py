"""kill -9 at random moments of a run, again and again: is what the restarted command ends with equal to the last bit?

python -m reliability faults --kills 6 --seed 1     a short one, which is printed and not recorded
One process has imported everything and forks each attempt, so that an attempt costs what its steps cost. An attempt writes which phase
it is in (packing data, stepping, evaluating, writing a checkpoint, finishing) into a byte that it shares with the one that kills it.
Writes `benchmarks/records/faults.json`.
"""

import argparse
import json
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
from benchmarks.frame import ROOT, Section, load_record, table, write_record
from benchmarks.tiny import recipe_values, write_corpus
from transformers import Trainer

from hf_gpt.data import packing, splits
from hf_gpt.recipe.arguments import Recipe
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.run_folder.manifest import read_manifest
from hf_gpt.training import run as runs
from hf_gpt.training.pretraining import Pretraining
from hf_gpt.training.trainer import GuardedTrainer

from .fault_cases import FAULTS


KILLS, SEED = 30, 0
STEPS = 40
# In turn; a kill comes at a random time after a random entry into its phase.
PHASES = ("packing data", "stepping", "evaluating", "writing a checkpoint", "finishing")
# How often a run enters each phase, and about how long it stays, in seconds: what the random moment is drawn from.
ENTRIES = {"packing data": 3, "stepping": STEPS, "evaluating": 2, "writing a checkpoint": STEPS // 10, "finishing": 1}
STAY = {"packing data": 0.05, "stepping": 0.02, "evaluating": 0.05, "writing a checkpoint": 0.06, "finishing": 0.2}


class Phase:
    """The phase of another process: a byte for it, and one for how often each was entered."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 1 + len(PHASES))

    def enter(self, name: str) -> int:
        before, place = self.memory[0], PHASES.index(name)
        self.memory[0] = place + 1
        self.memory[1 + place] = min(self.memory[1 + place] + 1, 255)
        return before

    def count(self, name: str) -> int:
        return self.memory[1 + PHASES.index(name)]

    def now(self) -> str:
        return PHASES[self.memory[0] - 1] if self.memory[0] else "starting"

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        """Tell of the phase whenever that function runs."""
        function = getattr(owner, attribute)

        def told(*arguments: Any, **named: Any) -> Any:
            before = self.enter(name)
            try:
                return function(*arguments, **named)
            finally:
                self.memory[0] = before

        setattr(owner, attribute, told)


def forked(work: Callable[[], Any], log: Path) -> int:
    """Run something in a child of its own, with what it prints in a file; returns its process id."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    code = 1
    try:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            try:
                work()
                code = 0
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(code)


def attempt(values: dict[str, Any], cache: Path, phase: Phase) -> None:
    """One run, as the command line starts it."""
    datasets.config.HF_DATASETS_CACHE = cache
    phase.wrap(splits, "split_rows", "packing data")
    phase.wrap(packing, "tokenize", "packing data")
    phase.wrap(packing, "pack", "packing data")
    phase.wrap(Trainer, "training_step", "stepping")
    phase.wrap(Trainer, "evaluate", "evaluating")
    phase.wrap(GuardedTrainer, "_save_checkpoint", "writing a checkpoint")
    phase.wrap(runs, "save_model", "finishing")
    train = runs.train

    def trained(trainer: GuardedTrainer, recipe: Recipe) -> None:
        train(trainer, recipe)
        # Not before: the rehearsal of a run's end evaluates, too.
        phase.wrap(Pretraining, "evaluate", "finishing")

    runs.train = trained
    phase.wrap(runs, "finish", "finishing")
    runs.run(parse_recipe(values))


def finish(child: int, log: Path) -> None:
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"an attempt ended with status {status}:\n{log.read_text()[-3000:]}")


def kill_at(child: int, phase: Phase, name: str, entry: int, delay: float) -> str | None:
    """Kills a run and its children in that phase; returns where it was, `None` if it had ended before."""
    while phase.count(name) < entry:
        if os.waitpid(child, os.WNOHANG)[0]:
            return None
        time.sleep(0.0005)
    time.sleep(delay)
    if os.waitpid(child, os.WNOHANG)[0]:
        return None
    os.kill(child, signal.SIGSTOP)
    where = phase.now()
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return where


def state_of(folder: Path) -> dict[str, Any]:
    """What a run ends with: weights, and the optimizer, scheduler, random numbers and place in the data of its last checkpoint."""
    from safetensors.torch import load_file

    record = json.loads((folder / "record.json").read_text())
    last = folder / f"checkpoint-{record['steps']}"
    state: dict[str, Any] = {"weights": load_file(folder / "model.safetensors")}
    for name in ("optimizer.pt", "scheduler.pt"):
        state[name] = torch.load(last / name, weights_only=True)
    # Read by a parser that makes plain values only.
    from transformers.trainer_pt_utils import safe_globals

    with safe_globals():
        state["rng_state.pth"] = torch.load(last / "rng_state.pth", weights_only=True)
    kept = json.loads((last / "trainer_state.json").read_text())
    state["place"] = {name: kept[name] for name in ("epoch", "global_step", "max_steps")}
    state["test"] = record["test"]
    return state


def is_equal(one: Any, other: Any) -> bool:
    """To the last bit, whatever the values are nested in."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(is_equal(*pair) for pair in zip(one, other))
    equal = one == other
    return bool(equal.all()) if hasattr(equal, "all") else bool(equal)


@contextmanager
def one_thread() -> Iterator[None]:
    """A process that is forked has no other threads, and waits for them forever if it counts on some."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def kill_runs(kills: int, seed: int, kills_of_a_run: int = 3) -> dict[str, Any]:
    """Kills runs `kills_of_a_run` times each, lets the command end, and compares with the run that nobody disturbed.

    Raises:
        SystemExit: a restarted command fails, or ends with other bits.
    """
    random_moments = random.Random(seed)
    rows: list[dict[str, Any]] = []
    with one_thread(), tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_corpus(folder / "corpus.jsonl")

        def start(name: str) -> tuple[int, Phase, Path]:
            phase, log = Phase(), folder / f"{name}.log"
            values = recipe_values(folder / "corpus.jsonl", folder / name, max_steps=STEPS)
            return forked(lambda: attempt(values, folder / f"cache-{name}", phase), log), phase, log

        child, _, log = start("undisturbed")
        finish(child, log)
        expected = state_of(folder / "undisturbed")
        while len(rows) < kills:
            name = f"run-{len(rows)}"
            of_this_run: list[dict[str, Any]] = []
            # In the order in which a run comes to them, so that one run can be killed in each.
            chosen = sorted(PHASES[(len(rows) + i) % len(PHASES)] for i in range(min(kills_of_a_run, kills - len(rows))))
            for wanted in sorted(chosen, key=PHASES.index):
                child, phase, log = start(name)
                entry = random_moments.randint(1, max(1, ENTRIES[wanted] // kills_of_a_run))
                where = kill_at(child, phase, wanted, entry, random_moments.random() * STAY[wanted])
                if where is not None:
                    of_this_run.append({"phase": where, "checkpoints": len(list((folder / name).glob("checkpoint-*")))})
                    print(f"killed while {where}", flush=True)
            manifest = read_manifest(folder / name)
            child, _, log = start(name)
            if manifest is None or manifest.stage != "finished":
                finish(child, log)
            else:
                os.waitpid(child, 0)
            if not is_equal(state_of(folder / name), expected):
                raise SystemExit(f"{name} was killed while {[row['phase'] for row in of_this_run]} and ends with other bits.")
            rows += of_this_run
            shutil.rmtree(folder / name)
            shutil.rmtree(folder / f"cache-{name}")
    return {"seed": seed, "steps": STEPS, "kills": rows, "compared": sorted(expected)}


def page() -> list[str]:
    """Return the tables of docs/reliability.md."""
    phases = [row["phase"] for row in load_record("faults")["kills"]]
    kills = [
        [f"`kill -9` while {phase}", str(phases.count(phase)), "nothing: the last bit is equal"]
        for phase in sorted(set(phases))
    ]
    times = {file: [row["times"] for row in load_record("fault_cases")["cases"] if row["file"] == file] for file in FAULTS}
    cases = [
        [f"[{kind}](../{file})", *map(str, (len(times[file]), sum(times[file]), sum(times[file])))]
        for file, kind in FAULTS.items()
    ]
    broken = []
    for row in load_record("fuzz")["cases"]:
        used, refused = row["outcomes"].get("used", 0), row["outcomes"].get("refused", 0)
        if used + refused:
            broken.append([row["fault"], f"{used + refused:,}", f"{used:,}", f"{refused:,}", "0"])
    soak = load_record("soak")
    long = {
        "training": f"{soak['training']['steps']:,} steps in {soak['training']['minutes']:.0f} minutes",
        "generate": f"{soak['generate']['calls']:,} calls",
    }
    grown = [
        [part, told, f"{soak[part]['mebibytes']:.0f}", f"{soak[part]['grown_mebibytes']:.1f}"] for part, told in long.items()
    ]
    at_random = ("broken at random (`make fuzz`)", "times tried", "used", "refused with our message", "anything else")
    return [
        *table(("fault", "times tried", "what was lost"), [*kills, ["`kill -9`, in all", str(len(phases)), "nothing"]], "lrl"),
        "",
        *table(("every other fault, made to happen by", "tests", "cases tried", "as it says"), cases, "lr"),
        "",
        *table(at_random, broken, "lr"),
        "",
        *table(("soak (`make soak`)", "how long", "resident memory, MiB", "grown by, MiB"), grown, "lr"),
    ]


SECTIONS = [Section(ROOT / "docs" / "reliability.md", "table", page)]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=SEED)


def run(options: argparse.Namespace) -> None:
    started = time.monotonic()
    kills = 2 if options.smoke else options.kills
    found = kill_runs(kills, options.seed)
    print(f"{len(found['kills'])} kills, nothing lost, {time.monotonic() - started:.0f} s")
    if options.smoke or (kills, options.seed) == (KILLS, SEED):
        write_record("faults", "faults", seconds=time.monotonic() - started, **found)
