"""What may be a target: pictures replace pictures only, and an export or an import leaves nothing that nobody asked for."""

import errno
import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from tests.helpers.commands import run_command

from hf_gpt.checks.places import check_picture, replacing, writing
from hf_gpt.conversion.checkpoints import UNFINISHED_FILE, new_folder
from hf_gpt.errors import InputError
from hf_gpt.reports import plots
from hf_gpt.training.processes import children_end_with_this_process


def told(monkeypatch, capsys, *arguments):
    code, _, message = run_command(monkeypatch, capsys, *arguments)
    return code, message


def notes(folder):
    (folder / "notes.txt").write_text("years of work")
    return folder / "notes.txt"


def a_text_that_is_called_a_picture(folder):
    (folder / "notes.png").write_text("years of work")
    return folder / "notes.png"


def an_empty_file(folder):
    (folder / "empty.png").touch()
    return folder / "empty.png"


def a_link_to_a_picture(folder):
    plots._save(Figure(), folder / "target.png")
    (folder / "link.png").symlink_to("target.png")
    return folder / "link.png"


def a_dangling_link(folder):
    (folder / "link.png").symlink_to("nowhere.png")
    return folder / "link.png"


def a_device(folder):
    return type(folder)("/dev/null")


def a_pipe(folder):
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


def a_picture_of_something_else(folder):
    Figure().savefig(folder / "photo.png")
    return folder / "photo.png"


def a_folder(folder):
    (folder / "folder.png").mkdir()
    return folder / "folder.png"


def below_nothing(folder):
    return folder / "no" / "such.png"


def below_a_file(folder):
    (folder / "file").write_text("years of work")
    return folder / "file" / "such.png"


def too_long(folder):
    return folder / f"{'x' * 300}.png"


def a_document(folder):
    return folder / "report.docx"


TARGETS = (
    a_document,
    notes,
    a_text_that_is_called_a_picture,
    an_empty_file,
    a_link_to_a_picture,
    a_dangling_link,
    a_device,
    a_pipe,
    a_picture_of_something_else,
    a_folder,
    below_nothing,
    below_a_file,
    too_long,
)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_a_picture_replaces_pictures_only(target, tmp_path, monkeypatch, capsys):
    path = target(tmp_path)
    before = files(tmp_path)
    # A run draws into its own folder, where an earlier version drew without a mark.
    if target is not a_picture_of_something_else:
        with pytest.raises(InputError):
            plots._save(Figure(), path)
    for arguments in (("compare", tmp_path, "--plot", path), ("plan", "--preset", "gpt2", "--picture", path)):
        code, message = told(monkeypatch, capsys, *arguments)
        assert code == 2
        assert "name another file" in message.lower()
        assert message.count("\n") == 1
    assert files(tmp_path) == before
    assert not os.path.isfile("/dev/null")


def test_a_picture_is_replaced_by_a_picture(tmp_path):
    plots._save(Figure(), tmp_path / "a.png")
    first = (tmp_path / "a.png").read_bytes()
    plots._save(Figure(figsize=(1, 1)), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() != first
    check_picture(tmp_path / "a.png", "--plot")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path, victim = tmp_path / "file", tmp_path / "victim"
    path.write_text("old")
    victim.write_text("years of work")
    (tmp_path / ".file.tmp").symlink_to(victim)
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        raise ZeroDivisionError(temporary.write_text("half"))
    assert files(tmp_path) == {"file": b"old", "victim": b"years of work"}
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert files(tmp_path) == {"file": b"new", "victim": b"years of work"}
    with replacing(tmp_path / ("x" * 255)) as temporary:
        temporary.touch()
    assert (tmp_path / ("x" * 255)).is_file()


# ------------------------------------------------------------------------------------------------------------- reading


@pytest.fixture
def forbidden(monkeypatch):
    """Lets a test forbid a path, whose user may be root, who may read everything."""
    closed = set()
    access, open_path, scan = os.access, Path.open, os.scandir

    def refuse(path):
        if any(str(path).startswith(name) for name in closed):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "access", lambda path, mode: str(path) not in closed and access(path, mode))
    monkeypatch.setattr(Path, "open", lambda path, *a, **k: refuse(path) or open_path(path, *a, **k))
    monkeypatch.setattr(os, "scandir", lambda path=".": refuse(path) or scan(path))
    return closed


