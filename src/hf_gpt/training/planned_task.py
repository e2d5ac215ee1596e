"""What is planned of a recipe that trains a model further: the sizes of its base, and the tokens that its rows have."""

from collections import Counter
from pathlib import Path
from typing import Any

from ..data.packages import PACKAGES, is_fetched
from ..data.rows import task_splits
from ..data.sources import FILE_FORMATS, TextSource
from ..errors import InputError
from ..inference.loading import load_config, override_fields
from ..inference.pretrained import is_kept
from ..modeling.configuration_hf_gpt import GPTConfig
from ..recipe.arguments import Recipe
from .adapters import adapter_kind
from .finetuning import build_task
from .preparation import find_base


# Rows whose tokens are counted.
COUNTED_ROWS = 500


def is_here(source: TextSource) -> bool:
    """Return whether rows can be looked at without a download or without an end."""
    is_known = (
        source.path in FILE_FORMATS
        or Path(source.path).is_dir()
        or (source.path in PACKAGES and is_fetched(PACKAGES[source.path]))
    )
    return is_known and not source.mixture and not source.streaming


def base_config(recipe: Recipe, needs_rows: bool) -> GPTConfig:
    """Return the config of the model that a recipe trains further.

    Args:
        needs_rows: Whether tokens of its rows are to be counted.

    Raises:
        InputError: rows or packaged weights that would have to be fetched first; or it is of another family, whose parts a plan does
            not count.
    """
    base = str(recipe.model.model_name_or_path)
    missing = [
        *([f"the rows of {recipe.source.path!r}"] if needs_rows and not is_here(recipe.source) else []),
        *([f"the weights of model_name_or_path={base!r}"] if not is_kept(base) else []),
    ]
    if missing:
        instead = ", or give --tokens" if is_kept(base) else ""
        raise InputError(f"{' and '.join(missing)} are not here, and a plan fetches nothing: run the recipe once{instead}.")
    find_base(recipe)
    name = str(recipe.model.model_name_or_path)
    config: Any = load_config(name, "model_name_or_path")
    if not isinstance(config, GPTConfig):
        raise InputError(
            f"model_name_or_path={name!r} is a {config.model_type}, whose parts a plan does not count: give --preset."
        )
    override_fields(config, recipe.model.config)
    return config


def task_tokens(recipe: Recipe, per_step: int) -> tuple[int, float]:
    """Return the places in batches that the rows of a task take in an epoch, and the tokens of one on average, padding left out.

    Args:
        per_step: Places of a step of the optimizer.

    Raises:
        InputError: see `task_splits` and `Task.places`.
    """
    task = build_task(recipe)
    shares = recipe.data.validation_share, recipe.data.test_share
    splits, _, _ = task_splits(recipe.source, task.columns, task.group, *shares)
    train = splits["train"]
    task.learn(train)
    task.counts["train"] = Counter()
    few = train.select(range(min(COUNTED_ROWS, len(train))))
    encoded = task.encode("train", few)
    rows = min(len(train), recipe.task.max_train_rows or len(train))
    length = sum(_length(row) for row in encoded) / max(len(encoded), 1)
    # Of an answer that is drawn nobody knows the length before.
    length += recipe.task.max_new_tokens if task.trainer == "reinforcement" else 0
    return task.places(round(rows * len(encoded) / len(few)), per_step), length


def _length(row: dict[str, Any]) -> int:
    """Return the tokens of a row, whole or in its parts."""
    if "input_ids" in row:
        ids = row["input_ids"]
        return sum(map(len, ids)) if ids and isinstance(ids[0], list) else len(ids)
    # Ids of the parts of a row, and beside them what is no input of the model.
    return sum(len(value) for value in row.values() if isinstance(value, list))


def notes_of(recipe: Recipe) -> tuple[str, ...]:
    """Return what a plan of a recipe that trains a model further does not count."""
    notes = {
        "an adapter is counted as all weights are: it takes about two thirds of the time, and no moments": adapter_kind(
            recipe
        ),
        "of reinforcement each answer is counted as max_new_tokens long, and to draw it is not counted": recipe.task.task
        == "reinforcement",
    }
    return tuple(note for note, is_true in notes.items() if is_true)
