"""The end of a run: its picture, its record, its card and its push, each of which can be repeated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..checks.places import writing
from ..hub.push import check_repository, push
from ..recipe.arguments import RECIPE_FILE, Recipe
from ..recipe.identity import public_values
from ..reports.model_card import CARD_FILE, write_card
from ..reports.origin import check_publishable, unpublishable
from ..reports.privacy import check_public
from ..reports.record_fields import check_fields
from ..reports.records import RECORD_FILE, read_record, write_json
from ..reports.terminal import notice
from ..run_folder.checkpoints import lock
from ..run_folder.manifest import announce, note_written, read_manifest, write_manifest
from .job import inherited
from .output_dir import PICTURE_FILE, Found, wait_for_all


def check_publishing(recipe: Recipe) -> None:
    """Raise `InputError` before the work when the record that ends it, or a push that the recipe asks for, would be refused."""
    check_public(public_values(recipe), "the recipe")
    arguments = recipe.training
    if not arguments.push_to_hub:
        return
    # `Trainer` sends the folder as it is with each checkpoint, the recipe included.
    check_public(recipe.values, RECIPE_FILE)
    if arguments.process_index == 0:
        check_repository(recipe.output_dir, arguments.hub_model_id, bool(arguments.hub_private_repo))


def check_terms(recipe: Recipe) -> None:
    """Raise `InputError` before the work when the recipe asks for a push of what its data, or its base's, do not let out."""
    if recipe.training.push_to_hub:
        learned = [{"path": source.path} for source in (recipe.source, *(part for part, _ in recipe.source.mixture))]
        check_publishable(unpublishable({"data": {"mixture": learned}, **inherited(recipe)}), "push_to_hub=true: this run")


def publish(recipe: Recipe) -> None:
    """Where the recipe asks for a push: the record and its card in place of what `Trainer` pushed with the last checkpoint."""
    arguments = recipe.training
    if arguments.push_to_hub:
        pushed = push(recipe.output_dir, arguments.hub_model_id, bool(arguments.hub_private_repo), arguments.hub_revision)
        notice(f"Pushed to {pushed.repo_id}, commit {pushed.commit}.")


def finish(recipe: Recipe, record: dict[str, Any], plot: Callable[[dict[str, Any], Path], None]) -> None:
    """The picture, the record, the card and the push. A kill between two of them is made up for by the same command."""
    folder = recipe.output_dir
    with writing(folder):
        announce(folder, [PICTURE_FILE, RECORD_FILE, CARD_FILE])
        plot(record, folder / PICTURE_FILE)
        write_json(folder / RECORD_FILE, record)
        note_written(folder, "recorded")
        write_card(folder)
    publish(recipe)
    with writing(folder):
        note_written(folder, "finished")


def finish_again(recipe: Recipe, found: Found, plot: Callable[[dict[str, Any], Path], None]) -> dict[str, Any]:
    """Return what is missing after the record of a run that has been measured, made from that record."""
    folder = recipe.output_dir
    record = read_record(folder)
    check_fields(record, str(folder / RECORD_FILE))
    if recipe.training.process_index == 0:
        notice(f"The run in {folder} is trained and measured: making what its end still lacks.")
        with lock(folder), writing(folder):
            if read_manifest(folder) is None and found.manifest is not None:
                write_manifest(folder, found.manifest)
            finish(recipe, record, plot)
    wait_for_all(recipe)
    return record
