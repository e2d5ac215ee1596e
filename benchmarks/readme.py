"""What the READMEs and the pages of a laptop show of records: what a run costs and gives, what it writes, and which scores lose."""

import json
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

from hf_gpt.tasks import TASKS

from . import frame
from .frame import ROOT, Section, processor_of, table


# By what the name of a page in that language ends in.
WORDS: dict[str, dict[str, Any]] = {
    "": {
        "head": {
            "name": "film reviews, test split",
            "minutes": "training",
            "tokens": "tokens seen",
            "loss": "loss (nats per token)",
            "perplexity": "perplexity",
            "bits_per_byte": "bits per byte",
            "crossing": "below the 3-gram",
        },
        "own": "[**{name}**]({place}), {parameters:.1f}M parameters, {precision}: {device}",
        "processor": "{cores} cores of an {processor}{instructions}",
        "accelerator": "one {}",
        "minutes": "{minutes:.1f} min",
        "instructions": " kept to {}, as most laptops are",
        "crossing": "after {before:.1f} to {after:.1f} min",
        "not crossing": "not yet",
        "foot": "One run each, seed {seed}; each name links to its record.",
        "sample": " What the first model writes after its training, and [on its way there]({samples}):",
        "no accelerator": " No run on a GPU has a record yet.",
        "winning": "Fine-tuned models on record that beat the best simple baseline (its score): {}.",
        "losing": "Those that do not: {}.",
        "of base": "from `{base}`, {scores}",
        "score": "`{name}` {value} ({best})",
        "lists": (", ", "; "),
    },
    "_zh": {
        "head": {
            "name": "影评，测试集",
            "minutes": "训练时间",
            "tokens": "已见词元",
            "loss": "损失（奈特/词元）",
            "perplexity": "困惑度",
            "bits_per_byte": "比特/字节",
            "crossing": "低于三元模型",
        },
        "own": "[**{name}**]({place})，{parameters:.1f}M 参数，{precision}：{device}",
        "processor": "{processor} 的 {cores} 个核{instructions}",
        "accelerator": "一块 {}",
        "minutes": "{minutes:.1f} 分钟",
        "instructions": "，只用 {}（多数笔记本如此）",
        "crossing": "第 {before:.1f} 到 {after:.1f} 分钟",
        "not crossing": "尚未",
        "foot": "各运行一次，种子 {seed}；名称链接到运行记录。",
        "sample": "第一个模型训练完写出的文字（[训练途中的样子]({samples})）：",
        "no accelerator": "还没有 GPU 上的记录。",
        "winning": "现有记录里，微调后胜过最好的简单基线的有：{}。",
        "losing": "没有胜过的有：{}。",
        "of base": "以 `{base}` 为基座，{scores}",
        "score": "`{name}` {value}（基线 {best}）",
        "lists": ("、", "；"),
    },
}
# What is left out of the README is on the page of a laptop.
SHOWN = {
    "README": ("name", "minutes", "loss", "bits_per_byte", "crossing"),
    "docs/laptop": ("name", "minutes", "tokens", "loss", "perplexity", "bits_per_byte", "crossing"),
}
# In names of records that are not what a recipe of its own makes.
BESIDE = ("-new-weights", "-few-shot", "-baselines", "-lora-", "-all-weights", "-fewer-rows")
# Figures of which the lower is the better one.
LOSSES = ("loss", "bits_per_byte", "perplexity")
SAMPLE_WORDS = 32


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


def costs(page: str, language: str) -> list[str]:
    """Return what each run costs and gives, beside n-gram models that counted all of the training text."""
    words, found, shown = WORDS[language], records(), SHOWN[page]
    if not found:
        return []
    first = found[0][1]
    baselines = first["baselines"] if page != "README" else [min(first["baselines"], key=lambda row: row["loss"])]
    rows = [of_baseline(baseline, first) for baseline in baselines]
    rows += [of_run("../" * page.count("/") + place, record, words) for place, record in found]
    foot = words["foot"].format(seed=first["recipe"]["seed"])
    if not any("accelerator" in record["device"] for _, record in found):
        foot += words["no accelerator"]
    told, *written = sample(*found[0], words) if page == "README" else [""]
    cells = [[row[key] for key in shown] for row in rows]
    return [*table([words["head"][key] for key in shown], cells, "lr"), "", foot + told, *written]


