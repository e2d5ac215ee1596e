"""The layers of docs/architecture.md: imports point down, and the files that travel with a checkpoint stand alone."""

import ast
from pathlib import Path

import pytest
from tests.conftest import ROOT

import hf_gpt
from hf_gpt.conversion import LAYOUTS


PACKAGE = ROOT / "src" / "hf_gpt"
# Level of each module; a module imports from lower levels, and within L0 and L1 from its own.
LEVELS = {
    "modeling": 0,
    "adapter_config": 1,
    "boundary": 1.2,
    "conll": 1,
    "encoding": 1,
    "errors": 1,
    "hardware": 1,
    "limits": 1,
    "markdown": 1,
    "names": 1,
    "record_fields": 1,
    "packages": 1,
    "presets": 1,
    "privacy": 1,
    "registration": 1,
    "strict_yaml": 1,
    "terminal": 1,
    "adapters": 2,
    "rows": 1.5,
    "sources": 1.5,
    "text_files": 1.2,
    "baselines": 2,
    "capacity": 2.3,
    "checkpoints": 2,
    "conversion": 2.4,
    "data": 2,
    "evaluation": 2,
    "machine": 2.7,
    "metrics": 1,
    "loading": 2.5,
    "optim": 2,
    "planning": 2,
    "parallel": 2,
    "records": 2,
    "schedule": 2,
    "manifest": 2.4,
    "output_dir": 3.8,
    "places": 1,
    "processes": 1,
    "settled": 2.5,
    "streams": 2,
    "tasks": 2,
    "tokenizer": 2,
    "arguments": 3,
    "own_text": 3.5,
    "cards": 3.5,
    "plots": 3,
    "hub": 3.7,
    "inspection": 3.7,
    "space": 3.6,
    "inference": 4,
    "objectives": 4,
    "fewshot": 4.5,
    "guards": 3.9,
    "budget": 3.95,
    "callbacks": 3.97,
    "shutdown": 3.95,
    "workers": 2,
    "demo": 4,
    "printing": 3,
    "rehearsal": 4.4,
    "runs": 4,
    "finetune": 4.5,
    "train": 5,
    "plans": 5.5,
    "cli": 6,
    "__main__": 7,
    "__init__": 7,
}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported(path: Path) -> set[str]:
    """First names below hf_gpt that a file imports, relative or absolute."""
    names = set()
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            names |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("hf_gpt"):
            names.add((node.module.split(".") + ["__init__"])[1])
        elif isinstance(node, ast.Import):
            names |= {
                (alias.name.split(".") + ["__init__"])[1] for alias in node.names if alias.name.split(".")[0] == "hf_gpt"
            }
    return names


FILES = sorted(path for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path):
    module = module_of(path)
    assert module in LEVELS, f"{module} has no level: place it in docs/architecture.md and here"
    for name in imported(path) - {module}:
        allowed = LEVELS[name] < LEVELS[module] or (LEVELS[module] == 1 and LEVELS[name] == 1)
        assert allowed, f"{module} (level {LEVELS[module]}) imports {name} (level {LEVELS[name]})"


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


def test_only_the_modules_of_a_run_know_trainer():
    for path in FILES:
        names = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        if "Trainer" in names:
            assert module_of(path) in ("guards", "runs", "train", "finetune")


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