@pytest.mark.parametrize("name", ["text.txt", "rows.jsonl", "recipe.yaml", "folder/inner/b.txt", "folder/inner"])
def test_what_cannot_be_read_is_said_to_be_that(name, forbidden, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    for file in ("text.txt", "rows.jsonl", "recipe.yaml", "folder/a.txt", "folder/inner/b.txt"):
        (tmp_path / file).write_text("a text\n")
    given = name.partition("/")[0]
    forbidden |= {name, str(tmp_path / name)}
    code, message = told(monkeypatch, capsys, "train", given)
    assert code == 2
    assert f"{name}" in message
    assert "cannot be read: Permission denied" in message
    assert "right to read it" in message
    assert "written" not in message
    assert message.count("\n") == 1


def test_a_file_that_begins_with_a_dash_is_no_option(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-dash.txt").write_text("a text\n")
    code, message = told(monkeypatch, capsys, "train", "-dash.txt")
    assert (code, message) == (2, "hf-gpt: -dash.txt begins with a dash, as an option does: write ./-dash.txt\n")


def test_a_text_is_no_recipe_where_a_recipe_is_needed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prose.txt").write_text("It was a dark night: the wind blew.\nNobody: came.\n")
    (tmp_path / "folder").mkdir()
    for given in ("prose.txt", "folder"):
        code, message = told(monkeypatch, capsys, "evaluate", "runs/x", given, "--few-shot", "2")
        assert code == 2
        assert f"{given} is " in message
        assert "no recipe" in message
        assert message.count("\n") == 1


# ------------------------------------------------------------------------------------------------------------ processes


def sleep_in_a_pool(pids, start):
    from multiprocess import Pool

    with children_end_with_this_process() if start else nullcontext(), Pool(2) as pool:
        pids.write_text(" ".join(str(process.pid) for process in pool._pool))
        pool.map(time.sleep, [60, 60])


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such order to give")
@pytest.mark.parametrize("is_told", [True, False])
def test_the_workers_of_a_killed_process_end_with_it(is_told, tmp_path):
    pids = tmp_path / "pids"
    child = os.fork()
    if not child:
        try:
            sleep_in_a_pool(pids, is_told)
        finally:
            os._exit(1)
    deadline = time.monotonic() + 20
    while not (pids.exists() and len(pids.read_text().split()) == 2):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    workers = [int(pid) for pid in pids.read_text().split()]
    deadline = time.monotonic() + 5
    while is_told and any(map(is_alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if not is_told:
        assert all(map(is_alive, workers)), "without the order they stay"
        for pid in workers:
            os.kill(pid, signal.SIGKILL)


# ------------------------------------------------------------------------------------------------- exports and imports


def test_what_a_folder_is_not_written_to(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "link-to-file").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file").write_text("years of work")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in (
        "../link",
        "../link-to-file",
        "../dangling",
        "../dangling/x",
        ".",
        "..",
        "../here",
        "../file",
        "../file/x",
        "x" * 300,
        "/proc",
        "a\0b",
    ):
        with pytest.raises(ValueError, match=r"out_dir=.*Name (another|that) folder"), new_folder(name):
            pytest.fail("the block is not entered")
    assert not any(path.name.startswith(".") for path in tmp_path.rglob("*"))
    with new_folder(tmp_path / "empty") as folder:
        (folder / "file").touch()
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["file"]


def test_the_longest_name_can_be_written(tmp_path):
    with new_folder(tmp_path / ("x" * 255)) as folder:
        (folder / "file").touch()
    assert (tmp_path / ("x" * 255) / "file").is_file()


def killed_inside(out_dir, number):
    child = os.fork()
    if not child:
        try:
            with new_folder(out_dir) as folder:
                (folder / "model").write_text("half")
                time.sleep(60)
        finally:
            os._exit(1)
    deadline = time.monotonic() + 20
    while not list(out_dir.parent.glob(".out.*/model")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child, number)
    os.waitpid(child, 0)


def test_a_killed_export_leaves_nothing_behind_the_next(tmp_path):
    out_dir = tmp_path / "out"
    killed_inside(out_dir, signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []
    killed_inside(out_dir, signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 1
    # What only looks like it is somebody's.
    (tmp_path / ".out.0123abcd").mkdir()
    (tmp_path / ".out.0123abcd" / "thesis.txt").write_text("years of work")
    with new_folder(out_dir) as running:
        (running / "model").write_text("whole")
        # One that another command writes is left alone.
        with pytest.raises(ZeroDivisionError), new_folder(out_dir):
            raise ZeroDivisionError
        assert (running / UNFINISHED_FILE).is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.0123abcd", "out"]
    assert [path.name for path in out_dir.iterdir()] == ["model"]
    assert (tmp_path / ".out.0123abcd" / "thesis.txt").is_file()


FULL = {
    "of the system": OSError(errno.ENOSPC, "No space left on device", "/site-packages/hf_gpt/modeling_hf_gpt.py"),
    "of safetensors": __import__("safetensors").SafetensorError("I/O error: No space left on device (os error 28)"),
    "of tokenizers": Exception("No space left on device (os error 28)"),
    "of NumPy": OSError("10240 requested and 8320 written"),
    "a quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
}


@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_names_the_target(name, tmp_path):
    for context in (writing, new_folder):
        with pytest.raises(InputError) as caught, context(tmp_path / "out"):
            raise FULL[name]
        assert f"{tmp_path / 'out'} cannot be written" in str(caught.value)
        assert "inodes are free there" in str(caught.value)
        assert "site-packages" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="other"), writing(tmp_path):
        raise OSError(errno.ENOENT, "other")
