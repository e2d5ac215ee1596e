"""Writes benchmarks/RESULTS.md, its picture and the tables of speed in the READMEs, all from the records.

python -m benchmarks.results
"""

import json
import statistics
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from . import goals
from .ablations import CHANGES
from .speed.ratios import PEERS, ratios, read_runs, seconds_after_compiling, summary, wall_seconds
from .speed.systems import SYSTEMS


ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "records"
PAGE = ROOT / "benchmarks" / "RESULTS.md"
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
COLORS = {"ours": "#1f4e79", "stock": "#b5651d", "expert": "#c9a227", "nanogpt": "#2e7d32"}
WORDS = {
    "README.md": {
        "head": "| wall time to the same validation loss | its loss | its minutes | ours takes | with no time for compiling |",
        "foot": "Two cores of an {processors}, {parameters:.1f}M parameters, the same reviews, {seeds}; learning rates tuned on all "
        "sides. How, and every other figure: [benchmarks/RESULTS.md](benchmarks/RESULTS.md).",
        "or": " or an ",
        "seed": "one seed",
        "seeds": "{count} seeds",
        "less": "{ratio} less",
        "stock": "`run_clm.py` with GPT-2",
        "expert": "the same, tuned: bfloat16, compiled",
        "nanogpt": "nanoGPT, bfloat16, compiled",
        "long": "{title}, an hour, one seed",
    },
    "README_zh.md": {
        "head": "| 达到相同验证损失的时间 | 对方的损失 | 对方的分钟数 | 我们所需 | 不计编译 |",
        "foot": "{processors} 的两个核，{parameters:.1f}M 参数，同样的影评，{seeds}；各方学习率都调过。方法与其他数字见 "
        "[benchmarks/RESULTS.md](benchmarks/RESULTS.md)。",
        "or": "或 ",
        "seed": "一个种子",
        "seeds": "{count} 个种子",
        "less": "少 {ratio}",
        "stock": "`run_clm.py` 与 GPT-2",
        "expert": "同上，经调优：bfloat16、已编译",
        "nanogpt": "nanoGPT，bfloat16、已编译",
        "long": "{title}，一小时，一个种子",
    },
}


def read(name: str) -> dict[str, Any] | None:
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def processor_of(run: dict[str, Any]) -> str:
    return run["device"]["processor"].replace("(R)", "").removesuffix(" Processor")


