"""What `make quality` does not see of docs/architecture.md: what travels with a checkpoint stands alone; what a layer may know."""

import ast

import pytest
from tests.conftest import ROOT

import hf_gpt
from hf_gpt.conversion import LAYOUTS


PACKAGE = ROOT / "src" / "hf_gpt"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", sorted((PACKAGE / "modeling").glob("*.py")), ids=lambda path: path.name)
def test_the_modeling_folder_imports_only_torch_transformers_and_itself(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            roots = {node.module.split(".")[0]}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, f"{path.name}: `from ..x import` cannot be saved with a checkpoint"
            assert (path.parent / f"{node.module}.py").is_file(), f"{path.name}: only `from .file import name` travels"
            continue
        else:
            continue
        standard = {"math", "collections", "functools", "typing", "dataclasses", "warnings"}
        assert roots <= {"torch", "transformers", "huggingface_hub", *standard}


def test_only_training_knows_trainer_peft_and_trl():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = {alias.name for alias in node.names} if isinstance(node, (ast.Import, ast.ImportFrom)) else set()
            roots = {str(node.module).split(".")[0]} if isinstance(node, ast.ImportFrom) and not node.level else names
            if "Trainer" in names or roots & {"peft", "trl"}:
                # peft is given our names in its tables where the auto classes are.
                assert path.parent.name == "training" or path.name == "auto.py", f"{path}:{node.lineno}"


def test_no_preset_is_known_by_name_outside_the_table():
    # `gpt2` is the name of a layout of files, too.
    names = set(hf_gpt.list_presets()) - set(LAYOUTS)
    for path in FILES:
        if path.name == "presets.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                constants = {
                    part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
                }
                assert not constants & names, f"{path.name}:{node.lineno} compares with the name of a preset"
