"""Records that another hand has changed: every field that is read is looked at, and what is shown of one is shown as it is."""

import copy
import io
import json
import logging
import os
import re
import subprocess
import sys

import pytest
from tests.conftest import ROOT

from hf_gpt import cli, process
from hf_gpt.errors import InputError
from hf_gpt.reports import console as printing
from hf_gpt.reports import markdown, plots
from hf_gpt.reports.model_card import render_card, write_card
from hf_gpt.reports.plots import plot_comparison, plot_run, plot_task
from hf_gpt.reports.record_fields import FIELDS, check_fields


RECORDS = {path.parent.name: json.loads(path.read_text()) for path in sorted((ROOT / "model_cards").glob("*/record.json"))}
TASKS = {
    path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "benchmarks" / "records" / "finetune").glob("*.json"))
}
OF_KIND = {record["kind"]: record for record in (*RECORDS.values(), *TASKS.values()) if record.get("kind") in FIELDS}
OF_KIND["train-masked"] = {**RECORDS["quickstart"], "kind": "train-masked"}


def test_every_record_of_ours_has_its_fields():
    assert set(OF_KIND) == set(FIELDS)
    for record in (*RECORDS.values(), *TASKS.values()):
        if record.get("kind") in FIELDS:
            check_fields(record, "record.json")


def changed(record, path, value):
    """The record with one field of a table's path replaced, or taken out with `...`; `None` where it has no such field."""
    record = copy.deepcopy(record)
    place = record
    steps = path.rstrip("?").replace("[]", ".0").replace("{}", ".*").split(".")
    for step in steps[:-1]:
        try:
            place = place[0] if step == "0" else next(iter(place.values())) if step == "*" else place[step]
        except (KeyError, IndexError, StopIteration):
            return None
    last = 0 if steps[-1] == "0" else next(iter(place), None) if steps[-1] == "*" else steps[-1]
    if last is None or (isinstance(last, str) and last not in place) or (last == 0 and not place):
        return None
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return record


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, fields in FIELDS.items() for path in fields])
def test_a_field_that_is_missing_or_of_another_type_is_named(kind, path):
    for value in (..., None, [[]], "x", -1, 10**400, float("nan"), {"a": [None]}, True):
        record = changed(OF_KIND[kind], path, value)
        if record is None:
            continue
        try:
            render_card(record)
        except InputError as error:
            told = str(error)
            assert "\n" not in told
            assert "record.json" in told
            assert any(word in told for word in re.split(r"[.\[\]{}?]+", path) if word)


def test_a_required_field_is_required():
    for kind, fields in FIELDS.items():
        for path in fields:
            record = changed(OF_KIND[kind], path, ...)
            if record is None or path.endswith(("?", "[]", "{}")):
                continue
            with pytest.raises(InputError, match="lacks "):
                check_fields(record, "record.json")


EVIL = "[/b] <script>alert(1)</script> ![x](http://evil/y.png) [a](javascript:b) `c` | $5_vs_$10 *d* \N{GRINNING FACE}\n# e\n---\n```"


def test_a_card_shows_text_and_interprets_none():
    record = copy.deepcopy(RECORDS["quickstart"])
    record["name"] = record["data"]["path"] = record["data"]["caveat"] = EVIL
    record["samples"] = [{"prompt": EVIL, "text": EVIL + EVIL, "seed": 0}]
    record["baselines"][0]["name"] = record["recipe"]["optimizer"] = record["config"]["hidden_act"] = EVIL
    text = render_card(record)
    body = text.split("\n---\n", 1)[1]
    without_code = re.sub(r"(`+).+?(?<!`)\1(?!`)", "", re.sub(r"(?ms)^```python$.*?^```$", "", body))
    assert "<script>" not in without_code
    assert without_code.replace("![Loss", "").count("![") == 0
    assert "\n# e" not in body
    rows = [line for line in body.splitlines() if line.startswith("| `hidden_act`")]
    assert len(rows) == 1
    assert body.count("```") % 2 == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_b_c", "a_b_c"),
        ("_a_", "\\_a\\_"),
        ("a | b", "a \\| b"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("a\n\n# b", "a # b"),
        ("a\u2028b", "a b"),
        ("$x$", "\\$x\\$"),
    ],
)
def test_inline_text(text, shown):
    assert markdown.inline(text) == shown


def test_code_and_quotations():
    assert markdown.code("a") == "`a`"
    assert markdown.code("a`b``c") == "```a`b``c```"
    assert markdown.code("`") == "`` ` ``"
    assert markdown.quoted("a\n# b\n1. c\n- d") == "a\n> \\# b\n> \\1. c\n> \\- d"
    assert markdown.python('a"b\n`') == '"a\\"b\\n\\u0060"'


