"""Datasets that `save_to_disk` of `datasets` wrote, and which of a dataset's own splits are not read."""

import re
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, IterableDataset

from ..checks.boundary import read_object, refused
from ..errors import InputError, shown
from .packages import PACKAGES
from .sources import FILE_FORMATS, TextSource
from .text_files import SAVED_DATASET, SAVED_SPLITS


def load_saved(source: TextSource) -> Dataset | IterableDataset:
    """Return the rows of a folder of Arrow files: tables, which hold no code.

    Raises:
        InputError: a split that it has not, a file that lies elsewhere, or another fault in it.
    """
    named = f"dataset: path={source.path!r}"
    for key in ("name", "revision"):
        if getattr(source, key) is not None:
            raise InputError(f"{named} is a folder of save_to_disk, which has no {key}: leave dataset.{key} out.")
    with refused(f"{named} cannot be read"):
        _check_inside(Path(source.path), named)
        found = datasets.load_from_disk(source.path)
        # A dataset that was saved alone is what it was a split of, and what is trained on.
        whole = (
            dict(found) if isinstance(found, datasets.DatasetDict) else {"train": found, str(found.split or "train"): found}
        )
        sizes = {str(name): len(rows) for name, rows in whole.items()}
        parts = datasets.ReadInstruction.from_spec(source.split).to_absolute(sizes)
        rows = datasets.concatenate_datasets([whole[part.splitname].select(range(part.from_, part.to)) for part in parts])
    rows = rows.with_format(None)
    # Those of what it was saved from are not in it.
    rows.info.splits = datasets.SplitDict()
    if isinstance(found, datasets.DatasetDict):
        rows.info.splits.update({name: datasets.SplitInfo(name, num_examples=size) for name, size in sizes.items()})
    return rows.to_iterable_dataset() if source.streaming else rows


def _check_inside(folder: Path, named: str) -> None:
    """Raise `InputError` where the files that a saved dataset names are not in its own folder."""
    hint = "save it again where it comes from."
    splits = read_object(folder / SAVED_SPLITS, hint)["splits"] if (folder / SAVED_SPLITS).is_file() else [""]
    for split in splits:
        files = [file["filename"] for file in read_object(folder / split / SAVED_DATASET[0], hint)["_data_files"]]
        for name in (*files, *filter(None, [split])):
            if Path(name).name != name:
                raise InputError(f"{named} names {shown(name)}, which is not in it: {hint}")


# What people call splits that are held out.
HELD_OUT = {"validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


def unread_splits(source: TextSource, rows: Any) -> dict[str, tuple[str, int]]:
    """Return the dataset's own splits that could be held out and are not read, with their rows, by the name of what is held out.

    They are read when they are named: many have no labels, and a run that was begun keeps its splits.
    """
    if source.path in (*PACKAGES, *FILE_FORMATS) or source.mixture:
        return {}
    sizes = {name: split.num_examples for name, split in (rows.info.splits or {}).items() if split.num_examples}
    read = re.findall(
        r"[\w.-]+", " ".join(part.split for part in (source, source.validation, source.test) if part is not None)
    )
    found = {}
    for held, names in HELD_OUT.items():
        own = next((name for name in names if name in sizes and name not in read), None)
        if getattr(source, held) is None and own is not None:
            found[held] = own, sizes[own]
    return found
