"""benchmarks/RESULTS.md, its pictures and the tables of speed in the READMEs, all from the records."""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from . import goals
from .ablations import CHANGES
from .frame import ROOT, Section, find_record, find_records, processor_of, spread, table
from .optimizer_step import PRECISIONS
from .speed import pages
from .speed.picture import draw_speed
from .speed.ratios import read_runs


def of_ratio(found: dict[str, float]) -> str:
    return f"{found['median']:.2f}× ({found['low']:.2f} to {found['high']:.2f})"


def step_section(record: dict[str, Any]) -> list[str]:
    rows = []
    for row in record["rows"]:
        loss = "in slices" if row["fused_loss"] else "from logits"
        kind = f"{row['precision']}{', compiled' if row['compiled'] else ''}"
        rows.append([row["size"], kind, loss, of_ratio(row["forward"]["ratio"]), of_ratio(row["step"]["ratio"])])
    return [
        "## A step of our GPT-2 beside transformers'",
        "",
        "`python -m benchmarks step_time`: equal weights' shapes, batch 8 × 256, in turns; seconds of stock by seconds of ours, "
        "median and quartiles of the rounds. Goals: 1.1 eager, 1.0 compiled. A forward pass in both rows of a size is the same "
        "computation, so their difference is what this machine's noise comes to. Compiled, both models are the same "
        "matrix multiplications "
        "between fused kernels, which bounds the ratio. The loss from logits is the equal setting; in slices it may cost up to a "
        "tenth of the time for the memory that it saves (below).",
        "",
        *table(("size", "precision", "loss", "forward", "forward and backward"), rows, "lllr"),
        "",
    ]


def optimizer_section() -> list[str]:
    records = [record for name in PRECISIONS if (record := find_record(f"optimizer_step/{name}"))]
    if not records:
        return []
    rows = []
    for record in records:
        kind = f"{record['precision']}{', compiled' if record['compiled'] else ''}"
        seconds = [f"{statistics.median(record['seconds'][name]):.3f}" for name in ("pass", "optimizer")]
        share = record["share"]
        shares = f"{share['median']:.3f} ({share['low']:.3f} to {share['high']:.3f})"
        threads = record["device"]["threads"]
        on = f"{processor_of(record)}, {record['device']['instructions']}, {threads} thread{'s' * (threads > 1)}"
        rows.append([kind, on, *seconds, shares])
    return [
        "## The optimizer's step beside the pass",
        "",
        "`python -m benchmarks optimizer_step`: forward and backward of the quickstart, and the step of its Muon and AdamW; "
        f"{records[0]['parameters']:,} parameters, batch {records[0]['batch'][0]} × {records[0]['batch'][1]}, in turns, as a run on "
        "that processor makes them; medians, and the step by the pass with the quartiles of the rounds. Goal: 0.1 at most where "
        "bfloat16 would be emulated.",
        "",
        *table(("matrix multiplications", "on", "pass, s", "optimizer's step, s", "step by pass"), rows, "llr"),
        "",
    ]


def memory_section(record: dict[str, Any]) -> list[str]:
    rows = [[name, f"{row['step_bytes'] / 1e9:.2f}", f"{row['seconds']:.2f}"] for name, row in record["variants"].items()]
    return [
        "## Memory of the loss",
        "",
        f"`python -m benchmarks loss_memory`: vocabulary {record['vocabulary']:,}, batch {record['batch'][0]} × "
        f"{record['batch'][1]}, width 768, two layers, float32; each variant a process of its own, its largest resident size beyond "
        "that before the first step.",
        "",
        *table(("", "a step, GB", "seconds, best of three"), rows, "lr"),
        "",
        f"What the loss adds is {record['ratio_added']:.1f}× less (goal 5), the whole step {record['ratio_step']:.1f}× less (goal "
        f"1.7), at {record['ratio_seconds']:.2f}× the time (goal 1.1 at most).",
        "",
    ]


WRITERS = (
    "stock",
    "ours",
    "ours, no oneDNN",
    "stock, compiled",
    "ours, compiled",
    "ours, compiled, no oneDNN",
    "ours, int8, compiled",
    "nanoGPT",
    "llama.cpp",
)


def generation_rows(rows: list[dict[str, Any]], key: str, scale: float, last: tuple[str, str] | None) -> list[str]:
    """Return a figure of every writer, in every case; `last` is the title and the key of one more column."""
    made = []
    for row in rows:
        cells = [row["size"], row["dtype"], str(row["batch"])]
        cells += [f"{scale * row[key][name]:.0f}" if name in row[key] else "" for name in WRITERS]
        made.append([*cells, *([f"{row[last[1]]:.0f}"] if last else [])])
    return table(["size", "precision", "batch", *WRITERS, *([last[0]] if last else [])], made, "llr")


