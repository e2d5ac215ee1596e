"""Trained models by name: packaged weights and checkpoints of other layouts, imported into this family once and kept."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from huggingface_hub.errors import StrictDataclassError
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import cached_file

from ..checks.boundary import refused
from ..checks.names import check_name
from ..checks.places import check_place
from ..conversion import LAYOUTS, convert_folder, new_folder
from ..conversion.checkpoints import find_folder
from ..conversion.convert import import_model, read_foreign_config
from ..conversion.translation import config_to_ours
from ..data.packages import WEIGHTS, Weights, cache_folder, fetch, sha256_of
from ..errors import InputError, reason_of
from ..modeling.configuration_hf_gpt import __version__
from ..planning.capacity import check_memory
from ..reports.origin import origin_of, write_origin
from ..run_folder.checkpoints import HASHES_FILE, find_damage, write_hashes


# What says where the folder of imports is.
CACHE = "HF_GPT_CACHE"


def pretrained(name: str, field: str = "model") -> str:
    """Return the folder of a model in this family's layout, for the name of packaged weights or a checkpoint of another layout.

    What is imported is kept in the cache folder, with a card where its origin is known; the next time, it is there. A model of this
    family, or one that this family cannot express, is returned as it was named: the latter runs by its own class.

    Args:
        name: A name of `WEIGHTS`, a folder, or a repository on the Hub.
        field: What the name was given as, for messages.

    Raises:
        InputError: packaged weights that cannot be fetched, or a checkpoint that is damaged.
    """
    check_name(name, field)
    if name in WEIGHTS and not Path(name).exists():
        weights = WEIGHTS[name]
        card = {"license": weights.license, "base_model": weights.model}
        return _kept(_weights_folder(name), f"{field}={name!r}", card, lambda out: _unpack(weights, out))
    where = "cannot be loaded" if Path(name).exists() else "is no folder here, and cannot be loaded from the Hub"
    with refused(f"{field}={name!r} {where}"):
        model_type = _model_type(name)
    if model_type not in LAYOUTS:
        return name
    with refused(f"{field}={name!r} cannot be imported"):
        source = find_folder(name)
        if not _is_expressible(source, f"{field}={name!r}"):
            return name
        on_hub = {} if Path(name).is_dir() else {"base_model": name}
        card = {key: value for key, value in origin_of(name).items() if isinstance(value, str)} | on_hub
        # A snapshot of the Hub is called by its commit.
        state = _state(source) if Path(name).is_dir() else source.name
        called = source.name if Path(name).is_dir() else name.replace("/", "--")
        # A name may be as long as a file system takes: with more behind it, it would be too long.
        target = _models_folder() / f"{os.fsencode(called)[:100].decode('utf-8', 'ignore')}-{state[:12]}"
        return _kept(target, f"{field}={name!r}", card, lambda out: convert_folder(source, out))


def import_into(name: str, out_dir: Path, revision: str | None = None) -> PreTrainedModel:
    """Import packaged weights, or a checkpoint of another layout, into a folder, with a card that names its licence and base.

    Raises:
        InputError: see `pretrained`; or a revision of packaged weights.
        ValueError: see `convert_folder`.
    """
    if name in WEIGHTS and not Path(name).exists():
        if revision is not None:
            raise InputError(f"revision={revision!r} is of a repository on the Hub, and {name} is a package: leave it out.")
        kept = Path(pretrained(name, "source"))
        with new_folder(out_dir) as folder:
            for path in kept.iterdir():
                if path.name != HASHES_FILE:
                    shutil.copyfile(path, folder / path.name)
        return AutoModelForCausalLM.from_pretrained(out_dir, trust_remote_code=False)
    model = convert_folder(name, out_dir, **({"revision": revision} if revision else {}))
    write_origin(out_dir, origin_of(name) | ({} if Path(name).exists() else {"base_model": name}))
    return model


def is_kept(name: str) -> bool:
    """Return whether a model is there without packaged weights being fetched for it."""
    return name not in WEIGHTS or Path(name).exists() or (_weights_folder(name) / HASHES_FILE).is_file()


def find_model(name: str, field: str = "model") -> str:
    """Return where a model lies that is run and not trained: a folder is run by the class that it was made for."""
    return name if Path(name).is_dir() else pretrained(name, field)


def _models_folder() -> Path:
    # A later version may write other code and other fields beside the weights.
    return cache_folder() / "models" / __version__


def _weights_folder(name: str) -> Path:
    return _models_folder() / f"{name}-{WEIGHTS[name].package.sha256[:12]}"


def _model_type(name: str) -> Any:
    """Return what a config says; `None` for a folder without one that can be read, as whoever loads it will say."""
    path = Path(name) / "config.json" if Path(name).is_dir() else Path(str(cached_file(name, "config.json")))
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None
    return config.get("model_type") if isinstance(config, dict) else None


def _is_expressible(source: Path, what: str) -> bool:
    """Return whether this family has what the config of a checkpoint asks for; a line says what it has not."""
    try:
        config = config_to_ours(*read_foreign_config(source))
    except InputError:
        raise
    except (ValueError, StrictDataclassError) as error:
        _tell(f"{what} is taken as it is: {reason_of(error)}")
        return False
    check_memory(config, AutoModelForCausalLM, what)
    return True


def _state(folder: Path) -> str:
    """Return one SHA-256 over what an import reads of a folder."""
    kinds = (".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".md")
    files = [path for path in sorted(folder.iterdir()) if path.suffix in kinds and path.is_file()]
    return hashlib.sha256("".join(f"{path.name} {sha256_of(path)}\n" for path in files).encode()).hexdigest()


def _kept(target: Path, what: str, card: dict[str, str], write: Callable[[Path], Any]) -> str:
    """Return the folder; it is written if it is not there as it was written. Of two processes, the second waits for the first."""
    with refused(f"{what} cannot be imported"):
        if _is_whole(target):
            return str(target)
        check_place(target, CACHE)
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if _is_whole(target):
                return str(target)
            if target.is_dir():
                # What an earlier version has left, or somebody has taken files from: nothing of it is anybody's own.
                shutil.rmtree(target)
            with new_folder(target, CACHE) as out:
                write(out / "model")
                write_origin(out / "model", card)
                write_hashes(out / "model")
                for path in (out / "model").iterdir():
                    path.rename(out / path.name)
                (out / "model").rmdir()
    _tell(f"{what} is imported into {target}; the next time, it is there.")
    return str(target)


def _is_whole(folder: Path) -> bool:
    """Return whether an import is as it was written. Its gigabytes are hashed where one of its files is newer than their list alone;
    what somebody else has put there is not looked at."""
    listing = folder / HASHES_FILE
    try:
        written = listing.stat().st_mtime_ns
        names = json.loads(listing.read_text(encoding="utf-8"))
        is_older = bool(names) and all((folder / name).stat().st_mtime_ns <= written for name in names)
    except (OSError, ValueError, RecursionError, TypeError):
        return False
    return not folder.is_symlink() and (is_older or find_damage(folder) is None)


def _unpack(weights: Weights, out: Path) -> None:
    # A module of its own, so that a plain installation is told which extra brings it.
    import gguf  # noqa: F401

    folder = fetch(weights.package)
    # What was quantized is widened once, and is from then on what it is.
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=weights.file, dtype=torch.float32, trust_remote_code=False)
    import_model(model).save_pretrained(out)
    AutoTokenizer.from_pretrained(folder, gguf_file=weights.file, trust_remote_code=False).save_pretrained(out)


def _tell(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
