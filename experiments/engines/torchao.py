"""Our own folders, by their own code, with weights in 8 and in 4 bits of torchao."""

from typing import Any

import torch
from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, quantize_
from transformers import AutoModelForCausalLM

from .job import Job, tokens_per_second
from .native import compare, generate


def measure(job: Job) -> dict[str, Any]:
    compared = {}
    # torch makes these types by number, out of sight of a type checker.
    four_bits: Any = vars(torch)["int4"]
    kinds = {"int8": Int8WeightOnlyConfig(), "int4": IntxWeightOnlyConfig(weight_dtype=four_bits)}
    for model in job.some("gpt2", "modern"):
        for kind, config in kinds.items():
            ours = AutoModelForCausalLM.from_pretrained(model.own, trust_remote_code=True, dtype=torch.float32).eval()
            quantize_(ours, config)
            compared[f"{model.name} {kind}"] = compare(model, ours)
    return {"compared": compared, "tokens_per_second": tokens_per_second(lambda: generate(ours, model.ids))}
