"""What happens to real runs, tried on purpose: each fault with its message, and what is left afterwards."""

import errno
import itertools
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from benchmarks.tiny import recipe_values
from reliability.faults import STEPS, Phase, attempt, forked, is_equal, kill_runs, one_thread, state_of
from safetensors.torch import load_file
from tests.helpers.commands import run_command
from transformers import Trainer

from hf_gpt.data import packing
from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.run_folder import checkpoints
from hf_gpt.training import objectives
from hf_gpt.training.run import run


@pytest.fixture(scope="module", autouse=True)
def forks_alone():
    """As it was afterwards: a sum over other numbers of threads has other last bits."""
    with one_thread():
        yield


def values_of(corpus, folder, **changes):
    return recipe_values(corpus, folder, **{"max_steps": STEPS, "eval_strategy": "no", **changes})


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    run(parse_recipe(values_of(corpus, folder)))
    return folder


def in_child(values, log, before=lambda: None, **environment):
    """A run in a process of its own, forked from this one, which has imported everything."""

    def work():
        os.environ.update(environment)
        before()
        attempt(values, Path(os.environ["HF_HOME"]) / "datasets", phase)

    phase = Phase()
    return forked(work, log), phase


def end_of(child, seconds=90):
    """The wait status of a child that has to end by itself in that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the process hangs")


def wait_for(phase, name, entry):
    deadline = time.monotonic() + 90
    while phase.count(name) < entry:
        assert time.monotonic() < deadline
        time.sleep(0.002)


# ------------------------------------------------------------------------------------------------ kill and SIGTERM


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


def test_a_second_ctrl_c_ends_at_once(corpus, tmp_path):
    def slow():
        training_step = Trainer.training_step
        Trainer.training_step = lambda self, *a, **k: (training_step(self, *a, **k), time.sleep(600))[0]

    child, phase = in_child(values_of(corpus, tmp_path / "run"), tmp_path / "log", before=slow)
    wait_for(phase, "stepping", 1)
    os.kill(child, signal.SIGINT)
    time.sleep(0.3)
    os.kill(child, signal.SIGINT)
    assert os.waitstatus_to_exitcode(end_of(child, seconds=10)) == 130
    assert "Stopped at once: rerun the same command" in (tmp_path / "log").read_text()
    assert not list((tmp_path / "run").glob("checkpoint-*"))


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


@pytest.mark.parametrize("seconds", [1, pytest.param(6, marks=pytest.mark.slow)], ids=["importing", "later"])
def test_ctrl_c_before_training_is_one_line(seconds, corpus, tmp_path):
    process = subprocess.Popen(
        command_line(values_of(corpus, tmp_path / "run", max_steps=100_000), tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.strip().splitlines()[-1] == "hf-gpt: interrupted; rerun the same command to start it again."
    assert "Traceback" not in told
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------------------------------------- checkpoints


def whole(folder, step):
    written = folder / "_writing" / f"checkpoint-{step}"
    written.mkdir(parents=True)
    (written / "model.safetensors").write_bytes(b"weights of step %d" % step)
    checkpoints.finalize(written, folder / f"checkpoint-{step}")
    return folder / f"checkpoint-{step}"


def flip(path):
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


HARM = {
    "a flipped bit": (lambda folder: flip(folder / "model.safetensors"), "model.safetensors has another SHA-256"),
    "cut off": (lambda folder: os.truncate(folder / "model.safetensors", 4), "model.safetensors has another SHA-256"),
    "a file gone": (lambda folder: (folder / "model.safetensors").unlink(), "its files are not those"),
    "a file more": (lambda folder: (folder / "model.bin").write_text("x"), "its files are not those"),
    "no list": (lambda folder: (folder / "sha256.json").unlink(), "was not written to its end"),
    "half a list": (lambda folder: os.truncate(folder / "sha256.json", 9), "sha256.json cannot be read"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(harm, tmp_path):
    before, newest = whole(tmp_path, 10), whole(tmp_path, 20)
    do, told = HARM[harm]
    do(newest)
    found, lines = checkpoints.last_valid(tmp_path)
    assert found == before
    assert len(lines) == 1
    assert str(newest) in lines[0]
    assert told in lines[0]
    assert not newest.exists()
    assert (tmp_path / "damaged-checkpoint-20").exists(), "what was written is not lost"


def test_a_run_goes_on_from_the_one_before_a_damaged_checkpoint(corpus, undisturbed, tmp_path, capsys):
    """`save_total_limit: 1` keeps two for this."""
    values = values_of(corpus, tmp_path / "run", save_total_limit=1)
    child, phase = in_child(values, tmp_path / "log")
    wait_for(phase, "writing a checkpoint", 3)
    wait_for(phase, "stepping", 31)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert {path.name for path in (tmp_path / "run").glob("checkpoint-*")} >= {"checkpoint-20", "checkpoint-30"}
    for newer in ("checkpoint-30", "checkpoint-40"):
        if (tmp_path / "run" / newer).exists():
            flip(tmp_path / "run" / newer / "optimizer.pt")
    run(parse_recipe(values))
    told = capsys.readouterr().out
    assert "checkpoint-30 is damaged: optimizer.pt has another SHA-256" in told
    assert "Resuming from" in told
    assert is_equal(state_of(tmp_path / "run"), state_of(undisturbed))


def test_a_second_process_refuses_the_folder(corpus, tmp_path):
    values = values_of(corpus, tmp_path / "run", max_steps=100_000)
    child, phase = in_child(values, tmp_path / "log")
    wait_for(phase, "stepping", 1)
    with pytest.raises(InputError, match="is in use by another process"):
        run(parse_recipe(values))
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with checkpoints.lock(tmp_path / "run"):
        pass


# ------------------------------------------------------------------------------------------------------- the loss


def spoil(monkeypatch, step, value):
    compute_loss = Trainer.compute_loss

    def spoilt(self, *arguments, **named):
        loss = compute_loss(self, *arguments, **named)
        return loss * value if self.state.global_step + 1 == step and self.model.training else loss

    monkeypatch.setattr(Trainer, "compute_loss", spoilt)


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
        with pytest.raises(InputError, match=r"the loss has exploded: .*checkpoint-10"):
            run(parse_recipe(values_of(corpus, tmp_path / "exploding", max_steps=30)))

    def ruin(self, *arguments, **named):
        next(self.model.parameters()).data[0] = float("nan")

    monkeypatch.setattr(Trainer, "_get_learning_rate", lambda self: ruin(self) or 0.0)
    with pytest.raises(InputError, match=r"the loss is nan"):
        run(parse_recipe(values_of(corpus, tmp_path / "ruined", max_steps=10)))
    assert not list((tmp_path / "ruined").glob("checkpoint-*"))
    assert not (tmp_path / "ruined" / "model.safetensors").exists()


# ---------------------------------------------------------------------------------------------- disk, data, workers


def test_a_file_that_cannot_be_written_to_its_end(corpus, tmp_path):
    """Files of more than so many bytes are refused by the system, as on a full disk."""
    log = tmp_path / "log"

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        packing.pack, packed = (
            lambda *a: (packed(*a), resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)))[0],
            packing.pack,
        )

    child, _ = in_child(values_of(corpus, tmp_path / "run"), log, before=small_files)
    end_of(child)
    told = log.read_text()
    assert "InputError" in told
    assert "checkpoint-10 cannot be written" in told
    assert "bytes are free there" in told
    assert not list((tmp_path / "run").glob("checkpoint-*"))
    assert not (tmp_path / "run" / "_writing").exists()


@pytest.mark.parametrize("is_while_reading", [False, True])
def test_a_cache_folder_that_cannot_be_written(is_while_reading, corpus, tmp_path, monkeypatch, capsys):
    from datasets.exceptions import DatasetGenerationError

    def refused(*arguments, **named):
        error = OSError(errno.EROFS, "Read-only file system", "/cache/datasets")
        if is_while_reading:
            raise DatasetGenerationError("An error occurred while generating the dataset") from error
        raise error

    monkeypatch.setattr("datasets.load_dataset", refused)
    (tmp_path / "recipe.yaml").write_text(json.dumps(values_of(corpus, tmp_path / "run")))
    code, _, told = run_command(monkeypatch, capsys, "train", tmp_path / "recipe.yaml")
    assert code == 2
    assert "Read-only file system at /cache/datasets" in told
    assert not (tmp_path / "run").exists()


def test_data_that_change_or_vanish_between_two_parts_of_a_run(corpus, tmp_path, monkeypatch):
    mine = tmp_path / "mine.jsonl"
    mine.write_bytes(corpus.read_bytes())
    values = values_of(mine, tmp_path / "run", max_steps=20)
    with monkeypatch.context() as patched:
        spoil(patched, 13, float("nan"))
        with pytest.raises(InputError):
            run(parse_recipe(values))
    with mine.open("a") as file:
        file.write(json.dumps({"body": "A row that was not there before, and that would be learned from now on."}) + "\n")
    with pytest.raises(
        InputError, match=r"the data have changed since the run .* began: mine\.jsonl is not the file that it was"
    ):
        run(parse_recipe(values))
    mine.unlink()
    with pytest.raises(InputError, match=r"mine\.jsonl' matches no file"):
        run(parse_recipe(values))
    mine.write_bytes(corpus.read_bytes())
    assert run(parse_recipe(values))["steps"] == 20


def test_a_held_out_file_that_changes_is_named(corpus, tmp_path):
    from hf_gpt.data.sources import fingerprint, text_source
    from hf_gpt.training.output_dir import check_same_data

    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text('{"body": "a"}\n')
    source = text_source({"path": "json", "files": str(corpus), "text_column": "body", "test": {"files": str(held_out)}})
    before = fingerprint(source, None)
    check_same_data(tmp_path, before, fingerprint(source, None))
    held_out.write_text('{"body": "b"}\n')
    with pytest.raises(InputError, match=r"held-out\.jsonl is not the file that it was"):
        check_same_data(tmp_path, before, fingerprint(source, None))


def test_a_stream_whose_file_vanishes(corpus, undisturbed, tmp_path, monkeypatch):
    mine = tmp_path / "mine.jsonl"
    mine.write_bytes(corpus.read_bytes())
    dataset = {"path": "json", "files": str(mine), "text_column": "body", "streaming": True}
    values = values_of(mine, tmp_path / "run", dataset=dataset, tokenizer=str(undisturbed))
    training_step = Trainer.training_step
    monkeypatch.setattr(
        Trainer, "training_step", lambda self, *a, **k: (mine.unlink(missing_ok=True), training_step(self, *a, **k))[1]
    )
    with pytest.raises(InputError, match=r"a file that the run needs has vanished: .*mine\.jsonl"):
        run(parse_recipe({**values, "max_steps": 100_000, "save_steps": 100_000, "logging_steps": 100_000}))


def test_a_worker_that_dies(corpus, tmp_path, monkeypatch):
    def dies(rows, collate=objectives.collate):
        if torch.utils.data.get_worker_info() is None:
            return collate(rows)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(objectives, "collate", dies)
    with pytest.raises(InputError, match=r"a worker that reads data died \(DataLoader worker .*no checkpoint yet"):
        run(parse_recipe(values_of(corpus, tmp_path / "run", dataloader_num_workers=1)))


def test_a_stream_whose_file_changes(corpus, undisturbed, tmp_path, monkeypatch):
    mine = tmp_path / "mine.jsonl"
    mine.write_bytes(corpus.read_bytes())
    dataset = {"path": "json", "files": str(mine), "text_column": "body", "streaming": True}
    values = values_of(mine, tmp_path / "run", dataset=dataset, tokenizer=str(undisturbed))
    training_step = Trainer.training_step

    def step(self, *arguments, **named):
        if self.state.global_step == 3:
            mine.write_bytes(corpus.read_bytes() + b"\n")
        return training_step(self, *arguments, **named)

    monkeypatch.setattr(Trainer, "training_step", step)
    with pytest.raises(InputError, match=r"mine\.jsonl has changed while the run reads it"):
        run(parse_recipe({**values, "max_steps": 100_000, "save_steps": 100_000, "logging_steps": 100_000}))


# --------------------------------------------------------------------------------------------------- several processes


def two_ranks(values, tmp_path, before=lambda: None):
    """A run of two processes, each with its log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    logs = [tmp_path / "rank-0", tmp_path / "rank-1"]
    values = {**values, "ddp_backend": "gloo", "ddp_timeout": 30}
    return [in_child(values, log, before, RANK=str(i), LOCAL_RANK=str(i), **common) for i, log in enumerate(logs)], logs


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
