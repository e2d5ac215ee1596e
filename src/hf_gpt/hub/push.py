"""Sends a finished folder to the Hub: one commit, of what changed, that can be repeated after any interruption."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, ModelInfo, get_token

# Of `httpx` or `httpx2`, by the version of huggingface_hub; a failure of the network is one too.
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id
from safetensors import safe_open

from ..checks.boundary import refused
from ..errors import InputError, shown
from ..modeling.configuration_hf_gpt import GPTConfig, __version__
from ..recipe.arguments import RECIPE_FILE
from ..reports.model_card import CARD_FILE, OWN_TAG, plain_card, render_card
from ..reports.privacy import check_public, without_secrets
from ..reports.records import RECORD_FILE, folder_hash, read_record
from ..run_folder.manifest import TOKENIZER_FILES
from .space import space_files


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

ATTEMPTS = 3
TRANSIENT = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Contents:
    """What a push sends: path in the repository to a file, or to the bytes themselves; and what it leaves out of the folder."""

    files: dict[str, Path | bytes]
    left_out: list[str]

    def size(self, name: str) -> int:
        """Return bytes of that file."""
        source = self.files[name]
        return len(source) if isinstance(source, bytes) else source.stat().st_size


def quotes_held_out(folder: Path) -> str | None:
    """Return a line about text of the data that goes along with a run's card and record; `None` where no such text does."""
    path = folder / RECORD_FILE
    record = read_record(folder) if path.is_file() else {}
    if not record.get("samples") or "sample_prompts" in record["recipe"]:
        return None
    prompts = [sample["prompt"] for sample in record["samples"]]
    return (
        f"Mind that {CARD_FILE} and {RECORD_FILE} quote the beginnings of {len(prompts)} held-out texts as prompts of samples, such as "
        f"{prompts[0]!r}; a run with sample_prompts=[] quotes none."
    )


@dataclass(frozen=True)
class Pushed:
    """What a push came to: the repository, the commit that holds the folder, and whether that commit is new."""

    repo_id: str
    commit: str
    is_new: bool


def push(
    folder: Path, repo: str | None = None, private: bool = False, revision: str | None = None, force: bool = False
) -> Pushed:
    """Upload a run, an export or an adapter as one commit.

    The commit holds only what changed and is made once every byte is there, so that a repository is the old one or the new one.
    After an interruption, the same call resumes with what is missing.

    Args:
        folder: A folder with weights; with a `record.json`, its card is rendered from it.
        repo: `owner/name`, or a name under the token's own account. By default the folder's name.
        private: Whether a repository that does not exist yet is made private.
        revision: A branch, made if it is not there. By default `main`.
        force: Whether a repository that something else made is written into.

    Raises:
        InputError: the folder is no complete model, its card, record or configs hold a secret or a home folder, there is no token
            or no right to write, the repository was made by something else, or the Hub fails. The token is never in the message.
    """
    folder = Path(folder)
    name = repository_name(folder, repo)
    files = collect(folder, name).files
    api = open_hub()
    with told(api, name):
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return send(api, folder, files, name, private, revision, force)
            except (HTTPError, RuntimeError, json.JSONDecodeError) as error:
                if attempt == ATTEMPTS or not is_transient(error):
                    raise
                time.sleep(2**attempt)
    raise AssertionError("the last attempt returns or raises")


def check_page(folder: Path, repo: str | None, private: bool, force: bool) -> None:
    """Raise `InputError` when `push_space` would be refused after the model has been pushed; nothing is sent."""
    name = repository_name(folder, repo)
    api = open_hub()
    with told(api, name):
        look_at_space(api, full_name(api, name), private, force)


def look_at_space(api: HfApi, repo_id: str, private: bool, force: bool) -> bool:
    """Return whether there is a Space of that name.

    Raises:
        InputError: it is not one to write into as asked.
    """
    try:
        found = api.space_info(repo_id)
    except RepositoryNotFoundError:
        return False
    names = {sibling.rfilename for sibling in found.siblings or []}
    # The Hub puts these two into a new Space.
    is_new = names <= {".gitattributes", CARD_FILE}
    if not (force or is_new or OWN_TAG in (found.tags or [])):
        raise InputError(f"the Space {repo_id} was not made by hf-gpt: give another --repo, or write into it with --force.")
    if private and not found.private:
        raise InputError(f"the Space {repo_id} is public, which --private does not change: change it on the Hub.")
    return True


