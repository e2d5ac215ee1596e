"""TRL's trainers on our own folder, which `import hf_gpt` makes known: after some steps weights have moved and are finite."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import hf_gpt  # noqa: F401 - reference models are loaded by path, and by their registered class

from .job import Job


PROMPTS = ["The value of", "A list is", "The type of an object", "A name in"] * 2
PAIRS = Dataset.from_dict({"prompt": PROMPTS, "chosen": [" an object"] * 8, "rejected": [" the the the"] * 8})
ASKED = Dataset.from_dict({"prompt": PROMPTS})
ANSWERED = Dataset.from_dict({"prompt": PROMPTS, "completion": [" an object"] * 8, "label": [True, False] * 4})


def causal(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def scorer(folder: Path) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)


def length(completions: list[str], **kwargs: Any) -> list[float]:
    return [float(len(text)) for text in completions]


def talk(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": " an object"}]


WRITTEN = {"num_generations": 2, "max_completion_length": 8, "per_device_train_batch_size": 2}
TALKS = Dataset.from_dict({"messages": [talk(prompt) for prompt in PROMPTS]})
# Of each trainer its rows, what its arguments need, and what more it is given.
TRAINERS: dict[str, tuple[Callable[[Path], Any], Any, dict[str, Any], Callable[[Path], dict[str, Any]]]] = {
    "DPO": (causal, PAIRS, {}, lambda folder: {}),
    "GRPO": (causal, ASKED, WRITTEN, lambda folder: {"reward_funcs": length}),
    "Reward": (scorer, PAIRS, {}, lambda folder: {}),
    "KTO": (causal, ANSWERED, {"per_device_train_batch_size": 4}, lambda folder: {}),
    "ORPO": (causal, PAIRS, {}, lambda folder: {}),
    "RLOO": (causal, ASKED, WRITTEN, lambda folder: {"reward_funcs": length}),
    "GKD": (causal, TALKS, {"max_new_tokens": 8}, lambda folder: {"teacher_model": causal(folder)}),
}

# What a trainer raises that has gone, or has changed what it takes: a word of the row, and no end of the others.
FAULTS = (AttributeError, ImportError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


def measure(job: Job) -> dict[str, Any]:
    told, failed = [], []
    for name, parts in TRAINERS.items():
        try:
            train(name, job, *parts)
        except FAULTS as error:
            failed.append(f"{name} ({type(error).__name__}: {' '.join(str(error).split())[:80]})")
        else:
            told.append(name)
    return {"told": f"trained: {', '.join(told)}" + (f"; not: {', '.join(failed)}" if failed else "")}


def train(name: str, job: Job, make: Any, rows: Any, settings: dict[str, Any], more: Any) -> None:
    Config, Trainer = find(f"{name}Config"), find(f"{name}Trainer")  # noqa: N806
    common = {"max_steps": 2, "report_to": "none", "save_strategy": "no", "bf16": False, "use_cpu": True, "logging_steps": 1}
    arguments = Config(str(job.scratch(f"trl-{name}")), **common, **settings)
    folder = job.folder / "chat" / "own"
    tokenizer, ours = AutoTokenizer.from_pretrained(folder), make(folder)
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    Trainer(model=ours, args=arguments, train_dataset=rows, processing_class=tokenizer, **more(folder)).train()
    after = ours.state_dict()
    if all(torch.equal(value, after[key]) for key, value in before.items()):
        raise ValueError("no weight has moved")
    if not all(value.isfinite().all() for value in after.values()):
        raise ValueError("a weight is not finite")


def find(name: str) -> Any:
    """Return a class of TRL, of its experimental part too, where the rarer trainers have gone."""
    if hasattr(trl, name):
        return getattr(trl, name)
    from importlib import import_module

    method = name.removesuffix("Config").removesuffix("Trainer").lower()
    return getattr(import_module(f"trl.experimental.{method}"), name)