@pytest.mark.filterwarnings("error:Glyph")
@pytest.mark.parametrize(
    "name", ["cost $5_vs_$10", "$x$", "$\\frac{$", "_hidden", "\N{GRINNING FACE}", "a\nb", "", "[/b]", "漢字", "\x1b[2J\u202e"]
)
def test_any_name_is_drawn_and_printed(name, tmp_path, capsys):
    train, task = copy.deepcopy(OF_KIND["train"]), copy.deepcopy(OF_KIND["finetune"])
    train["name"] = task["name"] = name
    for record in (train, task):
        record["baselines"] = [{**row, "name": name} for row in record["baselines"]]
    train["samples"] = [{"prompt": name, "text": name + "[/red] :smile:", "seed": 0}]
    plot_run(train, tmp_path / "a.png")
    plot_task(task, tmp_path / "b.png")
    plot_comparison([train, train], tmp_path / "c.png")
    printing.print_record(train, tmp_path / name.replace("\n", ""))
    printing.print_task_record(task, tmp_path)
    told = capsys.readouterr().out
    assert "[/red] :smile:" in told


def test_minutes_of_other_machines_are_not_drawn_beside_each_other(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append([len(axis.lines) for axis in figure.axes]))
    train = OF_KIND["train"]
    other = {**train, "device": {**train["device"], "threads": train["device"]["threads"] + 1}}
    plot_comparison([train, train], tmp_path / "same.png")
    plot_comparison([train, other], tmp_path / "other.png")
    assert drawn == [[2, 2], [2, 1]]


@pytest.fixture
def comparison(tmp_path):
    """The arguments of a command that prints letters which few encodings have."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "record.json").write_text(json.dumps({**RECORDS["quickstart"], "name": "\N{GRINNING FACE} 漢字"}))
    return ["compare", str(tmp_path / "one"), "--plot", str(tmp_path / "c.png")]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_cannot_print_a_letter(encoding, comparison, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.argv", ["hf-gpt", *comparison])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert rb"\U0001f600" in out.buffer.getvalue()


@pytest.mark.slow
def test_a_locale_without_letters(comparison):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "hf_gpt", *comparison]
    result = subprocess.run(command, capture_output=True, check=False, env=environment, cwd=ROOT)
    assert result.returncode == 0, result.stderr


ORDERS = "\x1b[2J\x1b]0;owned\x07\x9b1A\x7f\u202e\b\rx"


@pytest.mark.parametrize("kind", FIELDS)
def test_a_card_and_a_terminal_show_orders_as_codes(kind, tmp_path, capsys):
    record = copy.deepcopy(OF_KIND[kind])
    record["name"] = ORDERS + "\ncheck passed"
    for row in (*record["baselines"], record["data"]):
        row["name" if "name" in row else "path"] = ORDERS
    record["samples"] = [{"prompt": ORDERS, "text": f"{ORDERS}\na line", "seed": 0}]
    text = render_card(record)
    printing.PRINTERS[kind](record, tmp_path)
    printing.print_findings(ORDERS, [])
    if kind == "train":
        printing.print_comparison([record])
    told = capsys.readouterr().out
    for shown in (text, told):
        assert "\\x1b" in shown
        assert not {"\x1b", "\x07", "\x9b", "\x7f", "\u202e", "\b", "\r"} & set(shown)
    assert "\ncheck passed" not in told


@pytest.mark.parametrize("is_terminal", [False, True])
def test_whatever_a_command_prints_no_order_reaches_the_terminal(is_terminal, monkeypatch):
    """But colours on a terminal, and what moves a bar."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    for name, stream in (("stdout", out), ("stderr", err)):
        monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
        monkeypatch.setattr(sys, name, stream)
    for name in process.COLOURED:
        monkeypatch.delenv(name, raising=False)
    process.make_printable()
    print("a\x1b[2J\x1b]0;x\x07b\r\x9bc\nd\te \x1b[1;31m")
    logging.StreamHandler(err).emit(logging.makeLogRecord({"msg": "\rbar\x1b[A\x1b[2J"}))
    out.flush()
    err.flush()
    colour = "\x1b[1;31m" if is_terminal else "\\x1b[1;31m"
    assert out.buffer.getvalue().decode() == f"a\\x1b[2J\\x1b]0;x\\x07b\\r\\x9bc\nd\te {colour}\n"
    assert err.buffer.getvalue().decode() == "\rbar\x1b[A\\x1b[2J\n"


@pytest.mark.parametrize(
    "content", ['{"kind": NaN}', '{"a": "\\ud800"}', "[" * 100_000, '{"kind": ["train"]}', '{"kind": "other"}', "{}"]
)
def test_json_that_is_no_record(content, tmp_path):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(InputError, match="record"):
        write_card(tmp_path)
