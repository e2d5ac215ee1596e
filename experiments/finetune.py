"""Fine-tunes every packaged recipe from the packaged weights of SmolLM2-135M, and writes the tables of docs/finetuning.md.

python -m experiments finetune [NAME ...]     the runs, all by default; one that has a record already is left out

The page also shows the records of `benchmarks/records/finetune`, which earlier recipes made from a small base of film reviews.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.frame import ROOT, Section, find_record, keep_record, processor_of, table, train_apart, write_record
from benchmarks.tiny import recipe_values, write_corpus, write_labelled

from hf_gpt import tasks
from hf_gpt.evaluation.few_shot import few_shot
from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training.run import run as run_recipe


BASE = "smollm2-135m"
# In the order of their cost.
TASKS = (
    *(
        "rotten-tomatoes",
        "pairs",
        "summarization",
        "part-of-speech",
        "multiple-choice",
        "chat",
        "preference",
        "chinese",
        "imdb",
    ),
    "question-answering",
)
# Recipes that are run with all weights, too.
ALL_WEIGHTS = ("rotten-tomatoes", "pairs", "part-of-speech")
ALL_WEIGHTS_OVERRIDES = ["lora=null", "learning_rate=5e-5"]
# Of these, the recipe itself learns from more rows than the two that are compared.
FEWER_ROWS = {"part-of-speech": ["max_train_rows=3000"]}
FEW_SHOT = {"rotten-tomatoes": (0, 4)}
# What each figure is hoped to be, and what is known of the way there.
GOALS = {
    "imdb": 0.93,
    "rotten-tomatoes": 0.86,
    "question-answering": 55.0,
    "summarization": 38.0,
    "pairs": 0.80,
    "multiple-choice": 0.60,
    "part-of-speech": 0.975,
}
# From the small base, by the recipes that were: those with a run from scratch beside them, and all.
SMALL_FROM_SCRATCH = (
    *("imdb", "rotten-tomatoes", "pairs", "multiple-choice", "question-answering", "part-of-speech", "summarization"),
)
SMALL_TASKS = (*SMALL_FROM_SCRATCH, "chat", "preference", "chinese")
LORA_RANKS = (2, 8, 32)
SMALL_FEW_SHOT = ("rotten-tomatoes", "question-answering")
# Of a recipe without a task of its own, what a row of the table shows, and its decimals.
LANGUAGE_MODEL_FIGURE = ("bits_per_byte", 3)


def runs() -> dict[str, tuple[str, list[str]]]:
    """Recipe and overrides of each run, by its name."""
    listed: dict[str, tuple[str, list[str]]] = {name: (f"finetune/{name}", []) for name in TASKS}
    listed |= {f"{name}-fewer-rows": (f"finetune/{name}", fewer) for name, fewer in FEWER_ROWS.items()}
    return listed | {
        f"{name}-all-weights": (f"finetune/{name}", [*ALL_WEIGHTS_OVERRIDES, *FEWER_ROWS.get(name, [])])
        for name in ALL_WEIGHTS
    }


def train(name: str) -> None:
    recipe, overrides = runs()[name]
    keep_record(f"{FOLDER}/{name}", train_apart(recipe, overrides, Path(f"runs/report/{name}")))


def prompt(name: str) -> None:
    scores = {}
    for shots in FEW_SHOT[name]:
        found = few_shot(BASE, f"finetune/{name}", shots, limit=200)
        scores[str(shots)] = {"figures": found.figures, "rows": found.rows, "shortened": found.shortened}
    write_record(f"{FOLDER}/{name}-few-shot", "few-shot", recipe=f"finetune/{name}", base=BASE, scores=scores)


# Of the records.
FOLDER, SMALL_FOLDER = f"finetune-{BASE}", "finetune"


def read(name: str, folder: str = FOLDER) -> dict[str, Any] | None:
    return find_record(f"{folder}/{name}")


def cell(record: dict[str, Any] | None, figure: str, digits: int) -> str:
    return "" if record is None or figure not in record["test"] else f"{record['test'][figure]:.{digits}f}"


def hours(records: list[dict[str, Any] | None]) -> float:
    """Of all runs that have a record, one after the other."""
    return sum(record["total_seconds"] for record in records if record is not None) / 3600


def places() -> str:
    """Return on what kinds of processor the runs of the first table were made."""
    found = [record for name in TASKS if (record := read(name)) is not None]
    kinds = {f"{processor_of(record)} ({record['precision']}; threads: {record['device']['threads']})" for record in found}
    return ", ".join(sorted(kinds)) or "no machine"


def figure_of(record: dict[str, Any]) -> tuple[str, int]:
    return tasks.TASKS[record["task"]].figure if "task" in record else LANGUAGE_MODEL_FIGURE


def others(record: dict[str, Any], figure: str, digits: int) -> str:
    return "; ".join(f"{row['name']}: {row[figure]:.{digits}f}" for row in record["baselines"] if figure in row)


def task_rows() -> list[list[str]]:
    rows = []
    for name in TASKS:
        record = read(name)
        if record is None:
            rows.append([f"`finetune/{name}`", "not run yet", "", goal_of(name), "", "", ""])
            continue
        figure, digits = figure_of(record)
        trained = record["data"]["splits"]["train"]
        count = trained["texts"] if isinstance(trained, dict) else trained
        cells = [f"`finetune/{name}`", figure, f"**{cell(record, figure, digits)}**", goal_of(name)]
        rows.append([*cells, others(record, figure, digits), f"{count:,}", f"{record['total_seconds'] / 60:.1f}"])
    return rows


def goal_of(name: str) -> str:
    return f"≥ {GOALS[name]:g}" if name in GOALS else ""


def all_weights_rows() -> list[list[str]]:
    rows = []
    for name in ALL_WEIGHTS:
        adapter = "-fewer-rows" if name in FEWER_ROWS else ""
        for kind, label in ((adapter, "LoRA"), ("-all-weights", "all weights")):
            record = read(f"{name}{kind}")
            if record is not None:
                figure, digits = figure_of(record)
                cells = [f"`finetune/{name}`, {label}", f"{figure} {cell(record, figure, digits)}"]
                rows.append([*cells, f"{record['data']['splits']['train']:,}", *costs(record)])
    return rows


def costs(record: dict[str, Any]) -> list[str]:
    memory = record["peak_memory"]["host_bytes"] / 2**30
    return [
        f"{record['trainable_parameters']:,}",
        f"{record['saved_bytes'] / 1e6:.1f}",
        f"{memory:.1f}",
        f"{record['training_seconds'] / 60:.1f}",
    ]


def prompting_rows(names: Any, folder: str) -> list[list[str]]:
    rows = []
    for name in names:
        record = read(f"{name}-few-shot", folder) or {"scores": {}}
        for shots, found in record["scores"].items():
            figures = ", ".join(f"{key} {value:.3g}" for key, value in found["figures"].items())
            rows.append([f"`finetune/{name}`", f"`{record['base']}`", shots, f"{found['rows']}", figures])
    return rows


def small_rows() -> list[list[str]]:
    rows = []
    for name in SMALL_TASKS:
        record = read(name, SMALL_FOLDER)
        if record is None:
            continue
        figure, digits = figure_of(record)
        compared = read(f"{name}-baselines", SMALL_FOLDER) or record
        scratch = cell(read(f"{name}-new-weights", SMALL_FOLDER), figure, digits)
        cells = [f"`finetune/{name}`", figure, f"**{cell(record, figure, digits)}**", scratch]
        rows.append([*cells, others(compared, figure, digits), f"{record['total_seconds'] / 60:.1f}"])
    return rows


def rank_rows() -> list[list[str]]:
    labels = {"rotten-tomatoes": "all weights"} | {f"rotten-tomatoes-lora-{rank}": f"LoRA, rank {rank}" for rank in LORA_RANKS}
    found = [(label, read(name, SMALL_FOLDER)) for name, label in labels.items()]
    return [[label, f"{record['test']['accuracy']:.3f}", *costs(record)] for label, record in found if record is not None]


ADAPTERS = ("trained parameters", "saved megabytes", "peak memory, GiB", "minutes of training")
PROMPTING = ("recipe", "base", "examples", "rows", "figures")


def page() -> list[str]:
    headings = ("recipe", "figure on the test split", "fine-tuned", "goal", "baselines", "rows trained on", "minutes")
    lines = [
        *table(headings, task_rows(), "llrrlrr"),
        "",
        f"All of these runs, and the others of the next table, one after the other: {hours(list(map(read, runs()))):.1f} hours, on "
        f"{places()}.",
    ]
    if rows := all_weights_rows():
        lines += ["", *table(("recipe", "figure", "rows trained on", *ADAPTERS), rows, "llr")]
    if rows := prompting_rows(FEW_SHOT, FOLDER):
        lines += ["", "By prompting alone, no weight changed, the labels calibrated:", "", *table(PROMPTING, rows, "llrrl")]
    return lines


def small_page() -> list[str]:
    names = [*SMALL_TASKS, *(f"{name}-new-weights" for name in SMALL_FROM_SCRATCH)]
    names += [f"rotten-tomatoes-lora-{rank}" for rank in LORA_RANKS]
    tasks = ("recipe", "figure on the test split", "fine-tuned", "from scratch", "baselines", "minutes")
    return [
        *table(tasks, small_rows(), "llrrlr"),
        "",
        f"All of these runs, one after the other: {hours([read(name, SMALL_FOLDER) for name in names]):.1f} hours.",
        "",
        "The same task with adapters of several ranks:",
        "",
        *table(("Rotten Tomatoes", "accuracy", *ADAPTERS), rank_rows(), "lr"),
        "",
        "By prompting alone, no weight changed, the labels not calibrated:",
        "",
        *table(PROMPTING, prompting_rows(SMALL_FEW_SHOT, SMALL_FOLDER), "llrrl"),
    ]


def smoke(folder: Path) -> None:
    """A base, and a recipe that fine-tunes it beside its baselines, on rows that are made here."""
    corpus, rows, base = folder / "corpus.jsonl", folder / "rows.jsonl", folder / "base"
    write_corpus(corpus)
    write_labelled(rows)
    run_recipe(parse_recipe(recipe_values(corpus, base, max_steps=2)))
    data = (f"dataset={{path: json, files: {rows}}}", f"model_name_or_path={base}", "max_length=32")
    few = ["max_steps=4", "warmup_steps=1", "logging_steps=1", "eval_steps=2", "save_steps=2", "bf16=false", "report_to=none"]
    keep_record(f"{FOLDER}/imdb", train_apart("finetune/imdb", [*data, *few], folder / "imdb"))


PAGE = ROOT / "docs" / "finetuning.md"
SECTIONS = [Section(PAGE, "table", page), Section(PAGE, "small", small_page)]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME")


def run(options: argparse.Namespace) -> None:
    for name in options.names or [*runs(), *(f"{name}-few-shot" for name in FEW_SHOT)]:
        if read(name) is not None:
            continue
        if name.endswith("-few-shot"):
            prompt(name.removesuffix("-few-shot"))
        else:
            train(name)
