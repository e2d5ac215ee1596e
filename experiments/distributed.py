"""One recipe on one process and on several, spread in every way of `recipes/accelerate/`: the same losses, gradients and weights.

python -m experiments distributed [NAME ...]     with names: these and what they are compared with, and nothing is written

Each run is `accelerate launch --config_file recipes/accelerate/NAME.yaml -m hf_gpt train RECIPE` on processors, with gloo between them.
The text is the language reference that every CPython carries. Writes `benchmarks/records/distributed.json` and the table of
`docs/distributed.md`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from benchmarks.frame import ROOT, Section, load_record, table, write_record
from benchmarks.tiny import write_corpus
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import hf_gpt  # noqa: F401
from hf_gpt.errors import InputError


STEPS = 30
BATCH = 8
# The largest difference of a loss, in nats, of a gradient's norm, of a weight and of a logit that is still called the same. Muon
# orthogonalises in bfloat16, where another order of adding shows in the third digit of a step.
TOLERANCES = {
    "adamw": {"loss": 2e-5, "mean_loss": 2e-6, "gradient_norm": 2e-4, "weight": 1e-3, "logit": 1e-3},
    "muon": {"loss": 1e-2, "mean_loss": 2e-3, "gradient_norm": 5e-2, "weight": 2e-2, "logit": 2e-1},
}


@dataclass(frozen=True)
class Variant:
    """A way to run the recipe.

    Args:
        config: A file of `recipes/accelerate/`; `None` for a plain process.
        processes: How many of them.
        options: For `accelerate launch`, where a config is for more devices.
        changes: Keys of the recipe.
        reference: The variant that it is compared with.
        resumes: Whether the run is cut off in its middle and given again.
    """

    config: str | None = None
    processes: int = 1
    options: tuple[str, ...] = ()
    changes: dict[str, Any] = field(default_factory=dict)
    reference: str = "one process"
    resumes: bool = False


MUON = {"optimizer": "muon", "learning_rate": 0.01}
HALF = {"per_device_train_batch_size": BATCH // 2}
VARIANTS = {
    "one process": Variant(),
    "accumulation 8×1": Variant(changes={"per_device_train_batch_size": 1, "gradient_accumulation_steps": BATCH}),
    "activation checkpointing": Variant(changes={"gradient_checkpointing": True}),
    "resumed": Variant(resumes=True),
    "ddp": Variant("ddp", 2, changes=HALF),
    "ddp, accumulation 4×1": Variant(
        "ddp", 2, changes={"per_device_train_batch_size": 1, "gradient_accumulation_steps": BATCH // 2}
    ),
    "ddp, resumed": Variant("ddp", 2, changes=HALF, resumes=True),
    "fsdp2": Variant("fsdp2", 2, changes=HALF),
    "fsdp2, accumulation 4×1": Variant(
        "fsdp2", 2, changes={"per_device_train_batch_size": 1, "gradient_accumulation_steps": BATCH // 2}
    ),
    "fsdp2, resumed": Variant("fsdp2", 2, changes=HALF, resumes=True),
    "fsdp2, activation checkpointing": Variant("fsdp2-activation-checkpointing", 2, changes=HALF),
    "hsdp 2×2": Variant(
        "hsdp",
        4,
        ("--num_machines=1", "--parallelism_config_dp_replicate_size=2", "--parallelism_config_dp_shard_size=2"),
        {"per_device_train_batch_size": BATCH // 4},
    ),
    "tensor parallel": Variant("tensor-parallel", 2),
    "muon": Variant(changes=MUON),
    "muon, ddp": Variant("ddp", 2, changes={**MUON, **HALF}, reference="muon"),
    "muon, fsdp2": Variant("fsdp2", 2, changes={**MUON, **HALF}, reference="muon"),
    "muon, fsdp2, resumed": Variant("fsdp2", 2, changes={**MUON, **HALF}, reference="muon", resumes=True),
    "muon, tensor parallel": Variant("tensor-parallel", 2, changes=MUON, reference="muon"),
}


def recipe_values(text: Path, output_dir: Path, steps: int = STEPS, **changes: Any) -> dict[str, Any]:
    """Return a recipe small enough to be run eighteen times on two cores."""
    return {
        "preset": "modern-5m",
        "config": {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 128,
            "max_position_embeddings": 128,
        },
        "dataset": {"path": "json", "files": str(text), "text_column": "body"},
        "tokenizer_vocab_size": 512,
        "block_size": 64,
        "max_eval_blocks": 16,
        "output_dir": str(output_dir),
        "max_steps": steps,
        "per_device_train_batch_size": BATCH,
        "learning_rate": 0.003,
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": steps // 2,
        "save_steps": steps // 2,
        "prediction_loss_only": True,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "sample_prompts": ["The value"],
        "sample_tokens": 8,
        **changes,
    }


def command(variant: Variant, recipe: Path) -> list[str]:
    """Return the command line of a variant: `hf-gpt train`, or the same under `accelerate launch`."""
    train = ["-m", "hf_gpt", "train", str(recipe)]
    if variant.config is None:
        return [sys.executable, *train]
    config = ROOT / "recipes" / "accelerate" / f"{variant.config}.yaml"
    # Port 0 is any that is free.
    options = [f"--config_file={config}", f"--num_processes={variant.processes}", "--main_process_port=0", *variant.options]
    return [sys.executable, "-m", "accelerate.commands.launch", *options, *train]


def execute(arguments: list[str], code: int = 0) -> str:
    """Run a command with one thread a process and return what it printed.

    Raises:
        RuntimeError: another exit code than `code`.
    """
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": paths}
    result = subprocess.run(arguments, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode != code:
        raise RuntimeError(f"{' '.join(arguments)} ended with {result.returncode}:\n{result.stderr[-8000:]}")
    return result.stdout + result.stderr


def run_variant(
    variant: Variant, text: Path, folder: Path, steps: int = STEPS, **changes: Any
) -> tuple[dict[str, Any], float]:
    """Return the record of a run and the seconds that it took from the command to its end, the second part of one that was cut off."""
    recipe = folder.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump(recipe_values(text, folder, steps, **{**variant.changes, **changes})), encoding="utf-8")
    arguments = command(variant, recipe)
    started = time.monotonic()
    execute(arguments)
    if variant.resumes:
        for path in folder.iterdir():
            if path.name not in ("recipe.yaml", "tokenizer.json", "tokenizer_config.json", f"checkpoint-{steps // 2}"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        started = time.monotonic()
        if "Resuming from" not in execute(arguments):
            raise RuntimeError(f"{folder.name} did not resume from its checkpoint.")
    return json.loads((folder / "record.json").read_text(encoding="utf-8")), time.monotonic() - started


@torch.no_grad()
def logits_of(folder: Path) -> torch.Tensor:
    """Return what one process computes from a saved folder, with no more than the code and weights in it."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    return model(torch.arange(2, 2 + 4 * 48).reshape(4, 48)).logits


