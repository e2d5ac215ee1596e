"""`record.json`: what was run, on what, and what came out. Every number that we show anywhere is read from one."""

import csv
import hashlib
import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..checks.places import replacing
from ..checks.system import peak_bytes
from ..data.packages import sha256_of
from ..errors import InputError, reason_of
from ..modeling.configuration_hf_gpt import __version__
from ..run_folder.manifest import RECORD_FILE
from .privacy import check_public


# Written by codecarbon, through the callback that `Trainer` has for it.
EMISSIONS_FILE = "emissions.csv"
EMISSIONS_COLUMNS = {"energy_kwh": "energy_consumed", "co2_kg": "emissions"}
PACKAGES_RECORDED = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "numpy", "peft")


def versions() -> dict[str, str]:
    """Return versions of Python and of the packages that can change a result, those that are installed."""
    # Of the code that runs: an editable installation keeps the version that it was installed as.
    found = {"python": platform.python_version(), "hf-gpt": __version__}
    for name in PACKAGES_RECORDED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def device_description() -> dict[str, Any]:
    """Return the processor, its threads, the instructions that torch uses of it, and the accelerator if there is one."""
    described: dict[str, Any] = {
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        described |= {"processor": models[0] if models else platform.processor(), "cores": len(models) or os.cpu_count()}
    else:
        described |= {"processor": platform.processor(), "cores": os.cpu_count()}
    if torch.cuda.is_available():
        described["accelerator"] = torch.cuda.get_device_name()
        described["accelerators"] = torch.cuda.device_count()
    return described


def peak_memory() -> dict[str, int]:
    """Return largest resident size of this process so far, and of the accelerator's allocations, in bytes."""
    peak = {"host_bytes": peak_bytes()}
    if torch.cuda.is_available():
        peak["accelerator_bytes"] = torch.cuda.max_memory_allocated()
    return peak


# As git's pathspecs.
WRITTEN_BY_RUNS = (":(top,exclude)benchmarks/records", ":(top,exclude)docs")
CODE = tuple(f":(top,glob){name}/**/*.py" for name in ("src", "benchmarks", "experiments", "reliability"))


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit of the checkout that the code in `folder` is of, and whether it has uncommitted changes; `None` outside of one.

    Records and the pages made of them do not count: a series of runs writes both between its first run and its last. Nor does what was
    never added, code apart: texts and recipes of one's own, which a record names or holds.
    """

    def git(*arguments: str) -> str | None:
        try:
            result = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return None
        return result.stdout.strip() if result.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    # An installed package may lie in somebody's checkout, and is not of it.
    if commit is None or git("ls-files", "--error-unmatch", ".") is None:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", *WRITTEN_BY_RUNS)
    added = git("ls-files", "--others", "--exclude-standard", "--", *CODE)
    return {"commit": commit, "dirty": bool(changed or added)}


@cache
def code_state() -> dict[str, Any] | None:
    """`git_state` of this code, looked up once: a run calls it when it begins, since a checkout may move on while it lasts."""
    return git_state(Path(__file__).parent)


def folder_hash(folder: Path, pattern: str = "*.safetensors") -> str:
    """Return one SHA-256 over the names and hashes of the files that match, in order of their names."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob(pattern)):
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


# Nats per token by which a loss has to rise before it is said to.
RISEN = 0.1


def overfitting_line(record: dict[str, Any]) -> str | None:
    """Return a sentence about a run whose validation loss rose again, `None` where it did not.

    It learned its text by heart only if the loss on that text fell meanwhile; else its steps were too large.
    """
    losses = [(row["eval_loss"], row.get("step", 0)) for row in record["history"] if "eval_loss" in row]
    if not losses or losses[-1][0] < min(losses)[0] + RISEN:
        return None
    (lowest, step), last = min(losses), losses[-1][0]
    told = f"The validation loss was lowest after step {step:,}, at {lowest:.3f}, and rose to {last:.3f}: "
    trained = [(row.get("step", 0), row["loss"]) for row in record["history"] if "loss" in row]
    before = [loss for at, loss in trained if at <= step] or [loss for _, loss in trained[:1]]
    if trained and trained[-1][1] < before[-1]:
        return told + "the model learned the text by heart. More text, or a shorter run, makes a better one."
    return told + "the loss on the text that it learned from did not fall either. A lower learning rate makes a better one."


def make_record(kind: str, **content: Any) -> dict[str, Any]:
    """Return a record of this process: `content` beside versions, device, memory, time and the state of the code.

    Args:
        kind (`str`): What was run, for example `"train"`.
        content: Values that JSON can hold.

    Raises:
        InputError: a secret or a home folder is among them.
    """
    record = {
        "kind": kind,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **content,
        "versions": versions(),
        "device": device_description(),
        "peak_memory": peak_memory(),
        "git": code_state(),
    }
    check_record(record)
    return record


def check_record(record: dict[str, Any]) -> None:
    """Raise `InputError` when a record holds a secret or a home folder. What the model wrote may talk of folders."""
    check_public(record, RECORD_FILE, generated=("samples",))


def emissions(folder: Path) -> dict[str, Any]:
    """Return energy and CO2 of a run, as `{"emissions": {"energy_kwh", "co2_kg"}}`, if codecarbon measured them; else empty.

    A run that was interrupted has a row for each part.
    """
    path = folder / EMISSIONS_FILE
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        sums = {name: sum(float(row[column]) for row in rows) for name, column in EMISSIONS_COLUMNS.items()}
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{path} is not what codecarbon writes ({reason_of(error)}): take it out of the folder.") from error
    return {"emissions": sums}


def write_json(path: Path, content: Any) -> None:
    """Write under another name first: a reader sees the old file or the new one, never half of either."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a run.

    Raises:
        InputError: there is none, or it is not a record in JSON.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the folder of a run that hf-gpt finished.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        json.dumps(record, ensure_ascii=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a record: {error}. Restore it, or run again.") from error
    if not isinstance(record, dict):
        raise InputError(f"{path} is not a record: it holds a {type(record).__name__}. Restore it, or run again.")
    return record