def push_space(repo_id: str, private: bool = False, force: bool = False) -> Pushed:
    """Write a page to try a model that was pushed: a Space of the model's name, in one commit. Repeated, it sends what changed.

    Raises:
        InputError: see `push`; or a Space of that name was made by something else.
    """
    api = open_hub()
    with told(api, repo_id):
        if not look_at_space(api, repo_id, private, force):
            api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=True if private else None, exist_ok=True)
        before = api.space_info(repo_id)
        files = space_files(repo_id)
        present = [sibling.rfilename for sibling in before.siblings or []]
        stale = [path for path in present if path.startswith("hf_gpt/") and path not in files]
        operations: list[CommitOperationAdd | CommitOperationDelete] = [CommitOperationDelete(path) for path in stale]
        operations += [CommitOperationAdd(path, content) for path, content in files.items()]
        commit = api.create_commit(
            repo_id,
            operations,
            repo_type="space",
            commit_message=f"The page of {repo_id}, with hf-gpt {__version__}",
            parent_commit=before.sha,
        )
    return Pushed(repo_id, commit.oid, commit.oid != before.sha)


def check_space(folder: Path, revision: str | None) -> None:
    """Raise `InputError` when a page could not load what is pushed."""
    if revision is not None:
        raise InputError(f"--space shows the main branch, not --revision {revision}: leave one of them out.")
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no config.json: --space shows a whole model, not an adapter or a GGUF file.")


def check_repository(folder: Path, repo: str | None = None, private: bool = False) -> None:
    """Whether a later `push` of what `folder` will hold finds a token and a repository to write into; nothing is sent.

    Raises:
        InputError: it would not.
    """
    name = repository_name(folder, repo)
    api = open_hub()
    with told(api, name):
        repo_id = full_name(api, name)
        try:
            check_target(api.model_info(repo_id), repo_id, private, force=False)
        except RepositoryNotFoundError:
            return


def open_hub() -> HfApi:
    if get_token() is None:
        raise InputError("there is no access token: log in with `hf auth login`, or set HF_TOKEN.")
    return HfApi(library_name="hf-gpt", library_version=__version__)


def full_name(api: HfApi, name: str) -> str:
    return name if "/" in name else f"{api.whoami()['name']}/{name}"


# --------------------------------------------------------------------------------------------------- what is pushed


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
        check_measured(folder, record)
        files[RECIPE_FILE] = public_recipe(record)
    files[CARD_FILE] = card_of(folder, repo_id)
    return Contents(files, [name for name in names if name not in files])


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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}): save the model again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not an object: save the model again.")
    return content


def check_complete(folder: Path, files: dict[str, Any], repo_id: str) -> None:
    """Raise `InputError` when the folder would not load, or when its run has not ended."""
    if not any(matches(name, WEIGHTS) for name in files):
        raise InputError(f"{folder} holds no weights in *.safetensors or *.gguf: give the folder of a finished run.")
    if (folder / RECIPE_FILE).is_file() and RECORD_FILE not in files:
        raise InputError(f"{folder} holds a run that has not ended: give its `hf-gpt train` command again first.")
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


# ------------------------------------------------------------------------------------------------------- the sending


