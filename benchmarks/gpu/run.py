"""One GPU in eight minutes: tokens/s and model FLOPs utilisation of 124M parameters, and a race, all beside stock models.

Writes benchmarks/records/gpu.json; without a GPU it says that it was not run, and `--smoke` runs all of it on the processor.

bfloat16 by autocast, context 1024, random ids, through `Trainer`. MFU is tokens/s x `training_flops` (6 N + 12 L H Q T, PaLM, appendix
B) by the dense bfloat16 peak of the card's data sheet. Each system is a process: they compile side by side into one cache, which is
empty at first, and one at a time holds the lock with which it is timed. What is not done in time is named.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from hf_gpt.planning import named_device
from hf_gpt.reports.records import code_state

from ..frame import ROOT, write_record
from .measure import measured
from .race import OURS, RACERS, STOCK, prepare, race, seconds_until
from .systems import FULL, SYSTEMS, TINY


# What matters most comes first, since the last ones may be cut off.
FIRST = (
    *(STOCK, "stock GPT-2", "gpt2", OURS, "nanoGPT's model", "stock Qwen3", "modern-124m", "modern-124m, Muon"),
    *("hf-gpt train", "bare loop", "parts"),
)
JOBS = (*FIRST, *(name for name in SYSTEMS if name not in FIRST))
# What `--smoke` starts as the jobs of a GPU are started is `parts` alone; on a processor flex has no backward pass.
SMOKED_HERE = tuple(name for name in JOBS if name not in ("parts", "gpt2, flex"))
# Processes at a time: so many models of a race or of twice the batch fit into 80 GB.
LANES = 3
SECONDS = 470.0


def file_of(folder: Path, name: str) -> Path:
    return folder / f"{name.replace(' ', '-').replace(':', '')}.json"


def work(name: str, folder: Path, is_smoke: bool) -> None:
    """Measure one job, in this process."""
    load, lock = (TINY if is_smoke else FULL), FileLock(folder / "timing.lock")
    if name in RACERS:
        found = race(name, load, lock, folder)
    else:
        found = measured(name, load, lock, folder / "text.txt")
    file_of(folder, name).write_text(json.dumps(found), encoding="utf-8")


def start(name: str, folder: Path, is_smoke: bool, end: float) -> None:
    """Run one job in a process of its own, until then at most."""
    command = [sys.executable, "-m", "benchmarks.gpu.run", name, str(folder), *(["--smoke"] if is_smoke else [])]
    told: list[str] | None = None
    while name == "hf-gpt train" and not (folder / "train.npy").is_file() and time.monotonic() < end:
        # It reads the text that is written first.
        time.sleep(0.2)
    left = end - time.monotonic()
    if left <= 0:
        return print(f"{name}: not run, the time is over", flush=True)
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, timeout=left, check=False, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        told = done.stderr.strip().splitlines()[-1:] if done.returncode else None
    except subprocess.TimeoutExpired:
        told = ["ended, the time is over"]
    if told is not None:
        return print(f"{name}: not measured: {' '.join(told)}", flush=True)
    tell(name, folder)


def start_here(name: str, folder: Path) -> None:
    """Run one job in a copy of this process, which has imported everything: what `--smoke` has no time for otherwise."""
    process = get_context("fork").Process(target=work, args=(name, folder, True))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(f"{name} --smoke failed.")
    tell(name, folder)


def tell(name: str, folder: Path) -> None:
    for line in lines_of(name, json.loads(file_of(folder, name).read_text(encoding="utf-8"))):
        print(line, flush=True)


def lines_of(name: str, found: dict[str, Any]) -> list[str]:
    """Return a line for each figure of a job."""
    if "milliseconds" in found:
        return [f"{part}: {value:.2f} ms" for part, value in found["milliseconds"].items()]
    if "curve" in found:
        return [f"{name}: {found['steps']:,} steps, {found['curve'][-1][2]:.3f} nats per token at the end"]
    lines = [f"{name}: {found['tokens_per_second']:,.0f} tokens/s", f"{name}: first step {found['first_step_seconds']:.1f} s"]
    if "optimizer_seconds" in found:
        lines.append(f"{name}: optimizer {found['optimizer_seconds'] / found['step_seconds']:.1%} of a step")
    return lines


def figures(found: dict[str, dict[str, Any]], peak: float | None) -> dict[str, float]:
    """Return what the goals are of; a figure is missing where a job of it was not done."""

    def times(name: str, other: str) -> float | None:
        both = name in found and other in found
        return found[name]["tokens_per_second"] / found[other]["tokens_per_second"] if both else None

    rows = [row for name, row in found.items() if name in SYSTEMS and name.startswith(("gpt2", "modern"))]
    shares = [row["tokens_per_second"] * row["flops_per_token"] / peak for row in rows] if peak else []
    muon = found.get("modern-124m, Muon", {})
    told: dict[str, float | None] = {
        "gpt2 beside stock GPT-2": times("gpt2", "stock GPT-2"),
        "gpt2 beside nanoGPT's model": times("gpt2", "nanoGPT's model"),
        "modern-124m beside stock Qwen3": times("modern-124m", "stock Qwen3"),
        "MFU, the best": max(shares, default=None),
        "Muon's share of a step": muon["optimizer_seconds"] / muon["step_seconds"] if muon.get("optimizer_seconds") else None,
        "first step, seconds": found["gpt2"]["first_step_seconds"] if "gpt2" in found else None,
        "hf-gpt train beside the bare loop": times("hf-gpt train", "bare loop"),
    }
    if STOCK in found and OURS in found:
        stock, ours = found[STOCK]["curve"], found[OURS]["curve"]
        reached = seconds_until(ours, stock[-1][2])
        told["race, times as fast"] = stock[-1][0] / reached if reached else 0.0
    return {name: value for name, value in told.items() if value is not None}


def run(options: argparse.Namespace) -> None:
    if not options.smoke and not torch.cuda.is_available():
        print("Not run: torch.cuda.is_available() is False, and these figures are of a GPU.")
        return
    load, end = (TINY if options.smoke else FULL), time.monotonic() + SECONDS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.smoke:
            text = prepare(folder, load, True)
            for name in SMOKED_HERE:
                start_here(name, folder)
        with ThreadPoolExecutor(LANES) as lanes:
            rest = ["parts"] if options.smoke else JOBS
            started = [lanes.submit(start, name, folder, options.smoke, end) for name in rest]
            text = text if options.smoke else prepare(folder, load, False)
            print(f"text: {text['tokens']['train']:,} tokens of {', '.join(text['packages'])}", flush=True)
            for job in started:
                job.result()
        files = {name: file_of(folder, name) for name in JOBS}
        found = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    device = named_device(card)
    peak = None if device is None else device.peak_flops
    told = figures(found, peak)
    for name, value in told.items():
        print(f"{name}: {value:.3g}")
    missing = [name for name in (("parts", *SMOKED_HERE) if options.smoke else JOBS) if name not in found]
    write_record(
        "gpu", "gpu", card=card, peak_flops=peak, load=vars(load), text=text, figures=told, rows=found, missing=missing
    )
    if missing and options.smoke:
        sys.exit(f"not run: {', '.join(missing)}")


if __name__ == "__main__":
    code_state()
    work(sys.argv[1], Path(sys.argv[2]), "--smoke" in sys.argv)
