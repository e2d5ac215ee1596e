"""`hf-gpt train my.txt`: the quickstart's recipe on somebody's own text, and what was assumed for it."""

import os
import re
from pathlib import Path
from typing import Any

from ..data.loading import load_rows, text_rows
from ..data.sources import TextSource, text_source
from ..data.text_columns import find_text_column
from ..data.text_files import Folder, format_of, name_of, read_folder, source_of
from ..errors import InputError, counted, shown
from .arguments import DataArguments, Recipe
from .packaged import RECIPE_SUFFIXES, is_packaged
from .parser import apply_overrides, parse_recipe, read_recipe


BASE = "pretrain/quickstart"
# Not of text, or not of this one: the prompts of the base are about films.
NOT_KEPT = ("dataset", "output_dir", "sample_prompts")


def is_own_text(name: str) -> bool:
    """Return whether `train` is given a text and not a recipe: a file or a folder that is there and is not YAML."""
    path = Path(os.path.expanduser(name))
    if is_packaged(name):
        return False
    return path.is_dir() or (path.is_file() and path.suffix.lower() not in RECIPE_SUFFIXES)


def recipe_of_text(name: str, overrides: list[str]) -> Recipe:
    """Return the recipe for a file or a folder. What was assumed is the first of its notices.

    Args:
        overrides: See `load_recipe`; they win over what is assumed.

    Raises:
        InputError: see `load_recipe`; or no text, or no column of text; a folder of tables of several kinds.
    """
    path = Path(os.path.expanduser(name))
    if path.suffix.lower() in (".tar", ".tgz") or name.lower().endswith((".tar.gz", ".tar.xz", ".tar.bz2", ".7z", ".rar")):
        raise InputError(f"{name} is an archive: unpack it and give the folder.")
    # A name of dots alone would lead elsewhere, and one with a dash before it be taken for an option.
    place = re.sub(r"[^\w.-]+", "-", name_of(path)).strip(".-") or "text"
    base = {key: value for key, value in read_recipe(BASE).items() if key not in NOT_KEPT}
    values = {**base, "dataset": source_of(path), "output_dir": f"runs/{place}"}
    changed = apply_overrides(values, overrides)
    dataset = values["dataset"]
    chosen = {override.partition("=")[0] for override in overrides}
    if "dataset" in chosen:
        raise InputError(f"dataset={shown(dataset)}: the text is named already, and dataset.key=value says how it is read.")
    if dataset["path"] == "text":
        dataset.setdefault("sample_by", "line" if dataset.get("streaming") else "document")
        how = f"plain text, sample_by: {dataset['sample_by']}"
    else:
        if "text_column" not in dataset:
            dataset["text_column"] = find_text_column(text_source(dataset))
        how = f"{dataset['path']}, text_column: {dataset['text_column']}"
    source = text_source(dataset)
    folder = read_folder(path, source.path) if path.is_dir() else None
    tables = [] if folder is None else _tables_as_text(name, folder, is_chosen="dataset.path" in chosen)
    size = _bytes(source)
    share = min(values.get(key, getattr(DataArguments, key)) for key in ("validation_share", "test_share"))
    scaled = {key: value for key, value in scaled_down(size, share, base).items() if key not in chosen}
    recipe = parse_recipe(values | scaled)
    parts = [f"{name} is read as {how}{_folder_counts(folder)}", f"recipe {BASE}"]
    if scaled:
        parts.append(f"{', '.join(f'{key}={value}' for key, value in scaled.items())} for {counted(size, 'bytes')}")
    parts.append(f"into {recipe.output_dir}")
    recipe.notices[:0] = [f"{'; '.join(parts)}. To change any of it, add key=value.", *changed, *tables]
    return recipe


# A text that is larger is not measured: it is large enough for all that the recipe wants.
ENOUGH = 1 << 20


def _bytes(source: TextSource) -> int:
    """Return UTF-8 bytes of the texts, as far as `ENOUGH`."""
    size = 0
    for batch in text_rows(load_rows(source), source.text_column).iter(batch_size=16):
        size += sum(len((text or "").encode("utf-8", "surrogatepass")) for text in batch["text"])
        if size > ENOUGH:
            break
    return size


def _folder_counts(folder: Folder | None) -> str:
    return "" if folder is None else f" ({counted(len(folder.files), 'files')}{folder.left_out()})"


def _tables_as_text(name: str, folder: Folder, is_chosen: bool) -> list[str]:
    """Return a line about tables of a folder that are read as text.

    Raises:
        InputError: there is nothing else in it, and nobody has chosen that.
    """
    kinds = [f"dataset.path={kind}" for kind in sorted(set(map(format_of, folder.tables)))]
    if not folder.tables or is_chosen:
        return []
    if len(folder.tables) == len(folder.files):
        held = "tables of several kinds" if len(kinds) > 1 else "tables, and files beside them that are no text"
        raise InputError(
            f"{name} holds {held}: {' or '.join(kinds)} reads those of one kind, dataset.path=text all as they are written."
        )
    return [f"{name}: {folder.as_text()} {' or '.join(kinds)} reads tables alone, row by row."]


# Of the text for each entry of the vocabulary, so that few entries are seen only once or twice.
BYTES_PER_ENTRY = 40
SMALLEST_VOCABULARY, SMALLEST_BLOCK = 320, 16
# Bytes of a token, at most: of a small vocabulary about two.
BYTES_PER_TOKEN = 3


def scaled_down(size: int, share: float, base: dict[str, Any]) -> dict[str, int]:
    """Return vocabulary and length of blocks for a text that is too small for the recipe's; empty where it is not.

    Args:
        size: Bytes of the text.
        share: The smaller one of those that are held out: two blocks or more of it are scored.
        base: The recipe.
    """
    entries = size // BYTES_PER_ENTRY // 64 * 64
    tokens = size * share / BYTES_PER_TOKEN / 2
    block = SMALLEST_BLOCK
    while block * 2 <= tokens:
        block *= 2
    wanted = {"tokenizer_vocab_size": max(entries, SMALLEST_VOCABULARY), "block_size": block}
    return {key: value for key, value in wanted.items() if value < base[key]}
