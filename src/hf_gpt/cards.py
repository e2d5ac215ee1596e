"""Renders the model card of a run: every figure in it comes from the run's record."""

import os
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .arguments import resource_folder
from .records import read_record


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
    return ModelCardData(
        language="en" if dataset == "movie-reviews" else None,
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["hf-gpt", "custom_code"],
        model_name=record["name"],
        eval_results=results,
    )


def render_card(record: dict[str, Any]) -> str:
    """The text of the card.

    Args:
        record: A record of kind `train`.

    Raises:
        jinja2.UndefinedError: the template shows a figure that the record does not hold, and names it.
    """
    environment = Environment(
        loader=FileSystemLoader(resource_folder("model_cards")),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        # A card is Markdown: what a sample says is shown, not interpreted by us.
        autoescape=False,
    )
    # `int` rather than a format: it names the figure that is not there.
    environment.filters["thousands"] = lambda value: f"{int(value):,}"
    template = environment.get_template("TEMPLATE.md")
    return str(ModelCard(template.render(card_data=card_data(record), record=record)))


def write_card(folder: Path) -> Path:
    """Renders `README.md` of a run folder from its `record.json`.

    Raises:
        InputError: there is no record.
    """
    text = render_card(read_record(folder))
    path = folder / "README.md"
    temporary = folder / ".README.md.tmp"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
    return path
