"""Ways to break what a command is given, as hypothesis strategies: bytes, JSON, tensors, what lies in a file's place, arguments.

Each way is an entry of a closed dict and a strategy of its arguments, so that an example reads as what was done.
"""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file


IS_LONG = "HF_GPT_FUZZ_LONG" in os.environ


def fuzzed(few, many=1000):
    """A few examples in the suite, always the same ones; many in `make fuzz`, from its seed."""
    return settings(
        max_examples=many if IS_LONG else few,
        deadline=None,
        derandomize=not IS_LONG,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


# ---------------------------------------------------------------------------------------------------------- commands

LONGEST_SECONDS = 60
MOST_MEMORY = 4 << 30
LONGEST_MESSAGE = 2100


class HangsError(BaseException):
    """Nothing that catches exceptions may take this one for its own."""


@contextlib.contextmanager
def ends_in_time():
    """Within it, a command that waits for what never comes is interrupted, and one that reads without end has no memory for that.

    The clock of pytest-timeout goes on afterwards.
    """

    def interrupt(number, frame):
        raise HangsError

    handlers = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGINT)}
    signal.signal(signal.SIGALRM, interrupt)
    begun, (left, every) = time.monotonic(), signal.setitimer(signal.ITIMER_REAL, LONGEST_SECONDS)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    present = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (present + MOST_MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), 0.01), every)


def outcome_of(*arguments):
    """`used` or `refused`, and what was told; anything but exit code 0, or 2 with one line, fails."""
    from hf_gpt import cli

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    before, sys.argv = sys.argv, ["hf-gpt", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), ends_in_time():
            cli.main()
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv = before
    for stream in (out, err):
        stream.flush()
    told = err.buffer.getvalue().decode("utf-8")
    assert "Traceback" not in told, told
    if code == 0:
        return "used", out.buffer.getvalue().decode("utf-8")
    assert code == 2, (code, told)
    # Before the message are the bars and the warnings of libraries.
    lines = [line.rpartition("\r")[2] for line in told.split("\n") if line.strip()]
    assert [line.startswith("hf-gpt: ") for line in lines].count(True) == 1, told
    assert lines[-1].startswith("hf-gpt: "), told
    assert len(lines[-1]) < LONGEST_MESSAGE, told
    return "refused", lines[-1]


