"""The story of README and of the page of sharing, a recipe that pushes while it trains, and runs side by side."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from huggingface_hub import ModelCard
from tests.conftest import ROOT
from tests.helpers.figures import lines_of, size_of, watch_figures
from tests.helpers.recipes import recipe_values, write_recipe
from tests.hub.test_load import alone

from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.reports import records
from hf_gpt.reports.model_card import render_card
from hf_gpt.training.run import run


def test_train_push_and_load_elsewhere_with_the_same_text(hub, trained, told, environment, tmp_path, monkeypatch):
    text, page = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/sharing.md"))
    python = re.search(r"```python\n(.*?)```", page, flags=re.DOTALL)[1]
    shutil.copytree(trained, tmp_path / "runs" / "quickstart")
    monkeypatch.chdir(tmp_path)
    (push,) = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("hf-gpt push")]
    assert told(*push[1:])[0] == 0
    alone(python.replace("print(", "open('elsewhere.txt', 'w').write("), environment, tmp_path)
    here: dict = {}
    local = python.replace('"alice/quickstart", trust_remote_code=True', repr(str(trained))).replace("print(", "text = (")
    exec(local, here)
    assert (tmp_path / "elsewhere.txt").read_text() == here["text"]
    assert len(here["text"]) > len("This movie is")


@pytest.mark.slow
def test_a_recipe_pushes_checkpoints_and_then_its_record(hub, real_text, environment, tmp_path):
    values = recipe_values(
        real_text.name, "recipe-run", max_steps=4, save_steps=2, ngram_orders=[], push_to_hub=True, hub_always_push=True
    )
    shutil.copy(real_text, tmp_path / real_text.name)
    write_recipe(tmp_path, values)
    command = [sys.executable, "-m", "hf_gpt", "train", "recipe.yaml"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert f"Pushed to alice/recipe-run, commit {hub.repos['alice/recipe-run'].branches['main']}." in result.stdout
    summaries = [summary for _, summary in hub.repos["alice/recipe-run"].log]
    assert sum("Training in progress, step" in summary for summary in summaries) >= 1
    files = hub.files("alice/recipe-run")
    assert "training_args.bin" not in files
    assert files["record.json"] == (tmp_path / "recipe-run" / "record.json").read_bytes()
    assert 'from_pretrained("alice/recipe-run")' in ModelCard(files["README.md"].decode()).text
    assert "output_dir: runs/recipe-run" in files["recipe.yaml"].decode()


def test_a_recipe_that_could_not_be_pushed_does_not_train(hub, real_text, tmp_path, monkeypatch):
    values = recipe_values(real_text, tmp_path / "small", push_to_hub=True)
    with pytest.raises(InputError, match="push_to_hub=true: this run: weights that learned from dpo-en are not published"):
        run(parse_recipe({**values, "dataset": {"mixture": [{"path": "dpo-en", "weight": 1, "text_column": "prompt"}]}}))
    values["dataset"]["files"] = "/home/alice/corpus.jsonl"
    with pytest.raises(InputError, match=r"recipe.yaml: dataset.files holds the folder '/home/alice'"):
        run(parse_recipe(values))
    hub.put("alice/small", {"config.json": b"{}"})
    values["dataset"]["files"] = str(real_text)
    with pytest.raises(InputError, match="alice/small was not made by hf-gpt"):
        run(parse_recipe(values))
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="there is no access token"):
        run(parse_recipe(values))
    with pytest.raises(InputError, match="hub_token does not belong in a recipe"):
        parse_recipe({**values, "hub_token": "hf_x"})
    with pytest.raises(InputError, match=r"the recipe: model_name_or_path holds the folder"):
        run(parse_recipe({**values, "push_to_hub": False, "preset": None, "model_name_or_path": "/Users/alice/model"}))
    assert not (tmp_path / "small").exists()


def test_runs_side_by_side(trained, folder, told, tmp_path, monkeypatch):
    drawn = watch_figures(monkeypatch)
    code, printed = told("compare", trained, folder, "--plot", tmp_path / "comparison.png")
    record = records.read_record(trained)
    assert code == 0
    assert printed.count(f"{record['test']['loss']:.3f}") == 2
    assert f"{record['parameters']:,}" in printed
    rows = [row for row in record["history"] if "eval_loss" in row]
    for axis, key, unit in zip(drawn[0].axes, ("tokens", "elapsed_seconds"), (1e6, 60)):
        wanted = [[row[key] / unit, row["eval_loss"]] for row in rows]
        assert lines_of(axis) == {f"small ({number})": wanted for number in (1, 2)}
    assert size_of(tmp_path / "comparison.png") == (1320, 600)
    code, printed = told("compare", folder, trained, folder / ".", "--plot", tmp_path / "comparison.png")
    assert code == 2
    assert f"{folder} is given twice" in printed
    other = tmp_path / "other"
    other.mkdir()
    records.write_json(other / "record.json", {**record, "kind": "benchmark"})
    code, printed = told("compare", trained, other)
    assert code == 2
    assert "kind='benchmark' has no card" in printed


def test_energy_is_what_codecarbon_wrote(trained, tmp_path):
    assert records.emissions(tmp_path) == {}
    # The columns that codecarbon writes, among others; a row for each part of an interrupted run.
    rows = "timestamp,duration,emissions,emissions_rate,energy_consumed\n2026-01-01,60,0.001,1e-5,0.01\n2026-01-02,60,0.002,1e-5,0.02\n"
    (tmp_path / "emissions.csv").write_text(rows)
    measured = records.emissions(tmp_path)
    assert measured["emissions"] == {"energy_kwh": pytest.approx(0.03), "co2_kg": pytest.approx(0.003)}
    card = ModelCard(render_card({**records.read_record(trained), **measured}))
    assert "0.0300 kWh, 0.0030 kg of CO2 equivalent" in card.text
    assert card.data.co2_eq_emissions == {"emissions": pytest.approx(3.0), "source": "codecarbon"}


def test_base_and_dataset_on_the_hub_are_metadata(trained):
    record = records.read_record(trained)
    local = ModelCard(render_card(record))
    assert local.data.base_model is None
    assert local.data.datasets is None
    record["recipe"]["model_name_or_path"] = "openai-community/gpt2"
    record["data"] = {"path": "org/texts", "name": None, "revision": None, "rows": 10}
    shared = ModelCard(render_card(record))
    assert shared.data.base_model == "openai-community/gpt2"
    assert shared.data.datasets == ["org/texts"]
    assert yaml.safe_load(shared.data.to_yaml())["model-index"][0]["results"][0]["dataset"]["type"] == "org/texts"


def test_an_adapter_of_a_recipe_is_pushed_with_its_measured_card(hub, trained, told, tmp_path):
    from tests.helpers.recipes import classification, task_values, write_rows

    assert told("push", trained, "--repo", "alice/base")[0] == 0
    rows = write_rows(tmp_path, classification)
    small = {"max_steps": 4, "eval_steps": 2, "save_steps": 2, "max_length": 32, "task_baselines": False}
    values = task_values("alice/base", rows, tmp_path / "adapter", "text-classification", lora={"r": 2}, **small)
    run(parse_recipe(values))
    code, printed = told("push", tmp_path / "adapter", "--repo", "alice/adapter")
    assert code == 0, printed
    files = hub.files("alice/adapter")
    assert {"adapter_config.json", "adapter_model.safetensors", "record.json", "recipe.yaml", "loss.png"} <= set(files)
    assert "model.safetensors" not in files
    card = ModelCard(files["README.md"].decode())
    assert card.data.base_model == "alice/base"
    assert card.data.library_name == "peft"
    block = re.search(r"```python\n(.*?)```", card.text, flags=re.DOTALL)[1]
    assert '"alice/adapter"' in block
    loaded: dict = {}
    exec(block, loaded)
    config = loaded["model"].get_base_model().config
    assert config.num_labels == 2
    # An adapter's folder knows of no names.
    assert list(config.id2label.values()) == json.loads(files["record.json"])["details"]["confusion"]["labels"]
    # Trained on a folder, it could not be loaded by anybody else.
    local = task_values(trained, rows, tmp_path / "local", "text-classification", lora={"r": 2}, **small)
    run(parse_recipe(local))
    code, printed = told("push", tmp_path / "local")
    assert code == 2
    assert "is not on the Hub: push the base first" in printed