def scores(found: dict[str, Any]) -> dict[str, str]:
    return {
        "loss": f"{found['loss']:.3f}",
        "perplexity": f"{found['perplexity']:.1f}",
        "bits_per_byte": f"{found['bits_per_byte']:.3f}",
    }


def of_baseline(baseline: dict[str, Any], record: dict[str, Any]) -> dict[str, str]:
    tokens = f"{record['data']['splits']['train']['tokens'] / 1e6:.2f}M"
    seconds = f"{baseline['seconds']:.0f} s"
    return {"name": baseline["name"], "minutes": seconds, "tokens": tokens, "crossing": "", **scores(baseline)}


def of_run(place: str, record: dict[str, Any], words: dict[str, Any]) -> dict[str, str]:
    own = words["own"].format(
        name=record["name"],
        place=place,
        parameters=record["parameters"] / 1e6,
        precision=record["precision"],
        device=device_of(record, words),
    )
    minutes = words["minutes"].format(minutes=record["training_seconds"] / 60)
    tokens = f"{record['tokens_seen'] / 1e6:.2f}M"
    return {"name": own, "minutes": minutes, "tokens": tokens, "crossing": crossing(record, words), **scores(record["test"])}


def device_of(record: dict[str, Any], words: dict[str, Any]) -> str:
    device = record["device"]
    if "accelerator" in device:
        return words["accelerator"].format(device["accelerator"])
    instructions = words["instructions"].format(device["instructions"]) if record["precision"] == "float32" else ""
    return words["processor"].format(cores=device["cores"], processor=processor_of(record), instructions=instructions)


def crossing(record: dict[str, Any], words: dict[str, Any]) -> str:
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


def sample(place: str, record: dict[str, Any], words: dict[str, Any]) -> list[str]:
    """Return the beginning of the first text on a card, after a sentence about it."""
    if not record["samples"]:
        return [""]
    first = record["samples"][0]
    written = first["text"].removeprefix(first["prompt"]).split()
    more = " …" if len(written) > SAMPLE_WORDS else ""
    told = words["sample"].format(samples=place.replace("record.json", "samples.md"))
    return [told, "", f"> **{first['prompt']}** {' '.join(written[:SAMPLE_WORDS])}{more}"]


def fine_tuned() -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """Name, record and baselines of each fine-tuned recipe; baselines that were scored later have a record beside it."""
    for path in sorted(frame.RECORDS.glob("finetune*/*.json")):
        if not any(part in path.stem for part in BESIDE):
            name = f"{path.parent.name}/{path.stem}"
            record = frame.load_record(name)
            yield path.stem, record, (frame.find_record(f"{name}-baselines") or record).get("baselines", [])


def beside_baselines(language: str) -> list[str]:
    """Return the scores of fine-tuned models beside their best baselines, those that win first, by the base that they started from."""
    words = WORDS[language]
    comma, semicolon = words["lists"]
    found: dict[str, dict[str, list[str]]] = {"winning": {}, "losing": {}}
    for name, record, baselines in fine_tuned():
        figure, digits = TASKS[record["task"]].figure if record.get("task") in TASKS else ("", 0)
        others = [row[figure] for row in baselines if figure in row and figure not in LOSSES]
        if others:
            value, best = record["test"][figure], max(others)
            base = record["recipe"]["model_name_or_path"].removeprefix("runs/")
            row = words["score"].format(name=name, value=f"{value:.{digits}f}", best=f"{best:.{digits}f}")
            found["winning" if value > best else "losing"].setdefault(base, []).append(row)
    told = {
        kind: semicolon.join(
            words["of base"].format(base=base, scores=comma.join(rows)) for base, rows in sorted(by_base.items(), reverse=True)
        )
        for kind, by_base in found.items()
    }
    return [words[kind].format(scores) for kind, scores in told.items() if scores]


SECTIONS = [
    *(Section(ROOT / f"{page}{end}.md", "costs", partial(costs, page, end)) for page in SHOWN for end in WORDS),
    *(Section(ROOT / f"README{end}.md", "baselines", partial(beside_baselines, end)) for end in WORDS),
]
