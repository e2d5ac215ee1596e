"""Nothing of the user's is lost: which folders a run takes, and what it replaces in them."""

import ast
import os
import shutil
from pathlib import Path

import pytest
import yaml
from tests.conftest import ROOT
from tests.helpers.runs import KilledError, contents, earlier, kill, leave_out_rehearsal, short_values

from hf_gpt.checks import places
from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import load_recipe, parse_recipe
from hf_gpt.run_folder.manifest import announce, read_manifest
from hf_gpt.training import output_dir
from hf_gpt.training import run as runs
from hf_gpt.training.run import run


# ------------------------------------------------------------------------------------------------------ one place


def test_nothing_else_reads_the_name_of_the_folder():
    """`TrainingArguments` makes `~` the home folder; who reads the value as it is written writes elsewhere."""
    readers = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            key = None
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and isinstance(node.slice, ast.Constant):
                key = node.slice.value
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                is_getter = node.func.attr in ("get", "pop", "getattr") and isinstance(node.args[0], ast.Constant)
                key = node.args[0].value if is_getter else None
            if key == "output_dir":
                readers.append(f"{path.name}: {ast.unparse(node)}")
    # packaged.py compares what packaged recipes say, for a hint, and opens nothing.
    allowed = {"parser.py: values['output_dir']", "parser.py: values.get('output_dir')", "packaged.py: values['output_dir']"}
    assert set(readers) <= allowed


