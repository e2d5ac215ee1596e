"""Input that is broken at random, to every command: 10,000 configs, hundreds of each other kind; see tests/faults/test_fuzz*.py.

Writes benchmarks/records/fuzz.json; `python -m reliability faults --pages` makes the table of docs/reliability.md of it.
"""

import argparse

from .fault_cases import run_tests


def run(options: argparse.Namespace) -> None:
    """With `--smoke` a few dozens of records: the suite has a few of everything."""
    tests = [f"tests/faults/test_fuzz{kind}.py" for kind in ("", "_commands", "_arguments", "_rows")]
    if options.smoke:
        run_tests("fuzz", "fuzz-cases", *tests, "-k", "record_of_any_bytes")
    else:
        run_tests("fuzz", "fuzz-cases", *tests, HF_GPT_FUZZ_LONG="1")
