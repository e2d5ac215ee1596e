"""A run with a time budget fixes its number of steps once, and keeps it when it is resumed; no test waits for a clock."""

import json
import re
import shutil

import pytest
from benchmarks.tiny import recipe_values
from reliability.faults import is_equal, one_thread, state_of
from tests.helpers.runs import killed_after

from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import load_recipe, parse_recipe
from hf_gpt.run_folder.settled import read_settled
from hf_gpt.training.budget import Costs, TimeBudget, steps_within
from hf_gpt.training.run import run


@pytest.fixture(scope="module", autouse=True)
def alone():
    with one_thread():
        yield


class Ticks:
    """A clock by which everything that is looked at takes so many seconds."""

    def __init__(self, seconds=1.0):
        self.now, self.seconds = 0.0, seconds

    def __call__(self):
        self.now += self.seconds
        return self.now


@pytest.fixture
def clock(monkeypatch):
    ticks = Ticks()
    monkeypatch.setattr("hf_gpt.training.budget.monotonic", ticks)
    return ticks


def values_of(corpus, folder, **changes):
    schedule = {"warmup_steps": 0.1, "lr_scheduler_type": "warmup_stable_decay"}
    shares = {"lr_scheduler_kwargs": {"num_decay_steps": 0.6, "decay_type": "linear"}, "eval_steps": 0.5, "save_steps": 0.25}
    values = recipe_values(corpus, folder, **{"max_minutes": 1, "logging_steps": 1, **schedule, **shares, **changes})
    return {key: value for key, value in values.items() if key != "max_steps" or "max_steps" in changes}


def test_steps_fill_what_is_left_with_evaluations_and_checkpoints():
    costs = Costs(step=1.0, evaluation=5.0, checkpoint=2.0)
    # 100 seconds: 70 steps, five evaluations at 20, 40, 60 and the end, and as many checkpoints as these.
    fitting = steps_within(100, 0, 10_000, costs, lambda steps: (20, 20))
    assert fitting == 72
    assert steps_within(100, 0, 10_000, Costs(1.0), lambda steps: (None, None)) == 100
    assert steps_within(100, 10, 50, Costs(1.0), lambda steps: (None, None)) == 50
    assert steps_within(-5, 10, 50, Costs(1.0), lambda steps: (None, None)) == 10


class Watched:
    """Stands in for a trainer whose evaluation is looked at."""


def test_what_a_compiler_takes_is_left_out():
    budget = TimeBudget(Watched(), 8, None)
    budget.times = [0.5] * 9 + [30.0]
    budget.asked, budget.predictions = 100.0, [150.0, 150.2, 150.4, 150.6, 150.8, 151.0, 151.2, 151.4]
    budget.evaluated, budget.saved = 152.0, 155.0
    costs = budget.costs()
    assert costs.step == 0.5
    # Eight batches of 0.2 seconds and the 0.6 after the last one.
    assert costs.evaluation == pytest.approx(2.2)
    assert costs.checkpoint == pytest.approx(3.0)


def test_a_step_that_compiles_is_not_taken_for_a_slow_machine():
    budget = TimeBudget(Watched(), 1, None)
    # The third step is the small batch at the end of an epoch.
    for seconds, is_enough in [(67.0, False), (0.5, False), (0.5, False), (0.5, False), (0.5, False), (0.5, True)]:
        budget.times.append(seconds)
        assert budget._is_enough() is is_enough
    assert budget.costs().step == 0.5
    slow = TimeBudget(Watched(), 1, None)
    slow.times = [30.0]
    assert not slow._is_enough()
    slow.times.append(30.0)
    assert slow._is_enough()


