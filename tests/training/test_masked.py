"""A masked language model from recipe to folder: it learns, loads by its own class, is fine-tuned, and is taken for no causal one."""

import json
import subprocess
import sys

import pytest
from tests.conftest import ROOT
from tests.helpers.recipes import recipe_values

from hf_gpt.errors import InputError
from hf_gpt.inference.loading import load_model
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.reports import console as printing
from hf_gpt.reports.model_card import render_card
from hf_gpt.training.run import run


def masked_values(real_text, folder, **changes):
    values = recipe_values(
        real_text, folder, objective="masked", ngram_orders=[], sample_prompts=["The<|mask|> of"], **changes
    )
    return {**values, "config": {**values["config"], "is_causal": False, **changes.get("config", {})}}


@pytest.fixture(scope="module")
def masked(real_text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "masked"
    return folder, run(parse_recipe(masked_values(real_text, folder, max_steps=100)))


def test_it_learns_and_its_record_says_what_it_is(masked, capsys):
    folder, record = masked
    losses = [row["loss"] for row in record["history"] if "loss" in row]
    assert losses[-1] < losses[0] - 0.5
    assert record["kind"] == "train-masked"
    assert record["auto_class"] == "AutoModelForMaskedLM"
    assert record["test"]["tokens"] % 4 == 0
    assert record["samples"][0]["text"].startswith("The")
    assert "<|mask|>" not in record["samples"][0]["text"]
    card = (folder / "README.md").read_text()
    assert card == render_card(record)
    assert "pipeline_tag: fill-mask" in card
    assert "AutoModelForMaskedLM.from_pretrained" in card
    assert "compare masked models\nwith each other" in card
    printing.PRINTERS[record["kind"]](record, folder)
    assert "masked models only" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.slow
def test_it_fills_in_without_the_package(masked):
    folder, record = masked
    script = f"""
import sys
sys.modules["hf_gpt"] = None
from transformers import pipeline
found = pipeline("fill-mask", {str(folder)!r}, trust_remote_code=True)("The<|mask|> of")
assert found[0]["sequence"] == {record["samples"][0]["text"]!r}, found[0]
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_it_is_fine_tuned_as_any_other(masked, tmp_path):
    folder, _ = masked
    rows = [{"text": f"{word} {index}", "label": word} for index in range(60) for word in ("good", "bad")]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "task": "text-classification",
        "model_name_or_path": str(folder),
        "config": {"classifier_pooling": "mean"},
        "dataset": {"path": "json", "files": str(path)},
        "validation_share": 0.2,
        "test_share": 0.2,
        "max_length": 32,
        "max_train_rows": 30,
        "output_dir": str(tmp_path / "classifier"),
        # Fewer than `logging_steps`: nothing is logged on the way.
        "max_steps": 30,
        "learning_rate": 3e-3,
        "report_to": "none",
        "use_cpu": True,
    }
    record = run(parse_recipe(values))
    assert record["data"]["splits"]["train"] == 30
    assert record["test"]["accuracy"] > 0.9
    config = json.loads((tmp_path / "classifier" / "config.json").read_text())
    assert config["is_causal"] is False


def test_it_is_not_taken_for_a_model_that_goes_on(masked):
    folder, _ = masked
    with pytest.raises(InputError, match="is a masked language model, which neither continues"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("objective", "is_causal", "told"), [("masked", True, "only what is before"), ("causal", False, "see the token")]
)
def test_a_model_that_sees_the_wrong_side_is_refused(objective, is_causal, told, real_text, tmp_path):
    values = masked_values(real_text, tmp_path / "never", config={"is_causal": is_causal})
    if objective == "causal":
        values |= {"objective": "causal", "sample_prompts": []}
    with pytest.raises(InputError, match=told):
        run(parse_recipe(values))
    assert not (tmp_path / "never").exists()
