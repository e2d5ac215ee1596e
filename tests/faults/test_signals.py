"""Kills and signals, to one process and to one of several: what is saved, what is said, and what the run resumes to."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from reliability.faults import STEPS, is_equal, kill_runs, state_of
from tests.helpers.children import end_of, in_child, spoil, two_ranks, values_of, wait_for
from transformers import Trainer

from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.run_folder import checkpoints
from hf_gpt.training.run import run


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits():
    """The short form of `make faults`: it raises where an attempt fails or the bits differ."""
    assert len(kill_runs(kills=2, seed=3, kills_of_a_run=2)["kills"]) >= 1


def once(child, number):
    os.kill(child, number)


def to_the_group_and_again(child, number):
    """As a scheduler, a launcher and a closed terminal do, which each pass it on: the workers that read data get it too."""
    os.killpg(child, number)
    time.sleep(0.01)
    os.killpg(child, number)


@pytest.mark.parametrize(
    ("name", "tell", "workers"),
    [
        ("SIGTERM", to_the_group_and_again, 1),
        ("SIGINT", once, 1),
        pytest.param("SIGHUP", to_the_group_and_again, 0, marks=pytest.mark.slow),
        pytest.param("SIGTERM", once, 0, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_ends_and_the_run_resumes_to_the_same_bits(name, tell, workers, corpus, undisturbed, tmp_path):
    values = values_of(corpus, tmp_path / "run", save_steps=1000, dataloader_num_workers=workers)
    child, phase = in_child(values, tmp_path / "log")
    wait_for(phase, "stepping", 5)
    number = signal.Signals[name]
    tell(child, number)
    end_of(child)
    log = (tmp_path / "log").read_text()
    assert f"{name}: saving after this step, then stopping; once more stops at once." in log
    assert f"Stopped by {name} after step" in log
    assert "rerun the same command to resume" in log
    assert f"SystemExit: {128 + number}" in log
    (saved,) = (tmp_path / "run").glob("checkpoint-*")
    assert checkpoints.find_damage(saved) is None
    assert 5 <= int(saved.name.split("-")[1]) < STEPS
    run(parse_recipe(values))
    assert is_equal(state_of(tmp_path / "run"), state_of(undisturbed))


@pytest.mark.parametrize(("save_steps", "what_for"), [(1, "resume"), (1000, "start it again")])
def test_a_second_ctrl_c_ends_at_once(save_steps, what_for, corpus, tmp_path):
    def slow():
        training_step = Trainer.training_step
        slowed = lambda self, *a, **k: (training_step(self, *a, **k), time.sleep(600 if self.state.global_step else 0))[0]  # noqa: E731
        Trainer.training_step = slowed

    child, phase = in_child(values_of(corpus, tmp_path / "run", save_steps=save_steps), tmp_path / "log", before=slow)
    wait_for(phase, "stepping", 2)
    os.kill(child, signal.SIGINT)
    time.sleep(0.3)
    os.kill(child, signal.SIGINT)
    assert os.waitstatus_to_exitcode(end_of(child, seconds=10)) == 130
    log = (tmp_path / "log").read_text()
    assert "Stopped at once; " in log
    assert f": rerun the same command to {what_for}." in log
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-1"] * (save_steps == 1)


def test_a_run_whose_output_nobody_reads_saves_and_ends(corpus, undisturbed, tmp_path):
    """`| head`: what it prints goes into a pipe that is closed."""
    values = values_of(corpus, tmp_path / "run", save_steps=1000, logging_steps=1)
    reader, writer = os.pipe()

    def into_the_pipe():
        os.close(reader)
        sys.stdout = os.fdopen(writer, "w")

    child, phase = in_child(values, tmp_path / "log", before=into_the_pipe)
    os.close(writer)
    wait_for(phase, "stepping", 3)
    os.close(reader)
    end_of(child)
    log = (tmp_path / "log").read_text()
    assert f"SystemExit: {128 + signal.SIGPIPE}" in log
    assert "Stopped by SIGPIPE after step" in log, "on the stream that somebody still reads"
    (saved,) = (tmp_path / "run").glob("checkpoint-*")
    assert checkpoints.find_damage(saved) is None
    run(parse_recipe(values))
    assert is_equal(state_of(tmp_path / "run"), state_of(undisturbed))


def test_handlers_are_those_of_before_also_after_a_failure(corpus, tmp_path, monkeypatch):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    streams = sys.stdout, sys.stderr
    spoil(monkeypatch, 3, float("nan"))
    with pytest.raises(InputError, match="the loss is nan"):
        run(parse_recipe(values_of(corpus, tmp_path / "run", max_steps=4)))
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before
    assert (sys.stdout, sys.stderr) == streams


def command_line(values, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(values))
    return [sys.executable, "-m", "hf_gpt", "train", str(recipe)]


@pytest.mark.slow
def test_persistent_workers_do_not_keep_the_process(corpus, tmp_path):
    values = values_of(corpus, tmp_path / "run", max_steps=4, dataloader_num_workers=1, dataloader_persistent_workers=True)
    assert subprocess.run(command_line(values, tmp_path), timeout=100, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("is_later", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["importing", "later"])
def test_ctrl_c_before_training_is_one_line(is_later, corpus, tmp_path):
    process = subprocess.Popen(
        command_line(values_of(corpus, tmp_path / "run", max_steps=100_000), tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    if is_later:
        # What was read of the data is said before the model is made.
        assert "texts" in process.stdout.readline()
    else:
        time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.strip().splitlines()[-1] == "hf-gpt: interrupted; rerun the same command to start it again."
    assert "Traceback" not in told
    assert not (tmp_path / "run").exists()


def test_a_rank_that_dies_ends_the_other_with_the_cause(corpus, tmp_path):
    ranks, logs = two_ranks(values_of(corpus, tmp_path / "run", max_steps=100_000), tmp_path)
    wait_for(ranks[1][1], "stepping", 12)
    os.killpg(ranks[1][0], signal.SIGKILL)
    os.waitpid(ranks[1][0], 0)
    end_of(ranks[0][0], seconds=60)
    told = logs[0].read_text()
    assert "InputError: another process of this run ended or does not answer" in told
    assert "checkpoint-10" in told


def test_sigterm_to_one_rank_ends_both_after_the_same_step(corpus, tmp_path):
    """Long before the next row of the log: a launcher kills after half a minute."""
    long = {"max_steps": 100_000, "save_steps": 100_000, "logging_steps": 100_000}
    ranks, logs = two_ranks(values_of(corpus, tmp_path / "run", **long), tmp_path)
    wait_for(ranks[1][1], "stepping", 5)
    os.kill(ranks[1][0], signal.SIGTERM)
    for child, _ in ranks:
        end_of(child, seconds=30)
    (saved,) = (tmp_path / "run").glob("checkpoint-*")
    assert checkpoints.find_damage(saved) is None
    step = saved.name.split("-")[1]
    assert all(f"Stopped by SIGTERM after step {step}" in log.read_text() for log in logs)


@pytest.mark.slow
def test_two_ranks_make_the_steps_that_the_first_one_counts(corpus, tmp_path):
    """Their clocks differ: alone, each would fix another number after another step, and wait for the other for ever."""
    from hf_gpt.training import budget

    def before():
        now = itertools.count(0, 1 + 4 * int(os.environ["RANK"]))
        budget.monotonic = lambda: float(next(now))

    values = values_of(corpus, tmp_path / "run", max_minutes=1, save_steps=0.5)
    del values["max_steps"]
    ranks, logs = two_ranks(values, tmp_path, before)
    for child, _ in ranks:
        assert end_of(child, seconds=90) == 0, [log.read_text()[-2000:] for log in logs]
    settled = json.loads((tmp_path / "run" / "settled.json").read_text())
    assert 20 < settled["max_steps"] < 60
    assert json.loads((tmp_path / "run" / "record.json").read_text())["steps"] == settled["max_steps"]
