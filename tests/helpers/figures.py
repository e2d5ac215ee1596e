"""What a picture shows, beside that there is one."""

from matplotlib.figure import Figure
from matplotlib.image import imread


def watch_figures(monkeypatch):
    """Every figure that is saved from now on, as it was saved."""
    drawn, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda figure, *a, **k: drawn.append(figure) or save(figure, *a, **k))
    return drawn


def lines_of(axis):
    """The points of each line that the legend names."""
    return {line.get_label(): line.get_xydata().tolist() for line in axis.lines}


def size_of(path):
    """Width and height in pixels; a file that is no whole picture cannot be read."""
    height, width, _ = imread(path).shape
    return width, height