@pytest.mark.parametrize("written", ["~/important", "./~/important", "~"])
def test_a_tilde_means_the_same_everywhere(written, corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    recipe = parse_recipe(short_values(corpus, written))
    assert os.path.abspath(recipe.output_dir) == os.path.abspath(recipe.training.output_dir)
    home = os.path.abspath(recipe.output_dir).startswith(str(tmp_path / "home"))
    assert home == (not written.startswith("."))


def test_a_finished_run_in_the_home_folder_is_not_overwritten(finished, corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path.parent)
    before = contents(finished)
    with pytest.raises(InputError, match=r"holds a finished run.*overwrite=true"):
        run(parse_recipe(short_values(corpus, "~/run")))
    assert contents(finished) == before
    assert not (tmp_path.parent / "~").exists()


# ------------------------------------------------------------------------------------------------------ what is foreign


def plant_file(folder):
    (folder / "thesis.txt").write_text("years of work")


def plant_folder(folder):
    (folder / "chapter" / "one").mkdir(parents=True)
    (folder / "chapter" / "one" / "text.md").write_text("years of work")


def plant_empty_folder(folder):
    (folder / "chapter").mkdir()


def plant_in_checkpoint(folder):
    next(iter(folder.glob("checkpoint-*"))).joinpath("thesis.txt").write_text("years of work")


def plant_hidden(folder):
    (folder / ".env").write_text("years of work")


def plant_checkpoint(folder):
    (folder / "checkpoint-99").mkdir()
    (folder / "checkpoint-99" / "model.safetensors").write_text("years of work")


def plant_pipe(folder):
    os.mkfifo(folder / "pipe")


def plant_link(folder):
    (folder / "link").symlink_to("/etc/passwd")


def plant_dangling(folder):
    (folder / "link").symlink_to("nowhere")


def change_card(folder):
    (folder / "README.md").write_text("years of work")


def change_weights(folder):
    (folder / "model.safetensors").write_bytes(b"years of work")


def change_recipe(folder):
    (folder / "recipe.yaml").write_text("# years of work\n" + (folder / "recipe.yaml").read_text())


def file_in_place_of_a_folder(folder):
    shutil.rmtree(folder / "checkpoint-2")
    (folder / "checkpoint-2").write_text("years of work")


def refusal_of(plant):
    if plant in (plant_link, plant_dangling):
        return "is a link"
    return f"is {'not the file that the run wrote' if plant.__name__.startswith('change_') else 'nothing that the run has written'}"


PLANTED = [value for name, value in list(globals().items()) if name.startswith(("plant_", "change_", "file_in"))]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
@pytest.mark.parametrize("changes", [{"overwrite": True}, {"max_steps": 6}, {"overwrite": True, "learning_rate": 0.5}])
def test_a_run_folder_with_anything_else_is_refused_whatever_is_asked(plant, changes, finished, corpus):
    plant(finished)
    if plant is change_recipe and "overwrite" not in changes:
        pytest.skip("a comment in the recipe of a run that goes on stays in it")
    before = contents(finished)
    with pytest.raises(InputError, match=refusal_of(plant)):
        run(parse_recipe(short_values(corpus, finished, **changes)))
    assert contents(finished) == before


def test_a_project_with_a_recipe_of_its_own_is_not_deleted(original, corpus, tmp_path, monkeypatch):
    """The tool's own message advised `overwrite=true`."""
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    (project / "thesis.txt").write_text("years of work")
    (project / "recipe.yaml").write_text(yaml.safe_dump(short_values(corpus, "runs/x")))
    monkeypatch.chdir(project)
    before = contents(project)
    for place in (".", "../project", str(project)):
        for overwrite in ("true", "false"):
            with pytest.raises(InputError, match="is the folder that the command is given in"):
                run(load_recipe("recipe.yaml", [f"output_dir={place}", f"overwrite={overwrite}"]))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is the working tree of a git repository"):
        run(load_recipe("project/recipe.yaml", ["output_dir=project", "overwrite=true"]))
    shutil.rmtree(project / ".git")
    for _ in range(2):
        for overwrite in ("true", "false"):
            with pytest.raises(InputError, match="holds no run"):
                run(load_recipe("project/recipe.yaml", ["output_dir=project", f"overwrite={overwrite}"]))
        # Neither do data of one's own make it a run.
        (project / "data.json").write_text('{"rows": []}')
    (project / "data.json").unlink()
    assert contents(project) == {name: content for name, content in before.items() if not name.startswith(".git")}


def test_what_somebody_puts_into_the_folder_while_the_run_lasts_stays(corpus, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    save_model = runs.save_model
    monkeypatch.setattr(runs, "save_model", lambda *a: ((folder / "README.md").write_text("years of work"), save_model(*a)))
    with pytest.raises(InputError, match=r"README\.md is nothing that the run has written: take it out"):
        run(parse_recipe(short_values(corpus, folder)))
    assert (folder / "README.md").read_text() == "years of work"
    (folder / "README.md").rename(tmp_path / "saved")
    monkeypatch.undo()
    assert run(parse_recipe(short_values(corpus, folder)))["steps"] == 4


def test_a_recipe_in_the_folder_that_it_overwrites_is_still_there(finished, corpus, monkeypatch):
    recipe = load_recipe(str(finished / "recipe.yaml"), [f"output_dir={finished}", "overwrite=true", "max_steps=2"])
    leave_out_rehearsal(monkeypatch)
    monkeypatch.setattr(output_dir.shutil, "rmtree", kill)
    with pytest.raises(KilledError):
        run(recipe)
    assert (finished / "recipe.yaml").is_file()
    monkeypatch.undo()
    with pytest.raises(InputError, match="was being replaced"):
        run(parse_recipe(short_values(corpus, finished)))
    assert run(recipe)["steps"] == 2
    assert yaml.safe_load((finished / "recipe.yaml").read_text())["max_steps"] == 2


# ------------------------------------------------------------------------------------------------------------ places


def below_a_file(tmp_path):
    (tmp_path / "file").write_text("years of work")
    return tmp_path / "file" / "run", "which is a file"


def a_file(tmp_path):
    (tmp_path / "file").write_text("years of work")
    return tmp_path / "file", "is a file"


def a_link(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to("target")
    return tmp_path / "link", "is a link and no folder itself: it leads to the folder '.*target'. Name that folder"


def a_dangling_link(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    return tmp_path / "link", "is a link that leads nowhere"


def below_a_dangling_link(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    return tmp_path / "link" / "run", "a link that leads nowhere"


def a_circle_of_links(tmp_path):
    (tmp_path / "link").symlink_to("link")
    return tmp_path / "link" / "run", "cannot be a folder|leads nowhere"


def through_a_folder_that_is_not_there(tmp_path):
    return tmp_path / "none" / ".." / "run", "which is not there"


def too_long_a_name(tmp_path):
    return tmp_path / ("x" * 300), "File name too long"


def too_long_a_path(tmp_path):
    return tmp_path / "/".join(["x" * 100] * 40), "too long"


def a_zero_byte(tmp_path):
    return tmp_path / "a\0b", "cannot be a folder"


def the_current_folder(tmp_path):
    return tmp_path.cwd(), "is the folder that the command is given in"


def above_the_current_folder(tmp_path):
    return tmp_path.cwd().parent, "is the folder that the command is given in, or holds it"


def the_home_folder(tmp_path):
    return places.home_folder(), "is your home folder"


def a_mount_point(tmp_path):
    return tmp_path.__class__("/proc"), "is where another disk is mounted"


def a_working_tree(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / ".git").write_text("gitdir: elsewhere")
    return tmp_path / "tree", "is the working tree of a git repository"


PLACES = (
    below_a_file,
    a_file,
    a_link,
    a_dangling_link,
    below_a_dangling_link,
    a_circle_of_links,
    through_a_folder_that_is_not_there,
    too_long_a_name,
    too_long_a_path,
    a_zero_byte,
    the_current_folder,
    above_the_current_folder,
    the_home_folder,
    a_mount_point,
    a_working_tree,
)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_place_that_is_none_is_named_before_anything_is_written(place, corpus, tmp_path):
    folder, told = place(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=told) as caught:
        run(parse_recipe(short_values(corpus, folder, overwrite=True)))
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


def test_a_place_that_may_not_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="cannot be written"):
        places.check_place(tmp_path / "run", "output_dir")


@pytest.mark.parametrize(
    "plant", [plant_file, plant_hidden, plant_folder, plant_in_checkpoint, change_weights], ids=lambda plant: plant.__name__
)
def test_a_run_of_an_earlier_version_with_anything_else_is_refused(plant, corpus, finished):
    earlier(finished)
    plant(finished)
    before = contents(finished)
    with pytest.raises(InputError, match=refusal_of(plant)):
        run(parse_recipe(short_values(corpus, finished, overwrite=True, learning_rate=0.5)))
    assert contents(finished) == before


def test_names_are_announced_once_and_foreign_ones_never(finished):
    announce(finished, ["new.json"], ["new"])
    announce(finished, ["new.json"], ["new"])
    assert "new.json" in read_manifest(finished).files
    plant_file(finished)
    with pytest.raises(InputError, match=r"thesis\.txt is nothing that the run has written"):
        announce(finished, ["thesis.txt"])


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no file system here that takes no folders")
def test_a_file_system_that_takes_no_folders_is_named(corpus):
    with pytest.raises(InputError, match="output_dir='/proc/x' cannot be made"):
        run(parse_recipe(short_values(corpus, Path("/proc/x"))))
