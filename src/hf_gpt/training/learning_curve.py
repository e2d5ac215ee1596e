"""A learning curve: the same recipe on ever more labelled rows, each a run of its own, and a picture of the scores."""

from pathlib import Path
from typing import Any

from ..checks.places import writing
from ..errors import InputError, counted
from ..recipe.arguments import Recipe
from ..recipe.identity import recipe_identity
from ..recipe.parser import parse_recipe
from ..reports.plots import plot_learning_curve
from ..reports.records import read_record, write_json
from ..reports.terminal import notice
from ..run_folder.manifest import read_manifest
from ..tasks import TASKS
from .run import run


CURVE_FILE, CURVE_PICTURE = "learning_curve.json", "learning_curve.png"


def run_curve(recipe: Recipe) -> dict[str, Any]:
    """Train on each number of rows of `learning_curve` into a folder below `output_dir`, and draw the scores on the test split.

    Runs that are finished are read and not run again, so that the command can be repeated, with more numbers too.

    Returns:
        The name of the figure, `points` with rows and score, and the baselines on the most rows.

    Raises:
        InputError: a recipe without a task; or see `run`.
    """
    if recipe.task.task not in TASKS:
        raise InputError("learning_curve is for labelled rows: the recipe has no task.")
    figure = TASKS[recipe.task.task].figure[0]
    values = {key: value for key, value in recipe.values.items() if key not in ("learning_curve", "max_train_rows")}
    points, record = [], {}
    for rows in sorted(set(recipe.task.learning_curve or [])):
        folder = recipe.output_dir / f"rows-{rows}"
        part = parse_recipe({**values, "max_train_rows": rows, "output_dir": str(folder)})
        record = read_record(folder) if is_finished(part) else run(part)
        points.append({"rows": record["data"]["splits"]["train"], "score": record["test"][figure]})
        notice(f"{counted(points[-1]['rows'], 'rows')}: {figure} {points[-1]['score']:.4g}")
    baselines = [{"name": row["name"], "score": row[figure]} for row in record["baselines"] if figure in row]
    curve = {"name": recipe.output_dir.name, "figure": figure, "points": points, "baselines": baselines}
    with writing(recipe.output_dir):
        write_json(recipe.output_dir / CURVE_FILE, curve)
        plot_learning_curve(curve, Path(recipe.output_dir / CURVE_PICTURE))
    return curve


def is_finished(recipe: Recipe) -> bool:
    """Return whether the folder of a recipe holds its finished run."""
    manifest = read_manifest(recipe.output_dir)
    return manifest is not None and manifest.stage == "finished" and manifest.recipe == recipe_identity(recipe.values)
