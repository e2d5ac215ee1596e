"""Renders the model card of a run: every figure in it comes from the run's record."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .arguments import resource_folder
from .records import read_record


def language_model_results(record: dict[str, Any]) -> list[EvalResult]:
    """The results of a run of kind `train`."""
    return [
        _result(record, "text-generation", "Language modelling", metric, label, record["test"][metric])
        for metric, label in (
            ("loss", "Test loss (nats a token)"),
            ("perplexity", "Test perplexity"),
            ("bits_per_byte", "Test bits per byte"),
        )
    ]


def task_results(record: dict[str, Any]) -> list[EvalResult]:
    """The results of a run of kind `finetune`."""
    return [
        _result(record, PIPELINES[record["task"]], record["task"], metric, f"Test {metric}", value)
        for metric, value in record["test"].items()
    ]


def _result(record: dict[str, Any], task_type: str, task: str, metric: str, label: str, value: float) -> EvalResult:
    dataset = record["data"]["path"]
    return EvalResult(
        task_type=task_type,
        task_name=task,
        dataset_type=dataset,
        dataset_name=f"{dataset}, held-out split",
        metric_type=metric,
        metric_name=label,
        metric_value=round(value, 4),
    )


# The task of the Hub that a task of ours belongs to.
PIPELINES = {
    "text-classification": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "multiple-choice": "multiple-choice",
    "text-to-text": "text-generation",
    "chat": "text-generation",
    "preference": "text-generation",
}
# What each kind of record is shown by: its template, and how its results are read.
KINDS: dict[str, tuple[str, Callable[[dict[str, Any]], list[EvalResult]]]] = {
    "train": ("TEMPLATE.md", language_model_results),
    "finetune": ("TASK_TEMPLATE.md", task_results),
}


def card_data(record: dict[str, Any]) -> ModelCardData:
    """The metadata block of the card: licence, language, base, and the measured results as the Hub's model index."""
    is_adapter = record.get("adapter") is not None
    return ModelCardData(
        language="en" if record["data"]["path"] == "movie-reviews" else None,
        license="apache-2.0",
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag=PIPELINES[record["task"]] if record["kind"] == "finetune" else "text-generation",
        base_model=record.get("base"),
        tags=["hf-gpt"] if is_adapter else ["hf-gpt", "custom_code"],
        model_name=record["name"],
        eval_results=KINDS[record["kind"]][1](record),
    )


def render_card(record: dict[str, Any]) -> str:
    """The text of the card.

    Args:
        record: A record of a kind of `KINDS`.

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
    template = environment.get_template(KINDS[record["kind"]][0])
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
