"""Our own folders, by their own code, with weights in 8 and in 4 bits of bitsandbytes, on a CPU."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from .job import Job, tokens_per_second
from .native import compare, generate


def measure(job: Job) -> dict[str, Any]:
    compared = {}
    kinds = {
        "int8": BitsAndBytesConfig(load_in_8bit=True),
        "nf4": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32),
    }
    for model in job.some("gpt2", "modern"):
        for kind, config in kinds.items():
            given = {"trust_remote_code": True, "quantization_config": config, "dtype": torch.float32, "device_map": "cpu"}
            ours = AutoModelForCausalLM.from_pretrained(model.own, **given).eval()
            compared[f"{model.name} {kind}"] = compare(model, ours)
    return {"compared": compared, "tokens_per_second": tokens_per_second(lambda: generate(ours, model.ids))}
