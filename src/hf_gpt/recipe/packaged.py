"""The recipes that come with the package."""

import shutil
from contextlib import ExitStack
from pathlib import Path

from ..checks.places import check_new_file, replacing, writing
from ..errors import InputError, did_you_mean
from .strict_yaml import read_yaml


def resource_folder(name: str) -> Path:
    """`recipes` or `model_cards` of the installed package, or of the checkout for an editable install."""
    packaged = Path(__file__).parents[1] / name
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / name


RECIPE_SUFFIXES = (".yaml", ".yml")
# The folder of `recipes` that holds no recipes, but what `accelerate launch` is told about devices.
HARDWARE_FOLDER = "accelerate"


def list_recipes() -> list[str]:
    """Return names of the packaged recipes, such as `pretrain/quickstart`."""
    folder = resource_folder("recipes")
    paths = [path.relative_to(folder).with_suffix("") for path in folder.rglob("*.yaml")]
    return sorted(path.as_posix() for path in paths if path.parts[0] != HARDWARE_FOLDER)


def is_packaged(name: str) -> bool:
    """Return whether a name is that of a packaged recipe, whatever lies in the working directory: `./NAME` is a file there."""
    return name.removeprefix("recipes/") in list_recipes()


def how_to_make(folder: str) -> str:
    """Return, for a message that a folder is not there, which packaged recipe makes it; empty where none does."""
    for name in list_recipes():
        values = read_yaml(find_recipe(name).read_text(encoding="utf-8"), name)
        if values["output_dir"] == folder:
            return f" (`hf-gpt train {name}` makes it)"
    return ""


def copy_recipes(target: Path) -> list[Path]:
    """Copy the packaged recipes below `target` and return the files.

    Raises:
        InputError: one of them is there already, or something else is in the way.
    """
    folder = resource_folder("recipes")
    sources = sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".md"))
    copies = [target / path.relative_to(folder) for path in sources]
    for copy in copies:
        check_new_file(copy, target)
    with writing(target), ExitStack() as undo:
        for path, copy in zip(sources, copies):
            copy.parent.mkdir(parents=True, exist_ok=True)
            with replacing(copy) as temporary:
                shutil.copyfile(path, temporary)
            undo.callback(copy.unlink, missing_ok=True)
        undo.pop_all()
    return copies


def find_recipe(name: str) -> Path:
    """Return the packaged recipe of that name, else the file of that path.

    Raises:
        InputError: neither exists.
    """
    path = Path(name)
    if path.is_file() and not is_packaged(name):
        return path
    packaged = resource_folder("recipes") / f"{name.removeprefix('recipes/').removesuffix('.yaml')}.yaml"
    if packaged.is_file():
        return packaged
    if path.is_dir():
        raise InputError(f"{name} is a folder and no recipe; `hf-gpt train` and `hf-gpt plan` take a folder of text, too.")
    if path.exists():
        kind = "pipe" if path.is_fifo() else "socket" if path.is_socket() else "device"
        raise InputError(
            f"{name} is a {kind}, and no file that can be read twice: write what it gives into a file, and give that."
        )
    if path.is_symlink():
        raise InputError(f"{name} is a link that leads nowhere: give the file itself.")
    # The name of a text or a table: no packaged recipe is near it.
    if path.suffix and path.suffix.lower() not in RECIPE_SUFFIXES:
        raise InputError(f"{name} is not there: give the path of a file, or a packaged recipe; `hf-gpt recipes` lists them.")
    hint = did_you_mean(name.removeprefix("recipes/").removesuffix(".yaml"), list_recipes(), cutoff=0.4)
    raise InputError(f"recipe {name!r} is neither a file, a folder nor a packaged recipe.{hint} `hf-gpt recipes` lists them.")
