"""A run is resumed, moved, extended and finished again, whatever ended it and whichever version began it."""

import json
import os
import shutil

import pytest
from safetensors.torch import load_file
from tests.helpers.runs import KilledError, contents, earlier, killed_at, leave_out_rehearsal, short_values, weights

from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.run_folder import checkpoints
from hf_gpt.run_folder.manifest import read_manifest
from hf_gpt.training import finishing, output_dir, pretraining
from hf_gpt.training import run as runs
from hf_gpt.training.run import run


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
    with pytest.raises(InputError, match="checkpoint") as told:
        run(parse_recipe(short_values(corpus, finished)))
    assert "weights_only" not in str(told.value)


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
