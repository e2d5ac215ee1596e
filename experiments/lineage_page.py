"""Tables and pictures of docs/lineage.md and docs/lineage_zh.md, from the records of experiments/lineage.py that are there."""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.frame import ROOT, Section, find_record, find_records, spread, table
from matplotlib.figure import Figure

from hf_gpt.reports.plots import plot_comparison


PAGES = {"en": ROOT / "docs" / "lineage.md", "zh": ROOT / "docs" / "lineage_zh.md"}
GENERATIONS_PICTURE, LABELS_PICTURE = "lineage-generations.png", "lineage-labels.png"

GENERATIONS = ("gpt1", "gpt2", "gpt3", "modern", "oss")
# A mixture of experts is as large as the others by what is active, or by all that it has.
OSS_IN_ALL = "oss-equal-size"
NAMES = {
    "nnlm": "NNLM, 2003",
    "gpt1": "GPT-1, 2018",
    "gpt2": "GPT-2, 2019",
    "gpt3": "GPT-3, 2020",
    "modern": "modern",
    "oss": "gpt-oss, 2025, 5.3M active",
    OSS_IN_ALL: "gpt-oss, 2025, 4.1M active",
}
LABELS = (16, 64, 256, 1024, 4096, None)
# With few labels, which ones were drawn matters more than anything else.
SEEDS = {16: (0, 1, 2), 64: (0, 1, 2), 256: (0, 1, 2)}
STARTS = {"pretrained": [], "random": ["random_weights=true"]}
# A causal model's last token has seen the whole text, a masked model's tokens all have: each is classified both ways.
CLASSIFIERS = [(f"classify-{base}-{pooling}", base, pooling) for base in ("modern", "mlm") for pooling in ("last", "mean")]
SMOOTHINGS = ("maximum_likelihood", "add_k", "kneser_ney")

WORDS = {
    "en": {
        "order": "n",
        "maximum_likelihood": "maximum likelihood: test tokens of probability 0",
        "add_k": "add-k, bits per byte",
        "kneser_ney": "Kneser-Ney, bits per byte",
        "same": "on {tokens:.2f}M tokens",
        "all": "on all {tokens:.2f}M tokens",
        "seconds": "processor seconds for Kneser-Ney",
        "system": "model",
        "parameters": "parameters",
        "tokens": "tokens seen",
        "loss": "test loss (nats per token)",
        "bits": "bits per byte",
        "minutes": "minutes of training",
        "speed": "tokens/s",
        "memory": "peak memory, GiB",
        "objective": "pretrained as",
        "pooling": "what the classifier reads",
        "accuracy": "accuracy",
        "modern": "causal",
        "mlm": "masked",
        "last": "last token",
        "mean": "mean of all tokens",
        "labels": "labels",
        "pretrained": "pretrained",
        "random": "from scratch",
        "baseline": "TF-IDF of words and pairs + logistic regression",
        "all labels": "all",
        "curves": "Validation loss of each model against tokens and against time",
        "label curves": "Accuracy by number of labels, pretrained and from scratch",
        "threads": "Threads: {threads}; processor: {processor}; one run each, seed 0.",
        "whole": "The {runs} runs of networks took {minutes:.0f} minutes in sum, on two cores that other work shared.",
        "none": "No record yet; `make lineage` writes it.",
        "missing": " No record yet of {}.",
        "between": "; ",
    },
    "zh": {
        "order": "n",
        "maximum_likelihood": "最大似然：概率为 0 的测试词元",
        "add_k": "加 k 平滑，每字节比特",
        "kneser_ney": "Kneser-Ney，每字节比特",
        "same": "{tokens:.2f}M 词元",
        "all": "全部 {tokens:.2f}M 词元",
        "seconds": "Kneser-Ney 的处理器秒数",
        "system": "模型",
        "parameters": "参数量",
        "tokens": "见过的词元",
        "loss": "测试损失（nat/词元）",
        "bits": "每字节比特",
        "minutes": "训练分钟数",
        "speed": "每秒词元数",
        "memory": "峰值内存（GiB）",
        "objective": "预训练方式",
        "pooling": "分类器读取",
        "accuracy": "准确率",
        "modern": "因果",
        "mlm": "掩码",
        "last": "最后一个词元",
        "mean": "全部词元的平均",
        "labels": "标注数",
        "pretrained": "预训练",
        "random": "随机权重",
        "baseline": "词与词对的 TF-IDF + 逻辑回归",
        "all labels": "全部",
        "curves": "各模型的验证损失，按词元数和按时间",
        "label curves": "准确率随标注数的变化：预训练与随机权重",
        "threads": "线程数：{threads}；处理器：{processor}；各一次运行，种子 0。",
        "whole": "{runs} 次网络训练合计用了 {minutes:.0f} 分钟，两个核心，同时还有别的工作。",
        "none": "尚无记录；`make lineage` 会写出。",
        "missing": "还没有记录的：{}。",
        "between": "；",
    },
}


