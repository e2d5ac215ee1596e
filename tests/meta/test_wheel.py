"""The wheel is enough: who has no clone has the command, the recipes and the card template."""

import os
import subprocess
import sys
import zipfile

import pytest
from tests.conftest import ROOT

from hf_gpt.reports.model_card import KINDS


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(build, check=True, cwd=ROOT, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_recipes_template_and_types_are_in_the_wheel(installed):
    names = {path.relative_to(installed / "hf_gpt").as_posix() for path in (installed / "hf_gpt").rglob("*") if path.is_file()}
    assert {
        "recipes/pretrain/quickstart.yaml",
        "recipes/accelerate/fsdp2.yaml",
        "py.typed",
        "modeling/layers_hf_gpt.py",
    } <= names
    assert {f"model_cards/{template}" for template, _ in KINDS.values()} <= names


def test_the_wheel_finds_its_own_recipes(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    run = [
        sys.executable,
        "-c",
        "import hf_gpt, hf_gpt.recipe.packaged as a; print(hf_gpt.__file__, a.find_recipe('pretrain/quickstart'))",
    ]
    printed = subprocess.run(run, check=True, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout.split()
    assert all(path.startswith(str(installed)) for path in printed)