def differences(folder: Path, record: dict[str, Any], other: Path, expected: dict[str, Any]) -> dict[str, float]:
    """Return how far a run is from the one that it should equal.

    Returns:
        Greatest difference (`loss`) and mean signed difference (`mean_loss`) of the losses over all steps; greatest ones of the
        gradient norms, of the losses on held-out text, of the saved weights, and of the logits of the saved models.
    """

    def values(of: dict[str, Any], name: str) -> torch.Tensor:
        return torch.tensor([row[name] for row in of["history"] if name in row], dtype=torch.float64)

    weights, wanted = (load_file(place / "model.safetensors") for place in (folder, other))
    if weights.keys() != wanted.keys():
        raise InputError(f"{folder} holds other weights than {other}: {sorted(weights.keys() ^ wanted.keys())}.")
    losses = values(record, "loss") - values(expected, "loss")
    return {
        "loss": losses.abs().max().item(),
        "mean_loss": losses.mean().item(),
        "gradient_norm": (values(record, "grad_norm") - values(expected, "grad_norm")).abs().max().item(),
        "eval_loss": (values(record, "eval_loss") - values(expected, "eval_loss")).abs().max().item(),
        "test_loss": abs(record["test"]["loss"] - expected["test"]["loss"]),
        "weight": max((weights[name] - wanted[name]).abs().max().item() for name in wanted),
        "logit": (logits_of(folder) - logits_of(other)).abs().max().item(),
    }


def beyond(found: dict[str, float], optimizer: str) -> list[str]:
    """Return the differences that are not within `TOLERANCES`."""
    return [name for name, most in TOLERANCES[optimizer].items() if not abs(found[name]) <= most]


def page() -> list[str]:
    """Return the table of `docs/distributed.md`."""
    columns = ("loss", "mean_loss", "gradient_norm", "weight", "logit")
    rows = []
    for name, found in load_record("distributed")["variants"].items():
        compared = found.get("differences", {})
        figures = (f"{compared[column]:.1e}" if compared else "" for column in columns)
        rows.append([name, str(found["processes"]), *figures])
    return table(("run", "processes", "loss, greatest", "loss, mean", "gradient norm", "weights", "logits"), rows, "lr")


SECTIONS = [Section(ROOT / "docs" / "distributed.md", "equivalence", page)]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME")


def run(options: argparse.Namespace) -> None:
    names, steps = (["ddp"], 4) if options.smoke else (options.names, STEPS)
    found = compare(names, steps)
    if not names:
        write_record("distributed", "distributed", steps=steps, tolerances=TOLERANCES, variants=found)


def compare(names: list[str], steps: int) -> dict[str, Any]:
    """Run all variants, or those with these names and what they are compared with.

    Raises:
        SystemExit: one failed, or learned something else.
    """
    chosen = [
        name for name in VARIANTS if not names or name in names or name in {VARIANTS[other].reference for other in names}
    ]
    found: dict[str, Any] = {}
    records: dict[str, dict[str, Any]] = {}
    failed = []
    with tempfile.TemporaryDirectory() as place:
        text = Path(place) / "corpus.jsonl"
        write_corpus(text)
        folders = {name: Path(place) / f"run-{number}" for number, name in enumerate(chosen)}
        for name in chosen:
            variant = VARIANTS[name]
            try:
                records[name], seconds = run_variant(variant, text, folders[name], steps)
            except RuntimeError as error:
                if name in (variant.reference, "muon"):
                    raise
                failed.append(f"{name}: {error}")
                continue
            optimizer = variant.changes.get("optimizer", "adamw")
            found[name] = {"processes": variant.processes, "config": variant.config, "seconds": round(seconds, 1)}
            if name in (variant.reference, "muon"):
                print(f"{name}: {seconds:.0f} s", flush=True)
                continue
            compared = differences(folders[name], records[name], folders[variant.reference], records[variant.reference])
            found[name]["differences"] = compared
            failed += [f"{name}: {figure}={compared[figure]:.1e}" for figure in beyond(compared, optimizer)]
            figures = ", ".join(f"{key} {value:.1e}" for key, value in compared.items())
            print(f"{name}: {seconds:.0f} s, {figures}", flush=True)
    if failed:
        raise SystemExit("not the same: " + "; ".join(failed))
    return found
