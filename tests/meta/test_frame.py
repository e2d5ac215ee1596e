"""The frame of benchmarks/, experiments/ and reliability/: a registry, a runner, and one way to make a record, a table, a page."""

import multiprocessing
import os
import runpy
import sys
import threading
from types import SimpleNamespace

import pytest
from benchmarks import frame
from tests.conftest import ROOT


@pytest.mark.parametrize("place", frame.REGISTRY)
def test_every_part_is_registered_and_every_entry_is_a_part(place):
    files = {
        path for path in (ROOT / place).rglob("*.py") if "\ndef run(" in path.read_text() or "\nSECTIONS" in path.read_text()
    }
    files = {path for path in files if path.name not in ("frame.py", "lineage_page.py")}
    named = {
        ROOT / f"{(part.module or f'{place}.{name}').replace('.', '/')}.py" for name, part in frame.REGISTRY[place].items()
    }
    assert named - files <= {ROOT / "benchmarks" / "figure.py"}, "it only draws"
    assert files <= named


def test_make_calls_parts_that_are_registered():
    lines = (ROOT / "Makefile").read_text().splitlines()
    called = [line.split("-m ")[1].split() for line in lines if any(f"-m {place} " in line for place in frame.REGISTRY)]
    assert len(called) > 10
    for place, name, *_ in called:
        assert name in ("$$name", "--check-pages") or name in frame.REGISTRY[place], name


def test_names_are_listed_and_an_unknown_one_gets_a_hint(capsys):
    frame.main("reliability", ["--list"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(frame.REGISTRY["reliability"])
    with pytest.raises(SystemExit, match=r"'soka' is not a part of reliability\. Did you mean 'soak'\?"):
        frame.main("reliability", ["soka"])


def test_smoke_calls_every_part_but_those_with_a_reason_two_at_a_time(monkeypatch, capsys):
    parts = {"one": frame.Part("?"), "two": frame.Part("?", "no GPU"), "three": frame.Part("?"), "four": frame.Part("?")}
    monkeypatch.setitem(frame.REGISTRY, "benchmarks", parts)
    called, both = [], threading.Barrier(2, timeout=20)
    codes = {"one": 1, "three": 0, "four": 1}

    def run(command, **options):
        called.append(command[2:])
        if command[3] != "four":
            both.wait()
        return SimpleNamespace(returncode=codes[command[3]], stdout=f"{command[3]} says this\n")

    monkeypatch.setattr(frame.subprocess, "run", run)
    with pytest.raises(SystemExit, match=r"^benchmarks one --smoke failed\.\nbenchmarks four --smoke failed\.$"):
        frame.main("benchmarks", ["--smoke"])
    assert sorted(called) == sorted(["benchmarks", name, "--smoke"] for name in codes)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        word for name in codes for word in (f"{name} says this", f"benchmarks {name}")
    ] + ["benchmarks two"]
    assert lines[-1] == "benchmarks two: left out, no GPU"


@pytest.fixture
def part(tmp_path, monkeypatch):
    """A part of its own: what it was called with, its page and its records."""
    monkeypatch.setattr(frame, "RECORDS", tmp_path / "records")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- sum:begin -->\nold\n<!-- sum:end -->\nafter\n")
    frame.keep_record("deep/sum", {"value": 1})
    monkeypatch.setattr(frame, "WRITTEN", [])

    def run(options):
        if options.value:
            frame.write_record("deep/sum", "sum", value=options.value)

    def add_options(parser):
        parser.add_argument("--value", type=int, default=2)

    def make():
        return frame.table(("", "sum"), [["all", str(frame.load_record("deep/sum")["value"])]], "lr")

    module = SimpleNamespace(__doc__="", run=run, add_options=add_options, SECTIONS=[frame.Section(page, "sum", make)])
    monkeypatch.setitem(frame.REGISTRY, "benchmarks", {"sum": frame.Part("?")})
    monkeypatch.setattr(frame, "load", lambda place, name: module)
    monkeypatch.setattr(frame, "ROOT", tmp_path)
    return page


def filled(value):
    return f"before\n<!-- sum:begin -->\n| | sum |\n|---|---:|\n| all | {value} |\n<!-- sum:end -->\nafter\n"


def test_a_part_writes_its_record_and_its_section_alone(part):
    frame.main("benchmarks", ["sum", "--value", "5"])
    record = frame.load_record("deep/sum")
    assert record["value"] == 5
    assert {"kind", "git", "versions", "device"} <= set(record)
    assert part.read_text() == filled(5)


def test_a_part_that_records_nothing_leaves_its_page(part):
    before = part.read_text()
    frame.main("benchmarks", ["sum", "--value", "0"])
    assert part.read_text() == before


def test_smoke_keeps_nothing(part):
    before = part.read_text()
    frame.main("benchmarks", ["sum", "--smoke"])
    assert part.read_text() == before
    assert frame.load_record("deep/sum") == {"value": 1}
    assert frame.find_record("deep/other") is None


def test_pages_are_made_without_measuring_and_a_page_that_says_otherwise_is_named(part):
    with pytest.raises(SystemExit, match=r"page\.md: sum"):
        frame.main("benchmarks", ["--check-pages"])
    frame.main("benchmarks", ["sum", "--pages"])
    assert part.read_text() == filled(1)
    frame.main("benchmarks", ["--check-pages"])


def test_a_process_of_its_own_gives_back_what_it_finds(monkeypatch):
    assert frame.apart(os.getppid) == os.getpid()
    # A new process imports all anew; for what becomes of an exception, a copy of this one will do.
    monkeypatch.setattr(frame, "get_context", lambda method: multiprocessing.get_context("fork"))
    assert frame.apart(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        frame.apart(divmod, 7, 0)


def test_a_spread_is_a_mean_and_a_range():
    assert frame.spread([], 2) == ""
    assert frame.spread([-0.0004], 3) == "0.000"
    assert frame.spread([1.0, 2.0], 1, "–") == "1.5 (1.0–2.0)"


@pytest.mark.parametrize("place", frame.REGISTRY)
def test_every_folder_is_run_by_its_name(place, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [place, "--list"])
    runpy.run_module(place, run_name="__main__")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(frame.REGISTRY[place])
