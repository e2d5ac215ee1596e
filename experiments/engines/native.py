"""Exports in transformers' own classes, in an interpreter that never imports hf_gpt."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM

from .job import NEW_TOKENS, Job, Model, tokens_per_second


def measure(job: Job) -> dict[str, Any]:
    compared = {}
    for model in job.models.values():
        native = AutoModelForCausalLM.from_pretrained(model.native).eval()
        compared[type(native).__name__] = compare(model, native)
    speed = tokens_per_second(lambda: generate(native, model.ids))
    return {"compared": compared, "tokens_per_second": speed}


@torch.inference_mode()
def compare(model: Model, theirs: Any) -> dict[str, Any]:
    """Return the comparison with whatever is called as transformers' models are."""
    logits = theirs(torch.tensor([model.ids])).logits[0].float().numpy()
    return model.compare(logits, generate(theirs, model.ids))


@torch.inference_mode()
def generate(theirs: Any, ids: list[int]) -> list[int]:
    given = torch.tensor([ids])
    written = theirs.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=NEW_TOKENS, do_sample=False)
    return written[0, len(ids) :].tolist()
