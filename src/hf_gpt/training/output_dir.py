"""The folder of a run: whether it may be used, claimed in one step, replaced by what is its own alone, and finished."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import yaml
from transformers.trainer_utils import get_last_checkpoint

from ..checks.places import check_place, writing
from ..conversion.checkpoints import remove_empty
from ..data.sources import fingerprint, text_source
from ..errors import InputError
from ..recipe.arguments import RECIPE_FILE, Recipe
from ..recipe.identity import LENGTHS, recipe_identity
from ..recipe.parser import recipe_text
from ..reports.model_card import CARD_FILE
from ..reports.records import EMISSIONS_FILE, RECORD_FILE, folder_hash, read_record
from ..run_folder.checkpoints import DAMAGED, STAGING_FOLDER, check_links, lock, write_atomically
from ..run_folder.manifest import (
    EVENTS_FOLDER,
    MANIFEST_FILE,
    SPLIT_FOLDER,
    TOKENIZER_FILES,
    Manifest,
    first_foreign,
    note_written,
    own_paths,
    read_manifest,
    write_manifest,
)
from ..run_folder.settled import SETTLED_FILE, settle


# What a run folder of an earlier version keeps of its data: names, hashes and counts, no folders.
DATA_FILE = "data.json"
PICTURE_FILE = "loss.png"
# What a run of an earlier version, which has no manifest, may have written.
EARLIER_FILES = (
    RECIPE_FILE,
    DATA_FILE,
    RECORD_FILE,
    CARD_FILE,
    PICTURE_FILE,
    EMISSIONS_FILE,
    SETTLED_FILE,
    "samples.md",
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "training_args.bin",
    "model.safetensors",
    "model-?????-of-?????.safetensors",
    "model.safetensors.index.json",
    "adapter_model.safetensors",
    "*_hf_gpt.py",
    *TOKENIZER_FILES,
)
EARLIER_FOLDERS = re.compile(rf"({re.escape(DAMAGED)})?checkpoint-\d+|{EVENTS_FOLDER}|{STAGING_FOLDER}|{SPLIT_FOLDER}")
# What is to be done in a folder: begin; resume from the last checkpoint, if only to its end; make what is missing of the end, from the
# record; begin in place of another run.
Task = Literal["begin", "resume", "finish", "replace"]


@dataclass(frozen=True)
class Found:
    """What a folder holds, as far as a recipe is concerned.

    Attributes:
        notice: A line for the user.
    """

    task: Task
    manifest: Manifest | None = None
    notice: str | None = None


def check_output_folder(folder: Path, recipe: Recipe) -> Found:
    """Return what a run would do in a folder.

    Raises:
        InputError: it must not write there, something in it is not a run's, it holds another run, or it is in use.
    """
    check_place(folder, "output_dir")
    if not folder.is_dir():
        if recipe.training.process_index == 0:
            try_to_make(folder)
        return Found("begin")
    if recipe.training.process_index == 0:
        with lock(folder):
            pass
    return look_at(folder, recipe)


def make(folder: Path) -> None:
    """Make the folder of a run; `InputError` where that cannot be done."""
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:
        raise InputError(
            f"output_dir={str(folder)!r} cannot be made: its file system takes no folders. Choose another."
        ) from error


def try_to_make(folder: Path) -> None:
    """Make the folder of a run and take it away again: what cannot be made is told before anything is read."""
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    try:
        make(folder)
    finally:
        remove_empty(missing)


def look_at(folder: Path, recipe: Recipe) -> Found:
    """See `check_output_folder`; of a folder that is there."""
    check_links(folder)
    manifest = read_manifest(folder)
    if manifest is None:
        # What a kill leaves in the moment before the folder has its manifest.
        if not {path.name for path in folder.iterdir()} - {f".{MANIFEST_FILE}.tmp"}:
            return Found("begin")
        manifest = earlier_manifest(folder, recipe)
    is_same_text = recipe_kept(folder) == recipe.values
    foreign = first_foreign(folder, manifest, (RECIPE_FILE,) if is_same_text and not recipe.run.overwrite else ())
    if foreign is not None:
        raise InputError(
            f"output_dir={str(folder)!r}: {foreign}. Take it out, or choose another folder: nothing of others is replaced, whatever is "
            "asked."
        )
    told = f"output_dir={str(folder)!r}"
    if manifest.stage == "replaced":
        if recipe.run.overwrite:
            return Found("replace", manifest)
        raise InputError(
            f"{told} holds a run that was being replaced: finish that with overwrite=true, or choose another folder."
        )
    identity = recipe_identity(recipe.values)
    changed = sorted(key for key in {*manifest.recipe, *identity} if manifest.recipe.get(key) != identity.get(key))
    if any(key not in LENGTHS for key in changed):
        if recipe.run.overwrite:
            return Found("replace", manifest)
        raise InputError(
            f"{told} holds a run of another recipe (it differs in {', '.join(changed[:5])}): choose another folder, or replace it with "
            "overwrite=true."
        )
    if changed:
        return longer(folder, recipe, manifest, changed)
    if manifest.stage == "claimed" or not has_measured_weights(folder):
        return Found("resume", manifest)
    if manifest.stage == "recorded" or any(not (folder / name).is_file() for name in (CARD_FILE, PICTURE_FILE)):
        return Found("finish", manifest)
    if recipe.run.overwrite:
        return Found("replace", manifest)
    if edited := edited_file(recipe, manifest.data):
        raise InputError(
            f"{told} holds a finished run on another text: {edited} is not the file that it was. Train on the new one with "
            "overwrite=true, which replaces the run, or in another folder."
        )
    # What fixed its own number of steps has no length to be raised.
    lengths = [key for key in LENGTHS if key in recipe.values]
    longer_too = f", or raise {lengths[0]}" if lengths else ""
    raise InputError(f"{told} holds a finished run: choose another folder or replace it with overwrite=true{longer_too}.")


def longer(folder: Path, recipe: Recipe, manifest: Manifest, changed: list[str]) -> Found:
    """Return what to do where a run is to be of another length than it was."""
    if recipe.run.overwrite:
        return Found("replace", manifest)
    told = f"output_dir={str(folder)!r}"
    for key in changed:
        before, now = manifest.recipe.get(key), recipe.values.get(key)
        if not (isinstance(before, (int, float)) and isinstance(now, (int, float)) and now > before > 0):
            raise InputError(
                f"{told} holds a run of another recipe ({key} was {before}): only a longer one extends it. Choose another folder, "
                "or replace it with overwrite=true."
            )
    if manifest.stage != "claimed" and get_last_checkpoint(str(folder)) is None:
        raise InputError(
            f"{told} holds a finished run without a checkpoint that a longer one could resume from: choose another folder, or "
            "replace it with overwrite=true."
        )
    lengths = " and ".join(f"{key} was {manifest.recipe[key]} and is {recipe.values[key]}" for key in changed)
    schedule = recipe.training.lr_scheduler_type
    return Found(
        "resume",
        manifest,
        f"{lengths}: the run resumes, and its schedule ({getattr(schedule, 'value', schedule)}) now spans the new length.",
    )


def has_measured_weights(folder: Path) -> bool:
    """Return whether the folder holds the weights that its record was measured on."""
    return (folder / RECORD_FILE).is_file() and read_record(folder).get("model_sha256") == folder_hash(folder)


def recipe_kept(folder: Path) -> Any:
    """Return the recipe that a folder keeps; `None` where it has none that can be read."""
    path = folder / RECIPE_FILE
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None


def read_dict(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def earlier_manifest(folder: Path, recipe: Recipe) -> Manifest:
    """Return the manifest that a run of an earlier version would have written.

    Raises:
        InputError: the folder holds no run.
    """
    names = [path for path in sorted(folder.iterdir()) if path.name != f".{MANIFEST_FILE}.tmp"]
    kept, data, record = recipe_kept(folder), read_dict(folder / DATA_FILE), read_dict(folder / RECORD_FILE)
    is_recipe = isinstance(kept, dict) and "output_dir" in kept and "dataset" in kept
    has_data = "path" in data and "splits" in data
    has_run = (
        has_data or {"kind", "recipe", "model_sha256"} <= set(record) or any(folder.glob("checkpoint-*/trainer_state.json"))
    )
    if not (is_recipe and has_run) and not (has_data and {path.name for path in names} <= {DATA_FILE, f".{RECIPE_FILE}.tmp"}):
        raise InputError(
            f"output_dir={str(folder)!r} is not empty and holds no run ({names[0].name} is there): choose another folder. Even "
            "overwrite=true replaces runs only."
        )
    files = [path.name for path in names if path.is_file() and any(fnmatch(path.name, name) for name in EARLIER_FILES)]
    folders = [path.name for path in names if path.is_dir() and EARLIER_FOLDERS.fullmatch(path.name)]
    manifest = Manifest(recipe_identity(kept if is_recipe else recipe.values), data, "claimed", dict.fromkeys(files), folders)
    if record:
        manifest.stage = "recorded" if any(not (folder / name).is_file() for name in (CARD_FILE, PICTURE_FILE)) else "finished"
        for name in files:
            if name.endswith(".safetensors") and folder_hash(folder) != record.get("model_sha256"):
                raise InputError(
                    f"output_dir={str(folder)!r}: {folder / name} is not the file that the run wrote (model_sha256 in {RECORD_FILE}). "
                    "Take it out, or choose another folder."
                )
    return manifest


# ----------------------------------------------------------------------------------------------------------- claiming


@contextmanager
def acquire_output_folder(folder: Path, recipe: Recipe, data: dict[str, Any]) -> Iterator[None]:
    """Make the folder, or empty it for `overwrite: true`, and hold it until the end of the run.

    What claims it is its manifest, which is there from one moment to the next; all else can be written again.

    Args:
        data: What identifies the data. A run that resumes does so with the same.

    Raises:
        InputError: another process has been faster, or the data have changed since the run began.
    """
    if recipe.training.process_index:
        wait_for_all(recipe)
        yield
        return
    make(folder)
    with lock(folder):
        # It may have changed while the data were prepared.
        found = look_at(folder, recipe)
        if found.notice is not None:
            print(found.notice, flush=True)
        with writing(folder):
            claim(folder, recipe, json.loads(json.dumps(data)), found)
            settle(folder, **recipe.machine)
        # No process may look for checkpoints, or write, before the first one has emptied the folder.
        wait_for_all(recipe)
        yield


def claim(folder: Path, recipe: Recipe, data: dict[str, Any], found: Found) -> None:
    old, manifest = found.manifest, Manifest(recipe_identity(recipe.values), data)
    if found.task == "replace" and old is not None:
        old.stage = "replaced"
        write_manifest(folder, old)
        for path in own_paths(folder, old):
            # A recipe that lies in the folder may be the one that is run: it is replaced, and never away.
            if path.name == RECIPE_FILE:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    elif old is not None:
        if old.data:
            check_same_data(folder, old.data, data)
        manifest.files, manifest.folders = old.files, old.folders
    manifest.files.setdefault(RECIPE_FILE)
    for tool, name in (("codecarbon", EMISSIONS_FILE), ("tensorboard", EVENTS_FOLDER)):
        if tool in (recipe.training.report_to or []):
            manifest.files |= {} if name == EVENTS_FOLDER else {name: None}
            manifest.folders = sorted({*manifest.folders, *({name} if name == EVENTS_FOLDER else ())})
    write_manifest(folder, manifest)
    if recipe_kept(folder) != recipe.values:
        write_atomically(folder / RECIPE_FILE, recipe_text(recipe))
        note_written(folder, names=[RECIPE_FILE])


def replaces(folder: Path, recipe: Recipe) -> bool:
    """Return whether `overwrite: true` has something to replace; the same command, rerun after an interruption, resumes."""
    return recipe.run.overwrite and folder.is_dir() and look_at(folder, recipe).task == "replace"


def check_same_data(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise `InputError` when a run that resumes would do so with other data than it began with."""
    now = _as_described(now, before)
    if before != now:
        changed = sorted(name for name, _ in _files(now) ^ _files(before))
        what = f"{changed[0]} is not the file that it was" if changed else f"it was {before}, and is {now}"
        raise InputError(
            f"dataset: the data have changed since the run in {folder} began: {what}. Put it back, or start anew elsewhere."
        )


