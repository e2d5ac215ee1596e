"""Nothing of the user's is lost: which folders a run takes, what it replaces in them, and how it is taken up again."""

import ast
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from tests.conftest import ROOT
from tests.helpers.runs import KilledError, contents, kill, killed_at, leave_out_rehearsal, short_values, weights

from hf_gpt.checks import places
from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import load_recipe, parse_recipe
from hf_gpt.run_folder import checkpoints
from hf_gpt.run_folder.manifest import announce, read_manifest
from hf_gpt.training import finishing, output_dir, pretraining
from hf_gpt.training import run as runs
from hf_gpt.training.run import run


def earlier(folder):
    """As a version without manifests has left it."""
    manifest = read_manifest(folder)
    (folder / "run.json").unlink()
    (folder / "data.json").write_text(json.dumps(manifest.data))
    return folder


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
    assert set(readers) <= {"parser.py: values['output_dir']", "parser.py: values.get('output_dir')"}


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


# ------------------------------------------------------------------------------------- what a run is, and where it lies


def test_a_run_may_be_moved_and_named_by_another_path(corpus, original, tmp_path, monkeypatch, capsys):
    first, values = tmp_path / "first", short_values(corpus, tmp_path / "first")
    killed_at(values, runs, "save_model")
    # Through a parent that is a link, by a relative path, and after an `mv`.
    (tmp_path / "parent").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for place in ("first", "parent/first", "second"):
        if place == "second":
            first.rename(tmp_path / "second")
        killed_at({**values, "output_dir": place}, runs, "save_model")
        assert "Resuming from" in capsys.readouterr().out
    run(parse_recipe({**values, "output_dir": str(tmp_path / "second")}))
    assert weights(tmp_path / "second") == weights(original)


def test_the_best_checkpoint_is_found_after_a_move(corpus, tmp_path):
    values = short_values(
        corpus, tmp_path / "first", eval_strategy="steps", eval_steps=2, load_best_model_at_end=True, learning_rate=3.0
    )
    killed_at(values, runs, "save_model")
    state = json.loads((tmp_path / "first" / "checkpoint-4" / "trainer_state.json").read_text())
    (tmp_path / "first").rename(tmp_path / "second")
    run(parse_recipe({**values, "output_dir": str(tmp_path / "second")}))
    best = load_file(tmp_path / "second" / f"checkpoint-{state['best_global_step']}" / "model.safetensors")
    saved = load_file(tmp_path / "second" / "model.safetensors")
    assert all((saved[name] == best[name]).all() for name in saved)


def test_what_is_reported_may_differ_when_a_run_is_taken_up(corpus, original, tmp_path):
    values = short_values(corpus, tmp_path / "run", sample_prompts=["The"], sample_tokens=60)
    killed_at(values, runs, "build_record")
    others = {"sample_prompts": ["A"], "sample_tokens": 4, "ngram_orders": [1], "run_name": "b", "logging_steps": 1}
    record = run(parse_recipe({**values, **others}))
    assert record["samples"][0]["prompt"] == "A"
    assert len(record["baselines"]) == 1
    assert weights(tmp_path / "run") == weights(original)


def test_a_finished_run_is_extended_by_more_steps(corpus, finished, capsys):
    before = contents(finished)
    longer = short_values(corpus, finished, max_steps=6)
    killed_at(longer, runs, "build_record")
    told = capsys.readouterr().out
    assert "max_steps was 4 and is 6: the run resumes, and its schedule (inverse_sqrt) now spans the new length." in told
    assert "Resuming from" in told
    assert all(contents(finished)[name] == before[name] for name in ("record.json", "README.md")), "replaced at the end only"
    record = run(parse_recipe(longer))
    assert record["steps"] == 6
    assert [row["step"] for row in record["history"] if "loss" in row] == [2, 4, 6]
    assert weights(finished) != before["model.safetensors"]
    with pytest.raises(InputError, match=r"another recipe \(max_steps was 6\)"):
        run(parse_recipe(short_values(corpus, finished)))
    for checkpoint in finished.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    with pytest.raises(InputError, match="without a checkpoint that a longer one could resume from"):
        run(parse_recipe(short_values(corpus, finished, max_steps=8)))


# ---------------------------------------------------------------------------------------------------- the end of a run


KILLS = {
    "before the model": (runs, "save_model"),
    "before the record": (runs, "build_record"),
    "before the picture": (pretraining, "plot_run"),
    "before the record is written": (finishing, "write_json"),
    "before the card": (finishing, "write_card"),
    "before the push": (finishing, "publish"),
}


@pytest.mark.parametrize("moment", KILLS)
def test_the_end_of_a_run_is_repeated_by_the_same_command(moment, corpus, original, tmp_path, monkeypatch):
    values, published = short_values(corpus, tmp_path / "run"), []
    killed_at(values, *KILLS[moment])
    monkeypatch.setattr(finishing, "publish", published.append)
    run(parse_recipe(values))
    assert set(contents(tmp_path / "run")) == set(contents(original))
    assert weights(tmp_path / "run") == weights(original), "not one step more"
    assert len(published) == 1
    with pytest.raises(InputError, match="holds a finished run"):
        run(parse_recipe(values))


