"""Every command with arguments that were made at random: exit code 0, or 2 with one line, and nothing of anybody's lost."""

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.helpers.fuzzing import USUAL, fuzzed, outcome_of, scratch
from tests.helpers.runs import contents, short_values


pytestmark = pytest.mark.usefixtures("no_training", "as_before")
ODD_NAMES = (
    "-dash",
    "a b",
    "名前\u202egnp",
    "line\nend",
    "tab\t",
    "[b]x",
    "$x_1$",
    "%s{}",
    "*?",
    "~",
    "'\"",
    "x" * 255,
    ".",
    "..",
)


def make_zoo(folder):
    """One of each thing that may lie where a person points to; nothing of it may change."""
    folder.mkdir()
    (folder / "folder").mkdir()
    (folder / "folder" / "thesis.md").write_text("years of work\n" * 20)
    (folder / "empty").mkdir()
    (folder / "file").write_text("years of work")
    (folder / "recipe.yaml").write_text("a: 1\n")
    (folder / "nothing.txt").touch()
    (folder / "binary").write_bytes(bytes(range(256)))
    os.mkfifo(folder / "pipe")
    for name, target in (
        ("dangling", "nowhere"),
        ("loop", "loop"),
        ("link", "folder"),
        ("zero", "/dev/zero"),
        ("null.png", "/dev/null"),
    ):
        (folder / name).symlink_to(target)
    for name in ODD_NAMES:
        if name not in (".", ".."):
            (folder / name).write_text("years of work")


ZOO = ("folder", "empty", "file", "nothing.txt", "binary", "pipe", "dangling", "loop", "link", "zero", "null.png", *ODD_NAMES)
PLACES = st.sampled_from(
    [*(f"zoo/{name}" for name in ZOO), *(f"zoo/{name}/below" for name in ZOO), *(f"zoo/{name}.new" for name in ZOO)]
) | st.sampled_from(
    [
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/proc/self/mem",
        "/proc/x",
        "/sys/x",
        ".",
        "..",
        "~",
        "~nobody/x",
        "x" * 5000,
        "zoo/no/such",
        "-",
    ]
)
# What a system passes on: no zero byte, and bytes that are not UTF-8 as halves of surrogates.
TEXT_OF_A_SHELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    [
        "",
        " ",
        "-",
        "--",
        "-1",
        "--seed",
        "\udcff",
        "a\udcfeb",
        "\u202e",
        "NaN",
        "inf",
        "1e400",
        "9" * 400,
        "1_0",
        "٣",
        "x" * 100_000,
        "\n",
    ]
)
NUMBERS_OF_A_SHELL = (st.integers() | st.floats() | st.sampled_from([2**31, 2**32, 2**63, -1, 0, 1e-320, 10**30])).map(str)
ODD = PLACES | TEXT_OF_A_SHELL | NUMBERS_OF_A_SHELL
# What is given, in which each may be replaced by anything; and what may be added.
ARGUMENTS = {
    "generate": (
        ["generate", "model", "some", "--max-new-tokens", "2"],
        ("--temperature", "--top-p", "--seed", "--max-new-tokens"),
        300,
    ),
    "evaluate": (
        ["evaluate", "model", "text.txt", "--block-size", "8"],
        ("--batch-size", "--text-column", "--limit", "--few-shot"),
        200,
    ),
    "export": (["export", "model", "out"], ("--layout",), 300),
    "import": (["import", "gpt2", "out"], ("--revision",), 500),
    "card": (["card", "model"], (), 500),
    "push": (["push", "model"], ("--repo", "--revision", "--dry-run", "--private", "--space", "--force"), 500),
    "compare": (["compare", "model", "--plot", "out.png"], ("model",), 100),
    "plan": (
        ["plan", "--preset", "gpt2", "--device", "h100"],
        *(
            (
                "--devices",
                "--strategy",
                "--length",
                "--batch-size",
                "--tokens",
                "--mfu",
                "--price",
                "--picture",
                "--optimizer",
            ),
            150,
        ),
    ),
    "recipes": (["recipes", "out"], (), 500),
    "train": (
        ["train", "recipe.yaml", "output_dir=out"],
        ("overwrite=true", "max_steps=", "output_dir=zoo/folder", "config.x="),
        150,
    ),
    "none": (["card"], ("--help", "--version"), 200),
}


@pytest.mark.parametrize("command", ARGUMENTS)
def test_any_arguments_are_used_or_refused(command, corpus, original, foreign, outcomes):
    usual, more, many = ARGUMENTS[command]
    first = 0 if command == "none" else 1
    changed = st.dictionaries(st.integers(first, len(usual) - 1), ODD, max_size=2)
    added = st.lists(st.sampled_from(more) if more else ODD, max_size=2)

    @fuzzed(4, many)
    @example(changes={}, additions=[], value="1")
    @given(changes=changed, additions=added, value=ODD)
    def attempt(changes, additions, value):
        with scratch() as here:
            make_zoo(here / "zoo")
            shutil.copytree(original, "model", ignore=shutil.ignore_patterns("checkpoint-*"))
            shutil.copytree(foreign, "gpt2")
            Path("text.txt").write_text("\n".join(USUAL))
            Path("recipe.yaml").write_text(json.dumps(short_values(corpus, "trained")))
            before = contents(here / "zoo")
            arguments = [changes.get(index, word) for index, word in enumerate(usual)]
            if command == "train" and 2 in changes:
                arguments[2] = f"output_dir={changes[2]}"
            for addition in additions:
                arguments += [f"{addition}{value}"] if addition.endswith("=") else [addition, value]
            outcome, _ = outcome_of(*arguments)
            outcomes[outcome] += 1
            after = contents(here / "zoo")
            assert {name: after.get(name) for name in before} == before

    attempt()
    if command in ("none", "push"):
        # Of no use without a command, or without a token.
        outcomes["used"] += 1
