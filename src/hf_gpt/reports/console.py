"""What the commands print: a run at its end, for each kind of record; runs side by side; a plan; findings."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from rich import markup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import counted, one_line, visible
from ..presets import PUBLISHED_FLOPS, PUBLISHED_TOKENS
from .records import overfitting_line


class VisibleConsole(Console):
    """A console that obeys markup, and no controls in the texts that it is given: a name in a record is somebody's."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)


def console_of(file: IO[str] | None, width: int = 100) -> Console:
    """Return what prints into a file, or where a person reads: in a notebook, rich shows there what is meant for a file, too."""
    return VisibleConsole(file=file, width=width, emoji=False, force_jupyter=None if file is None else False)


def escape(text: str) -> str:
    """Return a text for one line or one cell, without markup."""
    return markup.escape(one_line(text))


def print_record(record: dict[str, Any], folder: Path, file: IO[str] | None = None) -> None:
    """The scores beside the baselines, the samples, and the lines that load the model."""
    console = console_of(file)
    table = Table(
        title=f"{escape(record['name'])}: {record['parameters']:,} parameters, {counted(record['tokens_seen'], 'tokens')} seen"
    )
    for heading in ("on the test split", "loss (nats per token)", "perplexity", "bits per byte"):
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
        prompt, more = (markup.escape(part) for part in (sample["prompt"], sample["text"][len(sample["prompt"]) :]))
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
    console = console_of(file)
    test = record["test"]
    lines = [
        f"{one_line(record['name'])}: {record['parameters']:,} parameters, {counted(record['tokens_seen'], 'tokens')} seen",
        f"given all other tokens: loss {test['loss']:.3f} nats per token, bits per byte {test['bits_per_byte']:.3f} (compare it with "
        "masked models only)",
        *(["What it fills in:"] if record["samples"] else []),
        *(one_line(f"{sample['prompt']} -> {sample['text']}") for sample in record["samples"]),
        f"Trained in {record['training_seconds']:.0f} s, {record['total_seconds']:.0f} s in all. {folder} is a complete repository; "
        f"{folder}/README.md, its card, tells how to load it.",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def print_task_record(record: dict[str, Any], folder: Path, file: IO[str] | None = None) -> None:
    """The figures of a task beside baselines, and what was trained."""
    console = console_of(file)
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
    console = console_of(file, 120)
    table = Table(title=escape(title), title_justify="left")
    for heading in ("check", "result", "what to do"):
        table.add_column(heading, no_wrap=heading == "result")
    for finding in findings:
        table.add_row(escape(finding.check), finding.result, escape(finding.advice))
    console.print(table)
    failed = sum(finding.result == "failed" for finding in findings)
    console.print(
        f"{failed} of {counted(len(findings), 'checks')} failed" if failed else "sound: no check failed", highlight=False
    )


def print_comparison(records: list[dict[str, Any]]) -> None:
    """Print records of kind `train` side by side."""
    console = console_of(None)
    table = Table()
    headings = ("run", "parameters", "tokens seen", "minutes", "tokens/s", "test loss", "bits per byte")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for record in records:
        minutes = record["training_seconds"] / 60
        speed = record["tokens_seen"] / record["training_seconds"]
        counts = (f"{record['parameters']:,}", f"{record['tokens_seen']:,}", f"{minutes:.1f}", f"{speed:,.0f}")
        table.add_row(
            escape(record["name"]), *counts, f"{record['test']['loss']:.3f}", f"{record['test']['bits_per_byte']:.3f}"
        )
    console.print(table)
    for note in incomparable(records):
        console.print(note, markup=False, highlight=False)


def incomparable(records: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for each reason why the figures of runs say nothing about each other."""

    def scored(record: dict[str, Any]) -> dict[str, Any]:
        return dict(record["data"].get("splits", {}).get("test", {}))

    # An earlier version did not describe those of a folder.
    have_files = all("files" in record["data"] for record in records)

    def text(record: dict[str, Any]) -> tuple[Any, ...]:
        data, split = record["data"], scored(record)
        files = tuple(file["sha256"] for file in data["files"]) if have_files else ()
        return (data["path"], data.get("version"), data.get("sha256"), files, split.get("texts"), split.get("bytes"))

    notes = []
    if len(set(map(text, records))) > 1:
        notes.append(
            "These runs were scored on different texts: neither their losses nor their bits per byte can be compared."
        )
    elif len({(record["config"].get("vocab_size"), scored(record).get("tokens")) for record in records}) > 1:
        notes.append("These runs have different tokenizers: their losses per token cannot be compared; compare bits per byte.")
    return notes


def print_plan(name: str, planned: dict, device: str, minutes: float | None) -> None:
    """The figures of a plan, each with where it comes from.

    Args:
        minutes: The time budget of the run.
    """
    console = console_of(None, 120)
    counts, flops, tokens, times, given = (
        planned[key] for key in ("parameters", "flops_per_token", "tokens", "time", "given")
    )
    parts = ", ".join(f"{part} {count:,}" for part, count in counts.items() if part != "total" and count)
    active = planned["active_parameters"]
    lines = [
        f"{name}: {counts['total']:,} parameters ({parts}){f', {active:,} of them active' if active else ''}",
        f"FLOPs per token, at {counted(given['length'], 'tokens')} a row: {flops['total']:.4g} = 6 N {flops['matrices']:.4g} "
        f"+ 12 L H Q T {flops['attention']:.4g} (PaLM, appendix B; N without tables that are only looked up) [{flops['source']}]",
        f"  a kernel that skips masked pairs saves {flops['masked']:.3g}; checkpointing does {flops['recomputed']:.3g} twice",
        f"tokens: {tokens['planned']:.4g}; compute-optimal {tokens['optimal']:.4g} (Hoffmann et al. 2022, table 3) "
        f"[{tokens['source']}]",
        f"training FLOPs: {planned['training_flops']:.4g} [{flops['source']}]",
    ]
    if name in PUBLISHED_FLOPS:
        own = flops["six_n"] * PUBLISHED_TOKENS
        lines.append(
            f"  at {PUBLISHED_TOKENS:.0e} tokens and 6 for each parameter {own:.3g}; Brown et al. 2020, table D.1: "
            f"{PUBLISHED_FLOPS[name]:.3g} [published]"
        )
    lines.append(
        f"time on {given['devices']:,} x {device} ({planned['device']['source']}) at MFU {given['mfu']:.2f}: {times['hours']:,.4g} h, "
        f"{counted(times['device_hours'], 'device-hours', ',.4g')}, {times['tokens_per_second']:,.0f} tokens/s [{times['source']}]"
    )
    if times["parts"]:
        budget = "" if minutes is None else f"max_minutes={minutes:g}, {counted(times['steps'], 'steps fit')}: "
        spent = ", ".join(f"{name} {seconds:,.3g} s" for name, seconds in times["parts"].items())
        lines.append(f"  {budget}{spent}; the preparation of data and the final scores come on top")
    lines += [f"  {note}" for note in times["notes"]]
    lines.append("cost: give --price" if times["cost"] is None else f"cost: {times['cost']:,.2f} [extrapolated]")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    for checkpointing, kept in ((False, "all activations kept"), (True, "checkpointing, inputs of blocks kept")):
        rows = [row for row in planned["strategies"] if row["checkpointing"] == checkpointing]
        title = (
            f"GiB of one device of {planned['device']['memory'] / 2**30:.0f}, {kept}: {given['rows']} x "
            f"{counted(given['length'], 'tokens')}, {given['optimizer']} ({planned['memory_source']})"
        )
        console.print(title, highlight=False, soft_wrap=True)
        table = Table()
        table.add_column("")
        for row in rows:
            table.add_column(row["strategy"], justify="right")
        for part in rows[0]["memory"]:
            table.add_row(part, *(f"{row['memory'][part] / 2**30:,.3g}" for row in rows))
        table.add_row("total", *(f"{row['total'] / 2**30:,.4g}" for row in rows))
        table.add_row("fits", *("yes" if row["fits"] else "no" for row in rows))
        table.add_row("largest batch", *(f"{row['largest_batch']:,}" for row in rows))
        if rows[0]["communication_seconds"] is not None:
            table.add_row("communication, s a step", *(f"{row['communication_seconds']:.2g}" for row in rows))
        console.print(table)
    console.print(
        f"A plan fills 0.9 of a device. Whole logits would take {planned['whole_logits'] / 2**30:.3g} GiB. A step computes for "
        f"{times['compute_seconds_a_step']:.3g} s; communication is at the rate between devices of a node, and slower between nodes.",
        highlight=False,
        soft_wrap=True,
    )


PRINTERS: dict[str, Callable[..., None]] = {
    "train": print_record,
    "train-masked": print_masked_record,
    "finetune": print_task_record,
}
