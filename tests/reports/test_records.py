"""What a record says of the checkout that wrote it."""

import subprocess

from hf_gpt.reports.records import git_state


def test_what_runs_write_does_not_make_the_code_of_the_next_run_dirty(tmp_path):
    def git(*arguments: str) -> None:
        names = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", tmp_path, *names, *arguments], check=True, capture_output=True)

    for name in ("src/model.py", "docs/page.md", "benchmarks/records/old.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    (tmp_path / "docs" / "page.md").write_text("2")
    (tmp_path / "benchmarks" / "records" / "old.json").unlink()
    (tmp_path / "benchmarks" / "records" / "new.json").write_text("1")
    assert git_state(tmp_path / "src")["dirty"] is False
    (tmp_path / "src" / "model.py").write_text("2")
    assert git_state(tmp_path / "src")["dirty"] is True
