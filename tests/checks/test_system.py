"""What Windows lacks is not needed: every module is imported, and what differs is called, with all of it taken away."""

import ast
import os
import signal
import subprocess
import sys

import pytest
from tests.conftest import ROOT

from hf_gpt.checks.system import exclusive


PACKAGE = ROOT / "src" / "hf_gpt"
# Of https://docs.python.org/3/library/: "Availability: not Windows".
MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
OF_OS = (
    *(
        "chown",
        "fchmod",
        "fchown",
        "fork",
        "forkpty",
        "getegid",
        "getgid",
        "getloadavg",
        "getpgid",
        "getuid",
        "killpg",
    ),
    *(
        "mkfifo",
        "nice",
        "pipe2",
        "posix_fallocate",
        "posix_spawn",
        "register_at_fork",
        "sched_getaffinity",
        "sched_setaffinity",
    ),
    *("setpgid", "setsid", "statvfs", "sysconf", "uname", "waitid", "wait3", "O_DIRECTORY", "O_NOFOLLOW"),
)
OF_SIGNAL = ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGSTOP")
WITHOUT = f"""
import importlib, os, pkgutil, signal, sys, tempfile
from pathlib import Path
for name in {{others}}:
    try:
        importlib.import_module(name)
    except ImportError:
        # A name of a module that may be loaded only when it is asked for, or an extra that is not installed here.
        module, _, part = name.rpartition(".")
        getattr(sys.modules.get(module), part, None)
for name in {MODULES}:
    sys.modules[name] = None
for name in {OF_OS}:
    if hasattr(os, name):
        delattr(os, name)
Signals = {{{{name: value for name, value in signal.Signals.__members__.items() if name not in {OF_SIGNAL}}}}}
for name in {OF_SIGNAL}:
    delattr(signal, name)
import enum
signal.Signals = enum.IntEnum("Signals", Signals)
import hf_gpt
for found in pkgutil.walk_packages(hf_gpt.__path__, "hf_gpt."):
    if not found.name.endswith("__main__"):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            # An extra that is not installed here.
            if error.name in {MODULES} or error.name.startswith("hf_gpt"):
                raise
{{body}}
"""
BODY = """
from hf_gpt.checks.places import free_bytes
from hf_gpt.checks.system import exclusive
from hf_gpt.conversion.checkpoints import new_folder
from hf_gpt.planning.capacity import host_memory
from hf_gpt.reports.records import device_description, peak_memory
from hf_gpt.run_folder.checkpoints import find_damage, finalize, lock
from hf_gpt.training.shutdown import ENDING_SIGNALS

place = Path(tempfile.mkdtemp())
with new_folder(place / "out") as folder:
    (folder / "model").write_text("whole")
    try:
        with new_folder(place / "out") as other:
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
assert [path.name for path in (place / "out").iterdir()] == ["model"]
finalize(place / "out", place / "checkpoint-1")
assert find_damage(place / "checkpoint-1") is None
with lock(place):
    pass
assert host_memory() > 2**28 and peak_memory()["host_bytes"] > 2**20 and "cores" in device_description()
import shutil, types
shutil.disk_usage = lambda path: types.SimpleNamespace(free=12345)
assert free_bytes(place) == "12,345 bytes are free there"
assert ENDING_SIGNALS == (signal.Signals.SIGTERM, signal.Signals.SIGINT)
sys.argv = ["hf-gpt", "recipes"]
from hf_gpt import cli
cli.main()
"""


def imported_elsewhere():
    """Every module of somebody else that the package imports anywhere."""
    names = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return sorted(name for name in names if name.partition(".")[0] not in (*MODULES, "hf_gpt", "os", "signal"))


def test_every_module_is_there_without_what_windows_lacks():
    code = WITHOUT.format(others=imported_elsewhere(), body=BODY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "MPLBACKEND": "agg"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "pretrain/quickstart" in ended.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_folder_is_held_by_one_and_let_go_by_a_child(tmp_path):
    reading, writing = os.pipe()
    with exclusive(tmp_path):
        child = os.fork()
        if child == 0:
            os.write(writing, b"1")
            signal.pause()
        os.read(reading, 1)
        with pytest.raises(BlockingIOError), exclusive(tmp_path):
            pass
    # The child lives on, and does not hold it.
    with exclusive(tmp_path):
        assert list(tmp_path.iterdir()) == []
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
