"""How long it takes until one can begin.

python -m benchmarks.startup      writes benchmarks/records/startup.json
"""

import subprocess
import sys
from pathlib import Path

from hf_gpt.reports.records import make_record, write_json

from .pairs import alternate


RECORD = Path(__file__).parent / "records" / "startup.json"
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import transformers": [sys.executable, "-c", "import transformers"],
    "import hf_gpt": [sys.executable, "-c", "import hf_gpt"],
    "import hf_gpt, transformers": [sys.executable, "-c", "import hf_gpt, transformers"],
    "hf-gpt --help": [sys.executable, "-m", "hf_gpt", "--help"],
}


def main() -> None:
    tasks = {
        name: lambda command=command: subprocess.run(command, check=True, capture_output=True)
        for name, command in COMMANDS.items()
    }
    seconds = alternate(tasks, rounds=2 if "--smoke" in sys.argv[1:] else 11)
    best = {name: min(found) for name, found in seconds.items()}
    loaded = "import sys, hf_gpt; print('torch' in sys.modules)"
    has_torch = (
        subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True).stdout.strip() == "True"
    )
    content = {
        "seconds": seconds,
        "best": best,
        "added_seconds": best["import hf_gpt, transformers"] - best["import transformers"],
        "loads_torch": has_torch,
    }
    print(best, "torch loaded:", has_torch)
    if "--smoke" not in sys.argv[1:]:
        write_json(RECORD, make_record("startup", **content))


if __name__ == "__main__":
    main()
