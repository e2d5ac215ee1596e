"""Exports in vLLM's own classes, on a CPU."""

from typing import Any

from .job import Job
from .vllm_own import measure_each


def measure(job: Job) -> dict[str, Any]:
    models = job.some("gpt2", "llama", "modern")
    return measure_each(models, {model.name: (model.native, "vllm") for model in models})
