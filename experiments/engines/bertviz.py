"""Attention of our own folder as bertviz draws it: a page with a weight for every pair of tokens."""

from typing import Any

import torch
from bertviz import head_view, model_view
from transformers import AutoModelForCausalLM, AutoTokenizer

from .job import Job


def measure(job: Job) -> dict[str, Any]:
    sizes = {}
    for model in job.some("gpt2", "modern"):
        given = {"trust_remote_code": True, "attn_implementation": "eager"}
        ours = AutoModelForCausalLM.from_pretrained(model.own, **given).eval()
        with torch.no_grad():
            weights = ours(torch.tensor([model.ids]), output_attentions=True).attentions
        tokens = AutoTokenizer.from_pretrained(model.own, trust_remote_code=True).convert_ids_to_tokens(model.ids)
        pages = [view(weights, tokens, html_action="return").data for view in (head_view, model_view)]
        if not all(token.strip("Ġ") in page for page in pages for token in tokens):
            raise SystemExit("a page lacks a token of the prompt")
        sizes[model.name] = sum(map(len, pages))
    return {"told": f"pages of heads and of all layers: {', '.join(sizes)}"}
