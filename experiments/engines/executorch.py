"""transformers' recipe for ExecuTorch: a step of one token with a static cache, or a hybrid one where layers slide, as one program."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.integrations.executorch import TorchExportableModuleForDecoderOnlyLM

from .job import NEW_TOKENS, Job, Model


def measure(job: Job) -> dict[str, Any]:
    compared = {}
    for model in job.models.values():
        ours = AutoModelForCausalLM.from_pretrained(model.own, trust_remote_code=True, dtype=torch.float32).eval()
        ours.generation_config.cache_implementation = "static"
        recipe = TorchExportableModuleForDecoderOnlyLM(ours, batch_size=1, max_cache_len=64)
        step: dict[str, Any] = {"input_ids": torch.tensor([[2]]), "cache_position": torch.tensor([0])}
        compared[model.name] = compare(model, recipe.export(**step, strict=False).module())
    return {"compared": compared}


@torch.no_grad()
def compare(model: Model, run: Any) -> dict[str, Any]:
    ids, rows = list(model.ids), []
    for position in range(len(model.ids) + NEW_TOKENS - 1):
        given = {"input_ids": torch.tensor([[ids[position]]]), "cache_position": torch.tensor([position])}
        rows.append(run(**given)[0, -1].numpy())
        if position + 1 == len(ids):
            ids.append(int(rows[-1].argmax()))
    return model.compare(rows[: len(model.ids)], ids[len(model.ids) :])
