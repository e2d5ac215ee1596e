"""What of a folder a push sends: its files, each looked through, and the card for the repository."""

import os
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import safe_open

from ..checks.boundary import read_object, refused
from ..errors import InputError, counted, shown
from ..modeling.configuration_hf_gpt import GPTConfig
from ..recipe.arguments import RECIPE_FILE
from ..reports.model_card import CARD_FILE, OWN_TAG, plain_card, render_card
from ..reports.origin import check_publishable, unpublishable
from ..reports.privacy import check_public
from ..reports.records import RECORD_FILE, folder_hash, read_record
from ..run_folder.manifest import TOKENIZER_FILES


# What a repository is made of. Everything else in a run folder stays at home: checkpoints, optimizer states, logs, pickles, and
# `samples.md`, since the card has what the finished model writes.
PUSHED = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.gguf",
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "*_hf_gpt.py",
    *TOKENIZER_FILES,
    CARD_FILE,
    RECORD_FILE,
    "*.png",
)
# What would be loaded, or was never meant to be there, if an earlier push left it behind: goes unless this push has it too.
REPLACED = ("*.safetensors", "*.safetensors.index.json", "*.gguf", "adapter_config.json", "*_hf_gpt.py", "training_args.bin")
# What people write into by hand or what code fills in; a vocabulary may hold anything.
CHECKED = ("config.json", "generation_config.json", "adapter_config.json", "tokenizer_config.json", "*.safetensors.index.json")
CHECKED_TEXT = ("*_hf_gpt.py", "chat_template.jinja")
WEIGHTS = ("*.safetensors", "*.gguf")


@dataclass(frozen=True)
class Contents:
    """What a push sends: path in the repository to a file, or to the bytes themselves; and what it leaves out of the folder."""

    files: dict[str, Path | bytes]
    left_out: list[str]

    def size(self, name: str) -> int:
        """Return bytes of that file."""
        source = self.files[name]
        return len(source) if isinstance(source, bytes) else source.stat().st_size


def repository_name(folder: Path, repo: str | None) -> str:
    """Return the name to push to, as given or the folder's.

    Raises:
        InputError: it is no name that the Hub would take.
    """
    name = os.path.basename(os.path.realpath(folder)) if repo is None else repo
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(f"repo={name!r} is not a name for a repository ({error}): give --repo owner/name.") from error
    return name


def collect(folder: Path, repo_id: str) -> Contents:
    """Return the files of a push, checked; nothing is sent.

    Raises:
        InputError: see `push`.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the folder of a run, of an export or of an adapter.")
    names = sorted(path.name for path in folder.iterdir())
    check_regular(folder, names)
    files: dict[str, Path | bytes] = {name: folder / name for name in names if matches(name, PUSHED)}
    check_complete(folder, files, repo_id)
    for name in files:
        if matches(name, CHECKED):
            content = read_json(folder / name)
            with refused(f"{folder / name} cannot be looked through"):
                check_public(content, name)
        elif matches(name, CHECKED_TEXT):
            check_public(read_text(folder / name), name)
    if RECORD_FILE in files:
        record = read_record(folder)
        check_publishable(unpublishable(record), str(folder))
        check_measured(folder, record)
        files[RECIPE_FILE] = public_recipe(record)
    files[CARD_FILE] = card_of(folder, repo_id)
    return Contents(files, [name for name in names if name not in files])


def quotes_held_out(folder: Path) -> str | None:
    """Return a line about text of the data that goes along with a run's card and record; `None` where no such text does."""
    path = folder / RECORD_FILE
    record = read_record(folder) if path.is_file() else {}
    details = record.get("details") or {}
    if rows := [*details.get("mistakes", []), *details.get("answers", [])]:
        quoted = f"{CARD_FILE} and {RECORD_FILE} quote {counted(len(rows), 'rows')} of the test split"
        return f"Mind that {quoted}; a run with shown_rows=0 quotes none."
    if not record.get("samples") or "sample_prompts" in record["recipe"]:
        return None
    prompts = [sample["prompt"] for sample in record["samples"]]
    return (
        f"Mind that {CARD_FILE} and {RECORD_FILE} quote the beginnings of {counted(len(prompts), 'held-out texts')} as "
        f"prompts of samples, such as {prompts[0]!r}; a run with sample_prompts=[] quotes none."
    )


def check_regular(folder: Path, names: list[str]) -> None:
    """Raise `InputError` before anything is read when a name of a push is a link, whose content is somebody else's, or no file."""
    for name in names:
        if not (matches(name, PUSHED) or name == RECIPE_FILE):
            continue
        path = folder / name
        if path.is_symlink():
            raise InputError(
                f"{path} is a link: what it leads to is not pushed. Put the file itself in its place, or take it out."
            )
        if not path.is_file():
            raise InputError(f"{path} is no regular file, and is not pushed: take it out.")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty: save the model again, or take it out.")
        if path.suffix == ".safetensors":
            with refused(f"{path} is damaged"), safe_open(path, "pt") as file:
                file.keys()


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 ({error}): save the model again.") from error


