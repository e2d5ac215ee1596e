"""The wall time of training alone, the same for every system."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from .corpus import Blocks


class Clock:
    """Counts seconds from the first step's beginning, stopped while the model is scored.

    Args:
        validation: Blocks that the model is scored on.
        scored_steps: After which steps, besides the last.
        bf16: Whether the matrix multiplications of scoring run in bfloat16.
    """

    def __init__(self, validation: Blocks, scored_steps: set[int], bf16: bool):
        self.validation, self.scored_steps, self.bf16 = validation, scored_steps, bf16
        self.seconds = 0.0
        self.steps: list[float] = []
        self.waits: list[float] = []
        self.history: list[dict[str, float]] = []
        self._since = 0.0

    def start(self) -> None:
        self._since = time.perf_counter()

    def has_batch(self) -> None:
        """To be called when a step has its batch: what went by since the last one is the loader's, and is in `seconds` too."""
        self.waits.append(time.perf_counter() - self._since)

    def step(self, number: int, model: Callable[[], nn.Module]) -> None:
        """To be called after each step; `model` gives the module that is not compiled, when it is to be scored."""
        now = time.perf_counter()
        self.steps.append(now - self._since)
        self.seconds += now - self._since
        if number in self.scored_steps:
            self.history.append(
                {"step": number, "seconds": self.seconds, "loss": validation_loss(model(), self.validation, self.bf16)}
            )
        self._since = time.perf_counter()

    @property
    def compile_seconds(self) -> float:
        """What the first two steps took beyond the median step."""
        median = sorted(self.steps)[len(self.steps) // 2]
        return max(0.0, sum(self.steps[:2]) - 2 * median)

    def callback(self) -> TrainerCallback:
        return _ClockCallback(self)


class _ClockCallback(TrainerCallback):
    def __init__(self, clock: Clock):
        self.clock = clock

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.clock.start()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.clock.has_batch()

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.clock.step(state.global_step, lambda: getattr(model, "_orig_mod", model))


@torch.no_grad()
def validation_loss(model: nn.Module, blocks: Blocks, bf16: bool, batch: int = 16) -> float:
    """Return mean of -log P(token | tokens before it in its block), in nats, by the logits."""
    was_training = model.training
    model.eval()
    total, tokens = 0.0, 0
    for first in range(0, len(blocks), batch):
        ids = torch.stack([blocks[i]["input_ids"] for i in range(first, min(first + batch, len(blocks)))])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            outputs = model(ids)
        logits = outputs if isinstance(outputs, torch.Tensor) else outputs.logits
        targets = ids[:, 1:].flatten()
        total += nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets, reduction="sum").item()
        tokens += len(targets)
    model.train(was_training)
    return total / tokens
