"""Sends a finished folder to the Hub: one commit, of what changed, that can be repeated after any interruption."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelInfo
from huggingface_hub.errors import HTTPError, RepositoryNotFoundError

from ..errors import InputError
from ..modeling.configuration_hf_gpt import GPTConfig, __version__
from ..reports.model_card import CARD_FILE, OWN_TAG
from .connection import full_name, hub_errors, is_transient, open_hub
from .contents import REPLACED, card_of, collect, matches, repository_name


ATTEMPTS = 3


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
    with hub_errors(api, name):
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return send(api, folder, files, name, private, revision, force)
            except (HTTPError, RuntimeError, json.JSONDecodeError) as error:
                if attempt == ATTEMPTS or not is_transient(error):
                    raise
                time.sleep(2**attempt)
    raise AssertionError("the last attempt returns or raises")


def check_repository(folder: Path, repo: str | None = None, private: bool = False) -> None:
    """Whether a later `push` of what `folder` will hold finds a token and a repository to write into; nothing is sent.

    Raises:
        InputError: it would not.
    """
    name = repository_name(folder, repo)
    api = open_hub()
    with hub_errors(api, name):
        repo_id = full_name(api, name)
        try:
            check_target(api.model_info(repo_id), repo_id, private, force=False)
        except RepositoryNotFoundError:
            return


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
