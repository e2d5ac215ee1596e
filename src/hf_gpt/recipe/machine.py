"""What follows from the machine and the length of a run, and from no recipe: precision, compiling, attention.

A recipe that says one of them is obeyed, as far as the machine can. Whatever it cannot do gets a line.
"""

import os
import shutil
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from accelerate import ParallelismConfig

from ..modeling.configuration_hf_gpt import GPTConfig
from ..modeling.loss_hf_gpt import slice_tokens
from ..planning import hardware
from ..planning.devices import measured_cpu


@dataclass(frozen=True)
class RunSize:
    """How much a run computes, as far as its recipe tells.

    Args:
        minutes: Its time budget.
        flops: Of all steps of one process.
        config: Of the model, where it is one of ours with random initialisation.
        tokens: Of one forward pass.
        is_task: Whether it fine-tunes on rows of varying length, for each of which a compiler begins anew.
    """

    minutes: float | None = None
    flops: float | None = None
    config: GPTConfig | None = None
    tokens: int = 0
    is_task: bool = False


@dataclass(frozen=True)
class Settled:
    """What was settled.

    Args:
        training: The training arguments.
        attention: Of the model; `None` for what transformers chooses.
        values: What the folder of the run keeps.
        notices: A line for each thing that the recipe asks for and this machine does not do.
    """

    training: dict[str, Any]
    attention: str | None
    values: dict[str, Any]
    notices: list[str]


HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
TYPE_NAMES = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
# What only an accelerator does. transformers refuses some of them on a processor with a traceback and passes over the others.
ACCELERATOR_ONLY = {
    "tf32": "TensorFloat-32 is a type of NVIDIA GPUs",
    "dataloader_pin_memory": "pinned memory speeds up copies to an accelerator",
    "torch_empty_cache_steps": "only accelerators have such a cache",
}
COMPILE_KEYS = ("torch_compile", "torch_compile_backend", "torch_compile_mode")

# Seconds of compiling: a constant, and for each layer. On two cores, 4 layers took 28 s on a quiet machine and 51 s on a busy one, 4 to
# 6 layers 54 to 110 s on another; on an H100, 12 layers took 40 s.
COMPILE_SECONDS = {"cpu": (16.0, 8.0), "cuda": (20.0, 2.0)}
USUAL_LAYERS = 6
# The share of a run that compiling saves, by device and whether it is bfloat16. On a CPU in bfloat16, a pass that is not compiled takes
# 1.35 times as long at 13.8M parameters (benchmarks/RESULTS.md) and 2 to 2.3 times at the quickstart's 7.1M; in float32, with sdpa on
# both sides, 1.22 times (docs/LOG.md, 2026-11-28); for a GPU it is an assumption.
COMPILE_GAIN = {("cpu", True): 0.35, ("cpu", False): 0.18, ("cuda", True): 0.3, ("cuda", False): 0.3}
# What steps make of a device's rate: half of what bare products reach on a CPU, and a low guess for any GPU.
CPU_SHARE, GPU_FLOPS = 0.5, 1e14
SLOWEST_CPU_FLOPS = 2e10


