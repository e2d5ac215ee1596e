"""`transformers serve` of our own folder: importing hf_gpt puts our classes where it looks them up; it has no plugins."""

from typing import Any

from . import OWN_SERVE
from .job import Job
from .serve import served


def measure(job: Job) -> dict[str, Any]:
    return served(job, OWN_SERVE, job.models["modern"].own)