def read_generation() -> list[dict[str, Any]]:
    rows = find_records("generation/*")
    return sorted(rows, key=lambda row: (int(row["size"][:-1]), row["dtype"] != "float32", row["batch"]))


def generation_section() -> list[str]:
    rows = read_generation()
    if not rows:
        return []
    compared = [name for name in WRITERS if name != "stock"]
    ratios_made = []
    for row in rows:
        cells = [row["size"], row["dtype"], str(row["batch"])]
        cells += [of_ratio(row["ratio"][name]) if name in row["ratio"] else "" for name in compared]
        same = ("yes" if row["same_text"]["ours, compiled"] else "no") if row["dtype"] == "float32" else ""
        ratios_made.append([*cells, same])
    headings = ("size", "precision", "batch", *compared, "float32: the same text compiled")
    return [
        "## Generation",
        "",
        "`python -m benchmarks generation`: greedy, 16 tokens in, 128 out, in turns. Stock and ours are the same GPT-2 through "
        "`generate`, with the dynamic cache, or compiled with the static one; nanoGPT's loop has no cache. Weights of one type "
        "throughout, those of int8 with bfloat16 arithmetic. Tokens/s after the first token; the bound is what reading all "
        "weights once a step from main memory allows, and can be passed where they fit into the processor's cache:",
        "",
        *generation_rows(rows, "tokens_per_second", 1.0, ("bound", "bound_tokens_per_second")),
        "",
        "Milliseconds to the first token, the best of the rounds:",
        "",
        *generation_rows(rows, "seconds_to_first_token", 1000.0, None),
        "",
        "Seconds of stock by seconds of each, the whole call, median and quartiles of the rounds. Goals: ours 1.4, compiled 2 at "
        "15M; at 124M within 2× of the bound and of llama.cpp. Where the time goes, and what did not help: docs/LOG.md, 2026-11-26.",
        "",
        *table(headings, ratios_made, "ll" + "r" * (len(compared) + 1) + "l"),
        "",
    ]


def ablation_section() -> list[str]:
    found = {name: find_records(f"ablations/{name}-seed-*") for name in CHANGES}
    if not found["recipe"]:
        return []
    # What each run is compared with: the recipe with its seed, after as many steps.
    base = {(run["seed"], run["steps"]): run for runs in found.values() for run in runs if not run["changes"]}
    rows = []
    for name, change in CHANGES.items():
        runs = [run for run in found[name] if (run["seed"], run["steps"]) in base]
        if not runs:
            continue
        recipes = [base[run["seed"], run["steps"]] for run in runs]
        more = [run["loss"] - recipe["loss"] for run, recipe in zip(runs, recipes)]
        # A time says something beside one of the same machine alone, which is lent for hours.
        times = [
            run["seconds_after_compiling"] / recipe["seconds_after_compiling"]
            for run, recipe in zip(runs, recipes)
            if run["created"][:10] == recipe["created"][:10]
        ]
        cells = [change.title, str(runs[0]["steps"]), str(len(runs)), f"{runs[0]['parameters']:,}"]
        cells.append(spread([run["loss"] for run in runs], 3))
        rows.append(cells + ([spread(more, 3), f"{spread(times, 2)}×" if times else ""] if change.overrides else ["", ""]))
    headings = ("changed", "steps", "seeds", "parameters", "loss", "more than the recipe's")
    return [
        "## What each part is worth",
        "",
        f"`python -m benchmarks ablations`: the recipe for {found['recipe'][0]['steps']} steps, {found['recipe'][0]['tokens']:,} "
        "tokens, with one thing changed; the runs of a seed follow each other. Loss as above, mean and range over the seeds; the "
        "differences and the times are seed by seed, a time only beside one of the same day. Learning rates are 1.5 times "
        "the recipe's, the best in tries of this length, but for AdamW: a change that wants others shows worse here than it is."
        f"{'' if found['first-beta'] else f' {pages.BEFORE}'}",
        "",
        *table((*headings, "time beside the recipe's, without compiling"), rows, "lr"),
        "",
    ]


def data_section(record: dict[str, Any]) -> list[str]:
    waits = [run for run in read_runs("speed") if run["system"] == "ours" and "median_wait_seconds" in run]
    lines = [
        "## Data",
        "",
        f"`python -m benchmarks tokenisation`: {record['bytes'] / 1e6:.1f} MB of reviews, tokenised and packed at "
        f"**{record['megabytes_per_second']:.1f} MB/s** a core (goal 1), and read from the cache in "
        f"{record['seconds']['from the cache']:.1f} s.",
    ]
    if waits:
        share = statistics.median(run["median_wait_seconds"] / run["median_step_seconds"] for run in waits)
        lines += [
            "",
            f"Between two steps, `Trainer` and the loader take {share:.2%} of a step in the timed runs of ours above.",
        ]
    return [*lines, ""]


