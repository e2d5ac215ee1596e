"""What makes a run the one that it is, where it lies, and what of its recipe a record shows."""

import json
import os
import typing
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import InputError
from .arguments import PARTS, Recipe
from .typed import checked


# What a run starts from, which may be folders here.
SOURCES = ("model_name_or_path", "adapter", "reward_model", "tokenizer")
# How long a run is: more of it extends the same run.
LENGTHS = ("max_steps", "num_train_epochs")
# Keys that say how a run is resumed, where it lies, and what is told of it: they are no part of what it is.
REPORTING = frozenset(
    {
        "output_dir",
        "overwrite",
        "on_nan",
        "ngram_orders",
        "sample_prompts",
        "sample_tokens",
        "task_baselines",
        "license",
        "report_to",
        "run_name",
        "project",
        "disable_tqdm",
        "push_to_hub",
    }
)
REPORTING_PREFIXES = ("logging_", "log_", "hub_", "trackio_")


def recipe_identity(values: dict[str, Any]) -> dict[str, Any]:
    """Return what makes a run the one that it is, as JSON holds it: the values of its recipe without those of `REPORTING`.

    Which files the data are is told by their hashes, and not by the folder that they lie in today.
    """
    kept = {
        key: value for key, value in values.items() if key not in REPORTING and not str(key).startswith(REPORTING_PREFIXES)
    }
    hints = {key: hint for part in PARTS.values() for key, hint in typing.get_type_hints(part).items()}
    for key in set(kept) & set(hints):
        # An earlier version kept `1e-3` as the text that it was written as.
        with suppress(InputError):
            kept[key] = checked(key, kept[key], hints[key])
    if "dataset" in kept:
        kept["dataset"] = _without_folders(kept["dataset"])
    return json.loads(json.dumps(kept, default=str))


def _without_folders(dataset: Any) -> Any:
    if not isinstance(dataset, dict):
        return dataset
    public = {key: _without_folders(value) if key in ("validation", "test") else value for key, value in dataset.items()}
    if isinstance(dataset.get("mixture"), list):
        public["mixture"] = [_without_folders(part) for part in dataset["mixture"]]
    if "files" in dataset:
        files = [dataset["files"]] if isinstance(dataset["files"], str) else dataset["files"]
        public["files"] = [Path(str(file)).name for file in files]
    return public


def public_values(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's values for a record: file names without the folders that would tell whose machine it was."""
    public = {key: value for key, value in recipe.values.items() if key not in ("overwrite", "output_dir")}
    public["dataset"] = _without_folders(public["dataset"])
    for key in SOURCES:
        if isinstance(public.get(key), str) and os.path.isdir(public[key]):
            public[key] = Path(public[key]).name
    return public
