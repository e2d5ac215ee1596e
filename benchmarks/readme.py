"""The tables of models in README.md and README_zh.md, from the records in model_cards/."""

import json
from functools import partial
from itertools import pairwise
from typing import Any

from .frame import ROOT, Section, processor_of, table


WORDS: dict[str, dict[str, Any]] = {
    "README.md": {
        "head": ("on the test split", "training", "tokens seen", "loss (nats per token)", "perplexity", "bits per byte"),
        "own": "**{name}**, {parameters:.1f}M parameters, {precision}",
        "minutes": "{minutes:.1f} min",
        "foot": "One run each, seed {seed}: {records}.",
        "machine": "[{name}, {precision}]({place}) on {cores} cores of an {processor}{instructions}{compiled}",
        "instructions": " kept to {} instructions",
        "compiled": ", compiled",
        "crossing": "The validation loss of **{name}** in {precision} passes the trigram's loss between minute {before:.1f} and minute "
        "{after:.1f}.",
        "not crossing": "In {minutes:.1f} minutes, the validation loss of **{name}** in {precision} does not pass the trigram's.",
    },
    "README_zh.md": {
        "head": ("测试集上", "训练时间", "已见词元", "损失（奈特/词元）", "困惑度", "比特/字节"),
        "own": "**{name}**，{parameters:.1f}M 参数，{precision}",
        "minutes": "{minutes:.1f} 分钟",
        "foot": "各运行一次，种子 {seed}：{records}。",
        "machine": "[{name}，{precision}]({place})：{processor} 的 {cores} 个核{instructions}{compiled}",
        "instructions": "（只用 {} 指令）",
        "compiled": "，已编译",
        "crossing": "**{name}**（{precision}）的验证损失在第 {before:.1f} 到第 {after:.1f} 分钟之间低于三元模型的损失。",
        "not crossing": "**{name}**（{precision}）训练 {minutes:.1f} 分钟，验证损失没有低于三元模型的损失。",
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

    def row(name: str, time: str, tokens: str, score: dict[str, Any]) -> list[str]:
        return [name, time, tokens, f"{score['loss']:.3f}", f"{score['perplexity']:.1f}", f"{score['bits_per_byte']:.3f}"]

    first = found[0][1]
    for baseline in first["baselines"]:
        seen = f"{first['data']['splits']['train']['tokens'] / 1e6:.2f}M"
        rows.append(row(baseline["name"], f"{baseline['seconds']:.0f} s", seen, baseline))
    for _, record in found:
        own = words["own"].format(**{**record, "parameters": record["parameters"] / 1e6})
        minutes = words["minutes"].format(minutes=record["training_seconds"] / 60)
        rows.append(row(own, minutes, f"{record['tokens_seen'] / 1e6:.2f}M", record["test"]))
    foot = words["foot"].format(
        seed=first["recipe"]["seed"], records="; ".join(machine(place, record, words) for place, record in found)
    )
    return [*table(words["head"], rows, "lr"), "", foot, *crossings(found, words)]


def machine(place: str, record: dict[str, Any], words: dict[str, str]) -> str:
    """Return where a run was made, linked to its record."""
    device = record["device"]
    instructions = words["instructions"].format(device["instructions"]) if record["precision"] == "float32" else ""
    return words["machine"].format(
        name=record["name"],
        precision=record["precision"],
        place=place,
        cores=device["cores"],
        processor=processor_of(record),
        instructions=instructions,
        compiled=words["compiled"] if record["compiled"] else "",
    )


def crossings(found: list[tuple[str, dict[str, Any]]], words: dict[str, str]) -> list[str]:
    """Return a sentence for each run: between which two evaluations it got below its best n-gram baseline, or that it did not."""
    sentences = []
    for _, record in found:
        best = min(baseline["loss"] for baseline in record["baselines"])
        evaluations = [
            (0.0, float("inf")),
            *((row["elapsed_seconds"], row["eval_loss"]) for row in record["history"] if "eval_loss" in row),
        ]
        sentence = words["not crossing"].format(**{**record, "minutes": record["training_seconds"] / 60})
        for (before, _), (after, loss) in pairwise(evaluations):
            if loss < best:
                sentence = words["crossing"].format(**{**record, "before": before / 60, "after": after / 60})
                break
        sentences.append(sentence)
    return sentences


SECTIONS = [Section(ROOT / file, "results", partial(results_table, file)) for file in WORDS]
