"""An hour of training and ten thousand calls of `generate`: does the memory of either process grow?

python -m reliability soak --minutes 2 --calls 200     a short one, which is printed and not recorded

The training is the real command in a process of its own, whose resident memory is read from outside; it logs, evaluates and writes
checkpoints all the time. The calls are made beside it, on its first checkpoint. Writes `benchmarks/records/soak.json` and
`docs/soak.png`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from benchmarks.frame import load_record, write_record
from benchmarks.tiny import recipe_values, write_corpus
from matplotlib.figure import Figure


MINUTES, CALLS = 60.0, 10_000
# Libraries fill their caches first; what counts is what comes after this share of the time.
WARM_UP = 0.2
SAMPLES = 300


def growth(samples: Sequence[tuple[float, int]]) -> dict[str, float]:
    """Return what the memory did after the warm-up.

    Args:
        samples: Pairs of a time (or a number of calls) and resident bytes.

    Returns:
        `mebibytes`: at the end of the warm-up, the median of a tenth; `grown_mebibytes`: by how much the median of the last tenth is
        more.
    """
    sizes = np.asarray([size for _, size in samples]) / 2**20
    tenth, first = max(len(sizes) // 10, 1), int(len(sizes) * WARM_UP)
    before, after = float(np.median(sizes[first : first + tenth])), float(np.median(sizes[-tenth:]))
    return {"mebibytes": round(before, 2), "grown_mebibytes": round(after - before, 2)}


def generate(folder: Path, calls: int) -> list[tuple[int, int]]:
    """Call `generate` with prompts, lengths and ways of decoding that change; returns pairs of a call and the resident bytes then."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    import hf_gpt  # noqa: F401

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    process = psutil.Process()
    samples = []
    for call in range(calls):
        set_seed(call)
        prompts = ["The value of an object"[: 3 + call % 15]] * (1 + call % 3)
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=4 + call % 13,
            do_sample=call % 2 == 0,
            num_beams=2 if call % 5 == 0 else 1,
        )
        assert torch.isfinite(output).all()
        if call % max(calls // SAMPLES, 1) == 0:
            samples.append((call, process.memory_info().rss))
    return samples


def soak(minutes: float, calls: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary, ProcessPoolExecutor(1, get_context("spawn")) as executor:
        folder = Path(temporary)
        write_corpus(folder / "corpus.jsonl")
        endless = {"max_steps": 100_000_000, "lr_scheduler_type": "constant", "learning_rate": 0.002}
        often = {"logging_steps": 100, "eval_steps": 500, "save_steps": 100, "disable_tqdm": True}
        values = recipe_values(folder / "corpus.jsonl", folder / "run", **endless, **often)
        (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
        command = [sys.executable, "-m", "hf_gpt", "train", str(folder / "recipe.yaml")]
        training = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        generating: Future[list[tuple[int, int]]] | None = None
        resident: list[tuple[float, int]] = []
        try:
            while not (whole := list((folder / "run").glob("checkpoint-*/trainer_state.json"))) and training.poll() is None:
                time.sleep(0.1)
            started, process = time.monotonic(), psutil.Process(training.pid)
            while (elapsed := time.monotonic() - started) < minutes * 60 and training.poll() is None:
                resident.append((round(elapsed, 1), process.memory_info().rss))
                if generating is None:
                    shutil.copytree(whole[0].parent, folder / "model")
                    generating = executor.submit(generate, folder / "model", calls)
                time.sleep(minutes * 60 / SAMPLES)
            if training.poll() is not None:
                raise SystemExit(f"the training ended with exit code {training.returncode} after {elapsed:.0f} s.")
            states = sorted((folder / "run").glob("checkpoint-*/trainer_state.json"), key=lambda path: path.stat().st_mtime)
            steps = json.loads(states[-1].read_text())["global_step"]
        finally:
            training.terminate()
            training.wait()
        assert generating is not None
        made = generating.result()
    return {
        "training": {"minutes": minutes, "steps": steps, **growth(resident), "samples": resident},
        "generate": {"calls": calls, **growth(made), "samples": made},
    }


def draw(root: Path) -> None:
    record = load_record("soak")
    figure = Figure(figsize=(8, 5), layout="constrained")
    over_time, over_calls = figure.subplots(2, 1)
    for axes, part, scale, label in (
        (over_time, "training", 60, "minutes of training"),
        (over_calls, "generate", 1, "calls of generate"),
    ):
        places, sizes = zip(*record[part]["samples"])
        axes.plot([place / scale for place in places], [size / 2**20 for size in sizes], color="#1f4e79")
        # From zero, so that growth is seen as the share of the whole that it is.
        axes.set_ylim(0, 1.2 * max(sizes) / 2**20)
        axes.set_xlabel(label)
        axes.set_ylabel("resident memory, MiB")
        axes.grid(alpha=0.3)
    figure.savefig(root / "docs" / "soak.png", dpi=110)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--calls", type=int, default=CALLS)


def run(options: argparse.Namespace) -> None:
    minutes, calls = (0.1, 20) if options.smoke else (options.minutes, options.calls)
    found = soak(minutes, calls)
    for part, figures in found.items():
        print(part, {name: value for name, value in figures.items() if name != "samples"})
    if options.smoke or (minutes, calls) == (MINUTES, CALLS):
        write_record("soak", "soak", **found)
