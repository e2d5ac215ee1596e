"""`python -m tests.conformance [--record] [pytest arguments]`."""

import json
import os
import sys
from collections import Counter, defaultdict
from datetime import date
from functools import wraps
from pathlib import Path


# Before transformers is imported, which reads it then: the tests must need nothing but their own files.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
import transformers
from tests.conformance import fetch

import hf_gpt


HERE = Path(__file__).parent
OUTCOMES = ("passed", "failed", "skipped")


class Counts:
    """A pytest plugin: what became of each test, whether it built a model, and why it was left out."""

    def __init__(self):
        self.outcome, self.reason, self.built = {}, {}, set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        init = transformers.PreTrainedModel.__init__

        @wraps(init)
        def counting_init(model, *args, **kwargs):
            self.built.add(item.nodeid)
            return init(model, *args, **kwargs)

        transformers.PreTrainedModel.__init__ = counting_init
        try:
            return (yield)
        finally:
            transformers.PreTrainedModel.__init__ = init

    def pytest_runtest_logreport(self, report):
        test = report.nodeid
        if report.failed:
            self.outcome[test] = "failed"
        elif report.skipped:
            self.outcome.setdefault(test, "skipped")
            self.reason.setdefault(test, report.longrepr[2].removeprefix("Skipped: "))
        elif report.when == "call":
            self.outcome.setdefault(test, "passed")

    def record(self):
        figures, skips = defaultdict(Counter), defaultdict(set)
        for test, outcome in self.outcome.items():
            _, architecture, name = test.split("::")
            figures[architecture][outcome] += 1
            figures[architecture]["passed and built a model"] += outcome == "passed" and test in self.built
            if outcome == "skipped":
                skips[self.reason[test]].add(f"{architecture}::{name}")
        return {
            "date": date.today().isoformat(),
            "versions": {"hf_gpt": hf_gpt.__version__, "transformers": transformers.__version__, "torch": torch.__version__},
            "architectures": {
                name: {key: counts[key] for key in (*OUTCOMES, "passed and built a model")} for name, counts in figures.items()
            },
            "skips": {reason: sorted(tests) for reason, tests in sorted(skips.items())},
        }


def main(arguments):
    fetch.install(transformers.__version__)
    counts = Counts()
    # Their marks are declared in a pytest configuration that is not fetched, and one test reads the warnings.
    options = ["-o", "addopts=", "-o", "filterwarnings=", "-q", "-p", "no:cacheprovider", "--disable-warnings"]
    options += [argument for argument in arguments if argument != "--record"]
    status = pytest.main([str(HERE / "suite.py"), *options], plugins=[counts])
    record = counts.record()
    for architecture, figures in record["architectures"].items():
        print(f"{architecture:20}", *(f"{value:4} {key}" for key, value in figures.items()))
    if "--record" in arguments:
        (HERE / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
