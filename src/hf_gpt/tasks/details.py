"""What a person looks at behind the figures of a classifier: scores of each label, a confusion matrix, and its surest mistakes."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ..errors import InputError, counted, listed, shown


# Labels that a table or a confusion matrix can hold and still be read.
MOST_LABELS = 30
# Rows that are kept to be chosen from, and characters of each that are shown.
MOST_ROWS, MOST_CHARACTERS = 200, 400


def label_scores(found: list[str], wanted: list[str], names: list[str]) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and rows of each label (scikit-learn), the most frequent ones first."""
    from sklearn.metrics import precision_recall_fscore_support

    counts = Counter(wanted)
    kept = sorted(names, key=lambda name: -counts[name])[:MOST_LABELS]
    columns: Any = precision_recall_fscore_support(wanted, found, labels=kept, zero_division=0)
    return {
        name: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "rows": int(rows)}
        for name, precision, recall, f1, rows in zip(kept, *columns)
    }


def confusion(found: Any, wanted: Any, names: list[str]) -> dict[str, Any]:
    """Return how often each class (a row) was taken for each (a column); empty for more classes than can be read."""
    if len(names) > MOST_LABELS:
        return {}
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (np.asarray(wanted, dtype=int), np.asarray(found, dtype=int)), 1)
    return {"confusion": {"labels": list(names), "counts": counts.tolist()}}


def mistakes(logits: np.ndarray, targets: np.ndarray, texts: list[str], names: list[str]) -> list[dict[str, Any]]:
    """Return the rows that were given another class than theirs, the surest first."""
    shares = functional.softmax(torch.as_tensor(logits, dtype=torch.float32), dim=-1).numpy()
    best = shares.argmax(-1)
    wrong = np.flatnonzero(best != targets)
    return [
        {
            "text": cut(texts[row]),
            "label": names[int(targets[row])],
            "predicted": names[int(best[row])],
            "probability": float(shares[row].max()),
        }
        for row in wrong[np.argsort(-shares[wrong].max(-1), kind="stable")][:MOST_ROWS].tolist()
    ]


def cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def class_weights(given: list | str | None, names: list[str], labels: list[int]) -> torch.Tensor | None:
    """Return the weight of each class: as given, or rows / (classes * rows of the class) for `balanced` (King and Zeng 2001).

    Args:
        labels: Of the rows that are trained on, as indices of `names`.

    Raises:
        InputError: a word that is not known, or not one number above 0 for each class.
    """
    if given is None:
        return None
    if given == "balanced":
        counts = Counter(labels)
        return torch.tensor([len(labels) / (len(names) * max(counts[index], 1)) for index in range(len(names))])
    numbers = given if isinstance(given, list) else []
    is_number = [isinstance(weight, (int, float)) and not isinstance(weight, bool) and 0 < weight < 1e6 for weight in numbers]
    if len(numbers) != len(names) or not all(is_number):
        raise InputError(
            f"class_weights={shown(given)} must be balanced, or a list of a number above 0 for each of the "
            f"{counted(len(names), 'classes')}: {listed(names, MOST_LABELS)}."
        )
    return torch.tensor(numbers, dtype=torch.float32)


def weighted_loss(weights: torch.Tensor) -> Callable[..., torch.Tensor]:
    """Return cross-entropy in which each row, or word, counts as its class does, for `Trainer`."""

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        logits = outputs["logits"].float()
        logits, targets, each = logits.view(-1, logits.shape[-1]), labels.view(-1), weights.to(logits.device)
        if num_items_in_batch is None:
            return functional.cross_entropy(logits, targets, each)
        return functional.cross_entropy(logits, targets, each, reduction="sum") / num_items_in_batch

    return loss
