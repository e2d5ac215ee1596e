"""Exports in TransformerLens's bridge: the same logits, with a hook at every activation."""

from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer

from .job import Job


def measure(job: Job) -> dict[str, Any]:
    compared, hooks = {}, set()
    for model in job.some("gpt2", "llama", "modern"):
        native = AutoModelForCausalLM.from_pretrained(model.native, attn_implementation="eager").eval()
        tokenizer = AutoTokenizer.from_pretrained(model.native)
        bridge = TransformerBridge.boot_transformers(str(model.native), hf_model=native, tokenizer=tokenizer, device="cpu")
        with torch.inference_mode():
            logits, cache = bridge.run_with_cache(torch.tensor([model.ids]))
        hooks.add(len(cache))
        compared[model.layout] = model.compare(logits[0].numpy())
    return {"compared": compared, "told": f"activations that are kept: {min(hooks)} and more"}
