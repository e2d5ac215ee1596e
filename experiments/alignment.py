"""From a model that continues texts to one that answers (Ouyang et al. 2022): the recipes of `recipes/align`, one after the other, and
the tables of docs/lineage.md and docs/lineage_zh.md.

python -m experiments alignment [STAGE ...]     the runs, all by default; one that has a record already is left out

A later stage needs the folder of an earlier one: a run that has a record but no folder any more is made again. About an hour on two
cores.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.frame import ROOT, Section, find_record, keep_record, processor_of, table, train_apart
from benchmarks.tiny import recipe_values, write_corpus

from hf_gpt.recipe.parser import parse_recipe
from hf_gpt.training.run import run as run_recipe


FOLDER = "alignment"
RUNS = Path("runs/alignment")
# Each stage with those whose folders it begins from, and the key of the recipe that names them.
STAGES: dict[str, dict[str, str]] = {
    "sft": {},
    "reward": {"adapter": "sft"},
    "grpo": {"adapter": "sft"},
    "rloo": {"adapter": "sft", "reward_model": "reward"},
}
# The figures of a stage, with their decimals, in the order of the columns.
FIGURES = {"loss": 3, "accuracy": 3, "margin": 2, "reward": 3, "kl": 4}
SHOWN_ROWS = 5

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "stage": "stage",
        "when": "on the test split",
        "loss": "loss",
        "accuracy": "accuracy",
        "margin": "margin",
        "reward": "reward",
        "kl": "KL, nats per token",
        "minutes": "minutes",
        "before": "before",
        "after": "after",
        "longer": "the longer answer",
        "pending": "Not measured yet: `make alignment` makes the records.",
        "asked": "asked",
        "right": "right",
        "whole": "The runs took {minutes:.0f} minutes in sum, on {processor} ({precision}; threads: {threads}), seed {seed}.",
    },
    "zh": {
        "stage": "阶段",
        "when": "测试集上",
        "loss": "损失",
        "accuracy": "准确率",
        "margin": "差值",
        "reward": "奖励",
        "kl": "KL（奈特每词元）",
        "minutes": "分钟",
        "before": "之前",
        "after": "之后",
        "longer": "较长的回答",
        "pending": "尚未测量：`make alignment` 生成记录。",
        "asked": "问题",
        "right": "正确答案",
        "whole": "以上各阶段共用 {minutes:.0f} 分钟，{processor}（{precision}；线程数 {threads}），种子 {seed}。",
    },
}


def train(stage: str, overrides: list[str], runs: Path) -> None:
    earlier = [f"{key}={runs / name}" for key, name in STAGES[stage].items()]
    keep_record(f"{FOLDER}/{stage}", train_apart(f"align/{stage}", [*earlier, *overrides], runs / stage))


def read(stage: str) -> dict[str, Any] | None:
    return find_record(f"{FOLDER}/{stage}")


def stage_rows(stage: str, record: dict[str, Any], words: dict[str, str]) -> list[list[str]]:
    """Return a row for what there was before a stage, or is without it, and one for what it has made."""
    rows = []
    minutes = f"{record['total_seconds'] / 60:.1f}"
    for row in [*record["baselines"], record["test"]]:
        is_after = row is record["test"]
        when = words["after"] if is_after else words["longer" if stage == "reward" else "before"]
        # A policy's loss moves with what is drawn and measures nothing: its rows have a KL divergence.
        known = row.keys() - ({"loss"} if "kl" in row else set())
        cells = [f"{row[name]:.{digits}f}" if name in known else "" for name, digits in FIGURES.items()]
        rows.append([f"`align/{stage}`", when, *cells, minutes if is_after else ""])
    return rows


def page(words: dict[str, str]) -> list[str]:
    found = {stage: record for stage in STAGES if (record := read(stage)) is not None}
    if not found:
        return [words["pending"]]
    headings = (words["stage"], words["when"], *(words[name] for name in FIGURES), words["minutes"])
    rows = [row for stage, record in found.items() for row in stage_rows(stage, record, words)]
    last = [*found.values()][-1]
    told = words["whole"].format(
        minutes=sum(record["total_seconds"] for record in found.values()) / 60,
        processor=processor_of(last),
        precision=last["precision"],
        threads=last["device"]["threads"],
        seed=last["recipe"]["seed"],
    )
    return [*table(headings, rows, "llr"), "", told]


def answers(words: dict[str, str]) -> list[str]:
    """Return what each stage that writes answers to the same questions, beside what the base says."""
    found = {
        stage: record for stage in STAGES if (record := read(stage)) is not None and "answers" in record.get("details", {})
    }
    said: dict[str, dict[str, str]] = {}
    for stage, record in found.items():
        for row in record["details"]["answers"]:
            of_prompt = said.setdefault(question(row["prompt"]), {words["right"]: row["reference"]})
            of_prompt |= {f"`align/{stage}`": row["answer"]} | ({"`smollm2-135m`": row["before"]} if stage == "sft" else {})
    columns = ["`smollm2-135m`", *(f"`align/{stage}`" for stage in found), words["right"]]
    whole = {asked: row for asked, row in said.items() if set(columns) <= set(row)}
    if not whole:
        return [words["pending"]]
    rows = [[asked, *(cell(row[column]) for column in columns)] for asked, row in [*whole.items()][:SHOWN_ROWS]]
    return table((words["asked"], *columns), rows)


def question(prompt: str) -> str:
    """Return what the user said last, as the template of the base writes it."""
    return cell(prompt.rpartition("<|im_start|>user\n")[2].partition("<|im_end|>")[0])


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def smoke(folder: Path) -> None:
    """A base, and the four stages from it with next to nothing to do."""
    corpus, base = folder / "corpus.jsonl", folder / "base"
    write_corpus(corpus)
    run_recipe(parse_recipe(recipe_values(corpus, base, max_steps=2)))
    few = [
        "max_steps=2",
        "max_train_rows=16",
        "dataset.limit=200",
        "warmup_steps=1",
        "logging_steps=1",
        "eval_steps=2",
        "save_steps=2",
    ]
    sizes = ["bf16=false", "report_to=none", f"model_name_or_path={base}"]
    for stage in STAGES:
        shown = ["shown_rows=8"] if stage != "reward" else []
        answers = ["max_test_rows=8", "per_device_train_batch_size=8"] if stage in ("grpo", "rloo") else []
        train(stage, [*few, *sizes, *shown, *answers], folder / "runs")


PAGES = {"en": ROOT / "docs" / "lineage.md", "zh": ROOT / "docs" / "lineage_zh.md"}
SECTIONS = [
    Section(path, name, partial(make, WORDS[language]))
    for language, path in PAGES.items()
    for name, make in (("alignment", page), ("alignment-answers", answers))
]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="STAGE")


def run(options: argparse.Namespace) -> None:
    for stage in options.names or STAGES:
        is_needed = any(stage in STAGES[other].values() and read(other) is None for other in STAGES)
        if read(stage) is None or (is_needed and not (RUNS / stage / "record.json").is_file()):
            train(stage, [], RUNS)
