"""Pictures that are read at a glance: no label lies on a curve or on another label, and no entry of a legend is empty."""

import copy
import itertools
import json
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from benchmarks.frame import load_record
from benchmarks.speed.picture import COLORS, NAMES, draw_speed
from benchmarks.speed.ratios import read_runs
from benchmarks.speed.systems import SYSTEMS
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from tests.conftest import ROOT
from tests.helpers.figures import watch_figures

from hf_gpt.reports import fonts, plots


RUN = json.loads((ROOT / "model_cards" / "quickstart" / "record.json").read_text(encoding="utf-8"))
TASK = json.loads((ROOT / "model_cards" / "rotten-tomatoes" / "record.json").read_text(encoding="utf-8"))


def drawn(monkeypatch, plot, *arguments):
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    plot(*arguments, None)
    figures[0].draw_without_rendering()
    return figures[0]


def run_of(baselines, rows=None):
    record = copy.deepcopy(RUN)
    record["baselines"] = [{**RUN["baselines"][0], "name": name, "loss": loss} for name, loss in baselines.items()]
    if rows is not None:
        record["history"] = rows
    return record


def task_of(count):
    record = copy.deepcopy(TASK)
    name = next(name for name in record["test"] if name != "loss")
    record["baselines"] = [{"name": f"baseline {number}", name: 0.5 + number / 1000} for number in range(count)]
    return record


