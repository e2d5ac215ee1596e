"""Fine-tunes every packaged recipe, from the pretrained base and from scratch, and writes the table of docs/finetuning.md.

python -m experiments finetune [NAME ...]     the runs, all by default; one that has a record already is left out
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.frame import ROOT, Section, find_record, keep_record, table, train_apart, write_record
from benchmarks.tiny import recipe_values, write_corpus, write_labelled

from hf_gpt import tasks
from hf_gpt.data.rows import task_splits
from hf_gpt.evaluation.few_shot import few_shot
from hf_gpt.recipe.parser import load_recipe, parse_recipe
from hf_gpt.training.finetuning import build_task
from hf_gpt.training.run import run as run_recipe


NEW_WEIGHTS = ("imdb", "rotten-tomatoes", "pairs", "multiple-choice", "question-answering", "part-of-speech", "summarization")
TASKS = (*NEW_WEIGHTS, "chat", "preference", "chinese")
LORA_RANKS = (2, 8, 32)
# The pretrained model that is prompted, and with how many examples.
FEW_SHOT = {"rotten-tomatoes": ("reviews", (0, 4)), "question-answering": ("quickstart", (0, 1))}
# Of a recipe without a task of its own, what a row of the table shows, and its decimals.
LANGUAGE_MODEL_FIGURE = ("bits_per_byte", 3)


def runs() -> dict[str, tuple[str, list[str]]]:
    """Recipe and overrides of each run, by its name."""
    listed: dict[str, tuple[str, list[str]]] = {name: (f"finetune/{name}", []) for name in TASKS}
    listed |= {f"{name}-new-weights": (f"finetune/{name}", ["random_weights=true"]) for name in NEW_WEIGHTS}
    recipe = "lora/rotten-tomatoes"
    listed |= {
        f"rotten-tomatoes-lora-{rank}": (recipe, [f"lora.r={rank}", f"lora.lora_alpha={2 * rank}"]) for rank in LORA_RANKS
    }
    return listed


def train(name: str) -> None:
    recipe, overrides = runs()[name]
    base = ["model_name_or_path=runs/report/chat"] if name == "preference" else []
    keep_record(f"finetune/{name}", train_apart(recipe, [*overrides, *base], Path(f"runs/report/{name}")))


def score_baselines(name: str, overrides: tuple[str, ...] = ()) -> None:
    """Baselines, scored without training: a baseline may come later than the run that it stands beside."""
    recipe = load_recipe(f"finetune/{name}", overrides)
    task = build_task(recipe)
    shares = recipe.data.validation_share, recipe.data.test_share
    splits, _, _ = task_splits(recipe.source, task.columns, task.group, *shares)
    found = task.baselines(splits, task.prepare(splits))
    scored = {"recipe": f"finetune/{name}", "test_rows": len(splits["test"]), "baselines": found}
    write_record(f"finetune/{name}-baselines", "baselines", **scored)


def prompt(name: str) -> None:
    base, counts = FEW_SHOT[name]
    scores = {}
    for shots in counts:
        found = few_shot(f"runs/{base}", f"finetune/{name}", shots, limit=200)
        scores[str(shots)] = {"figures": found.figures, "rows": found.rows, "shortened": found.shortened}
    write_record(f"finetune/{name}-few-shot", "few-shot", recipe=f"finetune/{name}", base=base, scores=scores)


def read(name: str) -> dict[str, Any] | None:
    return find_record(f"finetune/{name}")


def cell(record: dict[str, Any] | None, figure: str, digits: int) -> str:
    return "" if record is None or figure not in record["test"] else f"{record['test'][figure]:.{digits}f}"


def report_hours() -> float:
    """Of all runs that have a record, one after the other."""
    return sum(record["total_seconds"] for record in map(read, runs()) if record is not None) / 3600


def task_rows() -> list[list[str]]:
    rows = []
    for name in TASKS:
        record = read(name)
        if record is None:
            continue
        figure, digits = tasks.TASKS[record["task"]].figure if "task" in record else LANGUAGE_MODEL_FIGURE
        compared = read(f"{name}-baselines") or record
        others = [f"{row['name']}: {row[figure]:.{digits}f}" for row in compared["baselines"] if figure in row]
        cells = [f"`finetune/{name}`", figure, f"**{cell(record, figure, digits)}**"]
        cells += [cell(read(f"{name}-new-weights"), figure, digits), "; ".join(others), f"{record['total_seconds'] / 60:.1f}"]
        rows.append(cells)
    return rows


def adapter_rows() -> list[list[str]]:
    rows = []
    labels = {"rotten-tomatoes": "all weights"} | {f"rotten-tomatoes-lora-{rank}": f"LoRA, rank {rank}" for rank in LORA_RANKS}
    for name, label in labels.items():
        record = read(name)
        if record is not None:
            memory = record["peak_memory"]["host_bytes"] / 2**30
            cells = [label, f"{record['test']['accuracy']:.3f}", f"{record['trainable_parameters']:,}"]
            cells += [f"{record['saved_bytes'] / 1e6:.1f}", f"{memory:.1f}", f"{record['training_seconds'] / 60:.1f}"]
            rows.append(cells)
    return rows


def prompting_rows() -> list[list[str]]:
    rows = []
    for name in FEW_SHOT:
        record = read(f"{name}-few-shot") or {"scores": {}}
        for shots, found in record["scores"].items():
            figures = ", ".join(f"{key} {value:.3g}" for key, value in found["figures"].items())
            rows.append([f"`finetune/{name}`", f"`pretrain/{record['base']}`", shots, f"{found['rows']}", figures])
    return rows


def page() -> list[str]:
    tasks = (
        "recipe",
        "figure on the test split",
        "fine-tuned",
        "from scratch",
        "baselines",
        "minutes",
    )
    adapters = (
        "Rotten Tomatoes",
        "accuracy",
        "trained parameters",
        "saved megabytes",
        "peak memory, GiB",
        "minutes of training",
    )
    return [
        *table(tasks, task_rows(), "llrrlr"),
        "",
        f"All runs of this page, one after the other: {report_hours():.1f} hours.",
        "",
        "The same task with adapters of several ranks:",
        "",
        *table(adapters, adapter_rows(), "lr"),
        "",
        "By prompting alone, no weight changed:",
        "",
        *table(("recipe", "base", "examples", "rows", "figures"), prompting_rows(), "llrrl"),
    ]


def smoke(folder: Path) -> None:
    """A base, a recipe that fine-tunes it, and its baselines, on rows that are made here."""
    corpus, rows, base = folder / "corpus.jsonl", folder / "rows.jsonl", folder / "base"
    write_corpus(corpus)
    write_labelled(rows)
    run_recipe(parse_recipe(recipe_values(corpus, base, max_steps=2)))
    data = (f"dataset={{path: json, files: {rows}}}", f"model_name_or_path={base}", "max_length=32")
    score_baselines("imdb", data)
    few = ["max_steps=4", "warmup_steps=1", "logging_steps=1", "eval_steps=2", "save_steps=2", "bf16=false", "report_to=none"]
    keep_record("finetune/imdb", train_apart("finetune/imdb", [*data, *few], folder / "imdb"))


SECTIONS = [Section(ROOT / "docs" / "finetuning.md", "table", page)]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME")


def run(options: argparse.Namespace) -> None:
    for name in options.names or [*runs(), *(f"{name}-few-shot" for name in FEW_SHOT)]:
        if read(name) is not None:
            continue
        if name.endswith("-baselines"):
            score_baselines(name.removesuffix("-baselines"))
        elif name.endswith("-few-shot"):
            prompt(name.removesuffix("-few-shot"))
        else:
            train(name)
