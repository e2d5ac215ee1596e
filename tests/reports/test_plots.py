"""Pictures that are read at a glance: no label lies on a curve or on another label, and no entry of a legend is empty."""

import copy
import itertools
import json

import pytest
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from tests.conftest import ROOT

from hf_gpt.reports import plots


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
