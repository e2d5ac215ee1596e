"""What the loss adds to the memory of a training step: the matrix of logits, or slices of it.

Vocabulary 50,257, batch 8 x 512, width 768, two layers, float32. Each variant is a process of its own, and its figure is the largest
resident size of the process beyond the size before the step. Writes benchmarks/records/loss_memory.json.
"""

import argparse
import time
from typing import Any

import torch

from hf_gpt.reports.records import peak_memory

from .frame import apart, write_record
from .gpt2 import Sizes, our_gpt2, stock_gpt2


VARIANTS = ("stock", "stock, loss on the hidden states", "ours", "ours, loss on the hidden states")
STEPS = 3


def resident() -> int:
    """Return largest resident size so far, in bytes."""
    return peak_memory()["host_bytes"]


def measure(variant: str, vocabulary: int, batch: tuple[int, int]) -> dict[str, Any]:
    torch.manual_seed(0)
    sizes = Sizes(768, 2, 12, vocabulary)
    model = (stock_gpt2(sizes) if variant.startswith("stock") else our_gpt2(sizes, fused_loss=True)).train()
    ids = torch.randint(vocabulary, batch)
    before = resident()
    seconds = []
    for _ in range(STEPS):
        begun = time.perf_counter()
        if variant.endswith("hidden states"):
            trunk = model.transformer if variant.startswith("stock") else model.model
            loss = trunk(ids).last_hidden_state.square().mean()
        else:
            loss = model(ids, labels=ids).loss
        loss.backward()
        model.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - begun)
    return {"variant": variant, "peak_bytes": resident(), "step_bytes": resident() - before, "seconds": min(seconds)}


def run(options: argparse.Namespace) -> None:
    vocabulary, batch = (997, (2, 32)) if options.smoke else (50257, (8, 512))
    found = {}
    for variant in VARIANTS:
        found[variant] = apart(measure, variant, vocabulary, batch)
        print(found[variant], flush=True)
    added = {
        name: found[name]["step_bytes"] - found[f"{name}, loss on the hidden states"]["step_bytes"]
        for name in ("stock", "ours")
    }
    ratios = {
        "ratio_added": added["stock"] / max(1, added["ours"]),
        "ratio_step": found["stock"]["step_bytes"] / max(1, found["ours"]["step_bytes"]),
        "ratio_seconds": found["ours"]["seconds"] / found["stock"]["seconds"],
    }
    print(ratios)
    content = {"vocabulary": vocabulary, "batch": list(batch), "variants": found, "added_by_the_loss": added}
    write_record("loss_memory", "loss-memory", **content, **ratios)
