"""A Hub for each test, and one small trained run for all of them."""

import os
import shutil
import time

import pytest
from huggingface_hub import constants, hf_api
from tests.conftest import ROOT
from tests.helpers.commands import run_command
from tests.helpers.recipes import recipe_values
from tests.hub.server import Hub
from transformers.utils import hub as transformers_hub

from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training.run import run


@pytest.fixture
def hub(monkeypatch):
    """A Hub that this process talks to, logged in as alice, without any pause between attempts."""
    with Hub() as hub:
        # What libraries keep of HF_ENDPOINT from their import.
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        address = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(hf_api.api, "endpoint", hub.endpoint)
        monkeypatch.setattr(transformers_hub, "_hf_api", None, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", hub.token)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        yield hub


@pytest.fixture
def environment(hub, tmp_path):
    """The environment of another process that talks to that Hub, with caches of its own and the package importable."""
    own = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_TOKEN": hub.token,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_MODULES_CACHE": str(tmp_path / "modules"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    }
    return {**os.environ, **own}


@pytest.fixture(scope="session")
def trained(real_text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "small"
    run(parse_recipe(recipe_values(real_text, folder, max_steps=20, ngram_orders=[1])))
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    """A copy of the trained run that a test may change."""
    return shutil.copytree(trained, tmp_path / "small", ignore=shutil.ignore_patterns("checkpoint-*"))


@pytest.fixture
def told(monkeypatch, capsys):
    """Runs a command in this process and gives its exit code and what it printed, on both streams."""

    def command(*arguments):
        code, out, err = run_command(monkeypatch, capsys, *arguments)
        return code, out + err

    return command
