"""A small run that is finished once for all tests of faults, and what the fuzz tests count for the record of `make fuzz`."""

import shutil
from collections import Counter

import pytest
from tests.helpers.runs import short_values

from hf_gpt.recipe.parser import parse_recipe
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


@pytest.fixture
def outcomes(record_property):
    """How many examples were used and how many refused."""
    counts = Counter()
    yield counts
    assert counts["used"]
    for name, count in counts.items():
        record_property(name, count)