def gpu_section() -> list[str]:
    lines = ["## On a GPU", ""]
    record = find_record("gpu")
    if record is None:
        return [*lines, "`python -m benchmarks gpu` was not run: no GPU was at hand.", ""]
    load, systems = record["load"], {name: row for name, row in record["rows"].items() if "step_seconds" in row}
    baseline = systems["stock GPT-2"]["tokens_per_second"]
    rows = []
    for name, row in systems.items():
        mfu = row["tokens_per_second"] * row["flops_per_token"] / record["peak_flops"] if "flops_per_token" in row else None
        cells = [name, f"{row['tokens_per_second']:,.0f}", f"{row['tokens_per_second'] / baseline:.2f}×"]
        cells += ["" if mfu is None else f"{mfu:.1%}", f"{row['first_step_seconds']:.0f}"]
        cells += [f"{row['optimizer_seconds'] / row['step_seconds']:.1%}" if "optimizer_seconds" in row else ""]
        rows.append([*cells, f"{row['peak_bytes'] / 1e9:.1f}" if row.get("peak_bytes") else ""])
    parts = [[name, f"{value:.2f}"] for name, value in record["rows"].get("parts", {}).get("milliseconds", {}).items()]
    operations = [
        [name, f"`{spent['name']}`", str(spent["calls"]), f"{1000 * spent['seconds']:.1f}"]
        for name in ("gpt2", "modern-124m, Muon")
        for spent in systems.get(name, {}).get("profile", [])
    ]
    missing = [f"Not done in the time: {', '.join(record['missing'])}.", ""] if record["missing"] else []
    return [
        *lines,
        f"`python -m benchmarks gpu` on one {record['card']}: bfloat16, batch {load['batch']} × {load['length']}, through `Trainer`; "
        f"MFU by 6 N + 12 L H Q T, peak {record['peak_flops'] / 1e12:.1f} TFLOPS. The race: {load['race_seconds']:.0f} s each on "
        f"{record['text']['tokens']['train']:,} tokens of {', '.join(record['text']['packages'])}.",
        "",
        *table(("", "tokens/s", "beside stock", "MFU", "first step, s", "optimizer", "peak memory, GB"), rows, "lr"),
        "",
        *missing,
        *(["Parts by themselves:", "", *table(("", "ms"), parts, "lr"), ""] if parts else []),
        "Operations that take most of a step's forward and backward:",
        "",
        *table(("", "operation", "calls", "ms"), operations, "llr"),
        "",
    ]


def startup_section(record: dict[str, Any]) -> list[str]:
    rows = [[f"`{name}`", f"{seconds:.2f}"] for name, seconds in record["best"].items()]
    added = record["added_seconds"]
    goals = f"`import hf_gpt` takes {added:.2f} s more than transformers' own base class; the goal for the help is 3 s."
    told = f"`python -m benchmarks startup`: the best of eleven, in turns. {goals}"
    return ["## Until one can begin", "", told, "", *table(("", "seconds"), rows, "lr"), ""]


def goals_section() -> list[str]:
    found = [goal for folder in goals.SPEED_GOALS for goal in goals.speed_goals(folder)]
    found += [goal for name, goals_of in goals.OF_RECORD.items() if (record := find_record(name)) for goal in goals_of(record)]
    found += goals.generation_goals(read_generation())
    lines = ["## Goals", "", "The lowest and the highest figure of all cases and variants.", ""]
    return [*lines, *goals.goals_table(found, find_record("gpu") is not None), ""]


def of_record(name: str, make: Callable[[dict[str, Any]], list[str]]) -> list[str]:
    record = find_record(name)
    return [] if record is None else make(record)


def page() -> list[str]:
    told = "Every figure is read from a record in `benchmarks/records`; `make bench` makes those and this page."
    lines = ["# Results", "", told, "", *goals_section(), *pages.sections(), *ablation_section()]
    lines += [*of_record("tokenisation", data_section), *of_record("step_time", step_section), *optimizer_section()]
    lines += [*of_record("loss_memory", memory_section), *generation_section(), *of_record("startup", startup_section)]
    # The last line of each section is empty.
    return [*lines, *gpu_section()][:-1]


def draw(root: Path) -> None:
    for folder in ("speed", "speed-long", "speed-float32", "speed-informed", "speed-poems"):
        if runs := read_runs(folder):
            draw_speed(runs, root / "benchmarks" / f"{folder}.png")


SECTIONS = [
    Section(ROOT / "benchmarks" / "RESULTS.md", "", page),
    *(Section(ROOT / file, "speed", partial(pages.readme_table, file)) for file in pages.WORDS),
]
