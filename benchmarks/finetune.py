"""Fine-tunes every packaged recipe, from the pretrained base and from new weights, and writes the table of docs/finetuning.md.

python -m benchmarks.finetune [NAME ...]     the runs, all by default; one that has a record already is left out
python -m benchmarks.finetune --table        the table alone, from the records that are there
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from hf_gpt import tasks
from hf_gpt.data.rows import task_splits
from hf_gpt.evaluation.few_shot import few_shot
from hf_gpt.recipe.parser import load_recipe
from hf_gpt.reports.records import make_record, read_record, write_json
from hf_gpt.training.finetuning import build_task


ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "records" / "finetune"
PAGE = ROOT / "docs" / "finetuning.md"
START, END = "<!-- table: start -->", "<!-- table: end -->"

TASKS = (
    "imdb",
    "rotten-tomatoes",
    "pairs",
    "multiple-choice",
    "question-answering",
    "part-of-speech",
    "summarization",
    "chat",
    "preference",
    "chinese",
)
NEW_WEIGHTS = ("imdb", "rotten-tomatoes", "pairs", "multiple-choice", "question-answering", "part-of-speech", "summarization")
LORA_RANKS = (2, 8, 32)
# The pretrained model that is prompted, and with how many examples.
FEW_SHOT = {"rotten-tomatoes": ("reviews", (0, 4)), "question-answering": ("quickstart", (0, 1))}
# Of a recipe without a task of its own, what a row of the table shows, and its decimals.
LANGUAGE_MODEL_FIGURE = ("bits_per_byte", 3)


def runs() -> dict[str, tuple[str, list[str]]]:
    """Recipe and overrides of each run, by its name."""
    listed = {name: (f"finetune/{name}", []) for name in TASKS}
    listed |= {f"{name}-new-weights": (f"finetune/{name}", ["random_weights=true"]) for name in NEW_WEIGHTS}
    recipe = "lora/rotten-tomatoes"
    listed |= {
        f"rotten-tomatoes-lora-{rank}": (recipe, [f"lora.r={rank}", f"lora.lora_alpha={2 * rank}"]) for rank in LORA_RANKS
    }
    return listed


def train(name: str) -> None:
    recipe, overrides = runs()[name]
    base = ["model_name_or_path=runs/report/chat"] if name == "preference" else []
    folder = Path(f"runs/report/{name}")
    # A process of its own: the peak memory in a record is that of its process.
    command = [sys.executable, "-m", "hf_gpt", "train", recipe, *overrides, *base, f"output_dir={folder}"]
    subprocess.run(command, check=True)
    write_json(RECORDS / f"{name}.json", read_record(folder))
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def score_baselines(name: str) -> None:
    """What a user would pick instead, scored without training: a baseline may come later than the run that it stands beside."""
    recipe = load_recipe(f"finetune/{name}")
    task = build_task(recipe)
    shares = recipe.data.validation_share, recipe.data.test_share
    splits, _ = task_splits(recipe.source, task.columns, task.group, *shares)
    found = task.baselines(task.prepare(splits))
    write_json(
        RECORDS / f"{name}-baselines.json",
        make_record("baselines", recipe=f"finetune/{name}", test_rows=len(splits["test"]), baselines=found),
    )


def prompt(name: str) -> None:
    base, counts = FEW_SHOT[name]
    scores = {}
    for shots in counts:
        found = few_shot(f"runs/{base}", f"finetune/{name}", shots, limit=200)
        scores[str(shots)] = {"figures": found.figures, "rows": found.rows, "shortened": found.shortened}
    write_json(RECORDS / f"{name}-few-shot.json", make_record("few-shot", recipe=f"finetune/{name}", base=base, scores=scores))


def read(name: str) -> dict | None:
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def cell(record: dict | None, figure: str, digits: int) -> str:
    return "" if record is None or figure not in record["test"] else f"{record['test'][figure]:.{digits}f}"


def report_hours() -> float:
    """Of all runs that have a record, one after the other."""
    return sum(record["total_seconds"] for record in map(read, runs()) if record is not None) / 3600


def table() -> str:
    lines = [
        "| recipe | figure on the test split | fine-tuned | from new weights | what a user would pick instead | minutes |",
        "|---|---|---:|---:|---|---:|",
    ]
    for name in TASKS:
        record = read(name)
        if record is None:
            continue
        figure, digits = tasks.TASKS[record["task"]].figure if "task" in record else LANGUAGE_MODEL_FIGURE
        compared = read(f"{name}-baselines") or record
        others = [f"{row['name']}: {row[figure]:.{digits}f}" for row in compared["baselines"] if figure in row]
        cells = [f"`finetune/{name}`", figure, f"**{cell(record, figure, digits)}**"]
        cells += [cell(read(f"{name}-new-weights"), figure, digits), "; ".join(others), f"{record['total_seconds'] / 60:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"All runs of this page, one after the other: {report_hours():.1f} hours."]
    lines += ["", "The same task with adapters of several ranks:", ""]
    lines += [
        "| Rotten Tomatoes | accuracy | trained parameters | saved megabytes | peak memory, GiB | minutes of training |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    labels = {"rotten-tomatoes": "all weights"} | {f"rotten-tomatoes-lora-{rank}": f"LoRA, rank {rank}" for rank in LORA_RANKS}
    for name, label in labels.items():
        record = read(name)
        if record is not None:
            memory = record["peak_memory"]["host_bytes"] / 2**30
            cells = [label, f"{record['test']['accuracy']:.3f}", f"{record['trainable_parameters']:,}"]
            cells += [f"{record['saved_bytes'] / 1e6:.1f}", f"{memory:.1f}", f"{record['training_seconds'] / 60:.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "By prompting alone, no weight changed:",
        "",
        "| recipe | base | examples | rows | figures |",
        "|---|---|---:|---:|---|",
    ]
    for name in FEW_SHOT:
        record = read(f"{name}-few-shot")
        for shots, found in (record["scores"] if record else {}).items():
            figures = ", ".join(f"{key} {value:.3g}" for key, value in found["figures"].items())
            lines.append(f"| `finetune/{name}` | `pretrain/{record['base']}` | {shots} | {found['rows']} | {figures} |")
    return "\n".join(lines)


def write_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(START)
    PAGE.write_text(f"{head}{START}\n{table()}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main(arguments: list[str]) -> None:
    RECORDS.mkdir(parents=True, exist_ok=True)
    if arguments != ["--table"]:
        for name in arguments or [*runs(), *(f"{name}-few-shot" for name in FEW_SHOT)]:
            if read(name) is not None:
                continue
            if name.endswith("-baselines"):
                score_baselines(name.removesuffix("-baselines"))
            elif name.endswith("-few-shot"):
                prompt(name.removesuffix("-few-shot"))
            else:
                train(name)
    write_table()


if __name__ == "__main__":
    main(sys.argv[1:])
