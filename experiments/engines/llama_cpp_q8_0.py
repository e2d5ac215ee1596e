"""Files of `hf-gpt export --layout gguf --quantize q8_0` in llama.cpp."""

from typing import Any

from . import llama_cpp
from .job import Job


def measure(job: Job) -> dict[str, Any]:
    return llama_cpp.measure(job, "q8_0")
