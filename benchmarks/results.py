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
from .speed.picture import draw_speed
from .speed.ratios import INFORMED_PEERS, PEERS, ratios, read_runs, seconds_after_compiling, summary, tokens, wall_seconds
from .speed.systems import SYSTEMS


WORDS: dict[str, dict[str, Any]] = {
    "README.md": {
        "head": (
            "the same validation loss as",
            "time",
            "tokens",
            "time, where it trains for an hour",
            "time, without bfloat16",
        ),
        "peer": "{title} ({loss:.2f} in {minutes:.1f} min)",
        "foot": "Two cores of an {processors}, bfloat16 where it says so, {parameters:.1f}M parameters, the same film reviews; {seeds} "
        "(median and range), an hour with one. Each side has the best of its learning rates; ≥: our shortest run was there already.",
        "informed": " The last {peers}, on an {processors}: five minutes a peer, threads: {threads}, {seeds}.",
        "float32": " Without bfloat16: today's recipe, {seeds}, an {processors} kept to {instructions}, threads: {threads}, ten "
        "minutes a peer.",
        "before": " The first {peers} beside the recipe as it was until 28 November, which learned less from a token.",
        "missing": " Not measured yet: {}.",
        "and": "; ",
        "or": " or an ",
        "seed": "one seed",
        "seeds": "{count} seeds",
        "faster": {
            "style": "**{bound}{median:.{digits}f}× faster**{spread}",
            "span": " ({low:.{digits}f} to {high:.{digits}f})",
            "below_one": "**{median:.{digits}f}× slower**{spread}",
        },
        "fewer": {"style": "{bound}{median:.{digits}f}× fewer", "below_one": "{median:.{digits}f}× more"},
        "stock": "`run_clm.py` with GPT-2",
        "expert": "the same, tuned: bfloat16, compiled",
        "nanogpt": "nanoGPT, bfloat16, compiled",
        "gpt2-groups": "GPT-2, untied, with our learning rates and schedule",
        "qwen3": "stock Qwen3 of the same sizes",
        "qwen3-groups": "stock Qwen3, with our learning rates and schedule",
        "nanochat": "nanochat's model, Muon and schedule",
    },
    "README_zh.md": {
        "head": ("达到谁的验证损失", "快多少", "词元少用", "对方训练一小时时快多少", "没有 bfloat16 时快多少"),
        "peer": "{title}（{minutes:.1f} 分钟，{loss:.2f}）",
        "foot": "{processors} 的两个核，注明处用 bfloat16，{parameters:.1f}M 参数，同一批影评；"
        "{seeds}（中位数与范围），一小时的只有一个种子。"
        "各方都用自己最好的学习率；≥ 表示我们最短的一次训练就已经达到。",
        "informed": "最后 {peers} 个对手在 {processors} 上各训练五分钟，线程数 {threads}，{seeds}。",
        "float32": "没有 bfloat16 的一列用今天的配方：{processors} 只用 {instructions}，线程数 {threads}，对手各训练十分钟，{seeds}。",
        "before": "前 {peers} 个对手比的是 11 月 28 日以前的配方，它从每个词元学到的少一些。",
        "missing": "还没有测的对手：{}。",
        "and": "；",
        "or": " 或 ",
        "seed": "一个种子",
        "seeds": "{count} 个种子",
        "faster": {
            "style": "**{bound}{median:.{digits}f} 倍**{spread}",
            "span": "（{low:.{digits}f}–{high:.{digits}f}）",
            "below_one": "**对方快 {median:.{digits}f} 倍**{spread}",
        },
        "fewer": {"style": "{bound}{median:.{digits}f} 倍", "below_one": "多用到 {median:.{digits}f} 倍"},
        "stock": "`run_clm.py` 与 GPT-2",
        "expert": "同上，经调优：bfloat16、已编译",
        "nanogpt": "nanoGPT，bfloat16、已编译",
        "gpt2-groups": "不绑定的 GPT-2，用我们的学习率和调度",
        "qwen3": "同样大小的原装 Qwen3",
        "qwen3-groups": "原装 Qwen3，用我们的学习率和调度",
        "nanochat": "nanochat 的模型、Muon 和调度",
    },
}


