"""A number for an answer: what people would prefer, learned from pairs of which one is better (Ouyang et al. 2022, section 3.5)."""

from collections.abc import Mapping
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

    def baselines(self, splits: Mapping[str, Dataset], encoded: dict[str, Dataset]) -> list[dict[str, Any]]:
        """Score the longer answer, which is what people often take for the better one; of two that are as long, half is right."""
        lengths = [np.array([len(ids) for ids in encoded["test"][name]]) for name in ("chosen_ids", "rejected_ids")]
        right = np.mean(np.sign(lengths[0] - lengths[1]) / 2 + 0.5)
        return [{"name": "the longer answer is better", "accuracy": float(right)}]


def pair_figures(chosen: np.ndarray, rejected: np.ndarray) -> dict[str, float]:
    """Return how often the better answer has the larger number, and by how much on average."""
    return {"accuracy": float(np.mean(chosen > rejected)), "margin": float(np.mean(chosen - rejected))}
