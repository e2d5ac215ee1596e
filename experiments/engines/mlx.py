"""Exports in mlx-lm, whose build for Linux computes on the CPU."""

from typing import Any

import mlx.core
import numpy as np
from mlx_lm import load
from mlx_lm.generate import generate_step

from .job import NEW_TOKENS, Job, Model, tokens_per_second


def measure(job: Job) -> dict[str, Any]:
    compared = {}
    for model in job.some("llama", "modern"):
        theirs = load(str(model.native))[0]
        logits = np.array(theirs(mlx.core.array([model.ids])))[0]
        compared[model.layout] = model.compare(logits, generate(model, theirs))
    return {"compared": compared, "tokens_per_second": tokens_per_second(lambda: generate(model, theirs))}


def generate(model: Model, theirs: Any) -> list[int]:
    return [int(token) for token, _ in generate_step(mlx.core.array(model.ids), theirs, max_tokens=NEW_TOKENS)]
