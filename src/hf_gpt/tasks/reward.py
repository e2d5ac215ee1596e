"""A number for an answer: what people would prefer, learned from pairs of which one is better (Ouyang et al. 2022, section 3.5)."""

from typing import Any, ClassVar

import numpy as np
from datasets import Dataset

from .preference import Preference


class Reward(Preference):
    """`prompt`, `chosen` and `rejected`, as those of `preference`: the better answer gets the larger number.

    A pair of which an answer is longer than `max_length` is left out: what is cut off may be what makes it better.
    """

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    pipeline: ClassVar[str] = "text-classification"
    figure: ClassVar[tuple[str, int]] = ("accuracy", 3)
    pair_figures: ClassVar[tuple[str, str]] = ("accuracy", "margin")
    trainer: ClassVar[str] = "reward"

    def learn(self, train: Dataset) -> None:
        super().learn(train)
        self.config = {"num_labels": 1}

    def encode(self, split: str, rows: Dataset) -> Dataset:
        pairs = super().encode(split, rows)
        kept: dict[str, list[list[int]]] = {"chosen_ids": [], "rejected_ids": []}
        for row in pairs:
            both = [[*row["prompt_ids"], *row[name]] for name in kept]
            if max(map(len, both)) <= self.settings.max_length:
                for name, ids in zip(kept, both):
                    kept[name].append(ids)
        cut = self.counts[split].pop("rows whose answers are cut to max_length", 0)
        if cut:
            self.counts[split]["pairs left out: longer than max_length"] = cut
        return Dataset.from_dict(kept)

    def score_pairs(self, margins: np.ndarray, encoded: Dataset) -> tuple[dict[str, float], dict[str, Any]]:
        """Return what `Preference` does, and the token that answers end with: at any other, it has learned no number."""
        figures, details = super().score_pairs(margins, encoded)
        return figures, details | {"answer_end": self.tokenizer.convert_ids_to_tokens(encoded[0]["chosen_ids"][-1])}

    def questions(self, encoded: Dataset) -> list[tuple[list[int], str]]:
        """Return none: it writes no answers."""
        return []
