"""What a record says of the checkout that wrote it."""

import subprocess

import pytest

from hf_gpt.reports.records import git_state


@pytest.fixture(autouse=True)
def checkout(tmp_path):
    def git(*arguments: str) -> None:
        names = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", tmp_path, *names, *arguments], check=True, capture_output=True)

    for name in ("src/model.py", "docs/page.md", "benchmarks/records/old.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")


def test_what_runs_write_does_not_make_the_code_of_the_next_run_dirty(tmp_path):
    (tmp_path / "docs" / "page.md").write_text("2")
    (tmp_path / "benchmarks" / "records" / "old.json").unlink()
    (tmp_path / "benchmarks" / "records" / "new.json").write_text("1")
    assert git_state(tmp_path / "src")["dirty"] is False
    (tmp_path / "src" / "model.py").write_text("2")
    assert git_state(tmp_path / "src")["dirty"] is True


@pytest.mark.parametrize(
    ("name", "is_dirty"),
    [
        ("my.txt", False),
        ("texts/source/email.py", False),
        ("recipes/mine.yaml", False),
        ("src/layers/new.py", True),
        ("benchmarks/mine.py", True),
    ],
)
def test_a_text_of_ones_own_in_the_clone_is_no_change_of_the_code(tmp_path, name, is_dirty):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("1")
    assert git_state(tmp_path / "src")["dirty"] is is_dirty


def test_a_package_that_is_installed_inside_of_a_checkout_is_not_of_its_commit(tmp_path):
    installed = tmp_path / ".venv" / "hf_gpt"
    installed.mkdir(parents=True)
    (installed / "model.py").write_text("1")
    assert git_state(installed) is None
