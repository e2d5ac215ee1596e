"""Runs the tests of tests/faults and keeps what was tried and how often: benchmarks/records/fault_cases.json and fuzz.json.

    python -m benchmarks.fault_cases faults     each fault on purpose, once for each of its forms
    python -m benchmarks.fault_cases fuzz       input that is broken at random: 10,000 configs, 1,000 of each other kind

A record is written only when every test has passed. The table of docs/reliability.md is made of both by `benchmarks.faults --table`.
"""

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

from hf_gpt.reports.records import make_record, write_json


ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "records"
SEED = 0
# Of each kind, its tests and what its environment has beside ours.
KINDS: dict[str, tuple[list[str], dict[str, str]]] = {
    "faults": (["tests/faults/test_faults.py", "tests/faults/test_security.py"], {}),
    "fuzz": (["tests/faults/test_fuzz.py"], {"HF_GPT_FUZZ_LONG": "1"}),
}
FILES = {"faults": RECORDS / "fault_cases.json", "fuzz": RECORDS / "fuzz.json"}


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


def main() -> None:
    (kind,) = sys.argv[1:]
    tests, more = KINDS[kind]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            *tests,
            f"--junitxml={report}",
            "-o",
            "junit_family=xunit1",
            f"--hypothesis-seed={SEED}",
            "--timeout=0",
        ]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, **more})
        rows = rows_of(report)
    write_json(FILES[kind], make_record(f"{kind}-cases", seed=SEED, seconds=time.monotonic() - started, cases=rows))


if __name__ == "__main__":
    main()