def test_a_finished_run_says_that_the_text_was_edited_since(corpus, finished, tmp_path):
    edited = tmp_path / "edited" / corpus.name
    edited.parent.mkdir()
    shutil.copyfile(corpus, edited)
    values = short_values(edited, finished, overwrite=True)
    run(parse_recipe(values))
    with pytest.raises(InputError, match="or replace it with overwrite=true, or raise max_steps"):
        run(parse_recipe({**values, "overwrite": False}))
    edited.write_text(edited.read_text(encoding="utf-8") * 2, encoding="utf-8")
    with pytest.raises(InputError, match=f"a finished run on another text: {corpus.name} is not the file that it was"):
        run(parse_recipe({**values, "overwrite": False}))


@pytest.mark.parametrize("name", ["README.md", "loss.png", "model.safetensors", "tokenizer.json", "record.json"])
@pytest.mark.parametrize("is_earlier", [False, True])
def test_what_is_missing_of_a_finished_run_is_made_again(name, is_earlier, corpus, finished, original):
    if is_earlier:
        earlier(finished)
    (finished / name).unlink()
    if name == "tokenizer.json":
        with pytest.raises(InputError, match="holds a finished run"):
            run(parse_recipe(short_values(corpus, finished)))
        return
    run(parse_recipe(short_values(corpus, finished)))
    assert (finished / name).is_file()
    assert weights(finished) == weights(original)


# ---------------------------------------------------------------------------------------------------------- claiming


def test_a_kill_at_any_moment_of_the_claim_leaves_nothing_or_a_run(corpus, original, tmp_path, monkeypatch):
    """Each call that changes the disk is made the last one, in turn."""
    values, moment = short_values(corpus, tmp_path / "run"), 0
    while True:
        done = []
        with monkeypatch.context() as patched:

            def counted(function, done=done, last=moment):
                def call(*arguments, **named):
                    done.append(function)
                    if len(done) > last:
                        raise KilledError
                    return function(*arguments, **named)

                return call

            leave_out_rehearsal(patched)
            for name in ("replace", "mkdir"):
                patched.setattr(os, name, counted(getattr(os, name)))
            patched.setattr(output_dir.Path, "write_text", counted(output_dir.Path.write_text))
            patched.setattr(pretraining, "build_trainer", lambda *a: (_ for _ in ()).throw(SystemExit))
            try:
                run(parse_recipe(values))
            except KilledError:
                moment += 1
            except SystemExit:
                break
    assert moment >= 4
    assert (tmp_path / "run" / "recipe.yaml").is_file()
    run(parse_recipe(values))
    assert weights(tmp_path / "run") == weights(original)


def test_a_full_disk_while_claiming_names_the_folder(corpus, tmp_path, monkeypatch):
    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(output_dir, "write_manifest", full)
        with pytest.raises(
            InputError, match=r"run cannot be written: No space left on device \(.* bytes and .* inodes are free"
        ):
            run(parse_recipe(short_values(corpus, tmp_path / "run")))
    assert run(parse_recipe(short_values(corpus, tmp_path / "run")))["steps"] == 4


def test_data_without_a_recipe_as_an_earlier_version_left_them_may_be_claimed(corpus, original, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "data.json").write_text(json.dumps(read_manifest(original).data))
    assert run(parse_recipe(short_values(corpus, tmp_path / "run")))["steps"] == 4


def test_a_damaged_manifest_is_named_and_nothing_is_touched(corpus, finished):
    for text in ("", "{", "[]", '{"recipe": {}, "data": {}, "files": {"../x": null}}', '{"recipe": 1, "data": {}}'):
        (finished / "run.json").write_text(text)
        before = contents(finished)
        with pytest.raises(InputError, match=r"run\.json is damaged"):
            run(parse_recipe(short_values(corpus, finished, overwrite=True)))
        assert contents(finished) == before


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x80\x02."])
@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "model.safetensors"])
def test_a_checkpoint_that_lacks_a_part_is_not_resumed_from_in_silence(name, content, corpus, finished, monkeypatch):
    """Even where its list of hashes says that it was written so: the run would end with other weights."""
    leave_out_rehearsal(monkeypatch)
    (finished / "record.json").unlink()
    shutil.rmtree(finished / "checkpoint-4")
    checkpoint = finished / "checkpoint-2"
    (checkpoint / name).unlink()
    if content is not None:
        (checkpoint / name).write_bytes(content)
    (checkpoint / "sha256.json").write_text(json.dumps(checkpoints.file_hashes(checkpoint)))
    with pytest.raises(InputError, match="checkpoint"):
        run(parse_recipe(short_values(corpus, finished)))


# ------------------------------------------------------------------------------------------------- earlier versions


def test_a_run_of_an_earlier_version_goes_on_and_is_replaced(corpus, finished, original):
    earlier(finished)
    with pytest.raises(InputError, match="holds a finished run"):
        run(parse_recipe(short_values(corpus, finished)))
    (finished / "record.json").unlink()
    shutil.rmtree(finished / "checkpoint-4")
    run(parse_recipe(short_values(corpus, finished)))
    assert weights(finished) == weights(original)
    earlier(finished)
    assert run(parse_recipe(short_values(corpus, finished, overwrite=True, learning_rate=0.5)))["steps"] == 4
    assert not (finished / "data.json").exists()


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
