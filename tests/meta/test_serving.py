"""`make serving`: every engine has its file, and one that fails is a row that says why."""

import sys
from pathlib import Path

import pytest
from experiments import engines, serving
from experiments.engines import Engine


FOLDER = Path(engines.__file__).parent


def test_every_engine_has_a_file_and_every_file_an_engine():
    assert {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "__main__", "job"} == set(engines.ENGINES)
    assert len(engines.ENGINES) >= 15


def test_the_reason_of_an_engine_that_fails_is_kept(tmp_path, monkeypatch):
    monkeypatch.setitem(engines.ENGINES, "broken", Engine("broken", "`broken`"))
    found = serving.measure("broken", tmp_path, tmp_path)
    assert found == {"failed": "KeyError: 'broken'", "installed": True}
    assert serving.status(found)[0] == "does not run: KeyError: 'broken'"


def test_the_reason_of_an_engine_that_does_not_install_is_kept(tmp_path, monkeypatch):
    monkeypatch.setitem(engines.ENGINES, "absent", Engine("absent", "`absent`", ("absent==1",)))
    python = tmp_path / "absent" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f"#!/bin/sh\necho 'ERROR: No matching distribution found for absent in {serving.ROOT}/a-b/x.py, /root/.cache/y' >&2\nexit 1\n"
    )
    python.chmod(0o755)
    found = serving.measure("absent", tmp_path, tmp_path)
    assert found == {"failed": "ERROR: No matching distribution found for absent in x.py, y", "installed": False}
    assert serving.status(found)[0].startswith("does not install: ERROR")


def test_engines_of_the_same_packages_share_an_environment(tmp_path):
    python = tmp_path / "serve" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    found = {serving.interpreter(name, engines.ENGINES[name], tmp_path) for name in ("serve", "serve_own", "chat")}
    assert found == {python}
    assert serving.interpreter("native", engines.ENGINES["native"], tmp_path) == Path(sys.executable)


@pytest.mark.parametrize(
    ("found", "cells"),
    [
        (None, ["not measured here", "", "", ""]),
        (
            {
                "version": "1.2",
                "compared": {
                    "gpt2": {"difference": 1e-6, "greedy_equal": True},
                    "qwen3": {"difference": 2e-3, "greedy_equal": False},
                },
                "tokens_per_second": 1234.5,
            },
            ["1.2", "the same greedy text: gpt2; another text: qwen3", "2.0e-03", "1,234"],
        ),
        ({"version": "3", "told": "trained: DPO"}, ["3", "trained: DPO", "", ""]),
    ],
)
def test_cells_of_a_row(found, cells):
    assert serving.status(found) == cells
