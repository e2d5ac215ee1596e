"""What happens to the files of a run while it lasts: checkpoints, data and caches that are damaged, full, gone or in use."""

import errno
import json
import os
import resource
import signal

import pytest
import torch
from reliability.faults import is_equal, state_of
from tests.helpers.children import end_of, in_child, spoil, values_of, wait_for
from tests.helpers.commands import run_command
from transformers import Trainer

from hf_gpt.data import packing
from hf_gpt.errors import InputError
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.run_folder import checkpoints
from hf_gpt.training import objectives
from hf_gpt.training.run import run


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