def test_a_run_fixes_its_steps_and_a_resumed_one_ends_with_the_same_bits(corpus, tmp_path, clock, capsys):
    values = values_of(corpus, tmp_path / "run")
    # Before any checkpoint, before the number is fixed: nothing is settled, and the run begins anew.
    killed_after(values, 4)
    assert "max_steps" not in read_settled(tmp_path / "run")
    clock.now = 0.0
    killed_after(values, 12)
    settled = json.loads((tmp_path / "run" / "settled.json").read_text())
    steps = settled["max_steps"]
    assert 20 <= steps < 60
    assert re.search(rf"max_minutes=1: {steps} steps \([\d.]+ epochs\) fit, at 1 s a step", capsys.readouterr().out)
    assert (tmp_path / "run" / f"checkpoint-{settled['time_budget']['fixed_after']}").is_dir()
    # One goes on from its checkpoint, one begins anew with what was settled, and both with a clock that stands still.
    shutil.copytree(tmp_path / "run", tmp_path / "anew", ignore=lambda folder, names: {n for n in names if "checkpoint" in n})
    recipe = tmp_path / "anew" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(tmp_path / "run"), str(tmp_path / "anew")))
    clock.seconds = 0.0
    record = run(parse_recipe(values))
    run(parse_recipe({**values, "output_dir": str(tmp_path / "anew")}))
    assert record["steps"] == steps
    assert record["time_budget"] == settled["time_budget"]
    assert is_equal(state_of(tmp_path / "run"), state_of(tmp_path / "anew"))
    rates = {row["step"]: row["learning_rate"] for row in record["history"] if "learning_rate" in row}
    assert max(rates.values()) == pytest.approx(0.02), "the whole schedule lies within the steps that were fixed"
    assert rates[steps] < 0.1 * 0.02
    assert [row["step"] for row in record["history"] if "eval_loss" in row][-1] == steps
    card = (tmp_path / "run" / "README.md").read_text()
    assert "The run chose this number of steps itself, after timing the first ones, to train for 1 min." in card
    assert f"output_dir=again max_steps={steps}" in card


def test_a_machine_that_is_too_slow_makes_a_few_steps_and_says_so(corpus, tmp_path, clock, capsys):
    clock.seconds = 30.0
    assert run(parse_recipe(values_of(corpus, tmp_path / "run")))["steps"] == 20
    assert "max_minutes=1 is too short for this machine: a step takes 30.0 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("length", "steps"),
    [({"max_steps": 25}, 25), ({"num_train_epochs": 0.2}, None), pytest.param({}, None, marks=pytest.mark.slow)],
)
def test_what_ends_sooner_counts(length, steps, corpus, tmp_path, clock, capsys):
    clock.seconds = 1e-6
    changes = {"block_size": 64, "per_device_train_batch_size": 64, "eval_strategy": "no", **length}
    record = run(parse_recipe(values_of(corpus, tmp_path / "run", **changes)))
    rows = record["data"]["splits"]["train"]["blocks"]
    epochs = length.get("num_train_epochs", 10)
    assert record["steps"] == (steps or -(-epochs * -(-rows // 64) // 1))


def test_a_schedule_in_steps_is_refused_with_a_budget(corpus, tmp_path):
    with pytest.raises(InputError, match=r"warmup_steps=30 with max_minutes.* warmup_steps=0\.03"):
        run(parse_recipe(values_of(corpus, tmp_path / "run", warmup_steps=30)))
    with pytest.raises(InputError, match=r"max_minutes=0\.0 must be above 0"):
        parse_recipe(values_of(corpus, tmp_path / "run", max_minutes=0))


def test_steps_on_the_command_line_take_the_place_of_minutes(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("preset: modern-5m\ndataset: movie-reviews\noutput_dir: out\nmax_minutes: 8\n")
    assert load_recipe(str(recipe)).run.max_minutes == 8
    assert load_recipe(str(recipe)).training.num_train_epochs == 10
    assert load_recipe(str(recipe), ["max_steps=100"]).run.max_minutes is None
    assert load_recipe(str(recipe), ["max_steps=100", "max_minutes=2"]).run.max_minutes == 2
