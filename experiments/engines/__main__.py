"""Run one engine in its own environment: `python -m experiments.engines NAME FOLDER`; its last line is what came out."""

import json
import re
import sys
from importlib import import_module, metadata
from pathlib import Path

from experiments.engines import ENGINES
from experiments.engines.job import RESULT, Job


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    distribution = re.split(r"[\[=]", (ENGINES[name].packages or ("transformers",))[0])[0]
    found = import_module(f"experiments.engines.{name}").measure(Job(folder))
    # Whatever a library has printed, this is a line of its own.
    print(f"\n{RESULT}{json.dumps({'version': metadata.version(distribution), **found})}", flush=True)


if __name__ == "__main__":
    main()
