"""Runs in processes of their own, forked from this one, which has imported everything."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from benchmarks.tiny import recipe_values
from reliability.faults import STEPS, Phase, attempt, forked
from transformers import Trainer


def values_of(corpus, folder, **changes):
    return recipe_values(corpus, folder, **{"max_steps": STEPS, "eval_strategy": "no", **changes})


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


def spoil(monkeypatch, step, value):
    compute_loss = Trainer.compute_loss

    def spoilt(self, *arguments, **named):
        loss = compute_loss(self, *arguments, **named)
        return loss * value if self.state.global_step + 1 == step and self.model.training else loss

    monkeypatch.setattr(Trainer, "compute_loss", spoilt)


def two_ranks(values, tmp_path, before=lambda: None):
    """A run of two processes, each with its log."""
    logs = [tmp_path / "rank-0", tmp_path / "rank-1"]
    values = {**values, "ddp_backend": "gloo", "ddp_timeout": 30}
    return [in_child(values, log, before, **rank) for log, rank in zip(logs, launched(2))], logs


def launched(count):
    """The environment that a launcher gives each process of a run on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
