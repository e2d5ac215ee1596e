"""What surrounds a command: closed streams, an environment and names of ill will, limits of the system, two at a time."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.conftest import ROOT
from tests.helpers.fuzzing import outcome_of
from tests.helpers.runs import short_values
from transformers import Trainer

from hf_gpt.recipe.packaged import resource_folder
from hf_gpt.run_folder.manifest import read_manifest


def told(*arguments):
    """The message of a command that is refused."""
    outcome, message = outcome_of(*arguments)
    assert outcome == "refused", message
    return message


# -------------------------------------------------------------------------------------------- streams and environment


def shell(line, folder, **environment):
    """A command in a process of its own, as a shell starts it."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    process = subprocess.run(
        ["bash", "-c", re.sub("(?<!/)hf-gpt", f"{sys.executable} -m hf_gpt", line)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    assert "Traceback" not in process.stderr, process.stderr
    assert "Exception ignored" not in process.stderr, process.stderr
    return process.returncode, process.stderr.strip()


@pytest.mark.parametrize(
    "closed",
    ["<&- >&- 2>&-", *(pytest.param(stream, marks=pytest.mark.slow) for stream in ("<&-", ">&-", "2>&-", ">&- 2>&-"))],
)
def test_closed_streams_take_no_file_of_ours(closed, tmp_path):
    """The next file that is opened would get their numbers, and what is printed."""
    code, _ = shell(f"exec hf-gpt recipes out {closed}", tmp_path)
    assert code == 0
    source = resource_folder("recipes")
    for path in (tmp_path / "out").rglob("*.yaml"):
        assert path.read_bytes() == (source / path.relative_to(tmp_path / "out")).read_bytes()


@pytest.mark.slow
def test_a_refusal_that_nobody_can_read_is_one_all_the_same(tmp_path):
    assert shell("exec hf-gpt card nowhere >&- 2>&-", tmp_path)[0] == 2


def test_output_that_cannot_be_written_is_one_line(tmp_path):
    code, message = shell("exec hf-gpt recipes > /dev/full", tmp_path)
    assert code == 2
    assert message.startswith("hf-gpt: No space left on device")
    assert "\n" not in message


@pytest.mark.slow
def test_a_conversation_of_bytes_that_are_no_text_or_without_stdin(finished, tmp_path):
    code, message = shell(f"printf 'a\\xffb\\n' | hf-gpt chat {finished}", tmp_path, PYTHONIOENCODING="utf-8:strict")
    assert code == 2
    assert message.splitlines()[-1].startswith("hf-gpt: stdin cannot be read")
    assert shell(f"exec hf-gpt chat {finished} <&-", tmp_path)[0] == 0


ODD = [
    {"MPLBACKEND": "nothing", "TERMINAL_WIDTH": "many", "HF_HUB_DOWNLOAD_TIMEOUT": "long"},
    {"COLUMNS": "1", "LINES": "-3", "TERM": "dumb"},
    {"COLUMNS": "many", "NO_COLOR": "1", "FORCE_COLOR": "x"},
    {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
    {"OMP_NUM_THREADS": "many", "MKL_NUM_THREADS": "-1", "TRANSFORMERS_VERBOSITY": "loud"},
    {"HOME": "/dev/null/nobody", "TMPDIR": "/nowhere", "XDG_CACHE_HOME": "relative"},
    {"PYTHONOPTIMIZE": "1", "PYTHONWARNINGS": "error::UserWarning"},
    {"HF_TOKEN": "half\nof it", "HF_ENDPOINT": "nonsense://", "http_proxy": "nonsense"},
]


LINES = ("plan --help", "plan --preset gpt2 --picture plan.png")
# Most of what a command costs is what it imports: one process imports it in that environment, as the installed script does, and each
# line is a copy of it.
SCRIPT = f"""
import os, sys
from hf_gpt.cli import main
for line in {LINES!r}:
    if not os.fork():
        sys.argv = ["hf-gpt", *line.split()]
        main()
    print("\\nended with", os.waitstatus_to_exitcode(os.wait()[1]), file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize(
    "environment", [ODD[0], *(pytest.param(odd, marks=pytest.mark.slow) for odd in ODD[1:])], ids=" ".join
)
def test_an_odd_environment_is_borne_or_named(environment, tmp_path):
    (tmp_path / "hf-gpt").write_text(SCRIPT)
    _, printed = shell(f"exec {sys.executable} ./hf-gpt", tmp_path, **environment)
    *ended, rest = re.split(r"(?:^|\n)ended with (-?\d+)\n?", printed)
    assert (len(ended), rest) == (2 * len(LINES), ""), printed
    for message, code in zip(ended[::2], ended[1::2]):
        assert code == "0" or (code == "2" and message.strip().splitlines()[-1].startswith("hf-gpt: ")), message


@pytest.mark.slow
def test_a_cache_that_cannot_be_made_is_named(corpus, tmp_path):
    (tmp_path / "recipe.yaml").write_text(json.dumps(short_values(corpus, "out")))
    for place in ("/dev/null/x", "/proc/x"):
        code, message = shell("exec hf-gpt train recipe.yaml", tmp_path, HF_HOME=place)
        assert code == 2
        assert place in message.splitlines()[-1]


# ----------------------------------------------------------------------------------------------------------- full disks


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 KiB, of which a test uses up as much as it likes."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(place)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def disk_commands(disk, finished, foreign):
    """Each command that writes, and what it would leave."""
    return {
        "export": (["export", finished, disk / "out"], disk / "out"),
        "gguf": (["export", finished, disk / "out", "--layout", "gguf"], disk / "out"),
        "import": (["import", foreign, disk / "out"], disk / "out"),
        "compare": (["compare", finished, "--plot", disk / "out.png"], disk / "out.png"),
        "plan": (["plan", "--preset", "gpt2", "--picture", disk / "out.png"], disk / "out.png"),
        "recipes": (["recipes", disk / "out"], disk / "out" / "README.md"),
    }


@pytest.mark.parametrize("command", ["export", "gguf", "import", "compare", "plan", "recipes"])
@pytest.mark.parametrize("left", [0, 8_000])
def test_a_full_disk_leaves_nothing_half_written(command, left, small_disk, finished, foreign):
    arguments, target = disk_commands(small_disk, finished, foreign)[command]
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "filler").write_bytes(b"\0" * (free - left))
    message = told(*arguments)
    assert "No space left on device" in message or "os error 28" in message or "requested and" in message
    assert not target.exists()
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["filler"]
    (small_disk / "filler").unlink()
    assert outcome_of(*arguments)[0] == "used", "the same command, when there is room"
    assert target.exists()


def test_a_card_on_a_full_disk_stays_what_it_was(small_disk, finished):
    folder = small_disk / "run"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("checkpoint-*", "*.safetensors", "*.py"))
    before = (folder / "README.md").read_bytes()
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "filler").write_bytes(b"\0" * free)
    assert "No space left on device" in told("card", folder)
    assert (folder / "README.md").read_bytes() == before
    assert not list(folder.glob(".*"))


# ------------------------------------------------------------------------------------------------- links, names, moves


@pytest.mark.parametrize("name", [".README.md.tmp", ".run.json.tmp"])
def test_a_card_is_not_written_through_a_link_that_lies_in_wait(name, finished, tmp_path):
    """The names under which files are written first can be guessed."""
    victim = tmp_path / "victim"
    victim.write_text("years of work")
    (finished / name).symlink_to(victim)
    assert outcome_of("card", finished)[0] == "used"
    assert victim.read_text() == "years of work"


def test_a_picture_is_not_written_through_a_link_that_lies_in_wait(finished, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("years of work")
    for arguments in (("plan", "--preset", "gpt2", "--picture"), ("compare", finished, "--plot")):
        (tmp_path / ".out.png.tmp").symlink_to(victim)
        assert outcome_of(*arguments, tmp_path / "out.png")[0] == "used"
        assert victim.read_text() == "years of work"


def test_recipes_are_not_copied_through_links_or_over_anything(tmp_path):
    victim = tmp_path / "victim"
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    for name, target in (("README.md", victim), ("pretrain", tmp_path / "elsewhere")):
        (tmp_path / "out" / name).symlink_to(target)
        told("recipes", tmp_path / "out")
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / "pretrain").write_text("years of work")
    told("recipes", tmp_path / "out")
    assert (tmp_path / "out" / "pretrain").read_text() == "years of work"
    assert not victim.exists()
    assert not list((tmp_path / "elsewhere").iterdir())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pretrain"]


def test_an_export_takes_no_picture_from_elsewhere(finished, tmp_path):
    """What is exported is pushed: a link among the files of a stranger's run would bring a secret along."""
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    (finished / "loss.png").unlink()
    (finished / "loss.png").symlink_to(secret)
    outcome_of("export", finished, tmp_path / "out")
    assert not (tmp_path / "out" / "loss.png").exists()


def test_an_export_of_a_damaged_record_writes_nothing(finished, tmp_path):
    record = json.loads((finished / "record.json").read_text())
    for content in ("{", json.dumps({**record, "history": 5}), json.dumps({**record, "kind": "nothing"})):
        (finished / "record.json").write_text(content)
        assert "record.json" in told("export", finished, tmp_path / "new" / "out")
        assert not (tmp_path / "new").exists()
    shutil.rmtree(finished)


def test_a_folder_that_is_made_meanwhile_is_not_replaced(finished, tmp_path, monkeypatch):
    from hf_gpt.reports import model_card

    write_card = model_card.write_card

    def slow(folder):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text("years of work")
        return write_card(folder)

    monkeypatch.setattr(model_card, "write_card", slow)
    told("export", finished, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


WORST = "line\nend\x1b[31m"
NAMES = ("-x", "$a_b$ [b]%s{}", "名前\u202egnp\N{GRINNING FACE}", "'\"`\\", "x" * 180)


@pytest.mark.parametrize("name", [WORST, *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES)])
def test_a_run_of_any_name_is_trained_shown_and_shared(name, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / name
    Path("recipe.yaml").write_text(json.dumps(short_values(corpus, "x", max_steps=2)))
    assert outcome_of("train", "recipe.yaml", f"output_dir={json.dumps(str(folder))}")[0] == "used"
    assert outcome_of("card", folder)[0] == "used"
    assert outcome_of("compare", folder)[0] == "used"
    assert outcome_of("generate", folder, "some", "--max-new-tokens", "2")[0] == "used"
    assert outcome_of("export", folder, folder.parent / f"{name}-out")[0] == "used"
    assert outcome_of("push", folder, "--repo", "alice/small", "--dry-run")[0] == "used"
    assert "holds a finished run" in told("train", "recipe.yaml", f"output_dir={json.dumps(str(folder))}")


@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_whose_folder_is_moved_ends_with_what_it_saved(replaced, corpus, original, tmp_path, monkeypatch):
    """And with the place where that is now: nothing is written to where the folder was."""
    values, training_step = short_values(corpus, tmp_path / "first"), Trainer.training_step

    def step(self, *arguments, **named):
        if self.state.global_step == 3 and (tmp_path / "first").exists():
            (tmp_path / "first").rename(tmp_path / "second")
            if replaced:
                (tmp_path / "first").mkdir()
        return training_step(self, *arguments, **named)

    (tmp_path / "recipe.yaml").write_text(json.dumps(values))
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "training_step", step)
        assert "is no longer the folder that this run began in" in told("train", tmp_path / "recipe.yaml")
    with contextlib.suppress(FileNotFoundError):
        assert list((tmp_path / "first").iterdir()) == []
    assert (tmp_path / "first").exists() == replaced
    assert outcome_of("train", tmp_path / "recipe.yaml", f"output_dir={tmp_path / 'second'}")[0] == "used"
    assert read_manifest(tmp_path / "second").stage == "finished"
    saved, expected = (load_file(folder / "model.safetensors") for folder in (tmp_path / "second", original))
    assert all((saved[name] == expected[name]).all() for name in expected)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"max_steps": "x"}', '{"max_steps": 5}', '{"max_steps": 5, "time_budget": {}}']
)
def test_a_damaged_file_of_what_a_run_has_settled_is_named(content, corpus, finished):
    (finished / "record.json").unlink()
    (finished / "settled.json").write_text(content)
    recipe = finished.parent / "recipe.yaml"
    recipe.write_text(json.dumps(short_values(corpus, finished)))
    assert "settled.json is damaged" in told("train", recipe)
