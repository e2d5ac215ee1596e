"""`tokens_seen` is what was learned from: smaller last batches, steps of fewer batches, and steps that were skipped."""

import json

import pytest
import torch
from benchmarks.tiny import recipe_values
from reliability.faults import one_thread
from tests.helpers.recipes import talking, task_values, write_rows
from transformers import AutoModelForCausalLM, Trainer

from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training.run import run


@pytest.fixture(scope="module", autouse=True)
def alone():
    with one_thread():
        yield


def values_of(corpus, folder, **changes):
    usual = {"eval_strategy": "no", "save_strategy": "no", "logging_steps": 5, "sample_prompts": [], "max_steps": 7}
    return recipe_values(corpus, folder, **{**usual, **changes})


@pytest.fixture
def counted(monkeypatch):
    """Tokens of each batch that a step of training gets; a batch of `bad` numbers has no finite loss."""
    seen, bad, step = [], set(), Trainer.compute_loss

    def count(self, model, inputs, *arguments, **named):
        if model.training:
            seen.append(inputs["input_ids"].numel())
        loss = step(self, model, inputs, *arguments, **named)
        return loss * float("nan") if model.training and len(seen) in bad else loss

    monkeypatch.setattr(Trainer, "compute_loss", count)
    return seen, bad


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_steps": -1, "num_train_epochs": 3},
        {"max_steps": -1, "num_train_epochs": 2, "gradient_accumulation_steps": 3, "per_device_train_batch_size": 7},
        {"per_device_train_batch_size": 10_000},
        {"max_steps": 40, "per_device_train_batch_size": 50, "dataloader_drop_last": True},
    ],
    ids=["full batches", "epochs", "accumulation", "a batch of all rows", "the last one left out"],
)
def test_tokens_are_those_of_the_batches(changes, corpus, tmp_path, counted):
    record = run(parse_recipe(values_of(corpus, tmp_path / "run", **changes)))
    assert record["tokens_seen"] == sum(counted[0])


def test_every_row_is_scored_where_training_leaves_a_last_batch_out(base, tmp_path):
    """A batch of more rows than there are would leave no figure at all."""
    pytest.importorskip("trl", reason="trl needs Python 3.11")
    rows = write_rows(tmp_path, talking)
    changes = {"max_steps": 1, "per_device_train_batch_size": 2, "per_device_eval_batch_size": 1000}
    losses = [
        run(parse_recipe(task_values(base, rows, tmp_path / str(dropped), "chat", **changes, dataloader_drop_last=dropped)))
        for dropped in (False, True)
    ]
    assert losses[0]["test"]["loss"] == losses[1]["test"]["loss"]


def test_tokens_of_steps_that_were_skipped_are_not_seen(corpus, tmp_path, counted):
    seen, bad = counted
    bad |= {2, 5}
    record = run(parse_recipe(values_of(corpus, tmp_path / "run", on_nan="skip")))
    assert record["skipped_steps"] == 2
    assert record["tokens_seen"] == sum(tokens for number, tokens in enumerate(seen, 1) if number not in bad)


def test_batches_are_never_made_smaller_on_the_way(corpus, tmp_path):
    """After which nobody would know what was seen."""
    with pytest.raises(InputError, match="auto_find_batch_size"):
        parse_recipe(values_of(corpus, tmp_path / "run", auto_find_batch_size=True))


def test_a_checkpoint_is_loaded_with_logits_and_a_cache(corpus, tmp_path):
    values = values_of(corpus, tmp_path / "run", save_strategy="steps", save_steps=4)
    run(parse_recipe(values))
    folder = tmp_path / "run" / "checkpoint-4"
    saved = json.loads((folder / "config.json").read_text())
    assert (saved["fused_loss"], saved["use_cache"]) == (False, True)
    model = AutoModelForCausalLM.from_pretrained(folder).train()
    ids = torch.tensor([[1, 2, 3]])
    assert model(ids, labels=ids).logits.shape[:2] == (1, 3)
