"""Wall time to the same validation loss: our recipe beside what people use today.

python -m benchmarks.speed              everything that has no record yet: tuning, then the timed runs, seed by seed
python -m benchmarks.speed --smoke      the same with a few steps, into a temporary folder

Each run is a process of its own. The runs of a seed follow each other, so that the machine is the same for all of them. Writes
`benchmarks/records/speed/*.json`; `python -m benchmarks.results` makes the tables of them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from hf_gpt.records import code_state, make_record, write_json

from .clock import Clock
from .corpus import BLOCK, Blocks, load_corpus
from .systems import SYSTEMS, Run


ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "benchmarks" / "records" / "speed"
CORPUS = ROOT / "runs" / "bench" / "corpus"
PEERS = ("stock", "expert", "nanogpt")
# How long a peer trains, and our shares of that time: each is a run of its own, with a schedule of its own.
BUDGET_SECONDS = 720.0
SHARES = (1 / 12, 1 / 6, 1 / 4, 1 / 3)
TUNING_SHARE = 1 / 6
SCORES = 20


def train(system: str, run: Run, name: str, folder: Path) -> None:
    """One run in this process, and its record."""
    code_state()
    corpus = load_corpus(CORPUS)
    scored = {max(1, run.steps * part // SCORES) for part in range(SCORES // 4, SCORES + 1)} | {run.steps}
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
        "median_step_seconds": sorted(clock.steps)[len(clock.steps) // 2],
        "loss": clock.history[-1]["loss"],
        "history": clock.history,
        "corpus_sha256": corpus.sha256,
    }
    write_json(folder / f"{name}.json", make_record("speed", **content))


def started(system: str, run: Run, name: str, folder: Path) -> dict[str, Any]:
    """The record of a run, made now if it is not there."""
    path = folder / f"{name}.json"
    if not path.is_file():
        print(f"{name}: {run}", flush=True)
        values = [str(run.steps), str(run.learning_rate), str(run.seed)]
        subprocess.run([sys.executable, "-m", "benchmarks.speed", "--one", system, name, str(folder), *values], check=True)
    found = json.loads(path.read_text(encoding="utf-8"))
    print(f"{name}: loss {found['loss']:.3f} after {found['tokens']:,} tokens and {found['seconds']:.0f} s", flush=True)
    return found


def steps_in(seconds: float, step_seconds: float) -> int:
    return max(2, round(seconds / step_seconds))


def measure(folder: Path, budget: float, seeds: list[int], calibration_steps: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rates, step_seconds = {}, {}
    for system, described in SYSTEMS.items():
        middle = described.learning_rates[1]
        step_seconds[system] = started(system, Run(calibration_steps, middle, 0), f"calibration-{system}", folder)[
            "median_step_seconds"
        ]
        # Ours is tuned over the length that it will run for, too: a quarter of the peers' time.
        whole = budget * (SHARES[-1] if system == "ours" else 1)
        steps = steps_in(whole * TUNING_SHARE, step_seconds[system])
        tried = {
            rate: started(system, Run(steps, rate, 100), f"tuning-{system}-{rate:g}", folder)["loss"]
            for rate in described.learning_rates
        }
        rates[system] = min(tried, key=tried.__getitem__)
    for seed in seeds:
        for share in SHARES:
            run = Run(steps_in(budget * share, step_seconds["ours"]), rates["ours"], seed)
            started("ours", run, f"ours-{round(1 / share)}-seed-{seed}", folder)
        for system in PEERS:
            run = Run(steps_in(budget, step_seconds[system]), rates[system], seed)
            started(system, run, f"{system}-seed-{seed}", folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--one", nargs=6, metavar=("SYSTEM", "NAME", "FOLDER", "STEPS", "RATE", "SEED"))
    options = parser.parse_args()
    if options.one is not None:
        system, name, folder, steps, rate, seed = options.one
        train(system, Run(int(steps), float(rate), int(seed)), name, Path(folder))
    elif options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), 2.0, [0], 3)
    else:
        print(f"{torch.get_num_threads()} threads", flush=True)
        measure(RECORDS, BUDGET_SECONDS, options.seeds, 30)


if __name__ == "__main__":
    main()
