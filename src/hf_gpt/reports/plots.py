"""Pictures of a run, drawn from the numbers in its record."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ..checks.places import PICTURE_METADATA, check_picture, replacing
from ..errors import visible
from .fonts import drawable, families_for, make_readable


# Of a text that somebody else has written: a dollar sign in it begins no formula.
PLAIN: dict[str, Any] = {"parse_math": False}


def plot_run(record: dict[str, Any], path: Path) -> None:
    """Loss on training and validation text, learning rate and tokens/s against the tokens seen, as a PNG; of a mixture of experts also
    how evenly they are used.

    Args:
        record: A record of kind `train`.
        path: Where the picture goes; written under another name first.
    """
    history = record["history"]
    training = [row for row in history if "loss" in row]
    validation = [row for row in history if "eval_loss" in row]
    uses = [row for row in training if row.get("expert_use")]
    figure = Figure(figsize=(8, 9.5 if uses else 8), layout="constrained")
    loss, rate, *between, speed = figure.subplots(
        4 if uses else 3, 1, sharex=True, height_ratios=[3, 1, 1, 1][: 4 if uses else 3]
    )
    for axis in between:
        _plot_experts(axis, uses)

    _plot(loss, _series(training, "loss"), color="#9bb7d4", label="training")
    _plot(loss, _series(validation, "eval_loss"), **VALIDATION)
    _plot(loss, ([record["tokens_seen"]], [record["test"]["loss"]]), **TEST)
    loss.set_ylabel("loss (nats per token)")

    _plot(rate, _series(training, "learning_rate"), color="#1f4e79")
    rate.set_ylabel("learning rate")

    _plot(speed, _series(training, "tokens_per_second"), color="#1f4e79")
    speed.set_ylabel("tokens/s")
    speed.set_ylim(bottom=0)
    unit, word = (1e6, "millions") if record["tokens_seen"] >= 1e6 else (1e3, "thousands")
    speed.set_xlabel(f"training tokens seen ({word})")
    speed.xaxis.set_major_formatter(lambda value, _: f"{value / unit:g}")

    _finish(figure, record["name"])
    _mark_values(
        loss, [(baseline["loss"], f"{baseline['name']}\n{baseline['loss']:.2f} (test)") for baseline in record["baselines"]]
    )
    _save(figure, path)


def _plot_experts(axis: Any, rows: list[dict[str, Any]]) -> None:
    """Draw the tokens of the most and of the least used expert of each layer, where 1 is an equal share."""
    tokens = [row["tokens"] for row in rows]
    for number in range(min(len(row["expert_use"]) for row in rows)):
        uses = [row["expert_use"][number] for row in rows]
        label = "experts, from the least to the most used of each layer" if number == 0 else None
        axis.fill_between(
            tokens, [min(use) for use in uses], [max(use) for use in uses], color="#7f9f4f", alpha=0.25, label=label
        )
    axis.axhline(1, color="#2e7d32", linewidth=1)
    axis.set_ylabel("tokens of an expert\n(1 is equal)")
    axis.set_ylim(bottom=0)


VALIDATION: dict[str, Any] = {"color": "#1f4e79", "marker": "o", "markersize": 3, "label": "validation"}
TEST: dict[str, Any] = {"color": "#2e7d32", "marker": "*", "markersize": 11, "linestyle": "none", "label": "test"}


def _plot(axis: Any, series: tuple[list[Any], list[Any]], **style: Any) -> None:
    """Draw a series that has a point; one that has no more is a dot, as a line it would not be seen."""
    if series[0]:
        axis.plot(*series, **{**({"marker": "o", "markersize": 3} if len(series[0]) == 1 else {}), **style})


def _finish(figure: Figure, title: str | None = None) -> None:
    """Give every axis its grid, and the figure its title and a legend beside the axes, where it lies on no curve."""
    if title is not None:
        figure.suptitle(title, **PLAIN)
    handles: dict[str, Any] = {}
    for axis in figure.axes:
        axis.grid(alpha=0.3)
        handles |= {label: handle for handle, label in zip(*axis.get_legend_handles_labels()) if label not in handles}
    if handles:
        legend = figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=min(len(handles), 3))
        for text in legend.get_texts():
            text.set_parse_math(False)


# Of a class on a confusion matrix: letters of its name, and classes whose cells have room for a number.
LONGEST_LABEL, MOST_NUMBERS = 24, 15
# Of the height of a line of text, what two labels are apart.
LABEL_SIZE, LABEL_GAP = 8, 1.35


def _mark_values(axis: Any, values: list[tuple[float, str]]) -> None:
    """Draw a dashed line at each value, and what it is beside the axis."""
    for value, _ in values:
        axis.axhline(value, color="#b5651d", linestyle="--", linewidth=1)
    label_beside(axis, [(None, value, label, "#b5651d") for value, label in values])


def label_beside(axis: Any, points: list[tuple[float | None, float, str, str]]) -> None:
    """Write beside the axis what is at each point, with a line to it: there it lies on no curve, and on no other label.

    Args:
        points: x, or `None` for what ends at the axis; y; the label, and the colour of the line that leads to it.
    """
    if not points:
        # The layout below is half of what a picture costs.
        return
    make_readable(axis.figure)
    axis.figure.draw_without_rendering()
    low, high = axis.get_ylim()
    axis.set_ylim(low, high)
    line = LABEL_GAP * LABEL_SIZE / 72 * axis.figure.dpi / axis.get_window_extent().height
    lowest = 0.0
    for x, value, label, color in sorted(points, key=lambda point: point[1]):
        half = line * (1 + label.count("\n")) / 2
        center = max((value - low) / (high - low), lowest + half)
        lowest = center + half
        axis.annotate(
            label,
            (1, value) if x is None else (x, value),
            xytext=(1.02, center),
            xycoords=("axes fraction", "data") if x is None else "data",
            textcoords="axes fraction",
            va="center",
            fontsize=LABEL_SIZE,
            color="black" if x is None else color,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
            **PLAIN,
        )


def plot_comparison(records: list[dict[str, Any]], path: Path) -> None:
    """Validation loss of several runs against training tokens and against training time, as a PNG.

    Against time stand only those whose machine, and number of threads, is the first one's.

    Args:
        records: Records of kind `train`; runs of one name are told apart by their order.
        path: Where the picture goes; written under another name first.
    """
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    names = [record["name"] for record in records]
    are_alike = [_is_paced_alike(record, records[0]) for record in records]
    for index, record in enumerate(records):
        name = names[index] if names.count(names[index]) == 1 else f"{names[index]} ({index + 1})"
        rows = [row for row in record["history"] if "eval_loss" in row]
        for axis, key, unit in ((axes[0], "tokens", 1e6), (axes[1], "elapsed_seconds", 60)):
            xs, losses = _series(rows, "eval_loss", key)
            if axis is axes[1] and not are_alike[index]:
                continue
            _plot(axis, ([x / unit for x in xs], losses), marker="o", markersize=3, label=name, color=f"C{index}")
    axes[0].set_xlabel("training tokens seen (millions)")
    axes[1].set_xlabel(f"training time (minutes){'' if all(are_alike) else ', on the first one of their machines'}")
    axes[0].set_ylabel("validation loss (nats per token)")
    _finish(figure)
    _save(figure, path)


# Of a record's device: what minutes depend on.
PACE = ("accelerator", "accelerators", "processor", "threads", "instructions")


def _is_paced_alike(record: dict[str, Any], other: dict[str, Any]) -> bool:
    ours, theirs = record.get("device", {}), other.get("device", {})
    return all(ours.get(name) == theirs.get(name) for name in PACE if name in ours and name in theirs)


def _save(figure: Figure, path: Path) -> None:
    # A command that takes a name for it has checked before its work; of a run's folder, the manifest knows what is the run's.
    check_picture(path, "the picture", replaces_any=True)
    make_readable(figure)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata=PICTURE_METADATA)


def _series(rows: list[dict[str, Any]], key: str, against: str = "tokens") -> tuple[list[float], list[float]]:
    kept = [row for row in rows if row.get(key) is not None and row.get(against) is not None]
    return [row[against] for row in kept], [row[key] for row in kept]


# Figures of answers that are drawn in training, too.
DRAWN = ("reward", "kl")


def plot_task(record: dict[str, Any], path: Path) -> None:
    """Loss and the task's first figure on the validation split by step, with the test figure and the baselines', as a PNG; of
    reinforcement the reward and how far it has led, without a loss; of a classifier, the confusion matrix of the test split below.

    Args:
        record: A record of kind `finetune`.
        path: Where the picture goes; written under another name first.
    """
    history = record["history"]
    scored = [name for name in record["test"] if name != "loss" and any(f"eval_{name}" in row for row in history)]
    drawn = [name for name in scored if name in DRAWN]
    names = drawn or ["loss", *scored[:1]]
    matrix = record.get("details", {}).get("confusion", {})
    size = 2.5 + 0.3 * len(matrix["labels"]) if matrix else 0.0
    shares = [(1 + 3 * len(names)) / len(names)] * len(names) + [size] * bool(matrix)
    figure = Figure(figsize=(8, sum(shares)), layout="constrained")
    grid = figure.add_gridspec(len(shares), 1, height_ratios=shares)
    axes = [figure.add_subplot(grid[0])]
    axes += [figure.add_subplot(grid[place], sharex=axes[0]) for place in range(1, len(names))]
    for axis in axes[:-1]:
        axis.tick_params(labelbottom=False)
    for axis, name in zip(axes, names):
        _plot(axis, _by_step(history, name) if name in ("loss", *DRAWN) else ([], []), color="#9bb7d4", label="training")
        _plot(axis, _by_step(history, f"eval_{name}"), **VALIDATION)
        if name in record["test"]:
            _plot(axis, ([record["steps"]], [record["test"][name]]), **TEST)
        axis.set_ylabel(name, **PLAIN)
    axes[-1].set_xlabel("step")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(figure, record["name"])
    for axis, name in zip(axes, names):
        scored = [baseline for baseline in record["baselines"] if name in baseline and name != "loss"]
        _mark_values(axis, [(baseline[name], f"{baseline['name']}\n{baseline[name]:.3g} (test)") for baseline in scored])
    if matrix:
        _confusion(figure.add_subplot(grid[-1]), matrix["labels"], matrix["counts"])
    _save(figure, path)


def plot_learning_curve(curve: dict[str, Any], path: Path) -> None:
    """Draw a score on the test split against the number of labelled rows, with the baselines on the most of them, as a PNG.

    Args:
        curve: `name`, `figure`, `points` with `rows` and `score`, `baselines` with `name` and `score`.
        path: Where the picture goes; written under another name first.
    """
    figure = Figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    points = curve["points"]
    _plot(axis, ([point["rows"] for point in points], [point["score"] for point in points]), **TEST | {"linestyle": "-"})
    axis.set_xscale("log")
    axis.set_xlabel("labelled rows")
    axis.set_ylabel(curve["figure"], **PLAIN)
    _finish(figure, curve["name"])
    _mark_values(axis, [(row["score"], f"{row['name']}\n{row['score']:.3g} (most rows)") for row in curve["baselines"]])
    _save(figure, path)


def _confusion(axis: Any, labels: list[str], counts: list[list[int]]) -> None:
    """Draw how often each class was taken for each: shaded by the share of its row, with the number in each cell."""
    shown = [visible(label) if len(label) <= LONGEST_LABEL else f"{visible(label[: LONGEST_LABEL - 1])}…" for label in labels]
    shares = np.zeros((len(labels), len(labels)))
    for row, cells in enumerate(counts[: len(labels)]):
        kept = cells[: len(labels)]
        shares[row, : len(kept)] = np.asarray(kept) / max(sum(kept), 1)
        for column, count in enumerate(kept if len(labels) <= MOST_NUMBERS else []):
            color = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, f"{count:,}", ha="center", va="center", fontsize=LABEL_SIZE, color=color)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(
        range(len(labels)), shown, rotation=45 if len(labels) > 3 else 0, ha="right" if len(labels) > 3 else "center"
    )
    axis.set_yticks(range(len(labels)), shown)
    for text in (*axis.get_xticklabels(), *axis.get_yticklabels()):
        text.set_parse_math(False)
    axis.set_xlabel("what the model says (test split)")
    axis.set_ylabel("what it is")


def _by_step(rows: list[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    kept = [row for row in rows if row.get(key) is not None]
    return [row["step"] for row in kept], [row[key] for row in kept]


# Tokens on one map: more could not be read.
WINDOW = 20


def attention_figure(pieces: list[str], weights: Any, layer: int, head: int, chosen: int) -> Figure:
    """Return every map small, the chosen one framed; beside it that map large, up to the chosen token, whose row is marked.

    Args:
        pieces: The tokens as they are to be read.
        weights: Of shape `(layers, heads, length, length)`; row i has the weights of token i.
        layer, head: From 0.
        chosen: Index of the last token on the large map.
    """
    layers, heads = weights.shape[:2]
    first = max(0, chosen + 1 - WINDOW)
    window = slice(first, chosen + 1)
    # A page shows it some 650 pixels wide: larger, its labels would be too small to be read there.
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=[1, 1.8])
    overview, large = parts
    # Most weights are small: the root of a weight is drawn, so that they are seen.
    norm = PowerNorm(0.5, vmin=0, vmax=1)
    drawn: dict[str, Any] = {"cmap": "Blues", "norm": norm, "interpolation": "nearest"}
    grid = overview.subplots(layers, heads, squeeze=False)
    for (row, column), axis in np.ndenumerate(grid):
        axis.imshow(weights[row, column][window, window], aspect="auto", **drawn)
        axis.set(xticks=[], yticks=[])
        is_chosen = (row, column) == (layer, head)
        for side in axis.spines.values():
            side.set(color="#d9480f" if is_chosen else "#bbbbbb", linewidth=2.5 if is_chosen else 0.6)
    for row in range(layers):
        grid[row, 0].set_ylabel(f"{row + 1}", rotation=0, ha="right", va="center", fontsize=8)
    for column in range(heads):
        grid[0, column].set_title(f"{column + 1}", fontsize=8)
    overview.suptitle("every layer (down) and head (across)", fontsize=10)

    axis = large.subplots()
    image = axis.imshow(weights[layer, head][window, window], aspect="auto", **drawn)
    count = chosen + 1 - first
    readable = [shortened(drawable(piece)) for piece in pieces[window]]
    # A token may hold a dollar sign, which would begin a formula.
    labels = {"labels": readable, "fontfamily": families_for(*readable), "fontsize": 9, "parse_math": False}
    axis.set_xticks(range(count), rotation=90, **labels)
    for label in axis.get_xticklabels():
        # A letter of Chinese on its side is not read.
        label.set_rotation(0 if len(label.get_text()) == 1 else 90)
    axis.set_yticks(range(count), **labels)
    axis.tick_params(length=0)
    axis.set_xlabel("is looked at")
    axis.set_ylabel("looks")
    axis.add_patch(Rectangle((-0.5, count - 1.5), count, 1, fill=False, edgecolor="#d9480f", linewidth=1.5))
    part = f", tokens {first + 1} to {chosen + 1} of {len(pieces)}" if count < len(pieces) else ""
    large.suptitle(f"layer {layer + 1}, head {head + 1}{part}", fontsize=10)
    large.colorbar(image, ax=axis, label="weight", ticks=[0, 0.01, 0.1, 0.3, 0.6, 1])
    return figure


# Letters of a token beside a map.
LONGEST_LABEL = 11


def shortened(piece: str) -> str:
    return piece if len(piece) <= LONGEST_LABEL else f"{piece[: LONGEST_LABEL - 1]}…"


def plot_plan(planned: dict[str, Any], path: Path) -> None:
    """Memory of a device by part for each strategy, with and without checkpointing, against what the device holds, as a PNG.

    Args:
        planned: What `hf_gpt.planning.plan` returns.
        path: Where the picture goes; written under another name first.
    """
    rows = planned["strategies"]
    names = [f"{row['strategy']}\n{'checkpointed' if row['checkpointing'] else 'all kept'}" for row in rows]
    figure = Figure(figsize=(2.5 + 1.3 * len(rows), 6), layout="constrained")
    axis = figure.subplots()
    below = [0.0] * len(rows)
    for index, part in enumerate(rows[0]["memory"]):
        sizes = [row["memory"][part] / 2**30 for row in rows]
        axis.bar(names, sizes, bottom=below, label=part, color=f"C{index}")
        below = [base + size for base, size in zip(below, sizes)]
    memory = planned["device"]["memory"] / 2**30
    axis.axhline(memory, color="black", linestyle="--", linewidth=1)
    axis.annotate(f"the device: {memory:.0f} GiB", (0.01, memory), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)
    # What does not fit is cut off: beside it, what fits would be too low to be seen.
    top = min(2.5 * memory, 1.1 * max(*below, memory))
    axis.set_ylim(0, top)
    for place, total in enumerate(below):
        axis.annotate(f"{total:,.3g}", (place, min(total, 0.97 * top)), ha="center", va="bottom", fontsize=8)
    axis.set_ylabel("GiB of one device")
    axis.tick_params(axis="x", labelsize=7)
    axis.legend(fontsize=8)
    _save(figure, path)


def plot_scaling(record: dict[str, Any], path: Path) -> None:
    """Loss against training FLOPs of one recipe at several sizes, with the fitted curve, as a PNG.

    Args:
        record: A record of kind `scaling`.
        path: Where the picture goes; written under another name first.
    """
    figure = Figure(figsize=(7, 5), layout="constrained")
    axis = figure.subplots()
    points, fit = record["points"], record["fit"]
    compute = [point["flops"] for point in points]
    axis.plot(compute, [point["loss"] for point in points], "o", color="#1f4e79", label="trained here")
    steps = [compute[0] * (10 * compute[-1] / compute[0]) ** (i / 60) for i in range(61)]
    curve = [fit["floor"] + fit["scale"] * (step / fit["unit"]) ** -fit["exponent"] for step in steps]
    inside = sum(step <= compute[-1] for step in steps) + 1
    axis.plot(steps[:inside], curve[:inside], color="#2e7d32", label="fit")
    axis.plot(steps[inside - 1 :], curve[inside - 1 :], color="#2e7d32", linestyle=":", label="extrapolated")
    for point in points:
        label = f"{point['parameters'] / 1e6:.2f}M"
        # The curve falls from the left: a label above it is to the right, and one below it to the left.
        is_above = point["loss"] > fit["floor"] + fit["scale"] * (point["flops"] / fit["unit"]) ** -fit["exponent"]
        offset, side = ((7, 5), "left") if is_above else ((-7, -11), "right")
        axis.annotate(label, (point["flops"], point["loss"]), textcoords="offset points", xytext=offset, ha=side, fontsize=8)
    axis.set_xscale("log")
    axis.margins(x=0.1)
    axis.set_xlabel("training FLOPs")
    axis.set_ylabel("loss on the test split (nats per token)")
    axis.grid(alpha=0.3)
    axis.legend()
    _save(figure, path)
