"""Figures of an evaluation over all of its rows or tokens: libraries average the means of batches, of which the last may be smaller."""

import re
from collections.abc import Callable
from typing import Any


# Of a batch, the number of what its figures are means of: of a figure by its name, and under "" of all others.
Sizes = dict[str, float]


def sizes_of(inputs: Any, figures: dict[str, list[float]]) -> Sizes:
    """Return the sizes of a batch.

    Args:
        inputs: As the loader gives them.
        figures: Those of the batches so far, by their names; this one's are the last.
    """
    if isinstance(inputs, list):
        rows, ended = len(inputs), 1 - figures["completions/clipped_ratio"][-1]
        tokens = rows * figures["completions/mean_length"][-1]
        of_ended = {f"completions/{which}_terminated_length": rows * ended for which in ("min", "mean", "max")}
        return {"": rows, "kl": tokens, "entropy": tokens, **of_ended}
    rows = len(next(iter(inputs.values())))
    labels, answers = inputs.get("labels"), inputs.get("completion_mask")
    if answers is not None:
        chosen, rejected = (float(half.sum()) for half in answers.chunk(2))
        of_chosen = {"mean_token_accuracy": chosen, "logits/chosen": chosen, "logits/rejected": rejected}
        return {"": rows, "entropy": chosen + rejected, **of_chosen}
    # Labels of one row each are as many as rows; a row of several classes has a number for each.
    has_tokens = labels is not None and labels.ndim == 2 and not labels.is_floating_point()
    return {"": float((labels != -100).sum()) if has_tokens else rows}


def _mean(values: list[float], sizes: list[float]) -> float:
    return sum(value * size for value, size in zip(values, sizes)) / sum(sizes)


# What is known of all rows by what is known of each batch, by a word of the name; of the others, the mean.
OF_ALL: dict[str, Callable[[list[float], list[float]], float] | None] = {
    "min": lambda values, sizes: min(values),
    "max": lambda values, sizes: max(values),
    # A spread is none, and of answers one to a prompt there is none to be had.
    "std": None,
}


def over_all(name: str, values: list[float], sizes: list[float]) -> float | None:
    """Return a figure over all batches that have any of what it is of; `None` where it is not known."""
    known = [(value, size) for value, size in zip(values, sizes) if size]
    word = next((word for word in re.split("[/_]", name) if word in OF_ALL), None)
    combine = _mean if word is None else OF_ALL[word]
    return combine(*map(list, zip(*known))) if known and combine is not None else None


def put_together(figures: dict[str, list[float]], batches: list[Sizes]) -> None:
    """Replace figures of batches by those over all; what is none of each batch, such as a count so far, stays as it is."""
    for name in [name for name, values in figures.items() if len(values) == len(batches)]:
        value = over_all(name, figures.pop(name), [sizes.get(name, sizes[""]) for sizes in batches])
        if value is not None:
            figures[name] = [value]


def summed(batches: list[list[Sizes]]) -> list[Sizes]:
    """Return the sizes of the batches of several processes, of which each has a part of each batch."""
    return [{name: sum(part[name] for part in parts) for name in parts[0]} for parts in zip(*batches)]


def mean_loss(losses: list[tuple[float, Sizes]]) -> float:
    """Return the mean over all batches, each with its loss; not a number where one is not."""
    return _mean(*map(list, zip(*((loss, sizes[""]) for loss, sizes in losses if sizes[""]))))
