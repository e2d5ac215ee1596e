"""Each fault on purpose, once for each of its forms: runs the tests of faults and keeps what was tried and how often.

Writes benchmarks/records/fault_cases.json, and only when every test has passed. The table of docs/reliability.md is made of it by
`python -m reliability faults --pages`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.frame import ROOT, write_record


SEED = 0
# What each file of tests tries on purpose: a row of docs/reliability.md.
FAULTS = {
    "tests/faults/test_signals.py": "kills and signals, to one process and to one of several",
    "tests/faults/test_damage.py": "checkpoints, data and caches that are damaged, full, gone or in use",
    "tests/faults/test_losses.py": "losses that are no number, or explode",
    "tests/faults/test_foreign_files.py": "run folders: what is foreign stays as it is",
    "tests/faults/test_resumed_runs.py": "run folders: a run is resumed, moved, extended and finished again",
    "tests/faults/test_security.py": "foreign code, links, archives, tokens",
    "tests/faults/test_surroundings.py": "odd surroundings: streams, environment, full disks, names, folders that move",
    "tests/checks/test_limits.py": "recipes: numbers out of range, keys of no effect, YAML of ill will, wrong types",
    "tests/checks/test_places.py": "places: what may be written to, and what a kill or a full disk leaves",
    "tests/inference/test_loading.py": "models: damaged or missing weights, configs of no use, sizes beyond the memory, names",
    "tests/inference/test_demo.py": "the demo page: every field beyond its limits, models that fail, uploads",
    "tests/reports/test_record_fields.py": "records and cards: fields that are missing or of another type, text of ill will",
    "tests/reports/test_privacy.py": "secrets and home folders in what is shared",
    "tests/training/test_rehearsal.py": "the end of a run, rehearsed: what fails there fails in the first minute",
}


def rows_of(report: Path) -> list[dict[str, Any]]:
    """A row for each test of a JUnit report, the forms of one counted together, with the properties that they wrote down summed."""
    rows: dict[str, dict[str, Any]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name", "").split("[")[0].removeprefix("test_").replace("_", " ")
        file = case.get("classname", "").replace(".", "/") + ".py"
        if case.find("skipped") is not None:
            continue
        row = rows.setdefault(
            f"{file} {name}", {"fault": name, "file": file, "times": 0, "seconds": 0.0, "outcomes": Counter()}
        )
        row["times"] += 1
        row["seconds"] = round(row["seconds"] + float(case.get("time", 0)), 2)
        row["outcomes"].update({item.get("name"): int(item.get("value", 0)) for item in case.iter("property")})
    return list(rows.values())


def run_tests(name: str, kind: str, *tests: str, **environment: str) -> None:
    """Run tests and write the record of that name, with a row for each."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.xml"
        options = [f"--junitxml={report}", "-o", "junit_family=xunit1", f"--hypothesis-seed={SEED}", "--timeout=0"]
        command = [sys.executable, "-m", "pytest", *tests, *options]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, **environment})
        rows = rows_of(report)
    write_record(name, kind, seed=SEED, seconds=time.monotonic() - started, cases=rows)


def run(options: argparse.Namespace) -> None:
    few = ["tests/faults/test_damage.py", "-k", "damaged_checkpoint_is_named"]
    run_tests("fault_cases", "faults-cases", *(few if options.smoke else FAULTS))
