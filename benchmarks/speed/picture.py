"""The picture of speed: validation loss against minutes, each line with its name beside it."""

from operator import itemgetter
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from hf_gpt.reports.plots import label_beside

from ..frame import processor_of


# What each system is called beside its line, and the colour of both.
NAMES = {
    "ours": "hf-gpt",
    "stock": "run_clm.py, GPT-2",
    "expert": "the same, tuned",
    "nanogpt": "nanoGPT",
    "gpt2-groups": "GPT-2, our rates",
    "qwen3": "Qwen3, tuned",
    "qwen3-groups": "Qwen3, our rates",
    "nanochat": "nanochat",
}
COLORS = {
    "ours": "#1f4e79",
    "stock": "#b5651d",
    "expert": "#c9a227",
    "nanogpt": "#2e7d32",
    "gpt2-groups": "#7b3294",
    "qwen3": "#d7301f",
    "qwen3-groups": "#636363",
    "nanochat": "#1b9e77",
}
MINUTES = (0.25, 0.5, 1, 2, 5, 10, 20, 60)


def draw_speed(runs: list[dict[str, Any]], picture: Path) -> None:
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    ends: dict[str, tuple[float, float]] = {}
    styles = dict(zip(sorted({processor_of(run) for run in runs}), ("-", "--", ":", "-.")))
    for run in runs:
        minutes, losses = zip(*((row["seconds"] / 60, row["loss"]) for row in run["history"]))
        color, style = COLORS[run["system"]], styles[processor_of(run)]
        axes.plot(minutes, losses, color=color, linestyle=style, linewidth=1, marker="o", markersize=2.5)
        axes.plot(minutes[-1], losses[-1], "o", color=color, markersize=6)
        # A line is named at the run that went furthest.
        end = (minutes[-1], losses[-1])
        ends[run["system"]] = min(ends.get(run["system"], end), end, key=itemgetter(1))
    axes.set(xscale="log", xlabel="minutes of training, compiling included", ylabel="validation loss, nats per token")
    axes.xaxis.set_major_locator(FixedLocator(MINUTES))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)
    if len(styles) > 1:
        for processor, style in styles.items():
            axes.plot([], [], color="black", linestyle=style, linewidth=1, label=processor)
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    label_beside(axes, [(*end, NAMES[system], COLORS[system]) for system, end in ends.items()])
    temporary = picture.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=130)
    temporary.replace(picture)