def send(
    api: HfApi, folder: Path, files: dict[str, Path | bytes], name: str, private: bool, revision: str | None, force: bool
) -> Pushed:
    """Make one attempt: look at the repository, make it if need be, commit what differs. Safe to repeat at any point."""
    repo_id = full_name(api, name)
    try:
        found = api.model_info(repo_id)
    except RepositoryNotFoundError:
        # `None` leaves it to the default of the organisation.
        api.create_repo(repo_id, private=True if private else None, exist_ok=True)
    else:
        check_target(found, repo_id, private, force)
    if revision is not None and not revision.startswith("refs/"):
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    before = api.model_info(repo_id, revision=revision)
    files = {**files, CARD_FILE: card_of(folder, repo_id)}
    present = [sibling.rfilename for sibling in before.siblings or []]
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationDelete(path) for path in present if matches(path, REPLACED) and "/" not in path and path not in files
    ]
    for path, source in files.items():
        operations.append(CommitOperationAdd(path, source if isinstance(source, bytes) else str(source)))
    commit = api.create_commit(
        repo_id,
        operations,
        commit_message=f"{folder.resolve().name}, with hf-gpt {__version__}",
        revision=revision,
        # What somebody else pushes in between is not overwritten unseen.
        parent_commit=before.sha,
    )
    return Pushed(repo_id, commit.oid, commit.oid != before.sha)


def check_target(found: ModelInfo, repo_id: str, private: bool, force: bool) -> None:
    """Raise `InputError` when an existing repository is not one to write into as asked."""
    if private and not found.private:
        raise InputError(
            f"{repo_id} exists and is public, which --private does not change: change it on the Hub, or name another."
        )
    is_empty = all(sibling.rfilename == ".gitattributes" for sibling in found.siblings or [])
    is_ours = OWN_TAG in (found.tags or []) or (found.config or {}).get("model_type") == GPTConfig.model_type
    if not (force or is_ours or is_empty):
        raise InputError(f"{repo_id} was not made by hf-gpt: give another --repo, or write into it with --force.")


def is_transient(error: Exception) -> bool:
    """Return whether the same request may well go through a little later."""
    cause = error.__cause__ if isinstance(error, RuntimeError) else error
    if isinstance(cause, HfHubHTTPError):
        return cause.response.status_code in TRANSIENT
    # A gateway in trouble answers with a page where JSON is expected.
    return isinstance(cause, (HTTPError, json.JSONDecodeError))


@contextmanager
def told(api: HfApi, name: str) -> Iterator[None]:
    """Turn what the Hub or the way to it answers into one `InputError`."""
    again = "Rerun the same command: it resumes with what is missing."
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise InputError("HF_HUB_OFFLINE is set, so that nothing can be pushed: unset it.") from error
    except HfHubHTTPError as error:
        raise InputError(_http_message(error, name, again)) from error
    except (HTTPError, ConnectionError, TimeoutError) as error:
        raise InputError(f"the connection to {api.endpoint} failed ({without_secrets(str(error))}). {again}") from error
    except (RuntimeError, PermissionError) as error:
        # What goes wrong in the upload threads of huggingface_hub, and in hf_xet.
        reason = error if error.__cause__ is None else f"{error} {error.__cause__}"
        raise InputError(f"the upload to {name} failed ({without_secrets(str(reason))}). {again}") from error
    except InputError:
        raise
    except json.JSONDecodeError as error:
        raise InputError(f"{api.endpoint} does not answer as a Hub does. {again}") from error
    except ValueError as error:
        # Metadata of the card that the Hub refuses.
        raise InputError(f"the Hub refuses the push to {name}: {' '.join(without_secrets(str(error)).split())}") from error


def _http_message(error: HfHubHTTPError, name: str, again: str) -> str:
    status = error.response.status_code
    reason = without_secrets(error.server_message or "").strip()
    reason = f" ({reason})" if reason else ""
    if status == 401:
        return f"the Hub does not accept the access token{reason}: log in again with `hf auth login`, or set HF_TOKEN."
    if status == 403:
        return (
            f"the access token may not write to {name}{reason}: name another --repo, or use a token with the right to write."
        )
    if status == 404:
        return f"{name} is not there or not visible to the access token{reason}: look at --repo and --revision."
    if status in (409, 412):
        return f"{name} was changed by somebody else meanwhile{reason}. Look at it, then give the same command again."
    if status in TRANSIENT:
        return f"the Hub answers {status} for {name}{reason}. {again}"
    return f"the Hub refuses the push to {name} with {status}{reason}."


__all__ = [
    "Contents",
    "Pushed",
    "check_page",
    "check_repository",
    "check_space",
    "collect",
    "push",
    "push_space",
    "repository_name",
]
