"""Two answers to one prompt, of which one is better (Rafailov et al. 2023: direct preference optimization)."""

from typing import ClassVar

from datasets import Dataset

from .chat_template import add_chat_template
from .task import Task


class Preference(Task):
    """`prompt`, `chosen` and `rejected`, as texts or as lists of messages.

    The figures are the trainer's own: its `rewards/accuracies` is how often the better answer gained more.
    """

    figure: ClassVar[tuple[str, int]] = ("rewards/accuracies", 3)
    columns: ClassVar[dict[str, bool]] = {"prompt": True, "chosen": True, "rejected": True, "group": False}
    group: ClassVar[tuple[str, ...]] = ("group", "prompt")
    trainer: ClassVar[str] = "dpo"

    def learn(self, train: Dataset) -> None:
        if not isinstance(train[0]["prompt"], str):
            add_chat_template(self.tokenizer)

    def encode(self, split: str, rows: Dataset) -> Dataset:
        return rows.select_columns(["prompt", "chosen", "rejected"])
