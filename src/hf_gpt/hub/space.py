"""A Space: the page of `hf-gpt demo` for a model on the Hub, with the code of this package beside it."""

from importlib import metadata
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, SpaceCardData
from huggingface_hub.errors import RepositoryNotFoundError

from ..errors import InputError
from ..modeling.configuration_hf_gpt import __version__
from ..reports.model_card import CARD_FILE, OWN_TAG
from .connection import full_name, hub_errors, open_hub
from .contents import repository_name
from .push import Pushed


# What the page is tested with (`make test-browser`).
GRADIO = "6.31.0"
# What the page imports; the rest of this package's dependencies is for training.
REQUIRED = ("torch", "transformers", "numpy", "safetensors", "tokenizers", "matplotlib")
APP = '''"""The page of {repo_id}; `hf-gpt demo {repo_id}` serves the same elsewhere."""

from hf_gpt.inference.demo import serve


# The container of a Space is reached from outside by this address and port only.
serve(["{repo_id}"], host="0.0.0.0", port=7860)
'''


def space_files(repo_id: str) -> dict[str, bytes]:
    """Return path to content of every file.

    Args:
        repo_id: The model, `owner/name`; of a private one the Space needs a secret `HF_TOKEN` that may read it.
    """
    package = Path(__file__).parents[1]
    code = {f"hf_gpt/{path.relative_to(package).as_posix()}": path.read_bytes() for path in sorted(package.rglob("*.py"))}
    # What follows a plus names a build, such as that for CPUs, which the package index does not have.
    pins = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in REQUIRED]
    texts = {"app.py": APP.format(repo_id=repo_id), "requirements.txt": "\n".join(pins) + "\n", CARD_FILE: space_card(repo_id)}
    return {**code, **{path: text.encode() for path, text in texts.items()}}


def space_card(repo_id: str) -> str:
    """`README.md` of the Space, whose metadata says how it is run."""
    data = SpaceCardData(
        title=repo_id.split("/")[-1],
        sdk="gradio",
        sdk_version=GRADIO,
        app_file="app.py",
        license="apache-2.0",
        models=[repo_id],
        tags=[OWN_TAG],
        short_description="A GPT that shows what it expects and where it looks",
    )
    return (
        f"---\n{data.to_yaml()}\n---\n\n# {repo_id}\n\nThe page of `hf-gpt demo` for [{repo_id}](https://huggingface.co/{repo_id}). "
        "If that repository is private, add a secret `HF_TOKEN` that may read it.\n"
    )


def check_space(folder: Path, revision: str | None) -> None:
    """Raise `InputError` when a page could not load what is pushed."""
    if revision is not None:
        raise InputError(f"--space shows the main branch, not --revision {revision}: leave one of them out.")
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no config.json: --space shows a whole model, not an adapter or a GGUF file.")


def check_page(folder: Path, repo: str | None, private: bool, force: bool) -> None:
    """Raise `InputError` when `push_space` would be refused after the model has been pushed; nothing is sent."""
    name = repository_name(folder, repo)
    api = open_hub()
    with hub_errors(api, name):
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
    with hub_errors(api, repo_id):
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
