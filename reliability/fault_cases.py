"""Each fault on purpose, once for each of its forms: runs the tests of tests/faults and keeps what was tried and how often.

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


def rows_of(report: Path) -> list[dict[str, Any]]:
    """A row for each test of a JUnit report, the forms of one counted together, with the properties that they wrote down summed."""
    rows: dict[str, dict[str, Any]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name", "").split("[")[0].removeprefix("test_").replace("_", " ")
        row = rows.setdefault(name, {"fault": name, "times": 0, "seconds": 0.0, "outcomes": Counter()})
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
    folder = "tests/faults"
    few = [f"{folder}/test_faults.py", "-k", "damaged_checkpoint_is_named"]
    run_tests(
        "fault_cases", "faults-cases", *(few if options.smoke else [f"{folder}/test_faults.py", f"{folder}/test_security.py"])
    )