def settle_machine(given: dict[str, Any], attention: str | None, size: RunSize, kept: dict[str, Any]) -> Settled:
    """Settle what this machine does of a run.

    Args:
        given: Training arguments of the recipe.
        attention: `attn_implementation` of the recipe.
        kept: What the folder of a run that is resumed has settled; empty for a new run.
    """
    values = dict(given)
    notices: list[str] = []
    device = hardware.device_type(bool(values.get("use_cpu")))
    if device == "cpu":
        values["use_cpu"] = True
    elif device == "cuda" and values.get("dataloader_pin_memory", True):
        # Else each batch waits for the step before it.
        values["accelerator_config"] = {"non_blocking": True}
    _drop_what_is_not_done(values, device, notices)
    _drop_emulated(values, device, kept, notices)

    asked = values.get("torch_compile")
    if asked and not has_compiler(device):
        for key in COMPILE_KEYS:
            values.pop(key, None)
        notices.append("torch_compile: no C++ compiler was found, continuing without; with g++ installed the run is faster.")
    elif not asked and "torch_compile" not in values:
        wanted = kept["torch_compile"] if "torch_compile" in kept else _compiling_pays(values, device, size)
        if wanted and has_compiler(device):
            values["torch_compile"] = True
    is_compiled = bool(values.get("torch_compile"))

    if attention is None:
        # In bfloat16 on a CPU, compiled matrix multiplications are faster than the fused kernel.
        chosen = "eager" if device == "cpu" and is_compiled and values.get("bf16") else None
        attention = kept.get("attn_implementation", chosen)
    settled = {
        "device": device,
        "bf16": bool(values.get("bf16")),
        "torch_compile": is_compiled,
        "attn_implementation": attention,
    }
    if size.config is not None:
        element = 2 if values.get("bf16") or values.get("fp16") else 4
        settled["loss_tokens"] = slice_tokens(size.config.vocab_size, size.tokens, element, device)
    differing = [f"{key} {kept[key]} → {value}" for key, value in settled.items() if key in kept and kept[key] != value]
    if differing:
        notices.append(
            f"This machine differs from the one that the run began on ({', '.join(differing)}): not to the same bits."
        )
    return Settled(values, attention, settled, notices)


def _drop_what_is_not_done(values: dict[str, Any], device: str, notices: list[str]) -> None:
    for key, reason in ACCELERATOR_ONLY.items():
        if device == "cpu" and values.get(key):
            del values[key]
            notices.append(f"{key}: {reason}, continuing without.")
    if values.get("tf32") and not (device == "cuda" and torch.cuda.get_device_capability()[0] >= 8):
        del values["tf32"]
        notices.append("tf32: this device has no TensorFloat-32, continuing without.")


def _drop_emulated(values: dict[str, Any], device: str, kept: dict[str, Any], notices: list[str]) -> None:
    """Leave out the precisions that a device emulates, and one that the run has not begun in."""
    for key, dtype in HALVES.items():
        if not values.get(key):
            continue
        name, what = TYPE_NAMES[dtype], "processor" if device == "cpu" else "device"
        if not hardware.multiplies_natively(dtype, device):
            notices.append(f"{key}: this {what} has no {name} instructions, continuing in float32.")
        elif device == "cpu" and dtype == torch.float16:
            # Without a scaler of the loss, which is for accelerators, its gradients vanish.
            notices.append(f"{key}: training in float16 needs a GPU, continuing in float32; bf16: true is for processors too.")
        elif key == "bf16" and kept.get("bf16") is False:
            notices.append("bf16: this run began in float32, and stays so.")
        else:
            continue
        values[key] = False


def has_compiler(device: str) -> bool:
    """Return whether `torch.compile` finds what it compiles with."""
    if device == "cuda":
        is_there = find_spec("triton") is not None
        return is_there and any(shutil.which(name) for name in (os.environ.get("CC", "gcc"), "cc", "clang"))
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))


def _compiling_pays(values: dict[str, Any], device: str, size: RunSize) -> bool:
    """Return whether a run saves more time by compiling than that takes."""
    gain = COMPILE_GAIN.get((device, bool(values.get("bf16"))))
    if gain is None:
        return False
    if size.is_task or ParallelismConfig().tp_size > 1 or values.get("label_smoothing_factor"):
        return False
    needed = compile_seconds(None if size.config is None else size.config.num_hidden_layers, device) / gain
    if size.minutes is not None and 60 * size.minutes < needed:
        return False
    if size.flops is None:
        return size.minutes is not None
    if device != "cpu":
        return size.flops / GPU_FLOPS > needed
    # Nothing is measured for what would be short on any processor.
    return size.flops / SLOWEST_CPU_FLOPS > needed and size.flops / (CPU_SHARE * cpu_flops()) > needed


@cache
def cpu_flops() -> float:
    return measured_cpu(seconds=0.1).peak_flops


def compile_seconds(layers: int | None, device: str) -> float:
    """Return about how long compiling takes before the first step."""
    constant, each = COMPILE_SECONDS.get(device, COMPILE_SECONDS["cpu"])
    return constant + each * (layers or USUAL_LAYERS)
