"""What `make install` shows, and that README's commands are found where it says so."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from tests.conftest import ROOT


PIP = """Collecting torch==2.13.0
  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (191.8 MB)
Progress 0 of 191800000
Progress 95900000 of 191800000
Requirement already satisfied: sympy in ./site-packages (1.14)
  Using cached numpy-2.4.6-cp311-cp311-manylinux_2_28_x86_64.whl (16.6 MB)
Installing collected packages: numpy, torch
Successfully installed numpy-2.4.6 torch-2.13.0
"""


def shown(told, before="pass"):
    script = f"import sys; sys.path.insert(0, 'tools'); import pip_progress as p; {before}; p.main()"
    command = [sys.executable, "-c", script]
    printed = subprocess.run(command, input=told.encode(), capture_output=True, cwd=ROOT, check=True).stdout.decode()
    return re.sub(r", \d+ s", ", N s", printed)


def test_in_a_terminal_one_line_says_which_file_and_how_much_of_it():
    *moved, last = shown(PIP, "sys.stdout.isatty = lambda: True").split("\r\033[K")
    assert "     file 1: torch (191.8 MB) 50 %, N s" in moved
    assert "     file 2: numpy (16.6 MB), N s" in moved
    assert "     unpacking 2 packages, N s" in moved
    assert last == "     done, N s\n"


def test_without_a_terminal_the_line_comes_now_and_then():
    assert shown(PIP).splitlines() == ["     done, N s"]
    assert "     file 1: torch (191.8 MB) 50 %, N s" in shown(PIP, "p.EVERY = -1").splitlines()


def test_make_install_ends_with_what_to_type_and_an_old_python_is_named(tmp_path):
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / ".ready").touch()
    make = ["make", "install", f"VENV={tmp_path / 'venv'}"]
    told = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.strip() for line in told.splitlines() if line.startswith("    ")] == [
        f"source {tmp_path / 'venv'}/bin/activate",
        "make quickstart",
    ]
    (tmp_path / "venv" / ".ready").unlink()
    (tmp_path / "python").write_text(
        f'#!/bin/sh\nshift\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9); $1"\n'
    )
    (tmp_path / "python").chmod(0o755)
    refused = subprocess.run([*make, f"PYTHON={tmp_path / 'python'}"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "needs Python 3.10 or later" in refused.stderr
    assert not (tmp_path / "venv" / "bin").exists()


@pytest.mark.parametrize("file", ["README.md", "README_zh.md"])
def test_a_command_of_readme_stands_after_the_line_that_makes_it_found(file):
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / file).read_text(encoding="utf-8"), flags=re.DOTALL)
    commands = [line.split("#")[0].split() for block in blocks for line in block.splitlines()]
    first = [command[0] for command in commands]
    activated = commands.index(["source", ".venv/bin/activate"])
    assert commands.index(["make", "install"]) < activated
    assert "hf-gpt" in first
    assert not {"hf-gpt", "accelerate", "pip", "hf"} & set(first[:activated])
    # What starts from a run stands after the command that makes it.
    made = first.index("make", activated)
    assert commands[made] == ["make", "quickstart"]
    assert not any("runs/" in word for command in commands[:made] for word in command)
    assert not any("runs/reviews" in word for command in commands for word in command)


def test_what_make_test_leaves_out_runs_too():
    """Each test is either `slow` or not, and both halves belong to what continuous integration calls."""

    def pytest_of(target):
        # What `make test` leaves in the environment would reach this make too: its ARGS, and that it says where it works.
        alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARGS"))}
        printed = subprocess.run(
            ["make", "-n", target], cwd=ROOT, env=alone, capture_output=True, text=True, check=True
        ).stdout
        return printed.splitlines()[-1].split("pytest ")[1].strip()

    assert pytest_of("test").removesuffix("-m 'not slow'") == pytest_of("test-slow").removesuffix("-m slow")
    called = " ".join(re.findall(r"^make (.*)", (ROOT / ".ci" / "run").read_text(), flags=re.MULTILINE)).split()
    assert {"quality", "test", "test-slow", "bench-smoke", "docs-check"} <= set(called)
    assert "run: bash .ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()


def test_once_a_week_the_newest_and_the_nightly_versions_are_tried():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "newest.yml").read_text())
    # YAML takes the word `on` for true.
    (minute, hour, day, month, weekday) = workflow[True]["schedule"][0]["cron"].split()
    assert (day, month) == ("*", "*")
    assert all(part.isdigit() for part in (minute, hour, weekday))
    job = workflow["jobs"]["test"]
    newest, nightly = job["strategy"]["matrix"]["include"]
    assert "nightly" in nightly["torch"]
    assert nightly["transformers"].startswith("git+")
    assert "==" not in str(newest)
    steps = [step["run"] for step in job["steps"] if "run" in step]
    assert [("matrix" in step, "dev" in step) for step in steps[:3]] == [(True, False), (False, True), (True, False)]
    paths = re.findall(r"tests/[a-z_/.]+", steps[-1])
    assert {"tests/modeling", "tests/generation"} <= set(paths)
    assert all((ROOT / path).exists() for path in paths)
