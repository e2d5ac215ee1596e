"""Renders the model card of a run: every figure in it comes from the run's record."""

import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .arguments import resource_folder
from .records import RECORD_FILE, check_record, folder_hash, read_record, write_json


CARD_FILE = "README.md"
# Marks a repository on the Hub as made by this package.
OWN_TAG = "hf-gpt"


def card_data(record: dict[str, Any]) -> ModelCardData:
    """The metadata block of the card: licence, language, and the measured results as the Hub's model index."""
    dataset = record["data"]["path"]
    results = [
        EvalResult(
            task_type="text-generation",
            task_name="Language modelling",
            dataset_type=dataset,
            dataset_name=f"{dataset}, held-out split",
            metric_type=metric,
            metric_name=label,
            metric_value=round(record["test"][key], 4),
        )
        for metric, key, label in (
            ("loss", "loss", "Test loss (nats a token)"),
            ("perplexity", "perplexity", "Test perplexity"),
            ("bits_per_byte", "bits_per_byte", "Test bits per byte"),
        )
    ]
    # Only a dataset of the Hub has a revision in the record.
    is_on_the_hub = "revision" in record["data"]
    base = record["recipe"].get("model_name_or_path") or ""
    emissions = record.get("emissions")
    return ModelCardData(
        language="en" if dataset == "movie-reviews" else None,
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=base if "/" in base else None,
        datasets=[dataset] if is_on_the_hub else None,
        tags=[OWN_TAG] if "exported" in record else [OWN_TAG, "custom_code"],
        model_name=record["name"],
        eval_results=results,
        # The Hub's field is in grams.
        co2_eq_emissions={"emissions": 1000 * emissions["co2_kg"], "source": "codecarbon"} if emissions else None,
    )


def plain_card(repo_id: str, base: str | None) -> ModelCard:
    """A card for weights that nothing was measured on: it claims nothing.

    Args:
        repo_id: Where the card goes.
        base: The base model of an adapter.
    """
    kind = f"An adapter of {base}" if base else "A language model"
    data = ModelCardData(library_name="transformers", pipeline_tag="text-generation", tags=[OWN_TAG])
    return ModelCard(
        f"---\n{data.to_yaml()}\n---\n\n# {repo_id.split('/')[-1]}\n\n{kind}. No measurement of it was recorded.\n"
    )


@cache
def card_environment() -> Environment:
    """Where the template is read from; compiled once a process."""
    environment = Environment(
        loader=FileSystemLoader(resource_folder("model_cards")),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        # A card is Markdown: what a sample says is shown, not interpreted by us.
        autoescape=False,
    )
    # `int` rather than a format: it names the figure that is not there.
    environment.filters["thousands"] = lambda value: f"{int(value):,}"
    return environment


def render_card(record: dict[str, Any], repo_id: str | None = None) -> str:
    """The text of the card.

    Args:
        record: A record of kind `train`.
        repo_id: The name to load the model by, once it is known.

    Raises:
        InputError: the record holds a secret or a home folder.
        jinja2.UndefinedError: the template shows a figure that the record does not hold, and names it.
    """
    check_record(record)
    template = card_environment().get_template("TEMPLATE.md")
    place = repo_id or f"path/to/{record['name']}"
    return str(ModelCard(template.render(card_data=card_data(record), record=record, place=place)))


def write_card(folder: Path) -> Path:
    """Renders `README.md` of a run folder from its `record.json`.

    Raises:
        InputError: there is no record.
    """
    text = render_card(read_record(folder))
    path = folder / CARD_FILE
    temporary = folder / ".README.md.tmp"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
    return path


def write_export_record(run_folder: Path, out_dir: Path, layout: str) -> None:
    """Gives an exported run its record, picture and card: the figures are those of the run, whose logits it has.

    Args:
        run_folder: The run, with a `record.json`.
        out_dir: The folder that `export_checkpoint` wrote.
        layout: What it returned.
    """
    record = {**read_record(run_folder), "exported": {"layout": layout}, "model_sha256": folder_hash(out_dir)}
    if (run_folder / "loss.png").is_file():
        shutil.copyfile(run_folder / "loss.png", out_dir / "loss.png")
    write_json(out_dir / RECORD_FILE, record)
    write_card(out_dir)
