"""Two answers to one prompt, of which one is better (Rafailov et al. 2023: direct preference optimization)."""

from typing import Any, ClassVar

import numpy as np
from datasets import Dataset

from ..data.conversations import answer_ids, reply_ids
from ..data.rows import TURNS
from .chat_template import add_chat_template, template_refusals, turn_ends
from .task import Task, small


class Preference(Task):
    """`prompt`, `chosen` and `rejected`, as texts or as lists of messages.

    The figures are the trainer's own: its `rewards/accuracies` is how often the better answer gained more.
    """

    figure: ClassVar[tuple[str, int]] = ("rewards/accuracies", 3)
    columns: ClassVar[dict[str, bool]] = {"prompt": True, "chosen": True, "rejected": True, "group": False}
    group: ClassVar[tuple[str, ...]] = ("group", "prompt")
    trainer: ClassVar[str] = "dpo"

    def learn(self, train: Dataset) -> None:
        if any(not isinstance(train[0][name], str) for name in TURNS):
            add_chat_template(self.tokenizer)
            self.stop_ids = turn_ends(self.tokenizer)

    def encode(self, split: str, rows: Dataset) -> Dataset:
        kept: dict[str, list[np.ndarray]] = {"prompt_ids": [], "chosen_ids": [], "rejected_ids": []}
        for number, row in enumerate(rows):
            with template_refusals(f"row {number} of the {split} split"):
                (asked, chosen), (_, rejected) = (self.pair(row["prompt"], row[name]) for name in ("chosen", "rejected"))
            if len(asked) >= self.settings.max_length:
                self.counts[split]["rows left out: no room for an answer"] += 1
                continue
            if len(asked) + max(len(chosen), len(rejected)) > self.settings.max_length:
                self.counts[split]["rows whose answers are cut to max_length"] += 1
            for name, ids in zip(kept, (asked, chosen, rejected)):
                kept[name].append(small(ids))
        return Dataset.from_dict(kept)

    def pair(self, prompt: Any, answer: Any) -> tuple[list[int], list[int]]:
        """Return the ids of a prompt and of an answer to it: both texts, or at least one of them messages."""
        if isinstance(prompt, str) and isinstance(answer, str):
            return answer_ids(self.tokenizer, prompt, answer)
        asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        said = [{"role": "assistant", "content": answer}] if isinstance(answer, str) else answer
        # Some repeat the prompt before each answer.
        return reply_ids(self.tokenizer, asked, said[len(asked) :] if said[: len(asked)] == asked else said)
