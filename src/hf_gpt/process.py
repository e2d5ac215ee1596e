"""The process around a command: its streams, its Ctrl-C, and one line with an exit code for what a person can fix."""

import errno
import io
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from ._environment import INTERRUPTED
from .checks.places import PLACE_ERRORS
from .checks.system import SIGPIPE
from .errors import InputError, one_line, shown, visible
from .reports.terminal import Interruption, end_bars, silence, silence_libraries


# What the command line's parser raises of arguments; typer has a copy of click of its own, or not, by its version.
UsageError: Any = typer.BadParameter.__mro__[1]
# Letters of a message, which may hold a path or what a person has written.
LONGEST = 2000
# Which extra of the package brings a library that a plain installation lacks.
EXTRAS = {
    **dict.fromkeys(("accelerate", "datasets", "jinja2", "matplotlib", "peft", "yaml"), "train"),
    **dict.fromkeys(("rouge_score", "sacrebleu", "seqeval", "sklearn"), "finetune"),
    "gguf": "gguf",
    "gradio": "demo",
}
# Orders to a terminal by libraries that print: rich's colours; tqdm's way back to the beginning of a line, and to the line above.
COLOURS = frozenset({r"\x1b\[[\d;]*m"})
BARS = frozenset({r"\r", r"\x1b\[A"})
# Where one of these is set, rich or typer colours what goes into a file or a pipe.
COLOURED = frozenset({"FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TTY_COMPATIBLE"})


class UnreadError(Exception):
    """Nobody reads what is printed; the parser would take a `BrokenPipeError` for its own and end with 1."""


class Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise UnreadError from error


def run_as_process(app: typer.Typer) -> None:
    """Run a command; Ctrl-C ends it with one line and exit code 130."""
    open_closed_streams()
    interruption = Interruption()
    silence_libraries()
    try:
        run_command(app)
    except BaseException:
        if interruption.has_come:
            fail(INTERRUPTED, 130)
        raise


def run_command(app: typer.Typer) -> None:
    """Run a command; what a person can fix ends in one line on stderr and exit code 2, without a traceback."""
    try:
        make_printable()
        check_caches()
        check_arguments(sys.argv[1:])
        # It would print a message of several lines of its own.
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except UsageError as error:
        if name := next((name for name in sys.argv[2:] if name.startswith("-") and os.path.lexists(name)), None):
            fail(f"{name} begins with a dash, as an option does: write ./{name}")
        fail(
            f"{' '.join(error.format_message().split())} `hf-gpt --help` lists the commands, `hf-gpt COMMAND --help` what each takes."
        )
    except InputError as error:
        fail(str(error))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRAS:
            raise
        fail(f"{missing} is not installed, which this command needs: pip install 'hf-gpt[{EXTRAS[missing]}]'.")
    except (UnreadError, BrokenPipeError):
        silence(sys.stdout)
        silence(sys.stderr)
        sys.exit(128 + SIGPIPE)
    except OSError as error:
        if (unreadable := unreadable_part(error)) is not None:
            fail(f"{unreadable} cannot be read: {error.strerror}. Give this user the right to read it, or name another place.")
        # Of a file that is not there, the name is all that helps.
        if error.errno not in PLACE_ERRORS and not (error.errno == errno.ENOENT and error.filename):
            raise
        silence_unwritable()
        place = f" at {error.filename}" if error.filename else ""
        fail(f"{error.strerror}{place}: free or change the place and rerun the same command; what is written stays good.")


def unreadable_part(error: OSError) -> str | None:
    """Of a file that an error is about, what this user may not read: itself or a folder above it; `None` if it is not that."""
    if error.errno not in (errno.EACCES, errno.EPERM) or not isinstance(error.filename, str):
        return None
    path = Path(error.filename).absolute()
    for parent in reversed(path.parents):
        if os.path.isdir(parent) and not os.access(parent, os.X_OK):
            return str(parent)
    is_there = os.path.lexists(path)
    return error.filename if is_there and not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)) else None


def open_closed_streams() -> None:
    """Open what the caller has closed (`>&-`): the next file would get its number, and whatever a library prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, io.TextIOWrapper(io.FileIO(number, mode, closefd=False), "utf-8"))


def silence_unwritable() -> None:
    """Send what cannot be printed nowhere: Python would try again at its end, and give an exit code of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            silence(stream)


def make_printable() -> None:
    """Have printed as their code: letters that the terminal's encoding lacks, and controls, whoever has written them."""
    has_colours = not COLOURED.isdisjoint(os.environ)
    for stream, orders in ((sys.stdout, COLOURS), (sys.stderr, COLOURS | BARS)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            kept = orders if has_colours or stream.isatty() else orders - COLOURS
            # `print`, rich, tqdm and loggers all write by the method of the stream.
            vars(stream)["write"] = partial(write_visible, stream.write, re.compile(f"({'|'.join(kept) or '(?!)'})"))


def write_visible(write: Callable[[str], int], orders: re.Pattern, text: str) -> int:
    """Write a text in which nothing but `orders` is one to the terminal."""
    return write("".join(part if number % 2 else visible(part) for number, part in enumerate(orders.split(text))))


def check_arguments(arguments: list[str]) -> None:
    """Raise `InputError` for an argument of bytes that are not UTF-8, which no file of ours could hold."""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(f"argument {number} of the command, {shown(argument)}, is not UTF-8.") from None


def check_caches() -> None:
    """Raise `InputError` for a user without a home folder, for whom libraries would make a folder called `~` where they are."""
    has_place = os.path.expanduser("~") != "~" or "HF_HOME" in os.environ or "XDG_CACHE_HOME" in os.environ
    if not has_place and "--help" not in sys.argv:
        raise InputError(
            "this user has no home folder, where data would be cached: set HF_HOME to a folder that can be written."
        )


def fail(message: str, code: int = 2) -> None:
    """End with one line, whatever signs are in the names that it holds: the end of a line, a terminal's orders, marks of direction."""
    end_bars()
    line = one_line(message)
    # Its beginning names what is wrong, and its end what to do.
    shortened = line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"
    print(f"hf-gpt: {shortened}", file=sys.stderr)
    sys.exit(code)