PICTURES = {
    "far from each other": (plots.plot_run, run_of({"unigram": 7.0, "Kneser-Ney 3-gram": 4.6})),
    "at one place": (plots.plot_run, run_of({"unigram": 5.0, "Kneser-Ney 3-gram": 5.01, "the same model before": 5.02})),
    "at the top": (plots.plot_run, run_of({"a": 30.0, "b": 29.9})),
    "a task": (plots.plot_task, task_of(6)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_labels_lie_on_no_curve_and_on_no_other_label(monkeypatch, name):
    plot, record = PICTURES[name]
    figure = drawn(monkeypatch, plot, record)
    axes = [axis.get_window_extent() for axis in figure.axes]
    # Without the line that leads to it.
    labels = [Text.get_window_extent(text) for axis in figure.axes for text in axis.texts]
    assert len(labels) == len(record["baselines"])
    around = [*figure.legends, *figure.texts, *(text for axis in figure.axes for text in (axis.xaxis.label, axis.yaxis.label))]
    boxes = [*labels, *(artist.get_window_extent() for artist in around if getattr(artist, "get_text", lambda: "legend")())]
    for box in boxes:
        assert not any(axis.overlaps(box) for axis in axes), "beside the axes, where there is no curve"
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    assert all(figure.bbox.y0 <= box.y0 and box.x1 <= figure.bbox.x1 for box in labels), "inside the picture"


def test_what_was_not_measured_is_in_no_legend(monkeypatch):
    rows = [row for row in RUN["history"] if "loss" in row]
    figure = drawn(monkeypatch, plots.plot_run, run_of({}, rows))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["training", "test"]


def test_a_single_row_is_seen(monkeypatch):
    figure = drawn(monkeypatch, plots.plot_run, run_of({}, RUN["history"][1:2]))
    assert all(line.get_marker() not in ("", "None", None) for line in figure.axes[0].lines)


def test_steps_are_whole(monkeypatch):
    record = copy.deepcopy(TASK)
    record["history"], record["steps"] = [{**row, "step": 1} for row in TASK["history"][:1]], 2
    figure = drawn(monkeypatch, plots.plot_task, record)
    axis = figure.axes[-1]
    assert isinstance(axis.xaxis.get_major_locator(), MaxNLocator)
    assert all(tick == int(tick) for tick in axis.get_xticks())


# ------------------------------------------------------------------------------------------- letters of every language


PIECES = ["春", "␣incomprehensibilities", "\U0001f600", "$x_1$", "␣and", *"不觉晓，处处闻啼鸟。夜来风雨", "\U000e0041"]


def test_a_map_is_drawn_without_a_warning_and_its_labels_are_apart():
    weights = np.full((2, 2, len(PIECES), len(PIECES)), 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.attention_figure(PIECES, weights, 1, 1, len(PIECES) - 1)
        figure.canvas.draw()
    axis = next(axis for axis in figure.axes if axis.get_xlabel() == "is looked at")
    for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) == len(PIECES)
        assert not any(one.shrunk(0.9, 0.9).overlaps(other.shrunk(0.9, 0.9)) for one, other in itertools.pairwise(boxes))
    assert [label.get_rotation() for label in axis.get_xticklabels()][:2] == [0, 90]


def test_labels_of_classes_with_orders_to_a_terminal_are_drawn_as_their_codes(tmp_path):
    record = copy.deepcopy(TASK)
    record["details"] = {"confusion": {"labels": ["a\x1b[31m", "b"], "counts": [[1, 0], [0, 1]]}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.plot_task(record, tmp_path / "picture.png")


def test_a_font_that_was_installed_later_is_found(monkeypatch):
    """By its letters, whatever it is called."""
    first = font_manager.findfont("DejaVu Sans")
    have = set(font_manager.get_font(first).get_charmap())
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "STIXGeneral.ttf"
    letter = chr(
        min(code for code in font_manager.get_font(path).get_charmap() if code not in have and chr(code).isprintable())
    )
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [entry for entry in manager.ttflist if entry.fname == first])
    for cached in (fonts.families, fonts.family_of):
        cached.cache_clear()
    monkeypatch.setattr(fonts, "findSystemFonts", list)
    assert fonts.drawable(f"a{letter}") == "a□"
    for cached in (fonts.families, fonts.family_of):
        cached.cache_clear()
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: [str(path)])
    assert fonts.drawable(f"a{letter}") == f"a{letter}"
    assert fonts.families_for(f"a{letter}")[1].startswith("STIX")
    for cached in (fonts.families, fonts.family_of):
        cached.cache_clear()


def test_names_of_any_language_are_drawn_without_a_warning(tmp_path):
    record = task_of(2)
    record["name"], record["baselines"][0]["name"] = "新闻", "总是 '体育' \U000e0041"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.plot_task(record, tmp_path / "loss.png")


# ------------------------------------------------------------------------------------------------ pictures of benchmarks


def test_lines_of_speed_are_named_beside_the_axis_in_minutes(monkeypatch, tmp_path):
    saved = watch_figures(monkeypatch)
    runs = read_runs("speed")
    draw_speed(runs, tmp_path / "speed.png")
    (axis,) = saved[0].axes
    assert axis.get_xlabel().startswith("minutes")
    assert {text.get_text() for text in axis.texts} == {NAMES[run["system"]] for run in runs}
    assert set(NAMES) == set(COLORS) == set(SYSTEMS)
    longest = max(row["seconds"] for run in runs for row in run["history"]) / 60
    assert max(line.get_xdata().max() for line in axis.lines if len(line.get_xdata())) == pytest.approx(longest)
    boxes = [Text.get_window_extent(text) for text in axis.texts]
    assert not any(box.overlaps(axis.get_window_extent()) for box in boxes)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_sizes_of_a_scaling_lie_on_no_curve(monkeypatch):
    figure = drawn(monkeypatch, plots.plot_scaling, load_record("scaling"))
    (axis,) = figure.axes
    curves = [axis.transData.transform(line.get_xydata()) for line in axis.lines if line.get_linestyle() != "None"]
    for text in axis.texts:
        box = text.get_window_extent()
        assert axis.get_window_extent().containsx(box.x0)
        for curve in curves:
            xs = np.linspace(box.x0, box.x1, 20)
            ys = np.interp(xs, curve[:, 0], curve[:, 1], left=np.inf, right=np.inf)
            assert not any(box.y0 < y < box.y1 for y in ys), text.get_text()


def test_names_of_bars_are_drawn_without_a_warning():
    figure = Figure()
    figure.subplots().barh(["神经 \U000e0041", "GPT"], [1, 2])
    fonts.make_readable(figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()


def test_reinforcement_shows_reward_and_distance_by_step(monkeypatch):
    record = copy.deepcopy(TASK)
    steps = [{"step": step, "loss": 0.0, "reward": step / 4, "kl": step / 100} for step in range(4)]
    record |= {"history": [*steps, {"step": 3, "eval_loss": 0.0, "eval_reward": 0.7, "eval_kl": 0.03}], "baselines": []}
    record["test"] = {"reward": 0.7, "kl": 0.03, "accuracy": 0.8}
    record.pop("details", None)
    figure = drawn(monkeypatch, plots.plot_task, record)
    assert [axis.get_ylabel() for axis in figure.axes] == ["reward", "kl"]
    for axis, name in zip(figure.axes, ("reward", "kl")):
        assert [*axis.lines[0].get_ydata()] == [row[name] for row in steps]
