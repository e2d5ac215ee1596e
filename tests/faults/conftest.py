"""What the tests of faults share: runs that are finished once, a foreign model, and what the fuzz tests count for `make fuzz`."""

import os
import shutil
from collections import Counter

import pytest
import torch
from reliability.faults import one_thread
from tests.helpers import children
from tests.helpers.runs import short_values
from transformers import AutoModelForCausalLM, GPT2Config

from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training import run as runs
from hf_gpt.training.run import run


@pytest.fixture(scope="session")
def original(corpus, tmp_path_factory):
    """A finished run, which stays as it is."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    run(parse_recipe(short_values(corpus, folder)))
    return folder


@pytest.fixture
def finished(original, tmp_path):
    """A copy of it, to be harmed."""
    return shutil.copytree(original, tmp_path / "run")


@pytest.fixture(scope="module", autouse=True)
def forks_alone():
    """A process that is forked has no threads but its own; and a sum over other numbers of threads has other last bits."""
    with one_thread():
        yield


@pytest.fixture(scope="session")
def undisturbed(corpus, tmp_path_factory):
    """What `children.values_of` ends with."""
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    with one_thread():
        run(parse_recipe(children.values_of(corpus, folder)))
    return folder


@pytest.fixture
def outcomes(record_property):
    """How many examples were used and how many refused."""
    counts = Counter()
    yield counts
    assert counts["used"]
    for name, count in counts.items():
        record_property(name, count)


@pytest.fixture(scope="session")
def foreign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    small = GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=32, n_positions=16)
    AutoModelForCausalLM.from_config(small).save_pretrained(folder)
    return folder


@pytest.fixture
def no_training(request, monkeypatch):
    """A run ends well where its training would begin: in a folder that is its own, when its end is rehearsed."""

    def begin(*arguments):
        raise SystemExit(0)

    if "resumed" not in request.node.name:
        monkeypatch.setattr(runs, "train", begin)


@pytest.fixture
def as_before():
    """A recipe may ask for what holds for the process."""
    before = dict(os.environ)
    yield
    torch.use_deterministic_algorithms(False)
    os.environ.clear()
    os.environ.update(before)
