"""A learning curve: the same recipe on ever more labelled rows, each a run of its own, and a picture of the scores."""

from pathlib import Path
from typing import Any

from ..checks.places import writing
from ..data.rows import task_splits
from ..errors import InputError, counted, listed
from ..recipe.arguments import Recipe
from ..recipe.identity import recipe_identity
from ..recipe.parser import parse_recipe
from ..reports.plots import plot_learning_curve
from ..reports.records import folder_hash, read_record, write_json
from ..reports.terminal import notice
from ..run_folder.manifest import read_manifest
from ..tasks import TASKS
from .output_dir import check_output_folder, edited_file
from .run import run


CURVE_FILE, CURVE_PICTURE = "learning_curve.json", "learning_curve.png"


def run_curve(recipe: Recipe) -> dict[str, Any]:
    """Train on each number of rows of `learning_curve` into a folder below `output_dir`, and draw the scores on the test split.

    Runs that are finished are read and not run again, so that the command can be repeated, with more numbers too; `overwrite: true`
    runs all of them again.

    Returns:
        The name of the figure, `points` with rows and score, and the baselines on the most rows.

    Raises:
        InputError: no numbers, a finished run on other data; or see `run`.
    """
    if not recipe.task.learning_curve:
        raise InputError("learning_curve=[] has no number of rows: give some, such as [64, 256, 1024], or leave it out.")
    values = {key: value for key, value in recipe.values.items() if key not in ("learning_curve", "max_train_rows")}
    parts = [
        parse_recipe({**values, "max_train_rows": rows, "output_dir": str(recipe.output_dir / f"rows-{rows}")})
        for rows in numbers_of_rows(recipe)
    ]
    finished = [is_finished(part) for part in parts]
    # All are looked at before the first one is trained.
    for part, is_read in zip(parts, finished):
        if is_read:
            check_same_base(part)
        else:
            check_output_folder(part.output_dir, part)
    records = [read_record(part.output_dir) if is_read else run(part) for part, is_read in zip(parts, finished)]
    figure = figure_of(records, TASKS[recipe.task.task].figure[0])
    scored = [record for record in records if figure in record["test"]]
    points = [{"rows": record["data"]["splits"]["train"], "score": record["test"][figure]} for record in scored]
    for point in points:
        notice(f"{counted(point['rows'], 'rows')}: {figure} {point['score']:.4g}")
    baselines = [{"name": row["name"], "score": row[figure]} for row in records[-1]["baselines"] if figure in row]
    curve = {"name": recipe.output_dir.name, "figure": figure, "points": points, "baselines": baselines}
    with writing(recipe.output_dir):
        write_json(recipe.output_dir / CURVE_FILE, curve)
        plot_learning_curve(curve, Path(recipe.output_dir / CURVE_PICTURE))
    return curve


def numbers_of_rows(recipe: Recipe) -> list[int]:
    """Return the numbers of `learning_curve` in their order; of those that are more than there are, the number of rows once."""
    task, data = TASKS[recipe.task.task], recipe.data
    with recipe.training.main_process_first(desc="data"):
        splits, _, _ = task_splits(recipe.source, task.columns, task.group, data.validation_share, data.test_share)
    most, asked = len(splits["train"]), sorted(set(recipe.task.learning_curve or []))
    more = [rows for rows in asked if rows > most]
    if more:
        notice(f"learning_curve: the train split has {counted(most, 'rows')}, trained on once in place of {listed(more)}.")
    return sorted({min(rows, most) for rows in asked})


def is_finished(recipe: Recipe) -> bool:
    """Return whether the folder of a recipe holds its finished run, on the data that it names, which is not to be replaced."""
    manifest = read_manifest(recipe.output_dir)
    if manifest is None or manifest.stage != "finished" or recipe.run.overwrite:
        return False
    return manifest.recipe == recipe_identity(recipe.values) and edited_file(recipe, manifest.data) is None


def check_same_base(recipe: Recipe) -> None:
    """Raise `InputError` when a finished run began with other weights than those that the base has by now."""
    base, trained_on = Path(str(recipe.model.model_name_or_path)), read_record(recipe.output_dir).get("base_sha256")
    if trained_on is not None and base.is_dir() and folder_hash(base) != trained_on:
        raise InputError(
            f"output_dir={str(recipe.output_dir)!r} holds a finished run from other weights than {str(base)!r} has by now: train all "
            "points again with overwrite=true, or choose another folder."
        )


def figure_of(records: list[dict[str, Any]], wanted: str) -> str:
    """Return the figure that a task shows; where its labels have none such, as numbers have no accuracy, the first beside the loss."""
    found = [name for record in records for name in record["test"]]
    return wanted if wanted in found else next((name for name in found if name != "loss"), "loss")
