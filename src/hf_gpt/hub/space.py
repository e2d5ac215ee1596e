"""The files of a Space: the page of `hf-gpt demo` for a model on the Hub, with the code of this package beside it."""

from importlib import metadata
from pathlib import Path

from huggingface_hub import SpaceCardData

from ..reports.model_card import CARD_FILE, OWN_TAG


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


__all__ = ["space_files"]