def edited_file(recipe: Recipe, before: dict[str, Any]) -> str | None:
    """Return a file of the recipe's text that is not the one that a run was made of; `None` where all are.

    Args:
        before: What identifies the data of that run.
    """
    if not before:
        return None
    source = text_source(recipe.data.dataset)
    now, then = _files(_as_described(fingerprint(source, None), before)), _files(before)
    return next((name for name, _ in sorted(now - then) or sorted(then - now)), None)


def _as_described(now: Any, before: Any) -> Any:
    """Return a description of data without the files of a folder, where a run of an earlier version did not describe them."""
    if isinstance(now, dict) and isinstance(before, dict):
        return {key: _as_described(value, before.get(key)) for key, value in now.items() if key != "files" or key in before}
    if isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        return [_as_described(*pair) for pair in zip(now, before)]
    return now


def _files(described: Any) -> set[tuple[str, str]]:
    """Name and SHA-256 of each file in a description of data: its own, its held-out splits', its mixture's."""
    if isinstance(described, list):
        return {file for part in described for file in _files(part)}
    if not isinstance(described, dict):
        return set()
    if "sha256" in described and "name" in described:
        return {(described["name"], described["sha256"])}
    return {file for part in described.values() for file in _files(part)}


def wait_for_all(recipe: Recipe) -> None:
    """Hold each process here until all have come."""
    if recipe.training.distributed_state is not None:
        recipe.training.distributed_state.wait_for_everyone()
