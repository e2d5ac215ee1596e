"""Our GPT-2 beside transformers' at equal settings: a forward pass and a training step.

python -m benchmarks.step_time [--smoke]      writes benchmarks/records/step_time.json
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import hf_gpt
from hf_gpt.reports.records import make_record, write_json

from .pairs import alternate, ratio


RECORD = Path(__file__).parent / "records" / "step_time.json"
SIZES = {"15M": (384, 6, 6, 8192), "124M": (768, 12, 12, 50257)}
BATCH, LENGTH = 8, 256


def models(width: int, layers: int, heads: int, vocabulary: int, fused_loss: bool) -> dict[str, Any]:
    sizes = {"n_embd": width, "n_layer": layers, "n_head": heads, "n_positions": 1024, "vocab_size": vocabulary}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    ends = {"bos_token_id": None, "eos_token_id": None}
    stock = GPT2LMHeadModel(GPT2Config(**sizes, **dropout, **ends, use_cache=False))
    config = hf_gpt.preset(
        "gpt2",
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        vocab_size=vocabulary,
        **dict.fromkeys(("attention_dropout", "embd_dropout", "resid_dropout"), 0.0),
        **dict.fromkeys(("bos_token_id", "eos_token_id")),
        use_cache=False,
        fused_loss=fused_loss,
    )
    return {"stock": stock, "ours": hf_gpt.GPTForCausalLM(config)}


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


def measure(size: str, compiled: bool, fused_loss: bool, rounds: int) -> dict[str, Any]:
    """Both models at one size: float32 not compiled, or bfloat16 compiled."""
    width, layers, heads, vocabulary = SIZES[size]
    torch.manual_seed(0)
    pair = models(width, layers, heads, vocabulary, fused_loss)
    ids = torch.randint(vocabulary, (BATCH, LENGTH))
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
        "batch": [BATCH, LENGTH],
        "forward": {"seconds": forwards, "ratio": ratio(forwards["stock"], forwards["ours"])},
        "step": {"seconds": steps, "ratio": ratio(steps["stock"], steps["ours"])},
    }


def main(smoke: bool) -> None:
    rounds = 2 if smoke else 15
    found = []
    for size in ["15M"] if smoke else SIZES:
        for compiled in [False] if smoke else [False, True]:
            for fused_loss in [False, True]:
                found.append(measure(size, compiled, fused_loss, rounds if size == "15M" else max(2, rounds // 3)))
                row = found[-1]
                print(
                    size,
                    row["precision"],
                    f"fused_loss={fused_loss}",
                    row["forward"]["ratio"],
                    row["step"]["ratio"],
                    flush=True,
                )
    if not smoke:
        write_json(RECORD, make_record("step-time", rows=found))


if __name__ == "__main__":
    main("--smoke" in sys.argv[1:])
