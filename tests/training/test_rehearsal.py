"""What would fail at the end of a run fails before its beginning, in one line, with the folder not claimed; and leaves no trace."""

import io
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml
from datasets import Dataset
from tests.conftest import ROOT
from tests.helpers.commands import run_command
from tests.helpers.recipes import TASKS, recipe_values, task_values, write_recipe, write_rows
from tests.training.test_masked import masked_values
from transformers import AutoModelForCausalLM, integrations
from transformers.integrations import integration_utils

from hf_gpt.errors import InputError
from hf_gpt.inference.loading import load_pretrained
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training import finetuning, job, objectives, pretraining, rehearsal
from hf_gpt.training import run as runs
from hf_gpt.training.distributed import Launch
from hf_gpt.training.run import run


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs a recipe that is to be refused before its folder is claimed, and gives the one line that says why."""

    def refuse(values):
        monkeypatch.setattr(runs, "train", lambda *arguments: pytest.fail("it was trained"))
        code, _, err = run_command(monkeypatch, capsys, "train", write_recipe(tmp_path, values))
        line = err.strip().splitlines()[-1]
        assert code == 2, line
        assert line.startswith("hf-gpt: ")
        assert not (tmp_path / "run").exists()
        return line

    return refuse


WATCHED = {"eval_strategy": "steps", "save_steps": 30, "load_best_model_at_end": True}
FAULTS = {
    "an order that no n-gram model has": ({"ngram_orders": [6]}, "ngram_orders"),
    "samples of no token": ({"sample_tokens": 0}, "sample_tokens"),
    "an empty prompt": ({"sample_prompts": ["The value", ""]}, "sample_prompts: '' holds no token"),
    "a prompt beyond the model": ({"sample_prompts": ["a value " * 300]}, "and the model 128 positions"),
    "a prompt that no file holds": ({"sample_prompts": ["value \ud83d"]}, "surrogates"),
    "a rate that is no number": ({"max_grad_norm": float("inf")}, "max_grad_norm"),
    "a metric that is none": ({**WATCHED, "metric_for_best_model": "accuracy"}, "metric_for_best_model='accuracy'"),
    "a metric, misspelt": ({**WATCHED, "metric_for_best_model": "eval_los"}, "Did you mean 'loss'?"),
    "the best of what": ({"save_strategy": "best"}, "metric_for_best_model"),
    "a reporter that is none": ({"report_to": "tensorbord"}, "report_to='tensorbord'"),
    "a schedule that ends above its beginning": (
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": 1.0}},
        "lr_scheduler_type='polynomial'",
    ),
}


@pytest.mark.parametrize(("changes", "told"), FAULTS.values(), ids=FAULTS)
def test_what_a_recipe_asks_for_in_vain(changes, told, real_text, tmp_path, refused):
    assert told in refused(recipe_values(real_text, tmp_path / "run", **changes))


def test_a_reporter_whose_library_is_missing(real_text, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: False)
    line = refused(recipe_values(real_text, tmp_path / "run", report_to="wandb"))
    assert "report_to='wandb'" in line
    assert "pip install wandb" in line
    assert integrations.WandbCallback is integration_utils.INTEGRATION_TO_CALLBACK["wandb"]


def broken(*arguments, **named):
    raise ValueError("as at the end of a run")


PARTS = {
    "the baselines": (pretraining, "score_ngrams"),
    "the samples": (pretraining, "write_samples"),
    "the record": (job, "make_record"),
    "the fields of the record": (rehearsal, "check_fields"),
    "the file of the record": (rehearsal, "write_json"),
    "the picture": (pretraining, "plot_run"),
    "the card": (rehearsal, "render_card"),
}


@pytest.mark.parametrize(("module", "name"), PARTS.values(), ids=PARTS)
def test_each_part_of_the_end_is_rehearsed(module, name, real_text, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(module, name, broken)
    line = refused(recipe_values(real_text, tmp_path / "run"))
    assert line.endswith("the end of this run, rehearsed before its beginning: as at the end of a run")


@pytest.mark.parametrize("kind", ["train", "train-masked"])
def test_the_score_and_the_printing_of_each_kind_are_rehearsed(kind, real_text, tmp_path, refused, monkeypatch):
    make = recipe_values if kind == "train" else masked_values
    name = "evaluate_language_model" if kind == "train" else "evaluate_masked_language_model"
    with monkeypatch.context() as patched:
        patched.setattr(objectives, name, broken)
        assert refused(make(real_text, tmp_path / "run")).endswith("as at the end of a run")
    monkeypatch.setitem(rehearsal.PRINTERS, kind, broken)
    assert refused(make(real_text, tmp_path / "run")).endswith("as at the end of a run")


def test_an_output_that_cannot_print_what_will_be_printed(real_text, tmp_path, monkeypatch):
    recipe = parse_recipe(recipe_values(real_text, tmp_path / "run", sample_prompts=["The value \U0001f600"]))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    with pytest.raises(InputError, match="ascii"):
        run(recipe)
    assert not (tmp_path / "run").exists()


def test_names_and_prompts_of_any_letters_come_to_their_end_in_any_locale(real_text, tmp_path):
    folder = tmp_path / "cost $5_vs_$10 [b]"
    values = recipe_values(real_text, folder, max_steps=2, sample_prompts=["The [/b] \U0001f600", "$x_{"])
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(values))
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "hf_gpt", "train", str(tmp_path / "given.yaml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {"record.json", "README.md", "loss.png"} <= {path.name for path in folder.iterdir()}


TASK_FAULTS = {
    "a metric that is none": (
        {"load_best_model_at_end": True, "metric_for_best_model": "acuracy"},
        "Did you mean 'accuracy'?",
    ),
    "a reporter that is none": ({"report_to": "tensorbord"}, "report_to='tensorbord'"),
}


@pytest.mark.parametrize(("changes", "told"), TASK_FAULTS.values(), ids=TASK_FAULTS)
def test_what_the_recipe_of_a_task_asks_for_in_vain(changes, told, base, tmp_path, refused):
    rows = write_rows(tmp_path, TASKS["text-classification"][0])
    assert told in refused(task_values(base, rows, tmp_path / "run", "text-classification", **changes))


TASK_PARTS = {
    "the score": (finetuning, "evaluate"),
    "the record": (job, "make_record"),
    "the picture": (finetuning, "plot_task"),
    "the card": (rehearsal, "render_card"),
}


@pytest.mark.parametrize(("module", "name"), TASK_PARTS.values(), ids=TASK_PARTS)
@pytest.mark.parametrize("task", ["token-classification", "text-to-text"])
def test_each_part_of_the_end_of_a_task_is_rehearsed(task, module, name, base, tmp_path, refused, monkeypatch):
    if task == "text-to-text":
        pytest.importorskip("trl", reason="trl needs Python 3.11")
    monkeypatch.setattr(module, name, broken)
    values = task_values(base, write_rows(tmp_path, TASKS[task][0]), tmp_path / "run", task)
    assert refused(values).endswith("as at the end of a run")


def test_the_baselines_of_a_task_fail_before_it_begins(base, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(finetuning.TASKS["text-classification"], "baselines", broken)
    rows = write_rows(tmp_path, TASKS["text-classification"][0])
    line = refused(task_values(base, rows, tmp_path / "run", "text-classification"))
    assert line.endswith("as at the end of a run")


# ------------------------------------------------------------------------------------------------------- no trace


def weights(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


DROPOUT = {"resid_dropout": 0.1, "embd_dropout": 0.1}
KINDS = {
    "pretraining": lambda text, base, folder: recipe_values(text, folder, max_steps=6),
    "masked": lambda text, base, folder: masked_values(text, folder, max_steps=6),
    "an adapter": lambda text, base, folder: {
        **{key: value for key, value in recipe_values(text, folder, max_steps=6).items() if key not in ("preset", "config")},
        "model_name_or_path": str(base),
        "config": DROPOUT,
        "optimizer": "adamw",
        "lora": {"r": 4, "lora_dropout": 0.1},
    },
    **{
        f"{task}{', an adapter' if lora else ''}": lambda text, base, folder, task=task, lora=lora: task_values(
            base, write_rows(folder.parent, TASKS[task][0]), folder, task, max_steps=4, config=DROPOUT, **lora
        )
        for task in ("text-classification", "question-answering", "text-to-text", "preference", "reward", "reinforcement")
        for lora in ({}, {"lora": {"r": 4, "lora_dropout": 0.1}})
    },
}


FEW = ("pretraining", "an adapter", "text-classification", "text-to-text, an adapter")


@pytest.mark.parametrize("kind", [*FEW, *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind not in FEW)])
def test_a_run_that_was_rehearsed_has_the_same_bits(kind, real_text, base, tmp_path, monkeypatch):
    if kind.startswith(("text-to-text", "preference", "reward", "reinforcement")):
        pytest.importorskip("trl", reason="trl needs Python 3.11")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    rehearsed = run(parse_recipe(KINDS[kind](real_text, base, tmp_path / "one" / "run")))
    monkeypatch.setattr(runs, "rehearse", lambda *arguments: None)
    plain = run(parse_recipe(KINDS[kind](real_text, base, tmp_path / "two" / "run")))
    assert weights(tmp_path / "one" / "run") == weights(tmp_path / "two" / "run")
    assert rehearsed["test"] == plain["test"]
    assert rehearsed["data"] == plain["data"]
    assert {path.name for path in (tmp_path / "one" / "run").iterdir()} == {
        path.name for path in (tmp_path / "two" / "run").iterdir()
    }


def test_a_stand_in_has_the_same_weights_and_nothing_else_in_common(base):
    model = load_pretrained(AutoModelForCausalLM, str(base), "model_name_or_path", None)
    model.train()
    other = rehearsal.stand_in(model)
    assert all(one is two for one, two in zip(model.parameters(), other.parameters(), strict=True))
    other.eval()
    other.config.use_cache = not model.config.use_cache
    other.generation_config.max_new_tokens = 77
    assert model.training
    assert model.config.use_cache != other.config.use_cache
    assert model.generation_config.max_new_tokens != 77


def test_nothing_is_compiled_and_no_random_number_is_drawn():
    before, model = torch.get_rng_state(), torch.nn.Linear(2, 2)
    before = torch.get_rng_state()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    with rehearsal.rehearsing() as folder:
        torch.compile(model, backend=backend)(torch.randn(1, 2))
        assert folder.is_dir()
    assert not folder.exists()
    assert not graphs
    assert torch.equal(torch.get_rng_state(), before)


def test_a_handful_is_a_few_blocks_with_n_grams_of_each_order_in_them():
    blocks = {name: Dataset.from_dict({"input_ids": [[1, 2]] * 100}) for name in ("train", "validation", "test")}
    recipe = SimpleNamespace(data=SimpleNamespace(block_size=2), run=SimpleNamespace(ngram_orders=[1, 5]))
    few = pretraining.handful(recipe, pretraining.LanguageData(blocks, {}, {}))
    assert {name: len(part) for name, part in few.blocks.items()} == {"train": 3, "validation": 3, "test": 3}
    recipe.run.ngram_orders = []
    assert len(pretraining.handful(recipe, pretraining.LanguageData(blocks, {}, {})).blocks["test"]) == 2


@pytest.mark.parametrize("strategy", ["fsdp2", "hsdp", "tensor parallel", "deepspeed"])
def test_a_model_that_will_be_split_is_asked_nothing(strategy, real_text, tmp_path):
    recipe = parse_recipe(recipe_values(real_text, tmp_path / "run"))
    assert rehearsal.is_rehearsed(recipe, Launch("one process", 1))
    assert not rehearsal.is_rehearsed(recipe, Launch(strategy, 2))