def median(runs: list[dict[str, Any]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def readme_rows(words: dict[str, str], runs: list[dict[str, Any]], title: str) -> list[str]:
    """A row for each peer that has been timed; `title` has a place for its name."""
    wall, compiled = ratios(runs, wall_seconds), ratios(runs, seconds_after_compiling)
    rows = []
    for peer in PEERS:
        of_peer = [run for run in runs if run["system"] == peer]
        if summary(wall, peer):
            cells = [
                title.format(title=words[peer]),
                f"{median(of_peer, 'loss'):.3f}",
                f"{median(of_peer, 'seconds') / 60:.1f}",
            ]
            cells += [words["less"].format(ratio=f"**{summary(wall, peer)}**"), summary(compiled, peer)]
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def readme_table(file: str) -> str:
    """The ratios, in the language of a README."""
    words, runs = WORDS[file], read_runs(RECORDS / "speed")
    rows = readme_rows(words, runs, "{title}") + readme_rows(words, read_runs(RECORDS / "speed-long"), words["long"])
    if not rows:
        return ""
    seeds = len({run["seed"] for run in runs})
    foot = words["foot"].format(
        processors=words["or"].join(sorted({processor_of(run) for run in runs})),
        parameters=next(run["parameters"] for run in runs if run["system"] == "ours") / 1e6,
        seeds=words["seed"] if seeds == 1 else words["seeds"].format(count=seeds),
    )
    return "\n".join([words["head"], "|---|---:|---:|---:|---:|", *rows, "", foot])


def ratio_rows(runs: list[dict[str, Any]]) -> list[str]:
    wall, compiled = ratios(runs, wall_seconds), ratios(runs, seconds_after_compiling)
    rows = ["| peer | goal | seconds, peer / ours | with no time for compiling |", "|---|---:|---:|---:|"]
    rows += [
        f"| {SYSTEMS[peer].title} | ≥ {goals.SPEED_GOALS[peer]:g}× | **{summary(wall, peer)}** | {summary(compiled, peer)} |"
        for peer in PEERS
        if summary(wall, peer)
    ]
    return rows


def run_rows(runs: list[dict[str, Any]]) -> list[str]:
    rows = [
        "| run | processor | parameters | learning rate | steps | tokens | seconds | of them compiling | loss |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for run in runs:
        cells = [
            f"`{run['name']}`",
            processor_of(run),
            f"{run['parameters']:,}",
            f"{run['learning_rate']:g}",
            f"{run['steps']}",
        ]
        cells += [f"{run['tokens']:,}", f"{run['seconds']:.0f}", f"{run['compile_seconds']:.0f}", f"{run['loss']:.3f}"]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def speed_section() -> list[str]:
    runs = read_runs(RECORDS / "speed")
    if not runs:
        return []
    calibrations = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted((RECORDS / "speed").glob("calibration-ours-*.json"))
    ]
    cold = " and ".join(f"{run['compile_seconds']:.0f} s on the {processor_of(run)}" for run in calibrations)
    lines = [
        "## Wall time to the same loss",
        "",
        f"`python -m benchmarks.speed`: {len(runs)} timed runs, one after the other, the runs of a seed in turn. Film reviews, 7.5M "
        "tokens to train on, vocabulary 8,192, context 256; the loss is that of 128 blocks of texts that no system trained on, at the "
        "end of the run. A peer runs for twelve minutes of steps as calibrated on its processor; ours for a twelfth, a sixth, a "
        "quarter and a third of that, as far as it takes, each with a whole schedule. The time to the peer's loss is read between two "
        "of them, on a logarithmic scale of time; ≥ says that the shortest was there already. The clock stands still while a model is "
        "scored.",
        "",
        "Each side's learning rate is the best of those in the table below, tried over a sixth of its longest run with a seed of its "
        "own; our other rates are scaled with it. Compiling is in the wall time, with the compiler's cache warm from tuning; in the "
        f"first run of all it took ours {cold}. The last column leaves it out on both sides.",
        "",
        "![Validation loss against seconds](speed.png)",
        "",
        *ratio_rows(runs),
        "",
        "| system | setup | learning rate: loss at the end of each try |",
        "|---|---|---|",
    ]
    for name, system in SYSTEMS.items():
        paths = (RECORDS / "speed").glob(f"tuning-{name}-*.json")
        tried = sorted(
            (record["learning_rate"], record["loss"])
            for record in (json.loads(path.read_text(encoding="utf-8")) for path in paths)
        )
        lines.append(f"| {system.title} | {system.setup} | {'; '.join(f'{rate:g}: {loss:.3f}' for rate, loss in tried)} |")
    lines += ["", *run_rows(runs)]
    return [*lines, ""]


def long_section() -> list[str]:
    runs = read_runs(RECORDS / "speed-long")
    if not runs:
        return []
    return [
        "### With an hour for the peer",
        "",
        "`python -m benchmarks.speed --long`: one seed, ours for the same shares of the hour, as far as it takes. The learning rates "
        "are those found above, in tries of minutes; over an hour, others may serve any of them better. The goals are those of twelve "
        "minutes.",
        "",
        "![Validation loss against seconds](speed-long.png)",
        "",
        *ratio_rows(runs),
        "",
        *run_rows(runs),
        "",
    ]


def draw_speed(runs: list[dict[str, Any]], picture: Path) -> None:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    styles = dict(zip(sorted({processor_of(run) for run in runs}), ("-", "--", ":", "-.")))
    for run in runs:
        seconds, losses = zip(*((row["seconds"], row["loss"]) for row in run["history"]))
        line = {"color": COLORS[run["system"]], "linestyle": styles[processor_of(run)], "linewidth": 1}
        axes.plot(seconds, losses, **line, marker="o", markersize=2.5)
        axes.plot(seconds[-1], losses[-1], "o", color=COLORS[run["system"]], markersize=6)
    for system, color in COLORS.items():
        if any(run["system"] == system for run in runs):
            axes.plot([], [], color=color, label=SYSTEMS[system].title.replace("`", ""))
    for processor, style in styles.items():
        axes.plot([], [], color="black", linestyle=style, linewidth=1, label=processor)
    axes.set(xscale="log", xlabel="seconds of training, compiling included", ylabel="validation loss, nats a token")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    temporary = picture.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=130)
    temporary.replace(picture)


def of_ratio(found: dict[str, float]) -> str:
    return f"{found['median']:.2f}× ({found['low']:.2f} to {found['high']:.2f})"


def step_section() -> list[str]:
    record = read("step_time")
    if record is None:
        return []
    lines = [
        "## A step of our GPT-2 beside transformers'",
        "",
        "`python -m benchmarks.step_time`: equal weights' shapes, batch 8 × 256, in turns; seconds of stock by seconds of ours, "
        "median and quartiles of the rounds. Goals: 1.1 eager, 1.0 compiled. A forward pass in both rows of a size is the same "
        "computation, so their difference is what this machine's noise comes to. Compiled, both models are the same matrix products "
        "between fused kernels, which bounds the ratio. The loss from logits is the equal setting; in slices it may cost up to a "
        "tenth of the time for the memory that it saves (below).",
        "",
        "| size | precision | loss | forward | forward and backward |",
        "|---|---|---|---:|---:|",
    ]
    for row in record["rows"]:
        loss = "in slices" if row["fused_loss"] else "from logits"
        kind = f"{row['precision']}{', compiled' if row['compiled'] else ''}"
        lines.append(
            f"| {row['size']} | {kind} | {loss} | {of_ratio(row['forward']['ratio'])} | {of_ratio(row['step']['ratio'])} |"
        )
    return [*lines, ""]


def memory_section() -> list[str]:
    record = read("loss_memory")
    if record is None:
        return []
    lines = [
        "## Memory of the loss",
        "",
        f"`python -m benchmarks.loss_memory`: vocabulary {record['vocabulary']:,}, batch {record['batch'][0]} × "
        f"{record['batch'][1]}, width 768, two layers, float32; each variant a process of its own, its largest resident size beyond "
        "that before the first step.",
        "",
        "| | a step, GB | seconds, best of three |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| {name} | {found['step_bytes'] / 1e9:.2f} | {found['seconds']:.2f} |" for name, found in record["variants"].items()
    ]
    lines += [
        "",
        f"What the loss adds is {record['ratio_added']:.1f}× less (goal 5), the whole step {record['ratio_step']:.1f}× less (goal "
        f"1.7), at {record['ratio_seconds']:.2f}× the time (goal 1.1 at most).",
        "",
    ]
    return lines


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
    """A figure of every writer, in every case; `last` is the title and the key of one more column."""
    titles = ["size", "precision", "batch", *WRITERS, *([last[0]] if last else [])]
    lines = [f"| {' | '.join(titles)} |", f"|---|---|{'---:|' * (len(titles) - 2)}"]
    for row in rows:
        cells = [row["size"], row["dtype"], str(row["batch"])]
        cells += [f"{scale * row[key][name]:.0f}" if name in row[key] else "" for name in WRITERS]
        lines.append(f"| {' | '.join([*cells, *([f'{row[last[1]]:.0f}'] if last else [])])} |")
    return lines


def read_generation() -> list[dict[str, Any]]:
    paths = (RECORDS / "generation").glob("*.json")
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return sorted(rows, key=lambda row: (int(row["size"][:-1]), row["dtype"] != "float32", row["batch"]))


def generation_section() -> list[str]:
    rows = read_generation()
    if not rows:
        return []
    compared = [name for name in WRITERS if name != "stock"]
    lines = [
        "## Generation",
        "",
        "`python -m benchmarks.generation`: greedy, 16 tokens in, 128 out, in turns. Stock and ours are the same GPT-2 through "
        "`generate`, with the dynamic cache, or compiled with the static one; nanoGPT's loop has no cache. Weights of one type "
        "throughout, those of int8 with bfloat16 arithmetic. Tokens a second after the first token; the bound is what reading all "
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
        f"| size | precision | batch | {' | '.join(compared)} | float32: the same text compiled |",
        f"|---|---|---:|{'---:|' * len(compared)}---|",
    ]
    for row in rows:
        cells = [row["size"], row["dtype"], str(row["batch"])]
        cells += [of_ratio(row["ratio"][name]) if name in row["ratio"] else "" for name in compared]
        same = ("yes" if row["same_text"]["ours, compiled"] else "no") if row["dtype"] == "float32" else ""
        lines.append(f"| {' | '.join([*cells, same])} |")
    return [*lines, ""]


def spread(values: list[float], digits: int) -> str:
    """Mean and range over the seeds."""
    # Adding zero makes a negative zero, as of -0.0004, a plain one.
    mean, low, high = (
        f"{round(value, digits) + 0.0:.{digits}f}" for value in (statistics.mean(values), min(values), max(values))
    )
    return mean if len(values) == 1 else f"{mean} ({low} to {high})"


def ablation_section() -> list[str]:
    found = {
        name: [
            json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((RECORDS / "ablations").glob(f"{name}-seed-*.json"))
        ]
        for name in CHANGES
    }
    if not found["recipe"]:
        return []
    # What each run is compared with: the recipe with its seed, after as many steps.
    base = {(run["seed"], run["steps"]): run for runs in found.values() for run in runs if not run["changes"]}
    lines = [
        "## What each part is worth",
        "",
        f"`python -m benchmarks.ablations`: the recipe for {found['recipe'][0]['steps']} steps, {found['recipe'][0]['tokens']:,} "
        "tokens, with one thing changed; the runs of a seed follow each other. Loss as above, mean and range over the seeds; the "
        "differences and the times are seed by seed. Learning rates are those found above, but for AdamW: a change that wants "
        "others shows worse here than it is.",
        "",
        "| changed | steps | seeds | parameters | loss | more than the recipe's | time beside the recipe's, without compiling |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, change in CHANGES.items():
        runs = [run for run in found[name] if (run["seed"], run["steps"]) in base]
        if not runs:
            continue
        recipes = [base[run["seed"], run["steps"]] for run in runs]
        more = [run["loss"] - recipe["loss"] for run, recipe in zip(runs, recipes)]
        times = [run["seconds_after_compiling"] / recipe["seconds_after_compiling"] for run, recipe in zip(runs, recipes)]
        cells = [change.title, str(runs[0]["steps"]), str(len(runs)), f"{runs[0]['parameters']:,}"]
        cells.append(spread([run["loss"] for run in runs], 3))
        cells += [spread(more, 3), f"{spread(times, 2)}×"] if change.overrides else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def data_section() -> list[str]:
    record = read("tokenisation")
    if record is None:
        return []
    waits = [run for run in read_runs(RECORDS / "speed") if run["system"] == "ours" and "median_wait_seconds" in run]
    lines = [
        "## Data",
        "",
        f"`python -m benchmarks.tokenisation`: {record['bytes'] / 1e6:.1f} MB of reviews, tokenised and packed at "
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
    record = read("gpu")
    if record is None:
        return [*lines, "`python -m benchmarks.gpu` was not run: no GPU was at hand.", ""]
    load, baseline = record["load"], record["rows"]["stock GPT-2"]["tokens_per_second"]
    lines += [
        f"`python -m benchmarks.gpu` on one {record['card']}: bfloat16, batch {load['batch']} × {load['length']}, through `Trainer`; "
        f"MFU by 6 N + 12 L H Q T and a peak of {record['peak_flops'] / 1e12:.1f} TFLOPS. Goals: MFU 50 %, 1.5× stock.",
        "",
        "| | tokens a second | beside stock | MFU | peak memory, GB |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in record["rows"].items():
        cells = [name, f"{row['tokens_per_second']:,.0f}", f"{row['tokens_per_second'] / baseline:.2f}×", f"{row['mfu']:.1%}"]
        cells.append(f"{row['peak_bytes'] / 1e9:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Operations that take most of a step's forward and backward:",
        "",
        "| | operation | calls | ms |",
        "|---|---|---:|---:|",
    ]
    lines += [
        f"| {name} | `{spent['name']}` | {spent['calls']} | {1000 * spent['seconds']:.1f} |"
        for name in ("gpt2, sdpa, compiled", "modern-124m, sdpa, compiled, Muon")
        for spent in record["rows"][name]["profile"]
    ]
    return [*lines, ""]


def startup_section() -> list[str]:
    record = read("startup")
    if record is None:
        return []
    goals = (
        f"`import hf_gpt` adds {record['added_seconds']:.2f} s to `import transformers` (goal: 0.2 at most); the goal for the help is "
        "0.5 s."
    )
    lines = ["## Until one can begin", "", f"`python -m benchmarks.startup`: the best of eleven, in turns. {goals}", ""]
    lines += ["| | seconds |", "|---|---:|"]
    return [*lines, *(f"| `{name}` | {seconds:.2f} |" for name, seconds in record["best"].items()), ""]


def goals_section() -> list[str]:
    found = goals.speed_goals(read_runs(RECORDS / "speed"))
    for name, goals_of in goals.OF_RECORD.items():
        record = read(name)
        found += goals_of(record) if record is not None else []
    found += goals.generation_goals(read_generation())
    lines = ["## Goals", "", "The lowest and the highest figure of all cases and variants.", "", *goals.table(found)]
    return [*lines, *([] if read("gpu") else [goals.GPU_NOT_RUN]), ""]


def page() -> str:
    sections = [
        goals_section(),
        speed_section(),
        long_section(),
        ablation_section(),
        data_section(),
        step_section(),
        memory_section(),
        generation_section(),
        startup_section(),
        gpu_section(),
    ]
    head = [
        "# Results",
        "",
        "Every figure is read from a record in `benchmarks/records`; `make bench` makes those and this page.",
        "",
    ]
    return "\n".join([*head, *(line for section in sections for line in section)]).rstrip() + "\n"


def filled(file: str) -> str:
    """A README with its table of speed as the records have it."""
    before, rest = (ROOT / file).read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}\n{readme_table(file)}\n{END}{rest.split(END)[1]}"


def main() -> None:
    for folder in ("speed", "speed-long"):
        if runs := read_runs(RECORDS / folder):
            draw_speed(runs, PAGE.with_name(f"{folder}.png"))
    PAGE.write_text(page(), encoding="utf-8")
    for file in WORDS:
        (ROOT / file).write_text(filled(file), encoding="utf-8")


if __name__ == "__main__":
    main()
