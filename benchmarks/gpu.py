"""Tokens/s and model FLOPs utilisation of 124M parameters on one GPU, through `Trainer`.

Writes benchmarks/records/gpu.json; without a GPU it says that it was not run, and `--smoke` runs two steps on the processor.

bfloat16 by autocast, context 1024, random ids. MFU is tokens/s x `training_flops` (6 N + 12 L H Q T, PaLM, appendix B) by the
dense bfloat16 peak of the card's data sheet. The same `Trainer`, batch and optimizer settings for all; nanoGPT's model is its forward
alone.
"""

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator
from transformers.utils import is_flash_attn_2_available

import hf_gpt
from hf_gpt.planning.counts import training_flops
from hf_gpt.planning.devices import DEVICES

from .frame import write_record
from .gpt2 import NO_ENDS, Sizes, our_config, stock_gpt2
from .speed.corpus import Blocks
from .speed.nanogpt import NanoGPT, Size


@dataclass(frozen=True)
class Load:
    """What every system is given."""

    layers: int
    vocabulary: int
    length: int
    batch: int
    warm_up: int
    steps: int


GPU = Load(layers=12, vocabulary=50304, length=1024, batch=32, warm_up=10, steps=30)
TINY = Load(layers=1, vocabulary=97, length=32, batch=2, warm_up=1, steps=2)


class NanoGPTForTrainer(nn.Module):
    """What `Trainer` calls: ids and labels in, a loss out."""

    def __init__(self, model: NanoGPT):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.model(input_ids[:, :-1], labels[:, 1:])}


def stock(load: Load) -> nn.Module:
    return stock_gpt2(Sizes(768, load.layers, 12, load.vocabulary, load.length), attn_implementation="sdpa")


def ours(name: str, attention: str) -> Callable[[Load], nn.Module]:
    def build(load: Load) -> nn.Module:
        config = our_config(Sizes(0, load.layers, 0, load.vocabulary, load.length), name, fused_loss=True)
        config._attn_implementation = attention
        return hf_gpt.GPTForCausalLM(config)

    return build


def nanogpt(load: Load) -> nn.Module:
    return NanoGPTForTrainer(NanoGPT(Size(768, load.layers, 12, load.vocabulary, load.length)))


@dataclass(frozen=True)
class Entry:
    """A row: how the model is made, whether it is compiled, and which optimizer it has."""

    build: Callable[[Load], nn.Module]
    compiled: bool
    with_muon: bool = False


SYSTEMS = {
    "stock GPT-2": Entry(stock, compiled=False),
    "stock GPT-2, compiled": Entry(stock, compiled=True),
    "nanoGPT's model, compiled": Entry(nanogpt, compiled=True),
    "gpt2, sdpa": Entry(ours("gpt2", "sdpa"), compiled=False),
    "gpt2, sdpa, compiled": Entry(ours("gpt2", "sdpa"), compiled=True),
    "gpt2, flex, compiled": Entry(ours("gpt2", "flex_attention"), compiled=True),
    "gpt2, flash, compiled": Entry(ours("gpt2", "flash_attention_2"), compiled=True),
    "modern-124m, sdpa, compiled": Entry(ours("modern-124m", "sdpa"), compiled=True),
    "modern-124m, sdpa, compiled, Muon": Entry(ours("modern-124m", "sdpa"), compiled=True, with_muon=True),
}


class StepTimes(TrainerCallback):
    """Seconds of each step, once the device has done all of it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._since = 0.0

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._since = self._now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        now = self._now()
        self.seconds.append(now - self._since)
        self._since = now


def optimizer_of(model: nn.Module, entry: Entry) -> torch.optim.Optimizer:
    if entry.with_muon:
        return hf_gpt.Muon(model, lr=0.02, embedding_lr=0.1, head_lr=0.004, rest_lr=0.01, weight_decay=0.1)
    return torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=torch.cuda.is_available())


def measure(entry: Entry, load: Load, folder: str) -> dict[str, Any]:
    torch.manual_seed(0)
    on_gpu = torch.cuda.is_available()
    model = entry.build(load)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        model = model.to("cuda")
    total = load.warm_up + load.steps
    ids = np.random.default_rng(0).integers(load.vocabulary, size=(total * load.batch, load.length), dtype=np.uint16)
    times = StepTimes()
    arguments = TrainingArguments(
        folder,
        max_steps=total,
        per_device_train_batch_size=load.batch,
        bf16=True,
        torch_compile=entry.compiled and on_gpu,
        use_cpu=not on_gpu,
        logging_steps=total,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=Blocks(ids),
        data_collator=default_data_collator,
        callbacks=[times],
        optimizers=(optimizer_of(model, entry), None),
    )
    loss = trainer.train().training_loss
    seconds = statistics.median(times.seconds[load.warm_up :])
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "step_seconds": times.seconds,
        "tokens_per_second": load.batch * load.length / seconds,
        "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
        "loss": loss,
        "profile": kernels(trainer, load),
    }


def kernels(trainer: Trainer, load: Load) -> list[dict[str, Any]]:
    """Return where one more forward and backward pass spends its time: the ten operations that take most."""
    batch = next(iter(trainer.get_train_dataloader()))
    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiled:
        trainer.training_step(trainer.model_wrapped, batch)
    clock = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    events = profiled.key_averages()
    spent = [{"name": event.key, "calls": event.count, "seconds": getattr(event, clock) / 1e6} for event in events]
    return sorted(spent, key=lambda event: -event["seconds"])[:10]


def flops_per_token(name: str, load: Load) -> float:
    architecture = "modern-124m" if name.startswith("modern") else "gpt2"
    config = hf_gpt.preset(architecture, num_hidden_layers=load.layers, vocab_size=load.vocabulary, **NO_ENDS)
    return training_flops(config, load.length).total


def run(options: argparse.Namespace) -> None:
    if not options.smoke and not torch.cuda.is_available():
        print("Not run: torch.cuda.is_available() is False, and these figures are of a GPU.")
        return
    load = TINY if options.smoke else GPU
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    peak = next((device.peak_flops for name, device in DEVICES.items() if name in card.lower()), None)
    rows = {}
    for name, entry in SYSTEMS.items():
        if "flash" in name and not is_flash_attn_2_available():
            print(f"{name}: not run, flash-attn is not installed")
            continue
        if "flex" in name and not torch.cuda.is_available():
            print(f"{name}: not run, on a CPU it has no backward pass")
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = measure(entry, load, folder)
        per_token = flops_per_token(name, load)
        rows[name] |= {"flops_per_token": per_token, "mfu": peak and rows[name]["tokens_per_second"] * per_token / peak}
        print(f"{name}: {rows[name]['tokens_per_second']:,.0f} tokens/s, MFU {rows[name]['mfu']}", flush=True)
        torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    write_record("gpu", "gpu", card=card, peak_flops=peak, load=vars(load), rows=rows)
