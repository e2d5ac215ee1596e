"""`hf-gpt` in this process, without the cost of another one."""

import sys

import pytest


def run_command(monkeypatch, capsys, *arguments):
    """Exit code of a command, and what it printed on either stream; anything but an exit is a traceback."""
    from hf_gpt import cli

    monkeypatch.setattr(sys, "argv", ["hf-gpt", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr()
    return stopped.value.code or 0, printed.out, printed.err
