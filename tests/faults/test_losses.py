"""A loss that is no number, or explodes, ends a run and is never saved, in one process and in several."""

import json
import os
import re

import pytest
import torch
from reliability.faults import is_equal
from safetensors.torch import load_file
from tests.helpers.children import end_of, spoil, two_ranks, values_of
from transformers import Trainer

from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training.run import run


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run_and_may_be_skipped(value, corpus, tmp_path, monkeypatch, capsys):
    values = values_of(corpus, tmp_path / "run", max_steps=20)
    with monkeypatch.context() as patched:
        spoil(patched, 13, value)
        with pytest.raises(
            InputError, match=r"step 13, batch of SHA-256 [0-9a-f]{64}: the loss is (nan|inf).*checkpoint-10\."
        ):
            run(parse_recipe(values))
        record = run(parse_recipe({**values, "on_nan": "skip"}))
    assert "step 13, batch of SHA-256" in capsys.readouterr().out
    assert record["skipped_steps"] == 1
    assert record["steps"] == 20
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / "run" / "model.safetensors").values())
    assert all(row["loss"] < 20 for row in record["history"] if "loss" in row)


def test_a_skipped_step_changes_no_weight(corpus, tmp_path, monkeypatch):
    from hf_gpt.training.trainer import GuardedTrainer

    weights = []
    step = GuardedTrainer.training_step

    def watched(self, *arguments, **named):
        weights.append([parameter.detach().clone() for parameter in self.model.parameters()])
        return step(self, *arguments, **named)

    monkeypatch.setattr(GuardedTrainer, "training_step", watched)
    spoil(monkeypatch, 3, float("nan"))
    run(parse_recipe(values_of(corpus, tmp_path / "run", max_steps=4, on_nan="skip")))
    assert not is_equal(weights[1], weights[2])
    assert is_equal(weights[2], weights[3])


def test_an_exploding_loss_and_weights_that_are_no_numbers_stop_the_run(corpus, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        spoil(patched, 15, 1e6)
        with pytest.raises(InputError, match=r"^step 20: the loss has exploded: .*checkpoint-10\. Start anew"):
            run(parse_recipe(values_of(corpus, tmp_path / "exploding", max_steps=30)))

    def ruin(self, *arguments, **named):
        next(self.model.parameters()).data[0] = float("nan")

    monkeypatch.setattr(Trainer, "_get_learning_rate", lambda self: ruin(self) or 0.0)
    with pytest.raises(InputError, match=r"the loss is nan"):
        run(parse_recipe(values_of(corpus, tmp_path / "ruined", max_steps=10)))
    assert not list((tmp_path / "ruined").glob("checkpoint-*"))
    assert not (tmp_path / "ruined" / "model.safetensors").exists()


def test_a_loss_that_is_no_number_in_an_evaluation_names_it_and_blames_no_batch(corpus, tmp_path, monkeypatch):
    values = values_of(corpus, tmp_path / "run", max_steps=4, on_nan="skip")
    with pytest.raises(
        InputError, match=r"^the evaluation before the first step: eval_loss is nan\. Nothing .* config"
    ) as told:
        run(parse_recipe({**values, "config": {**values["config"], "initializer_range": 1e38}}))
    assert "SHA-256" not in str(told.value)
    loop = Trainer.evaluation_loop

    def spoilt(self, *arguments, **named):
        found = loop(self, *arguments, **named)
        if self.state.global_step:
            monkeypatch.setattr("hf_gpt.training.trainer.mean_loss", lambda batches: float("inf"))
        return found

    monkeypatch.setattr(Trainer, "evaluation_loop", spoilt)
    with pytest.raises(InputError, match=r"^the evaluation after step 2: eval_loss is inf\. .*lower learning_rate") as told:
        run(parse_recipe({**values, "eval_strategy": "steps", "eval_steps": 2}))
    assert "SHA-256" not in str(told.value)
    assert "on_nan" not in str(told.value)


def spoil_of_rank(rank):
    def before():
        if os.environ["RANK"] == str(rank):
            spoil(pytest.MonkeyPatch(), 13, float("nan"))

    return before


def test_a_loss_that_is_no_number_in_one_rank_stops_both_and_may_be_skipped(corpus, tmp_path):
    values = values_of(corpus, tmp_path / "run", max_steps=20)
    ranks, logs = two_ranks(values, tmp_path, spoil_of_rank(1))
    for child, _ in ranks:
        end_of(child, seconds=60)
    told = [
        re.findall(r"InputError: step 13, batch of SHA-256 ([0-9a-f]{64}): the loss is nan", log.read_text()) for log in logs
    ]
    assert told[0] == told[1]
    assert len(told[0]) == 1
    ranks, logs = two_ranks({**values, "on_nan": "skip"}, tmp_path, spoil_of_rank(1))
    for child, _ in ranks:
        end_of(child, seconds=60)
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert (record["steps"], record["skipped_steps"]) == (20, 1)
    assert f"step 13, batch of SHA-256 {told[0][0]}: the loss is nan: the step is skipped" in logs[0].read_text()
