"""The tables of models in README.md and README_zh.md, from the records in model_cards/."""

import json
from functools import partial
from itertools import pairwise
from typing import Any

from .frame import ROOT, Section, processor_of, table


WORDS: dict[str, dict[str, Any]] = {
    "README.md": {
        "head": (
            "on the test split",
            "training",
            "tokens seen",
            "loss (nats per token)",
            "perplexity",
            "bits per byte",
            "passes the 3-gram at",
        ),
        "own": "[**{name}**]({place}), {parameters:.1f}M parameters, {precision}, {cores} cores of an {processor}{instructions}",
        "minutes": "{minutes:.1f} min",
        "foot": "One run each, seed {seed}; each name links to its record.",
        "instructions": " kept to {}",
        "crossing": "{before:.1f} to {after:.1f} min",
        "not crossing": "not yet",
    },
    "README_zh.md": {
        "head": ("测试集上", "训练时间", "已见词元", "损失（奈特/词元）", "困惑度", "比特/字节", "超过三元模型"),
        "own": "[**{name}**]({place})，{parameters:.1f}M 参数，{precision}，{processor} 的 {cores} 个核{instructions}",
        "minutes": "{minutes:.1f} 分钟",
        "foot": "各运行一次，种子 {seed}；名称链接到运行记录。",
        "instructions": "（只用 {}）",
        "crossing": "第 {before:.1f} 到 {after:.1f} 分钟",
        "not crossing": "尚未",
    },
}


def records() -> list[tuple[str, dict[str, Any]]]:
    """Place and record of each model that a recipe of `recipes/pretrain` made, the shortest run first.

    A recipe that was run on several kinds of processor has a folder below its own for each but the first.
    """
    found = []
    for path in (ROOT / "model_cards").rglob("record.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["kind"] == "train" and record["baselines"]:
            # Called as its recipe is, whatever the folder was called that it was written to.
            name = path.relative_to(ROOT / "model_cards").parts[0]
            found.append((path.relative_to(ROOT).as_posix(), {**record, "name": name}))
    # Budgets of minutes end within seconds of each other: then by what was learned.
    return sorted(found, key=lambda pair: (round(pair[1]["training_seconds"] / 60), pair[1]["test"]["loss"]))


def results_table(file: str) -> list[str]:
    """Return the table of a README, in that README's language."""
    words = WORDS[file]
    found = records()
    if not found:
        return []
    rows = []

    def row(name: str, time: str, tokens: str, score: dict[str, Any], crossing: str) -> list[str]:
        figures = [f"{score['loss']:.3f}", f"{score['perplexity']:.1f}", f"{score['bits_per_byte']:.3f}"]
        return [name, time, tokens, *figures, crossing]

    first = found[0][1]
    for baseline in first["baselines"]:
        seen = f"{first['data']['splits']['train']['tokens'] / 1e6:.2f}M"
        rows.append(row(baseline["name"], f"{baseline['seconds']:.0f} s", seen, baseline, ""))
    for place, record in found:
        instructions = record["device"]["instructions"] if record["precision"] == "float32" else ""
        own = words["own"].format(
            name=record["name"],
            place=place,
            parameters=record["parameters"] / 1e6,
            precision=record["precision"],
            cores=record["device"]["cores"],
            processor=processor_of(record),
            instructions=words["instructions"].format(instructions) if instructions else "",
        )
        minutes = words["minutes"].format(minutes=record["training_seconds"] / 60)
        rows.append(row(own, minutes, f"{record['tokens_seen'] / 1e6:.2f}M", record["test"], crossing(record, words)))
    return [*table(words["head"], rows, "lr"), "", words["foot"].format(seed=first["recipe"]["seed"])]


def crossing(record: dict[str, Any], words: dict[str, str]) -> str:
    """Return between which two evaluations a run got below its best n-gram baseline, or that it did not."""
    best = min(baseline["loss"] for baseline in record["baselines"])
    evaluations = [
        (0.0, float("inf")),
        *((row["elapsed_seconds"], row["eval_loss"]) for row in record["history"] if "eval_loss" in row),
    ]
    for (before, _), (after, loss) in pairwise(evaluations):
        if loss < best:
            return words["crossing"].format(before=before / 60, after=after / 60)
    return words["not crossing"]


SECTIONS = [Section(ROOT / file, "results", partial(results_table, file)) for file in WORDS]