def median(runs: list[dict[str, Any]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def readme_rows(words: dict[str, Any], folder: str, peers: tuple[str, ...], digits: int = 1) -> list[list[str]]:
    """Return a row for each peer that has been timed."""
    runs = read_runs(folder)
    wall, used = ratios(runs, wall_seconds), ratios(runs, tokens)
    hour, float32 = (ratios(read_runs(f"speed-{name}"), wall_seconds) for name in ("long", "float32"))
    rows = []
    for peer in peers:
        of_peer = [run for run in runs if run["system"] == peer]
        if summary(wall, peer):
            loss, minutes = median(of_peer, "loss"), median(of_peer, "seconds") / 60
            cells = [
                words["peer"].format(title=words[peer], loss=loss, minutes=minutes),
                summary(wall, peer, digits=digits, **words["faster"]),
            ]
            cells.append(summary(used, peer, digits=digits, **words["fewer"]))
            rows.append([*cells, *(summary(found, peer, **words["faster"]) for found in (hour, float32))])
    return rows


def readme_table(file: str) -> list[str]:
    """Return the ratios, in the language of a README."""
    words, runs = WORDS[file], read_runs("speed")
    rows, informed = readme_rows(words, "speed", PEERS), readme_rows(words, "speed-informed", INFORMED_PEERS, digits=2)
    if not rows:
        return []
    foot = words["foot"].format(
        processors=words["or"].join(sorted({processor_of(run) for run in runs})),
        parameters=next(run["parameters"] for run in runs if run["system"] == "ours") / 1e6,
        seeds=told_seeds(words, runs),
    )
    if of_another_recipe(runs):
        foot += words["before"].format(peers=len(rows))
    others = read_runs("speed-informed")
    if informed:
        threads = ", ".join(sorted({str(run["device"]["threads"]) for run in others}))
        processors = words["or"].join(sorted({processor_of(run) for run in others}))
        seeds = told_seeds(words, others)
        foot += words["informed"].format(peers=len(informed), processors=processors, threads=threads, seeds=seeds)
    measured = {run["system"] for run in [*runs, *others]}
    if missing := [words[peer] for peer in (*PEERS, *INFORMED_PEERS) if peer not in measured]:
        foot += words["missing"].format(words["and"].join(missing))
    head, shown = words["head"], [*rows, *informed]
    if float32 := read_runs("speed-float32"):
        device = float32[0]["device"]
        foot += words["float32"].format(seeds=told_seeds(words, float32), processors=processor_of(float32[0]), **device)
    else:
        head, shown = head[:-1], [row[:-1] for row in shown]
    return [*table(head, shown, "lr"), "", foot]


def told_seeds(words: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    count = len({run["seed"] for run in runs})
    return words["seed"] if count == 1 else words["seeds"].format(count=count)


def ratio_rows(folder: str, goals_of: str | None = None, peers: tuple[str, ...] = PEERS) -> list[str]:
    """Return the ratios of each peer that has been timed, to two decimals where the peers are near.

    Args:
        goals_of: The folder whose goals are shown, if not these runs'.
    """
    digits = 2 if peers == INFORMED_PEERS else 1
    runs, (limits, _) = read_runs(folder), goals.SPEED_GOALS[goals_of or folder]
    wall, compiled, used = (ratios(runs, cost) for cost in (wall_seconds, seconds_after_compiling, tokens))
    rows = []
    for peer in peers:
        if told := summary(wall, peer, digits=digits):
            goal = f"≥ {limits[peer]:g}×" if peer in limits else ""
            rows.append(
                [
                    SYSTEMS[peer].title,
                    goal,
                    f"**{told}**",
                    summary(compiled, peer, digits=digits),
                    summary(used, peer, digits=digits),
                ]
            )
    return table(("peer", "goal", "seconds, peer / ours", "with no time for compiling", "tokens, peer / ours"), rows, "lr")


def run_rows(runs: list[dict[str, Any]]) -> list[str]:
    headings = ("run", "processor", "parameters", "learning rate", "steps", "tokens", "seconds", "of them compiling", "loss")
    rows = []
    for run in runs:
        row = [f"`{run['name']}`", processor_of(run), f"{run['parameters']:,}", f"{run['learning_rate']:g}", f"{run['steps']}"]
        row += [f"{run['tokens']:,}", f"{run['seconds']:.0f}", f"{run['compile_seconds']:.0f}", f"{run['loss']:.3f}"]
        rows.append(row)
    return table(headings, rows, "llr")


def tuning_table(folder: str, systems: tuple[str, ...]) -> list[str]:
    rows = []
    for name in systems:
        # A grid's next rate is a number: `qwen3` is not `qwen3-groups`.
        found = find_records(f"{folder}/tuning-{name}-[0-9]*")
        if tried := sorted((record["learning_rate"], record.get("others", 1.0), record["loss"]) for record in found):
            told = "; ".join(
                f"{rate:g}{f' (others × {others:g})' if others != 1 else ''}: {loss:.3f}" for rate, others, loss in tried
            )
            rows.append([SYSTEMS[name].title, found[0]["setup"], told])
    return table(("system", "setup", "learning rate: loss at the end of each try"), rows)


BEFORE = (
    "These runs are of the recipe as it was until 28 November 2026; since then, token embeddings begin from a standard deviation of "
    "1, AdamW's first beta is 0.8 and Muon's momentum 0.9."
)


def of_another_recipe(runs: list[dict[str, Any]]) -> str:
    """Return a sentence where ours was trained by the recipe as it was before."""
    if any(run["system"] == "ours" and run["setup"] != SYSTEMS["ours"].setup for run in runs):
        return f" {BEFORE}"
    return ""


def speed_section() -> list[str]:
    runs = read_runs("speed")
    if not runs:
        return []
    calibrations = find_records("speed/calibration-ours-*")
    cold = " and ".join(f"{run['compile_seconds']:.0f} s on the {processor_of(run)}" for run in calibrations)
    return [
        "## Wall time to the same loss",
        "",
        f"`python -m benchmarks speed`: {len(runs)} timed runs, one after the other, the runs of a seed in turn. Film reviews, 7.5M "
        "tokens to train on, vocabulary 8,192, context 256; the loss is that of 128 blocks of texts that no system trained on, at the "
        "end of the run. A peer runs for twelve minutes of steps as calibrated on its processor; ours for a twelfth, a sixth, a "
        "quarter and a third of that, as far as it takes, each with a whole schedule. The time to the peer's loss is read between two "
        "of them, on a logarithmic scale of time; ≥ says that the shortest was there already. The clock stands still while a model is "
        f"scored.{of_another_recipe(runs)}",
        "",
        "Each side's learning rate is the best of those in the table below, tried over a sixth of its longest run with a seed of its "
        "own; our other rates are scaled with it. Compiling is in the wall time, with the compiler's cache warm from tuning; in the "
        f"first run of all it took ours {cold}. The last column leaves it out on both sides.",
        "",
        "![Validation loss against minutes](speed.png)",
        "",
        *ratio_rows("speed"),
        "",
        *tuning_table("speed", ("ours", *PEERS)),
        "",
        *run_rows(runs),
        "",
    ]


def long_section() -> list[str]:
    runs = read_runs("speed-long")
    if not runs:
        return []
    return [
        "### With an hour for the peer",
        "",
        "`python -m benchmarks speed --long`: one seed, ours for the same shares of the hour, as far as it takes. The learning rates "
        "are those found above, in tries of minutes; over an hour, others may serve any of them better. The goals are those of twelve "
        f"minutes.{of_another_recipe(runs)}",
        "",
        "![Validation loss against minutes](speed-long.png)",
        "",
        *ratio_rows("speed-long", goals_of="speed"),
        "",
        *run_rows(runs),
        "",
    ]


def float32_section() -> list[str]:
    runs = read_runs("speed-float32")
    if not runs:
        return []
    device = runs[0]["device"]
    return [
        "### Without bfloat16",
        "",
        f"`python -m benchmarks speed` on a processor that would emulate bfloat16 (here an {processor_of(runs[0])} kept to "
        f"{device['instructions']}, threads: {device['threads']}): every side in float32, ten minutes of steps for a peer, tuned for "
        "this length as above. A compiled side has kernels of 256 bits, and ours `sdpa`.",
        "",
        "![Validation loss against minutes](speed-float32.png)",
        "",
        *ratio_rows("speed-float32"),
        "",
        *tuning_table("speed-float32", ("ours", *PEERS)),
        "",
        *run_rows(runs),
        "",
    ]


def informed_section() -> list[str]:
    runs = read_runs("speed-informed")
    if not runs:
        return []
    threads = sorted({run["device"]["threads"] for run in runs})
    return [
        "### Peers that are given what we know",
        "",
        f"`python -m benchmarks speed --informed`: {len(runs)} timed runs; a peer has five minutes of steps, ours a quarter, a half, "
        "three quarters, all of it and half as much again, as far as it takes. Most of the gain above is in learning rates by group of "
        "weights, an untied output matrix and the schedule, which any model can have; here GPT-2 and Qwen3 have them, and nanochat is "
        "what its author found on other text, while ours was tried out by hand on this one at these lengths (docs/LOG.md). "
        f"Threads: {', '.join(map(str, threads))}; with one, other work ran on the other core. Every side is "
        "tuned for this length, a try being a sixth of the run; a grid goes on by factors of two, twice at most, while its best is at "
        f"an edge.{of_another_recipe(runs)}",
        "",
        "![Validation loss against minutes](speed-informed.png)",
        "",
        *ratio_rows("speed-informed", peers=INFORMED_PEERS),
        "",
        *tuning_table("speed-informed", ("ours", *INFORMED_PEERS)),
        "",
        *run_rows(runs),
        "",
    ]


def poems_section() -> list[str]:
    runs = read_runs("speed-poems")
    if not runs:
        return []
    return [
        "### On another text",
        "",
        "`python -m benchmarks speed --poems`: the same race on 57,000 poems of the Tang dynasty, with a tokenizer of their own; no "
        "side was ever tried out on them, and each has the learning rates that film reviews gave it. One seed, one core.",
        "",
        "![Validation loss against minutes](speed-poems.png)",
        "",
        *ratio_rows("speed-poems", peers=INFORMED_PEERS),
        "",
        *run_rows(runs),
        "",
    ]


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
        "differences and the times are seed by seed, a time only beside one of the same day. Learning rates are those found "
        "above, but for AdamW: a change that wants others shows worse here than it is."
        f"{'' if found['first-beta'] else f' {BEFORE}'}",
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
    lines = ["# Results", "", told, "", *goals_section(), *speed_section(), *long_section(), *float32_section()]
    lines += [*informed_section(), *poems_section(), *ablation_section()]
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
    *(Section(ROOT / file, "speed", partial(readme_table, file)) for file in WORDS),
]
