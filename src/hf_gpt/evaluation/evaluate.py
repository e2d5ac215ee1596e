"""Score a finished model on a text."""

import math
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from ..checks.boundary import refused
from ..checks.limits import check_ranges
from ..checks.names import check_name
from ..data.loading import file_lines, load_rows, text_rows
from ..data.packages import PACKAGES
from ..data.packing import LOSSY, check_token_ids, is_lossy, pack_texts
from ..data.sources import folder_lines, text_source
from ..data.splits import split_rows, without_empty
from ..data.text_columns import find_text_column
from ..data.text_files import is_saved, source_of
from ..errors import InputError
from ..inference.loading import load_model
from ..inference.pretrained import find_model
from ..recipe.arguments import RECIPE_FILE, DataArguments
from ..recipe.strict_yaml import read_yaml
from .perplexity import LanguageModelScore, evaluate_language_model


def evaluate_folder(
    name: str, dataset: str, block_size: int, text_column: str | None, batch_size: int
) -> tuple[LanguageModelScore, list[str]]:
    """Score a model on a file or folder of text, a Hub dataset, or the test split of a package.

    Args:
        text_column: Of a table of one's own, by default that of the model's recipe, or what `train` chooses; else `text`.

    Returns:
        The score, and what has to be known of it, a line each.

    Raises:
        InputError: the model or the text cannot be read, or the text is shorter than a block.
    """
    name = find_model(name)
    model, tokenizer = load_model(name)
    path = Path(dataset)
    is_here = dataset not in PACKAGES and (path.is_file() or path.is_dir())
    if not is_here and dataset not in PACKAGES:
        check_name(dataset, "dataset")
    given: dict[str, Any] = source_of(path) if is_here and not is_saved(path) else {"path": dataset}
    recipe, notes = recipe_of(name), []
    if given["path"] == "text" and (sample_by := trained_by(recipe)) != "document":
        given["sample_by"] = sample_by
        notes.append(f"each {sample_by} is a text, as in training")
    if text_column is None and "files" in given and given["path"] != "text":
        text_column = find_text_column(text_source(given), trained_columns(recipe), "--text-column")
        notes += [] if text_column == "text" else [f"of each row the column {text_column!r}"]
    source = text_source({**given, "text_column": text_column or "text"})
    notes += folder_lines(source)
    rows = load_rows(source)
    notes += file_lines(source)
    if source.path in PACKAGES:
        shares = held_out_shares(recipe)
        notes.append(f"on the test split of {dataset} at validation_share={shares[0]} and test_share={shares[1]}")
        texts = split_rows(rows, source.text_column, *shares).parts["test"]
    else:
        texts = without_empty(text_rows(rows, source.text_column))
    if len(texts) == 0:
        raise InputError(f"dataset={dataset!r} holds no text: every row is empty.")
    with refused(f"model={name!r} cannot score {dataset!r}"):
        if is_lossy(texts, tokenizer):
            notes.append(f"mind that {LOSSY}")
        packed = pack_texts(texts, tokenizer, block_size)
        check_token_ids(packed.blocks, model.config.vocab_size)
        score = evaluate_language_model(model, packed.blocks, packed.bytes_per_token, batch_size)
    if not math.isfinite(score.loss):
        raise InputError(
            f"model={name!r} gives a loss of {score.loss}: its weights are of no use, or too large to compute with."
        )
    return score, notes


def recipe_of(name: str) -> dict[str, Any]:
    """Return what the recipe of a model says, which is beside it; nothing if it has none."""
    # A model on the Hub has its recipe there, too.
    file = cached_file(
        name, RECIPE_FILE, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    with refused(f"{file} cannot be read"):
        values = read_yaml(Path(file).read_text(encoding="utf-8"), str(file)) if file else {}
    if not isinstance(values, dict):
        raise InputError(f"{file} holds a {type(values).__name__}: a recipe is a mapping.")
    return values


def held_out_shares(recipe: dict[str, Any]) -> tuple[float, float]:
    """Return the shares that a run held out, as its recipe says; those of a recipe that says nothing if it does not."""
    check_ranges({key: value for key, value in recipe.items() if key in ("validation_share", "test_share")})
    return recipe.get("validation_share", DataArguments.validation_share), recipe.get("test_share", DataArguments.test_share)


def trained_columns(recipe: dict[str, Any]) -> list[str]:
    """Return the column of texts that a recipe names."""
    dataset = recipe.get("dataset")
    column = dataset.get("text_column") if isinstance(dataset, dict) else None
    return [column] if isinstance(column, str) else []


def trained_by(recipe: dict[str, Any]) -> str:
    """Return what one text of plain text was in training: a document, a paragraph or a line."""
    dataset = recipe.get("dataset")
    if not isinstance(dataset, dict) or not (dataset.get("path") or dataset.get("mixture")):
        return "document"
    with refused("recipe.yaml: dataset"):
        source = text_source(dataset)
    kinds = {part.sample_by for part, _ in source.mixture} if source.mixture else {source.sample_by}
    return (kinds.pop() if len(kinds) == 1 else None) or "document"