def read(name: str) -> dict[str, Any] | None:
    return find_record(f"lineage/{name}")


def read_all(names: list[str]) -> dict[str, dict[str, Any]]:
    """Return the records of those that were run."""
    found = {name: read(name) for name in names}
    return {name: record for name, record in found.items() if record is not None}


def label_name(labels: int | None, start: str, seed: int) -> str:
    return f"labels-{labels or 'all'}-{start}-{seed}"


# The run that is last in the picture of labels, and without which there is none.
WHOLE = label_name(None, "pretrained", 0)


# ---------------------------------------------------------------------------------------------------------- sections


def whole(words: dict[str, str]) -> list[str]:
    """Return how long all of it took."""
    seconds = [record["total_seconds"] for record in find_records("lineage/*") if "total_seconds" in record]
    return [words["whole"].format(runs=len(seconds), minutes=sum(seconds) / 60)] if seconds else [words["none"]]


def ngrams(words: dict[str, str]) -> list[str]:
    """Of each corpus, a row for each order."""
    record = read("ngrams")
    if record is None:
        return [words["none"]]
    scores = {(row["corpus"], row["order"], row["smoothing"]): row for row in record["scores"]}
    lines: list[str] = []
    for corpus in ("same", "all"):
        title = words[corpus].format(tokens=scores[corpus, 1, "kneser_ney"]["train_tokens"] / 1e6)
        rows = []
        for order in range(1, 6):
            likelihood, add_k, kneser_ney = (scores[corpus, order, smoothing] for smoothing in SMOOTHINGS)
            figures = [f"{likelihood['unseen']:.1%}", f"{add_k['bits_per_byte']:.3f} (k={add_k['k']:g})"]
            rows.append(
                [str(order), *figures, f"**{kneser_ney['bits_per_byte']:.3f}**", f"{kneser_ney['processor_seconds']:.1f}"]
            )
        headings = [words["order"], *(words[smoothing] for smoothing in SMOOTHINGS), words["seconds"]]
        lines += [f"{title}:", "", *table(headings, rows, "lr"), ""]
    return lines[:-1]


def counted_rows() -> list[list[str]]:
    """Return what counting gives from as many tokens as the networks see, for the table of the networks."""
    record = read("ngrams")
    if record is None:
        return []
    kept = [row for row in record["scores"] if (row["corpus"], row["smoothing"]) == ("same", "kneser_ney")]
    best = min(kept, key=lambda row: row["loss"])
    figures = [f"{best['train_tokens'] / 1e6:.2f}M", f"{best['loss']:.3f}", f"**{best['bits_per_byte']:.3f}**"]
    return [[f"Kneser-Ney {best['order']}-gram", "", *figures, f"{best['processor_seconds'] / 60:.1f}", "", ""]]


def networks(words: dict[str, str], names: list[str]) -> list[str]:
    """Score, time and memory of each network."""
    records = read_all(names)
    if not records:
        return [words["none"]]
    rows = counted_rows()
    for name, record in records.items():
        row = [
            NAMES[name.removesuffix("-equal-time")],
            f"{record['parameters'] / 1e6:.2f}M",
            f"{record['tokens_seen'] / 1e6:.2f}M",
        ]
        row += [f"{record['test']['loss']:.3f}", f"**{record['test']['bits_per_byte']:.3f}**"]
        row += [f"{record['training_seconds'] / 60:.1f}", f"{record['tokens_seen'] / record['training_seconds']:,.0f}"]
        rows.append([*row, f"{record['peak_memory']['host_bytes'] / 2**30:.1f}"])
    headings = ("system", "parameters", "tokens", "loss", "bits", "minutes", "speed", "memory")
    absent = [NAMES[name.removesuffix("-equal-time")] for name in names if name not in records]
    foot = devices(words, records) + (words["missing"].format(words["between"].join(absent)) if absent else "")
    return [*table([words[heading] for heading in headings], rows, "lr"), "", foot]


def devices(words: dict[str, str], records: dict[str, dict[str, Any]]) -> str:
    """Return what the runs ran on: times are compared only where this is one thing."""
    threads = sorted({str(record["device"]["threads"]) for record in records.values()})
    processors = sorted({record["device"]["processor"] for record in records.values()})
    return words["threads"].format(threads=", ".join(threads), processor=", ".join(processors))


def generations(words: dict[str, str]) -> list[str]:
    names = ["nnlm", *GENERATIONS, OSS_IN_ALL]
    lines = networks(words, names)
    return [*lines, "", f"![{words['curves']}]({GENERATIONS_PICTURE})"] if len(read_all(names)) > 1 else lines


def equal_time(words: dict[str, str]) -> list[str]:
    return networks(words, [f"{name}-equal-time" for name in GENERATIONS])


