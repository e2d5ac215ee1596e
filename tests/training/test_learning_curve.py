"""A learning curve: a point for each number of rows, all of them of one file, one base and one figure."""

import json
import os
import shutil

import pytest
from tests.helpers.commands import run_command
from tests.helpers.recipes import classification, pair, sentence, several, task_values, write_recipe, write_rows
from transformers import AutoModelForCausalLM

from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training.learning_curve import run_curve


FEW = {"max_steps": 2, "eval_steps": 2, "save_steps": 2, "shown_rows": 0}


def steps_of(folder):
    """When each of its runs was written, by its name."""
    return {path.parent.name: os.stat(path).st_mtime_ns for path in folder.glob("rows-*/record.json")}


def test_a_learning_curve_is_a_run_for_each_number_of_rows(base, tmp_path, monkeypatch, capsys):
    rows = write_rows(tmp_path, lambda number: {**classification(number), "text": f"{number} {sentence(number)}"})
    few = {**FEW, "learning_curve": [32, 8, 1000, 2000]}
    path = write_recipe(tmp_path, task_values(base, rows, tmp_path / "curve", "text-classification", **few))
    code, told, _ = run_command(monkeypatch, capsys, "train", path)
    assert code == 0
    assert str(tmp_path / "curve" / "learning_curve.png") in told
    curve = json.loads((tmp_path / "curve" / "learning_curve.json").read_text())
    assert curve["figure"] == "accuracy"
    assert [point["rows"] for point in curve["points"][:2]] == [8, 32]
    most = curve["points"][2]["rows"]
    assert 64 < most < 160
    assert f"the train split has {most} rows, trained on once in place of 1000, 2000." in told
    assert set(steps_of(tmp_path / "curve")) == {"rows-8", "rows-32", f"rows-{most}"}
    assert len(curve["baselines"]) == 3
    assert (tmp_path / "curve" / "learning_curve.png").is_file()
    record = json.loads((tmp_path / "curve" / "rows-8" / "record.json").read_text())
    assert record["details"]["mistakes"] == []
    # Repeated, it trains nothing again, unless it is told to.
    before = steps_of(tmp_path / "curve")
    assert run_command(monkeypatch, capsys, "train", path)[0] == 0
    assert steps_of(tmp_path / "curve") == before
    assert run_command(monkeypatch, capsys, "train", path, "overwrite=true", "learning_curve=[8]")[0] == 0
    after = steps_of(tmp_path / "curve")
    assert {name for name in after if after[name] != before[name]} == {"rows-8"}


@pytest.mark.parametrize("is_held_out", [False, True])
def test_points_of_other_data_or_another_base_are_not_mixed_in(is_held_out, base, tmp_path):
    rows = write_rows(tmp_path, classification)
    (tmp_path / "held").mkdir()
    held = write_rows(tmp_path / "held", lambda number: {**classification(number), "text": f"held {sentence(number)}"})
    own = tmp_path / "base"
    shutil.copytree(base, own)
    values = task_values(own, rows, tmp_path / "curve", "text-classification", **FEW, task_baselines=False)
    values["dataset"] = {**values["dataset"], "validation": {"path": "json", "files": str(held)}}
    run_curve(parse_recipe({**values, "learning_curve": [8]}))
    wider = {**values, "learning_curve": [4, 8]}
    edited = held if is_held_out else rows
    kept = edited.read_text()
    edited.write_text(kept + json.dumps({"text": "another row", "label": "yes"}) + "\n")
    with pytest.raises(InputError, match=f"on another text: {edited.name} is not the file that it was"):
        run_curve(parse_recipe(wider))
    edited.write_text(kept)
    model = AutoModelForCausalLM.from_pretrained(own)
    model.get_input_embeddings().weight.data *= 2
    model.save_pretrained(own)
    with pytest.raises(InputError, match="a finished run from other weights than"):
        run_curve(parse_recipe(wider))
    # Told before the first of them is trained.
    assert set(steps_of(tmp_path / "curve")) == {"rows-8"}


@pytest.mark.parametrize(("maker", "figure"), [(pair, "pearson"), (several, "f1")])
def test_the_figure_is_one_that_the_labels_have(maker, figure, base, tmp_path):
    rows = write_rows(tmp_path, maker)
    values = task_values(base, rows, tmp_path / "curve", "text-classification", **FEW, learning_curve=[32])
    curve = run_curve(parse_recipe(values))
    assert (curve["figure"], len(curve["points"])) == (figure, 1)


def test_a_curve_of_no_points_is_refused_before_the_first_step(base, tmp_path):
    rows = write_rows(tmp_path, classification)
    values = task_values(base, rows, tmp_path / "curve", "text-classification", learning_curve=[])
    with pytest.raises(InputError, match=r"learning_curve=\[\] has no number of rows"):
        run_curve(parse_recipe(values))
