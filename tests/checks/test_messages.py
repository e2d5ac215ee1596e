"""What every message says of a number, one row is no "1 rows", and that no library's advice to run foreign code is relayed."""

import ast
import re

import pytest
from tests.conftest import ROOT

from hf_gpt.errors import counted, reason_of


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("rows", "1 row"),
        ("empty rows are left out", "1 empty row is left out"),
        ("rows whose answers are cut to max_length", "1 row whose answers are cut to max_length"),
        ("answers have", "1 answer has"),
        ("distinct texts leave", "1 distinct text leaves"),
        ("classes", "1 class"),
        ("entries", "1 entry"),
        ("pieces", "1 piece"),
    ],
)
def test_one_of_what_is_counted_is_singular(many, one):
    assert counted(1, many) == one
    assert [counted(number, many) for number in (0, 1234)] == [f"0 {many}", f"1,234 {many}"]


def test_a_number_is_one_when_it_is_written_so():
    assert counted(1.2, "tokens on average", ",.0f") == "1 token on average"
    assert counted(1.2, "epochs", ".2g") == "1.2 epochs"


# Of a model's parameters, of what fills memory and disks, and of what was compared with a limit before, there is never one.
ALWAYS_MANY = {"parameters", "bytes", "inodes", "characters", "entries", "positions"}
# What the helper counts anywhere, from "empty rows are left out" the rows.
COUNTED = re.compile(r"""counted\([^"']*["'](?:[\w-]+ )?([\w-]+s)\b""")
# What travels with a model has none of this package's helpers.
FILES = [path for path in sorted((ROOT / "src").rglob("*.py")) if path.parent.name != "modeling"]
NOUNS = {noun for path in FILES for noun in COUNTED.findall(path.read_text())} - ALWAYS_MANY - {"names"}
# Never one: a check or the formula before it says so.
MORE_THAN_ONE = {"reward_model.py: {labels} labels"}


def uncounted(path):
    """Numbers of a file's messages with a plural behind them that stays one."""
    for text in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.JoinedStr)):
        for before, value, behind in zip([None, *text.values], text.values, text.values[1:]):
            if not isinstance(value, ast.FormattedValue) or not isinstance(behind, ast.Constant):
                continue
            # A setting is written as a recipe has it, `max_length=1`.
            is_setting = isinstance(before, ast.Constant) and before.value.endswith("=")
            if is_setting or re.search(r"counted\(|shown\(|!r", ast.unparse(value)):
                continue
            is_length = isinstance(value.value, ast.Call) and ast.unparse(value.value.func) == "len"
            form = ast.unparse(value.format_spec).strip("f'\"") if value.format_spec is not None else ""
            words = re.match(r" (?!are )(?:[\w-]*[^\Ws] )?(?!is|was|has)(\w+s)\b(?!/s)", behind.value)
            is_counted = words and (words[1] in NOUNS or is_length or form == ",")
            # A fraction is written as many, 1.0 too.
            if is_counted and "." not in form.replace(".0f", "") and not set(words[0].split()) & ALWAYS_MANY:
                what = ast.unparse(value).strip("f'\"")
                yield f"{path.name}: {what}{words[0]}"


def test_messages_count_by_the_helper():
    assert {"rows", "tokens", "steps", "files", "labels", "classes", "texts", "examples", "processes", "turns"} < NOUNS
    assert {line for path in FILES for line in uncounted(path)} == MORE_THAN_ONE


@pytest.mark.parametrize("kind", [RuntimeError, OSError, ValueError])
def test_advice_to_load_with_code_is_not_relayed_whoever_wraps_it(kind):
    told = reason_of(
        kind("Weights only load failed. Re-running `torch.load` with `weights_only` set to `False` will likely succeed.")
    )
    assert "weights_only" not in told
    assert "could run code and are not read" in told
