"""What the loss adds to the memory of a training step: the matrix of logits, or slices of it.

python -m benchmarks.loss_memory [--smoke]      writes benchmarks/records/loss_memory.json

Vocabulary 50,257, batch 8 x 512, width 768, two layers, float32. Each variant is a process of its own, and its figure is the largest
resident size of the process beyond the size before the step.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import hf_gpt
from hf_gpt.reports.records import make_record, write_json


RECORD = Path(__file__).parent / "records" / "loss_memory.json"
VARIANTS = ("stock", "stock, loss on the hidden states", "ours", "ours, loss on the hidden states")
WIDTH, LAYERS, HEADS, STEPS = 768, 2, 12, 3


def resident() -> int:
    """Largest resident size so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def model_of(variant: str, vocabulary: int) -> Any:
    if variant.startswith("stock"):
        sizes = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "vocab_size": vocabulary}
        ends = {"bos_token_id": None, "eos_token_id": None}
        return GPT2LMHeadModel(GPT2Config(**sizes, **ends, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False))
    none = dict.fromkeys(("attention_dropout", "embd_dropout", "resid_dropout"), 0.0)
    ends = {"bos_token_id": None, "eos_token_id": None}
    config = hf_gpt.preset(
        "gpt2", num_hidden_layers=LAYERS, vocab_size=vocabulary, **none, **ends, use_cache=False, fused_loss=True
    )
    return hf_gpt.GPTForCausalLM(config)


def measure(variant: str, vocabulary: int, batch: tuple[int, int]) -> dict[str, Any]:
    torch.manual_seed(0)
    model = model_of(variant, vocabulary).train()
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


def main(arguments: list[str]) -> None:
    vocabulary, batch = (997, (2, 32)) if "--smoke" in arguments else (50257, (8, 512))
    if arguments[:1] == ["--one"]:
        print(json.dumps(measure(arguments[1], vocabulary, batch)))
        return
    found = {}
    for variant in VARIANTS:
        command = [sys.executable, "-m", "benchmarks.loss_memory", "--one", variant, *arguments]
        found[variant] = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
        print(found[variant], flush=True)
    added = {
        name: found[name]["step_bytes"] - found[f"{name}, loss on the hidden states"]["step_bytes"]
        for name in ("stock", "ours")
    }
    content = {
        "vocabulary": vocabulary,
        "batch": list(batch),
        "variants": found,
        "added_by_the_loss": added,
        "ratio_added": added["stock"] / max(1, added["ours"]),
        "ratio_step": found["stock"]["step_bytes"] / max(1, found["ours"]["step_bytes"]),
        "ratio_seconds": found["ours"]["seconds"] / found["stock"]["seconds"],
    }
    print({key: value for key, value in content.items() if key.startswith("ratio")})
    if "--smoke" not in arguments:
        write_json(RECORD, make_record("loss-memory", **content))


if __name__ == "__main__":
    main(sys.argv[1:])
