"""Checkpoint files and folders: finding them, reading them, and writing a folder whole or not at all."""

import json
import os
import pickle
import re
import shutil
import signal
import threading
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoTokenizer

from ..checks.boundary import UNUSABLE, read_object
from ..checks.names import check_name
from ..checks.places import check_place, writing
from ..checks.system import exclusive
from ..errors import InputError, reason_of


TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
)
CONFIG_FILES = ("config.json", "generation_config.json")
NANOGPT_FILE = "ckpt.pt"
# What an archive begins with.
ZIP = b"PK\x03\x04"


def find_folder(path_or_repo: str | Path, **hub_kwargs: Any) -> Path:
    """Return the folder of a checkpoint: a local one, or the snapshot of a Hub repository.

    Args:
        path_or_repo (`str` or `Path`): A folder, or a repository such as `openai-community/gpt2`.
        hub_kwargs: Of `huggingface_hub.snapshot_download`: `revision`, `token`, `cache_dir`, `local_files_only`.

    Raises:
        ValueError: neither a folder nor a repository that can be reached.
    """
    check_name(str(path_or_repo), "path_or_repo")
    if Path(path_or_repo).is_dir():
        return Path(path_or_repo)
    small = [*CONFIG_FILES, *TOKENIZER_FILES]
    try:
        folder = Path(snapshot_download(str(path_or_repo), allow_patterns=[*small, "model*.safetensors*"], **hub_kwargs))
        if not any(folder.glob("model*.safetensors")):
            patterns = [*small, "pytorch_model*.bin*", NANOGPT_FILE]
            folder = Path(snapshot_download(str(path_or_repo), allow_patterns=patterns, **hub_kwargs))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise ValueError(
            f"path_or_repo={str(path_or_repo)!r} is no folder here, and as a Hub repository it cannot be read: {error}"
        ) from error
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """Raise `ValueError` when the file is missing or is no JSON object."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: a checkpoint folder holds {path.name} beside its weights.")
    return read_object(path, "copy or download it again.")


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Return every tensor of a checkpoint folder, on the CPU: safetensors where there are any, else `pytorch_model.bin`.

    Raises:
        ValueError: there is no weight file, a shard is missing, or a file is damaged or holds anything but tensors.
    """
    for name, read_file in (("model.safetensors", read_safetensors), ("pytorch_model.bin", read_pickle)):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return read_file(folder / name)
        if index.is_file():
            weight_map = read_json(index).get("weight_map")
            if not isinstance(weight_map, dict):
                raise ValueError(f"{index} has no weight_map: copy or download it again.")
            tensors: dict[str, torch.Tensor] = {}
            for shard in sorted(set(weight_map.values())):
                if not (folder / shard).is_file():
                    raise ValueError(f"{folder / shard} is missing, though {index.name} names it: copy or download it again.")
                tensors |= read_file(folder / shard)
            return tensors
    raise ValueError(
        f"{folder} holds no weights: model.safetensors, pytorch_model.bin, or one of them in shards with its index.json."
    )


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or damaged ({error}): copy or download it again.") from error


def read_pickle(path: Path) -> dict[str, Any]:
    """Return the dictionary in a file of `torch.save`, read without running any code that it may hold."""
    check_pickle(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: {reason_of(error)}") from error
    except UNUSABLE as error:
        raise ValueError(f"{path} is truncated or damaged ({reason_of(error)}): copy or download it again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors: it is no checkpoint.")
    return content


def check_pickle(path: Path) -> None:
    """Raise `InputError` for a file that `torch.save` does not write, of which torch says only that reading it may run code.

    It writes a pickle, or an archive with one in it; an archive with code is of TorchScript. What is cut off is named where it is read.
    """
    with path.open("rb") as file:
        head = file.read(len(ZIP))
    if head == ZIP and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
        is_pickle = "data.pkl" in names and "constants.pkl" not in names
    else:
        is_pickle = head in (b"", ZIP) or head.startswith(b"\x80")
    if not is_pickle:
        raise InputError(
            f"{path} is no checkpoint: a file of torch.save is a pickle, or an archive of one and of tensors. Give the folder of a "
            "checkpoint, or copy or download it again."
        )


# In a folder that is being written: what says to a later command that it may be removed if nobody writes it any more.
UNFINISHED_FILE = ".unfinished-hf-gpt"


@contextmanager
def new_folder(out_dir: str | Path, field: str = "out_dir") -> Iterator[Path]:
    """A folder beside `out_dir` that takes its name when the block ends well, and is removed when it does not.

    What a kill leaves of it is removed by the next one beside the same `out_dir`; a SIGTERM removes it itself.

    Args:
        field: What a person has named the folder by, for messages.

    Raises:
        ValueError: `out_dir` holds something already, is a file or a link, cannot be written, or is nothing to write to.
    """
    out_dir = Path(out_dir)
    check_place(out_dir, field)
    if out_dir.is_dir() and any(out_dir.iterdir()):
        raise ValueError(f"{field}={str(out_dir)!r} is not empty: nothing is overwritten. Choose another, or remove it first.")
    with ExitStack() as stack:
        stack.enter_context(writing(out_dir))
        made = [parent for parent in out_dir.parents if not parent.is_dir()]
        # Once the folder is there, they are not empty, and stay.
        stack.callback(remove_empty, made)
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(out_dir)
        temporary = out_dir.parent / f".{_short_name(out_dir)}.{uuid.uuid4().hex[:8]}"
        temporary.mkdir()
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        stack.enter_context(ended_by_sigterm())
        stack.enter_context(exclusive(temporary))
        (temporary / UNFINISHED_FILE).touch()
        yield temporary
        (temporary / UNFINISHED_FILE).unlink()
        if out_dir.is_dir():
            out_dir.rmdir()
        temporary.rename(out_dir)


def remove_empty(folders: list[Path]) -> None:
    """Remove those of the folders, each given before the one that it lies in, that hold nothing."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _short_name(out_dir: Path) -> str:
    # With what is put around it the name must not be longer than a file system takes.
    return os.fsencode(out_dir.name)[:200].decode("utf-8", "ignore")


def remove_unfinished(out_dir: Path) -> None:
    """Remove the folders that killed commands have left beside `out_dir`: they hold the file that says so, and nobody's lock."""
    pattern = re.compile(rf"\.{re.escape(_short_name(out_dir))}\.[0-9a-f]{{8}}")
    for path in out_dir.parent.iterdir():
        mark = path / UNFINISHED_FILE
        if not pattern.fullmatch(path.name) or path.is_symlink() or not mark.is_file():
            continue
        with suppress(BlockingIOError), exclusive(path):
            shutil.rmtree(path)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let a SIGTERM leave the block as an exception, so that what was begun is taken back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def copy_tokenizer_files(source: Path, target: Path) -> list[str]:
    """Copy the tokenizer files that lie in `source`, and return their names.

    Without a `tokenizer_class` in its files a folder's tokenizer is chosen by the `model_type` beside it. The target has
    another one, so the class is written down.
    """
    names = [name for name in TOKENIZER_FILES if (source / name).is_file()]
    for name in names:
        shutil.copyfile(source / name, target / name)
    given = source / "tokenizer_config.json"
    config = read_json(given) if given.is_file() else {}
    if names and "tokenizer_class" not in config:
        config["tokenizer_class"] = type(AutoTokenizer.from_pretrained(source, trust_remote_code=False)).__name__
        (target / given.name).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return names
