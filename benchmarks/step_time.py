"""Our GPT-2 beside transformers' at equal settings: a forward pass and a training step.

Writes benchmarks/records/step_time.json.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch

from .frame import write_record
from .gpt2 import Sizes, our_gpt2, stock_gpt2
from .pairs import alternate, ratio


SIZES = {"15M": Sizes(384, 6, 6, 8192), "124M": Sizes(768, 12, 12, 50257)}
BATCH, SMOKE_BATCH = (8, 256), (2, 32)


def models(size: str, fused_loss: bool) -> dict[str, Any]:
    return {"stock": stock_gpt2(SIZES[size]), "ours": our_gpt2(SIZES[size], fused_loss=fused_loss)}


def forward(model: Any, ids: torch.Tensor, bf16: bool) -> Callable[[], None]:
    @torch.no_grad()
    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            model(ids)

    return run


def step(model: Any, ids: torch.Tensor, bf16: bool) -> Callable[[], None]:
    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(ids, labels=ids).loss
        loss.backward()
        model.zero_grad(set_to_none=True)

    return run


def measure(size: str, compiled: bool, fused_loss: bool, rounds: int, batch: tuple[int, int]) -> dict[str, Any]:
    """Both models at one size: float32 not compiled, or bfloat16 compiled."""
    torch.manual_seed(0)
    pair = models(size, fused_loss)
    ids = torch.randint(SIZES[size].vocabulary, batch)
    called = {name: torch.compile(model) if compiled else model for name, model in pair.items()}
    for model in pair.values():
        model.eval()
    forwards = alternate({name: forward(model, ids, compiled) for name, model in called.items()}, rounds)
    for model in pair.values():
        model.train()
    steps = alternate({name: step(model, ids, compiled) for name, model in called.items()}, rounds)
    return {
        "size": size,
        "compiled": compiled,
        "precision": "bfloat16" if compiled else "float32",
        "fused_loss": fused_loss,
        "batch": list(batch),
        "forward": {"seconds": forwards, "ratio": ratio(forwards["stock"], forwards["ours"])},
        "step": {"seconds": steps, "ratio": ratio(steps["stock"], steps["ours"])},
    }


def run(options: argparse.Namespace) -> None:
    smoke = options.smoke
    rounds = 2 if smoke else 15
    found = []
    for size in ["15M"] if smoke else SIZES:
        for compiled in [False] if smoke else [False, True]:
            for fused_loss in [False, True]:
                turns = rounds if size == "15M" else max(2, rounds // 3)
                found.append(measure(size, compiled, fused_loss, turns, SMOKE_BATCH if smoke else BATCH))
                row = found[-1]
                print(size, row["precision"], f"{fused_loss=}", row["forward"]["ratio"], row["step"]["ratio"], flush=True)
    write_record("step_time", "step-time", rows=found)
