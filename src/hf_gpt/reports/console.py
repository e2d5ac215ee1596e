"""What a run says of itself at its end, for each kind of record."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .records import overfitting_line


def print_record(record: dict[str, Any], folder: Path, file: IO[str] | None = None) -> None:
    """The scores beside the baselines, the samples, and the lines that load the model."""
    console = Console(file=file, width=100, emoji=False)
    table = Table(
        title=f"{escape(record['name'])}: {record['parameters']:,} parameters, {record['tokens_seen']:,} tokens seen"
    )
    for heading in ("on the test split", "loss (nats a token)", "perplexity", "bits per byte"):
        table.add_column(heading, justify="left" if heading.startswith("on") else "right")
    for name, result in [
        *((baseline["name"], baseline) for baseline in record["baselines"]),
        ("this GPT", record["test"]),
    ]:
        table.add_row(escape(name), f"{result['loss']:.3f}", f"{result['perplexity']:.1f}", f"{result['bits_per_byte']:.3f}")
    console.print(table)
    if line := overfitting_line(record):
        console.print(f"{line}\n", highlight=False, markup=False)
    if record["samples"]:
        how = " (in bold)" if console.is_terminal else ""
        console.print(f"What it writes after each prompt{how}, one draw each:\n", highlight=False)
    for sample in record["samples"]:
        prompt, more = escape(sample["prompt"]), escape(sample["text"][len(sample["prompt"]) :])
        console.print(f"[bold]{prompt}[/bold]{more}", highlight=False)
        console.print()
    console.print(
        f"""Trained in {record["training_seconds"]:.0f} s, {record["total_seconds"]:.0f} s in all. {folder} is a complete repository \
(card: {folder}/README.md, picture: {folder}/loss.png). It loads in three ways:

  import hf_gpt; from transformers import AutoModelForCausalLM; model = AutoModelForCausalLM.from_pretrained("{folder}")
  import hf_gpt; from transformers import pipeline; generate = pipeline("text-generation", "{folder}")
  from transformers import AutoModelForCausalLM; AutoModelForCausalLM.from_pretrained("{folder}", trust_remote_code=True)
""",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def print_masked_record(record: dict[str, Any], folder: Path, file: IO[str] | None = None) -> None:
    """The score, which has nothing of another kind beside it, and what was filled in."""
    console = Console(file=file, width=100, emoji=False)
    test = record["test"]
    lines = [
        f"{record['name']}: {record['parameters']:,} parameters, {record['tokens_seen']:,} tokens seen",
        f"given all other tokens: loss {test['loss']:.3f} nats a token, bits per byte {test['bits_per_byte']:.3f} (compare it with "
        "masked models only)",
        *(["What it fills in:"] if record["samples"] else []),
        *(f"{sample['prompt']} -> {sample['text']}" for sample in record["samples"]),
        f"Trained in {record['training_seconds']:.0f} s, {record['total_seconds']:.0f} s in all. {folder} is a complete repository; "
        f"{folder}/README.md, its card, tells how to load it.",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def print_task_record(record: dict[str, Any], folder: Path, file: IO[str] | None = None) -> None:
    """The figures of a task beside what a user would pick instead, and what was trained."""
    console = Console(file=file, width=100, emoji=False)
    figures = list(record["test"])
    table = Table(
        title=f"{escape(record['name'])}: {record['trainable_parameters']:,} of {record['parameters']:,} parameters trained"
    )
    for heading in ("on the test split", *figures):
        table.add_column(escape(heading), justify="left" if heading.startswith("on") else "right")
    for name, row in [*((row["name"], row) for row in record["baselines"]), ("this model", record["test"])]:
        table.add_row(escape(name), *(f"{row[figure]:.4g}" if figure in row else "" for figure in figures))
    console.print(table)
    console.print(
        f"Trained in {record['training_seconds']:.0f} s, {record['total_seconds']:.0f} s in all. {folder} is a complete "
        f"{'adapter' if record['adapter'] else 'model'} repository; {folder}/README.md, its card, tells how to load it.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def print_findings(title: str, findings: Sequence[Any], file: IO[str] | None = None) -> None:
    """What each check of a model has found, and what to do about it."""
    console = Console(file=file, width=120, emoji=False)
    table = Table(title=escape(title), title_justify="left")
    for heading in ("check", "result", "what to do"):
        table.add_column(heading, no_wrap=heading == "result")
    for finding in findings:
        table.add_row(escape(finding.check), finding.result, escape(finding.advice))
    console.print(table)
    failed = sum(finding.result == "failed" for finding in findings)
    console.print(f"{failed} of {len(findings)} checks failed" if failed else "sound: no check failed", highlight=False)


PRINTERS: dict[str, Callable[..., None]] = {
    "train": print_record,
    "train-masked": print_masked_record,
    "finetune": print_task_record,
}

__all__ = ["PRINTERS", "print_findings", "print_masked_record", "print_record", "print_task_record"]
