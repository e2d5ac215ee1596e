"""What every engine is given: small models of each generation on disk, and what our own code makes of a prompt."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


RESULT = "RESULT "
# A text in its own bytes is reproduced by all engines; what is repeated for the clock is the same text again.
NEW_TOKENS = 24


@dataclass(frozen=True)
class Model:
    """One model with what our own code says: `log_probs` of shape `(length, vocab_size)`, and the greedy `new_ids`."""

    name: str
    layout: str
    folder: Path
    ids: list[int]
    new_ids: list[int]
    log_probs: np.ndarray

    @property
    def own(self) -> Path:
        return self.folder / "own"

    @property
    def native(self) -> Path:
        return self.folder / "native"

    def gguf(self, quantize: str = "") -> Path:
        return self.folder / f"gguf{quantize}" / "model.gguf"

    def compare(self, logits: Any = None, new_ids: list[int] | None = None, log_probs: Any = None) -> dict[str, Any]:
        """Return the largest difference of log-probabilities over the prompt, and whether the greedy ids are the same."""
        found: dict[str, Any] = {}
        if logits is not None:
            log_probs = log_softmax(np.asarray(logits, dtype=np.float64))
        if log_probs is not None:
            found["difference"] = float(np.abs(log_probs - self.log_probs).max())
        if new_ids is not None:
            found["greedy_equal"] = [int(i) for i in new_ids] == self.new_ids
        return found


class Job:
    """The folder that `experiments/serving.py` prepares."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.facts: dict[str, Any] = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        self.models = {name: self.read(name, values) for name, values in self.facts["models"].items()}

    def read(self, name: str, values: dict[str, Any]) -> Model:
        arrays = np.load(self.folder / name / "reference.npz")
        return Model(
            name, values["layout"], self.folder / name, arrays["ids"].tolist(), arrays["new_ids"].tolist(), arrays["log_probs"]
        )

    def some(self, *names: str) -> list[Model]:
        return [self.models[name] for name in names]

    def scratch(self, name: str) -> Path:
        folder = self.folder / "scratch" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def traced(model: Model) -> tuple[Any, dict[str, Any]]:
    """Return our own folder as an exporter of transformers takes it, without a cache, so that ids and mask are all that goes in; and
    inputs to trace it with, of another length than the prompt."""
    import torch
    from transformers import AutoModelForCausalLM

    ours = AutoModelForCausalLM.from_pretrained(model.own, trust_remote_code=True, use_cache=False).eval()
    return ours, {"input_ids": torch.randint(2, 100, (2, 7)), "attention_mask": torch.ones(2, 7, dtype=torch.long)}


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def tokens_per_second(write: Callable[[], Any]) -> float:
    """Return the speed of a call that writes `NEW_TOKENS` tokens: the best of three, after one that warms up."""
    write()
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        write()
        times.append(time.perf_counter() - begun)
    return NEW_TOKENS / min(times)