@contextlib.contextmanager
def scratch():
    """A folder of its own to be in, beside the home folder of nobody: one of the places that are tried is `~`."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        place = Path(temporary) / "here"
        place.mkdir()
        patch.setenv("HOME", str(Path(temporary) / "home"))
        os.chdir(place)
        try:
            yield place
        finally:
            os.chdir(before)


# ------------------------------------------------------------------------------------------------------------- values

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
EDGES = st.sampled_from(
    [
        *(10**400, 2**63, 2**31, -1, 0, 1, 1e308, -0.0, 5e-324, float("nan"), float("inf"), True, False, None),
        *("", " ", "\0", "x" * 10_000, "\ud800", "[/b]", "$x_", "../x", "/", "~", "-1", "1e-3", "\u202e", "\N{GRINNING FACE}"),
        *([], {}, [[[]]], [None], {"": None}, [1] * 1000, {"a": {"b": {"c": []}}}),
    ]
)
ANYTHING = EDGES | VALUES
GONE = "<taken out>"
STEPS = st.lists(st.integers(0, 60), min_size=1, max_size=5)


def edited(document, steps, value):
    """Replaces, or takes out, what the steps lead to: each is a key or an index, counted round and round."""
    place = document
    for number, step in enumerate(steps):
        if not isinstance(place, (dict, list)) or not place:
            break
        key = list(place)[step % len(place)] if isinstance(place, dict) else step % len(place)
        inner = place[key]
        if number == len(steps) - 1 or not isinstance(inner, (dict, list)) or not inner:
            if value == GONE and isinstance(value, str):
                del place[key]
            else:
                place[key] = value
            break
        place = inner
    return document


# -------------------------------------------------------------------------------------------------------------- files


def splice(path, place, cut, put):
    content = path.read_bytes()
    place %= len(content) or 1
    path.write_bytes(content[:place] + put + content[place + cut :])


def edit_json(path, steps, value):
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return path.write_bytes(b"{}")
    return path.write_text(json.dumps(edited(document, steps, value)))


def edit_tensors(path, kind, which):
    try:
        tensors = load_file(path)
        name = sorted(tensors)[which % len(tensors)]
        tensors |= TENSORS[kind](name, tensors[name])
    except (SafetensorError, ZeroDivisionError, IndexError):
        # A file of another kind, or one that an edit before this has broken.
        return path.write_bytes(b"")
    tensors = {key: tensor.contiguous() for key, tensor in tensors.items() if tensor is not None}
    return save_file(tensors, path, metadata={"format": "pt"})


TENSORS = {
    "gone": lambda name, tensor: {name: None},
    "not a number": lambda name, tensor: {name: torch.full_like(tensor, float("nan"))},
    "infinite": lambda name, tensor: {name: torch.full_like(tensor, float("inf"))},
    "another shape": lambda name, tensor: {name: tensor[..., :1].clone()},
    "no dimension": lambda name, tensor: {name: torch.zeros(())},
    "empty": lambda name, tensor: {name: torch.zeros(0)},
    "whole numbers": lambda name, tensor: {name: tensor.to(torch.int64)},
    "double": lambda name, tensor: {name: tensor.double()},
    "one more": lambda name, tensor: {f"{name}.more": tensor.clone()},
    "huge": lambda name, tensor: {name: torch.full_like(tensor, 3e38)},
}


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace_by(make):
    def replaced(path, *arguments):
        remove(path)
        make(path, *arguments)

    return replaced


def make_folder(path):
    path.mkdir()
    (path / "file").write_text("years of work")


LINKS = ("nowhere", "itself", "/dev/null", "/dev/zero", "/dev/full", "/proc/version", "/proc/self/mem", "/", ".")


def make_link(path, target):
    path.symlink_to(path.name if target == "itself" else target)


# Each way to break a file, by its name.
DAMAGES = {
    "nothing": lambda path: None,
    "spliced": splice,
    "content": lambda path, content: path.write_bytes(content),
    "JSON edited": edit_json,
    "tensors edited": edit_tensors,
    "missing": remove,
    "a folder": replace_by(make_folder),
    "a pipe": replace_by(os.mkfifo),
    "a link": replace_by(make_link),
}
CONTENT = (
    st.sampled_from(
        [
            *(
                b"",
                b"\0" * 1000,
                b"{}",
                b"[]",
                b"null",
                b"0",
                b'""',
                b"[" * 100_000,
                b'{"a":' * 100_000,
                b"{",
                b"\xff\xfe{\0}\0",
            ),
            *(
                b"NaN",
                b"1e999",
                b"9" * 5000,
                b"\xef\xbb\xbf{}",
                b"PK\x03\x04",
                b"\x1f\x8b\x08",
                b"\x80\x02.",
                b"version https://git-lfs",
            ),
        ]
    )
    | st.binary(max_size=60)
    | VALUES.map(lambda value: json.dumps(value).encode())
)
CUT = st.integers(0, 40) | st.just(10**9)
DAMAGE = (
    st.tuples(st.just("spliced"), st.integers(0, 100_000), CUT, st.binary(max_size=10))
    | st.tuples(st.just("content"), CONTENT)
    | st.tuples(st.just("JSON edited"), STEPS, st.just(GONE) | ANYTHING)
    | st.tuples(st.just("tensors edited"), st.sampled_from(sorted(TENSORS)), st.integers(0, 100))
    | st.tuples(st.sampled_from(["missing", "a folder", "a pipe"]))
    | st.tuples(st.just("a link"), st.sampled_from(LINKS))
)


def damage(path, done):
    """Breaks a file, or what an earlier damage has put in its place: nothing is written through a link, or into a pipe."""
    kind, *arguments = done
    if path.is_symlink() or not path.is_file():
        remove(path)
        path.touch()
    DAMAGES[kind](path, *arguments)


# --------------------------------------------------------------------------------------------------------------- text

WORDS = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30), max_size=40)


def as_csv(texts):
    import csv

    file = io.StringIO(newline="")
    csv.writer(file).writerows([["text", "label"], *([text, index] for index, text in enumerate(texts))])
    return file.getvalue().encode()


def as_json_lines(texts):
    return "".join(json.dumps({"text": text, "label": 1}) + "\n" for text in texts).encode()


def as_parquet(texts):
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array(texts, pyarrow.string())}), file)
    return file.getvalue()


def as_zip(texts):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for index, text in enumerate(texts):
            archive.writestr(f"{index}.txt", text)
    return file.getvalue()


def as_lines(texts):
    return "\n".join(texts).encode()


def as_conll(texts):
    return "".join(f"{text.split()[0]}\tNOUN\n" if text.split() else "\n" for text in texts).encode()


WRITERS = {
    ".txt": as_lines,
    ".md": as_lines,
    "": as_lines,
    ".csv": as_csv,
    ".tsv": as_csv,
    ".json": as_json_lines,
    ".jsonl": as_json_lines,
    ".parquet": as_parquet,
    ".zip": as_zip,
    ".conll": as_conll,
    ".txt.gz": lambda texts: gzip.compress(as_lines(texts)),
    ".jsonl.gz": lambda texts: gzip.compress(as_json_lines(texts)),
    ".txt.xz": lambda texts: lzma.compress(as_lines(texts)),
    ".txt.bz2": lambda texts: bz2.compress(as_lines(texts)),
    ".csv.zip": as_zip,
    ".txt.zst": as_lines,
    ".bin": as_lines,
}
USUAL = ["some words to learn from and more of them, again and again"] * 30
TEXTS = (
    st.just(USUAL)
    | WORDS
    | st.sampled_from([[], [""], ["\0"], ["x" * 300_000], ["\n" * 5000], ["word"], ["\ufeff"], [" "] * 50])
)
TEXT_DAMAGE = (
    st.just(("nothing",))
    | st.tuples(st.just("spliced"), st.integers(0, 10_000), CUT, st.binary(max_size=10))
    | st.tuples(st.just("content"), CONTENT)
    | st.tuples(st.sampled_from(["missing", "a folder", "a pipe"]))
    | st.tuples(st.just("a link"), st.sampled_from(LINKS[:-2]))
)
