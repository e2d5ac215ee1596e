"""Exports, built by onnxruntime-genai's own builder and run by it."""

import subprocess
import sys
from typing import Any

import numpy as np
import onnxruntime_genai

from .job import NEW_TOKENS, Job, Model, tokens_per_second


def measure(job: Job) -> dict[str, Any]:
    compared = {}
    for model in job.some("llama", "modern"):
        out = job.scratch("genai") / model.name
        build = ["onnxruntime_genai.models.builder", "-i", str(model.native), "-o", str(out), "-p", "fp32", "-e", "cpu"]
        subprocess.run([sys.executable, "-m", *build, "-c", str(job.scratch("genai-cache"))], check=True)
        theirs = onnxruntime_genai.Model(str(out))
        compared[model.layout] = compare(model, theirs)
    return {"compared": compared, "tokens_per_second": tokens_per_second(lambda: generate(model, theirs))}


def compare(model: Model, theirs: Any) -> dict[str, Any]:
    generator = begin(model, theirs)
    rows = []
    for i in model.ids:
        generator.append_tokens(np.array([[i]], dtype=np.int32))
        rows.append(np.array(generator.get_output("logits"))[0, -1])
    return model.compare(np.array(rows), generate(model, theirs))


def begin(model: Model, theirs: Any) -> Any:
    parameters = onnxruntime_genai.GeneratorParams(theirs)
    parameters.set_search_options(max_length=len(model.ids) + NEW_TOKENS, do_sample=False, batch_size=1)
    return onnxruntime_genai.Generator(theirs, parameters)


def generate(model: Model, theirs: Any) -> list[int]:
    generator = begin(model, theirs)
    generator.append_tokens(np.array([model.ids], dtype=np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    return generator.get_sequence(0)[len(model.ids) :]