def samples(words: dict[str, str]) -> list[str]:
    """Return how each continues the same prompt."""
    lines: list[str] = []
    for name, title in {"ngrams": "Kneser-Ney 5-gram", **NAMES}.items():
        record = read(name)
        if record is not None:
            sample = record["samples"][0]
            text = " ".join(sample["text"][len(sample["prompt"]) :].split())
            lines += [f"- {title}: **{sample['prompt']}** {text}"]
    return lines or [words["none"]]


def masked(words: dict[str, str]) -> list[str]:
    """Return the masked model's score beside its causal twin's time, and both as classifiers."""
    twins = read_all(["modern", "mlm"])
    lines: list[str] = []
    if "mlm" in twins:
        rows = []
        for name, record in twins.items():
            row = [words[name], f"{record['tokens_seen'] / 1e6:.2f}M", f"{record['test']['bits_per_byte']:.3f}"]
            rows.append([*row, f"{record['training_seconds'] / 60:.1f}", f"{record['peak_memory']['host_bytes'] / 2**30:.1f}"])
        headings = ("objective", "tokens", "bits", "minutes", "memory")
        lines += [*table([words[heading] for heading in headings], rows, "lr"), ""]
    classifiers = [(read(name), base, pooling) for name, base, pooling in CLASSIFIERS]
    rows = [
        [words[base], words[pooling], f"**{record['test']['accuracy']:.3f}**", f"{record['training_seconds'] / 60:.1f}"]
        for record, base, pooling in classifiers
        if record is not None
    ]
    if rows:
        lines += table([words[heading] for heading in ("objective", "pooling", "accuracy", "minutes")], rows, "llr")
    return lines or [words["none"]]


def accuracies(labels: int | None, start: str) -> list[float]:
    """Test accuracy of each seed that was run."""
    records = read_all([label_name(labels, start, seed) for seed in SEEDS.get(labels or 0, (0,))])
    return [record["test"]["accuracy"] for record in records.values()]


def baseline_accuracies(labels: int | None) -> list[float]:
    """The same of the stronger classical model, chosen on validation, on the same labels, from the records of the pretrained runs."""
    records = read_all([label_name(labels, "pretrained", seed) for seed in SEEDS.get(labels or 0, (0,))])
    rows = [
        row
        for record in records.values()
        for row in record["baselines"]
        if row["name"].startswith("TF-IDF with pairs of words")
    ]
    return [row["accuracy"] for row in rows]


def few_labels(words: dict[str, str]) -> list[str]:
    """Return a row for each number of labels; of several seeds the mean, with the lowest and the highest."""
    rows = []
    for labels in LABELS:
        found = [accuracies(labels, start) for start in STARTS] + [baseline_accuracies(labels)]
        if any(found[: len(STARTS)]):
            rows.append([str(labels or words["all labels"]), *(spread(values, 3, "–") for values in found)])
    if not rows:
        return [words["none"]]
    lines = table([words[heading] for heading in ("labels", *STARTS, "baseline")], rows, "lr")
    return [*lines, "", f"![{words['label curves']}]({LABELS_PICTURE})"] if read(WHOLE) else lines


MAKERS: dict[str, Callable[[dict[str, str]], list[str]]] = {
    "whole": whole,
    "ngrams": ngrams,
    "generations": generations,
    "equal-time": equal_time,
    "samples": samples,
    "masked": masked,
    "labels": few_labels,
}


# ---------------------------------------------------------------------------------------------------------- pictures


def draw(root: Path) -> None:
    records = read_all(["nnlm", *GENERATIONS])
    if len(records) > 1:
        named = [{**record, "name": NAMES[name]} for name, record in records.items()]
        plot_comparison(named, root / "docs" / GENERATIONS_PICTURE)
    whole = read(WHOLE)
    if whole is not None:
        draw_labels(whole, root / "docs" / LABELS_PICTURE)


def draw_labels(whole: dict[str, Any], picture: Path) -> None:
    """Accuracy against the number of labels, with each seed as a dot."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    everything = whole["data"]["splits"]["train"]
    words = WORDS["en"]
    lines: dict[str, Callable[[int | None], list[float]]] = {
        words["pretrained"]: lambda labels: accuracies(labels, "pretrained"),
        words["random"]: lambda labels: accuracies(labels, "random"),
        words["baseline"]: baseline_accuracies,
    }
    for index, (title, values_of) in enumerate(lines.items()):
        points = {labels or everything: values_of(labels) for labels in LABELS}
        points = {labels: values for labels, values in points.items() if values}
        axis.plot(list(points), [statistics.mean(values) for values in points.values()], color=f"C{index}", label=title)
        for labels, values in points.items():
            axis.plot([labels] * len(values), values, "o", markersize=3, color=f"C{index}")
    axis.set_xscale("log", base=4)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.set_xlabel("labelled sentences of Rotten Tomatoes")
    axis.set_ylabel("test accuracy")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(picture, dpi=120)


SECTIONS = [
    Section(page, name, partial(make, WORDS[language])) for language, page in PAGES.items() for name, make in MAKERS.items()
]
