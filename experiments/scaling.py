"""Trains one recipe at several sizes, fits how its loss falls with compute, and writes the tables of docs/scaling.md.

Each run is a folder below runs/scaling, trained by `hf_gpt train`: one that is finished is left out, one that was interrupted resumes.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.frame import ROOT, Section, load_record, table, train_apart, write_record
from benchmarks.tiny import tiny_overrides, write_corpus
from scipy.optimize import curve_fit

from hf_gpt import GPTConfig
from hf_gpt.planning import training_flops
from hf_gpt.reports.plots import plot_scaling


RUNS = Path("runs/scaling")
RECIPE = "pretrain/quickstart"
# As many as one core trains at all sizes together in about ten minutes; compiling five small models would take as long again.
TOKENS_PER_PARAMETER = 1
VOCABULARY = 2048


@dataclass(frozen=True)
class Size:
    """One model of the series: width, layers, and rows of a step, fewer for the small ones so that each has some hundred steps."""

    width: int
    layers: int
    rows: int

    @property
    def name(self) -> str:
        return f"width-{self.width}"

    @property
    def parameters(self) -> int:
        # Of `modern` without a tied output matrix, with half as many key heads as heads; a test holds it.
        block = 3 * self.width**2 + 3 * self.width * self.intermediate + 2 * self.width + 2 * (self.width // 4)
        return 2 * VOCABULARY * self.width + self.layers * block + self.width

    @property
    def intermediate(self) -> int:
        return self.width * 11 // 4

    @property
    def steps(self) -> int:
        return round(TOKENS_PER_PARAMETER * self.parameters / (self.rows * 256))

    @property
    def overrides(self) -> list[str]:
        return [
            f"config.hidden_size={self.width}",
            f"config.num_hidden_layers={self.layers}",
            f"config.intermediate_size={self.intermediate}",
            f"tokenizer_vocab_size={VOCABULARY}",
            f"per_device_train_batch_size={self.rows}",
            f"max_steps={self.steps}",
            f"lr_scheduler_kwargs={{num_decay_steps: {self.steps * 6 // 10}, decay_type: linear}}",
            f"eval_steps={self.steps}",
            f"save_steps={max(self.steps // 4, 1)}",
            "torch_compile=false",
            "preprocessing_workers=1",
            "max_eval_blocks=64",
            "test_share=0.01",
            "ngram_orders=[]",
            "sample_prompts=[]",
        ]


SIZES = (Size(48, 2, 4), Size(64, 3, 8), Size(96, 3, 8), Size(128, 4, 16), Size(160, 4, 16))


def fit(points: list[dict[str, Any]]) -> dict[str, float]:
    """L(C) = E + A (C / C_0)^-a by least squares, C_0 the compute of the first point; E, A and a not negative."""
    compute, losses = (np.array([point[key] for point in points]) for key in ("flops", "loss"))
    unit = float(compute[0])

    def curve(steps: np.ndarray, floor: float, scale: float, exponent: float) -> np.ndarray:
        return floor + scale * (steps / unit) ** -exponent

    found, _ = curve_fit(curve, compute, losses, p0=(losses[-1] / 2, losses[0] / 2, 0.1), bounds=(0, (20, 20, 2)))
    floor, scale, exponent = (float(value) for value in found)
    residual = float(np.abs(curve(compute, *found) - losses).max())
    return {"floor": floor, "scale": scale, "exponent": exponent, "unit": unit, "largest_residual": residual}


def predicted(found: dict[str, float], flops: float) -> float:
    """Return the loss that a fit gives for that compute."""
    return found["floor"] + found["scale"] * (flops / found["unit"]) ** -found["exponent"]


def point_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return what the fit needs of the record of a run, and what tells whether the run can be trusted."""
    values = {name: record["config"][name] for name in GPTConfig.__dataclass_fields__ if name in record["config"]}
    flops = training_flops(GPTConfig(**values), record["recipe"]["block_size"]).total
    return {
        "name": record["name"],
        "width": record["config"]["hidden_size"],
        "layers": record["config"]["num_hidden_layers"],
        "parameters": record["parameters"],
        "tokens": record["tokens_seen"],
        "flops": flops * record["tokens_seen"],
        "loss": record["test"]["loss"],
        "bits_per_byte": record["test"]["bits_per_byte"],
        "seconds": record["training_seconds"],
        "model_sha256": record["model_sha256"],
        "git": record["git"],
        "device": record["device"],
    }


def fitted(points: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fit of a series, and how well the smaller ones foretell the largest."""
    without_largest = fit(points[:-1])
    foretold = predicted(without_largest, points[-1]["flops"])
    return {
        "points": points,
        "fit": fit(points),
        "held_out": {"foretold": foretold, "measured": points[-1]["loss"], "fit": without_largest},
    }


def page() -> list[str]:
    """Return what docs/scaling.md shows of the record."""
    record = load_record("scaling")
    found = record["fit"]
    rows = []
    for point in record["points"]:
        row = [f"{point['width']}, {point['layers']}", f"{point['parameters']:,}", f"{point['tokens']:,}"]
        row += [f"{point['flops']:.2e}", f"{point['loss']:.3f}", f"{point['bits_per_byte']:.3f}"]
        rows.append([*row, f"{predicted(found, point['flops']):.3f}", "measured"])
    last = record["points"][-1]
    for factor in (10, 100):
        flops, grown = last["flops"] * factor, factor**0.5
        row = [f"{factor} times the compute", f"{last['parameters'] * grown:,.0f}", f"{last['tokens'] * grown:,.0f}"]
        rows.append([*row, f"{flops:.2e}", "", "", f"{predicted(found, flops):.3f}", "extrapolated"])
    held_out = record["held_out"]
    headings = ("width, layers", "parameters", "tokens", "training FLOPs", "loss, nats per token", "bits per byte", "fit", "")
    return [
        *table(headings, rows, "lrrrrrrl"),
        "",
        f"L(C) = {found['floor']:.3f} + {found['scale']:.3f} (C / {found['unit']:.2e})^-{found['exponent']:.3f}; the largest "
        f"residual is {found['largest_residual']:.3f}.",
        f"Fitted to all but the largest, the curve foretells {held_out['foretold']:.3f} for it; measured was "
        f"{held_out['measured']:.3f}.",
    ]


def draw(root: Path) -> None:
    plot_scaling(load_record("scaling"), root / "docs" / "scaling.png")


SECTIONS = [Section(ROOT / "docs" / "scaling.md", "scaling", page)]


def run(options: argparse.Namespace) -> None:
    points = [point_of(train_apart(RECIPE, size.overrides, RUNS / size.name)) for size in SIZES]
    write_record("scaling", "scaling", recipe=RECIPE, tokens_per_parameter=TOKENS_PER_PARAMETER, **fitted(points))


def smoke(folder: Path) -> None:
    """The smallest size for some steps; the fit is of that point as if compute halved its loss."""
    write_corpus(folder / "corpus.jsonl")
    overrides = [*SIZES[0].overrides, *tiny_overrides(folder / "corpus.jsonl"), "lr_scheduler_kwargs={num_decay_steps: 2}"]
    point = point_of(train_apart(RECIPE, overrides, folder / "run"))
    points = [{**point, "flops": point["flops"] * 4**i, "loss": point["loss"] / 2**i} for i in range(5)]
    write_record("scaling", "scaling", **fitted(points))
