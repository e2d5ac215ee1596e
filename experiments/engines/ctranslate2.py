"""Exports, converted for CTranslate2."""

from typing import Any

import ctranslate2
import numpy as np
from transformers import AutoTokenizer

from .job import NEW_TOKENS, Job, Model, tokens_per_second


def measure(job: Job) -> dict[str, Any]:
    compared = {}
    for model in job.some("gpt2", "llama", "modern"):
        out = job.scratch("ctranslate2") / model.name
        ctranslate2.converters.TransformersConverter(str(model.native)).convert(str(out))
        generator = ctranslate2.Generator(str(out), compute_type="float32")
        compared[model.layout] = compare(model, generator)
    return {"compared": compared, "tokens_per_second": tokens_per_second(lambda: generate(model, generator))}


def compare(model: Model, generator: Any) -> dict[str, Any]:
    log_probs = np.array(generator.forward_batch([model.ids], return_log_probs=True).to(ctranslate2.DataType.float32))[0]
    return model.compare(log_probs=log_probs, new_ids=generate(model, generator))


def generate(model: Model, generator: Any) -> list[int]:
    options = {"max_length": NEW_TOKENS, "sampling_topk": 1, "include_prompt_in_result": False}
    return generator.generate_batch([tokens(model)], **options)[0].sequences_ids[0]


def tokens(model: Model) -> Any:
    return AutoTokenizer.from_pretrained(model.native).convert_ids_to_tokens(model.ids)