def read_json(path: Path) -> dict[str, Any]:
    return read_object(path, "save the model again.")


def check_complete(folder: Path, files: dict[str, Any], repo_id: str) -> None:
    """Raise `InputError` when the folder would not load, or when its run has not ended."""
    if not any(matches(name, WEIGHTS) for name in files):
        raise InputError(f"{folder} holds no weights in *.safetensors or *.gguf: give the folder of a finished run.")
    if (folder / RECIPE_FILE).is_file() and RECORD_FILE not in files:
        raise InputError(f"{folder} holds a run that has not ended: rerun its `hf-gpt train` command first.")
    if "adapter_config.json" in files:
        check_base(read_json(folder / "adapter_config.json").get("base_model_name_or_path"), repo_id)
        return
    if "config.json" not in files:
        if not any(matches(name, ("*.gguf",)) for name in files):
            raise InputError(f"{folder} holds no config.json: save the model with save_pretrained.")
        return
    config = read_json(folder / "config.json")
    if config.get("model_type") == GPTConfig.model_type:
        with refused(f"{folder / 'config.json'}: auto_map={shown(config.get('auto_map'))} names no code"):
            code = {f"{target.split('.')[0]}.py" for target in (config.get("auto_map") or {}).values()}
        missing = sorted(code - set(files)) or ([] if code else ["auto_map in config.json"])
        if missing:
            raise InputError(
                f"{folder} lacks {', '.join(missing)}, without which it does not load where hf-gpt is not installed: load the model "
                "and save it again with save_pretrained."
            )
    for index in (name for name in files if name.endswith(".safetensors.index.json")):
        with refused(f"{folder / index} names no weights"):
            absent = sorted(set(read_json(folder / index)["weight_map"].values()) - set(files))
        if absent:
            raise InputError(f"{folder} lacks {absent[0]}, which {index} names: save the model again.")


def check_base(base: Any, repo_id: str) -> None:
    """Raise `InputError` when an adapter's base model is a folder, which nobody else has, or would be replaced by it."""
    hint = "push the base first, then put its owner/name into base_model_name_or_path of adapter_config.json."
    if not isinstance(base, str) or not base or os.path.lexists(base):
        raise InputError(f"adapter_config.json: base_model_name_or_path={base!r} is not on the Hub: {hint}")
    if base == repo_id:
        raise InputError(f"{repo_id} is the base model of this adapter, which would take its place: give another --repo.")
    try:
        validate_repo_id(base)
    except HFValidationError as error:
        raise InputError(f"adapter_config.json: base_model_name_or_path={base!r} is not on the Hub: {hint}") from error


def check_measured(folder: Path, record: dict[str, Any]) -> None:
    """Raise `InputError` when the weights are not the measured ones, or the card is not what the record renders to."""
    if record.get("model_sha256") != folder_hash(folder):
        raise InputError(
            f"the weights in {folder} are not those that {RECORD_FILE} was measured on (model_sha256): train again, or remove "
            f"{RECORD_FILE} to push them without figures."
        )
    rendered = render_card(record)
    path = folder / CARD_FILE
    if path.is_file() and read_text(path) != rendered:
        raise InputError(
            f"{path} is not what {RECORD_FILE} renders to: a card shows only what was measured. Move it away, and "
            f"`hf-gpt card {folder}` writes it anew."
        )


def card_of(folder: Path, repo_id: str) -> bytes:
    """Return the card for that repository: of the record, or without a record the folder's own or one without figures."""
    if (folder / RECORD_FILE).is_file():
        return render_card(read_record(folder), repo_id).encode()
    return unmeasured_card(folder, repo_id)


def public_recipe(record: dict[str, Any]) -> bytes:
    """Return the recipe of a record, with which `hf-gpt train recipe.yaml` repeats the run; the folder's own may name private files."""
    values = {**record["recipe"], "output_dir": f"runs/{record['name']}"}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode()


def unmeasured_card(folder: Path, repo_id: str) -> bytes:
    """Return the folder's own card, or one without any figure, with the metadata that makes the repository known as ours."""
    path = folder / CARD_FILE
    adapter = folder / "adapter_config.json"
    base = read_json(adapter)["base_model_name_or_path"] if adapter.is_file() else None
    try:
        with refused(f"{path} has metadata that cannot be read"):
            card = ModelCard(path.read_text(encoding="utf-8")) if path.is_file() else plain_card(repo_id, base)
            data: Any = card.data
            data.tags = sorted({*(data.tags or []), OWN_TAG})
    except yaml.YAMLError as error:
        raise InputError(
            f"{path} has metadata that cannot be read ({' '.join(str(error).split())}): fix or remove it."
        ) from error
    if base is not None:
        data.base_model, data.library_name = base, "peft"
    check_public(str(card), CARD_FILE)
    return str(card).encode()
