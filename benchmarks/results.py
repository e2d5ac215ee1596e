"""Writes benchmarks/RESULTS.md, its picture and the tables of speed in the READMEs, all from the records.

python -m benchmarks.results
"""

import json
import statistics
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .speed.ratios import PEERS, ratios, read_runs, seconds_after_compiling, summary, wall_seconds


ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "records"
PAGE = ROOT / "benchmarks" / "RESULTS.md"
PICTURE = ROOT / "benchmarks" / "speed.png"
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
TITLES = {
    "ours": "hf-gpt, `pretrain/speed`",
    "stock": "`GPT2LMHeadModel` and `Trainer` as `run_clm.py` sets them up",
    "expert": "the same as an expert tunes it",
    "nanogpt": "nanoGPT's model and loop",
}
GOALS = {"stock": 6, "expert": 3, "nanogpt": 3}
COLORS = {"ours": "#1f4e79", "stock": "#b5651d", "expert": "#c9a227", "nanogpt": "#2e7d32"}
WORDS = {
    "README.md": {
        "head": "| wall time to the same validation loss | its loss | its minutes | ours takes | with no time for compiling |",
        "foot": "Two cores of an {processor}, {parameters:.1f}M parameters, the same reviews, {seeds}; learning rates tuned on all "
        "sides. How, and every other figure: [benchmarks/RESULTS.md](benchmarks/RESULTS.md).",
        "seed": "one seed",
        "seeds": "{count} seeds",
        "less": "{ratio} less",
        "stock": "`run_clm.py` with GPT-2",
        "expert": "the same, tuned: bfloat16, compiled",
        "nanogpt": "nanoGPT, bfloat16, compiled",
    },
    "README_zh.md": {
        "head": "| 达到相同验证损失的时间 | 对方的损失 | 对方的分钟数 | 我们所需 | 不计编译 |",
        "foot": "{processor} 的两个核，{parameters:.1f}M 参数，同样的影评，{seeds}；各方学习率都调过。方法与其他数字见 "
        "[benchmarks/RESULTS.md](benchmarks/RESULTS.md)。",
        "seed": "一个种子",
        "seeds": "{count} 个种子",
        "less": "少 {ratio}",
        "stock": "`run_clm.py` 与 GPT-2",
        "expert": "同上，经调优：bfloat16、已编译",
        "nanogpt": "nanoGPT，bfloat16、已编译",
    },
}


def read(name: str) -> dict[str, Any] | None:
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def median(runs: list[dict[str, Any]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def readme_table(file: str) -> str:
    """The ratios, in the language of a README."""
    words, runs = WORDS[file], read_runs(RECORDS / "speed")
    wall, compiled = ratios(runs, wall_seconds), ratios(runs, seconds_after_compiling)
    rows = [words["head"], "|---|---:|---:|---:|---:|"]
    for peer in PEERS:
        of_peer = [run for run in runs if run["system"] == peer]
        if of_peer:
            cells = [words[peer], f"{median(of_peer, 'loss'):.3f}", f"{median(of_peer, 'seconds') / 60:.1f}"]
            cells += [words["less"].format(ratio=f"**{summary(wall, peer)}**"), summary(compiled, peer)]
            rows.append(f"| {' | '.join(cells)} |")
    if not wall:
        return ""
    seeds = len({run["seed"] for run in runs})
    foot = words["foot"].format(
        processor=runs[0]["device"]["processor"],
        parameters=next(run["parameters"] for run in runs if run["system"] == "ours") / 1e6,
        seeds=words["seed"] if seeds == 1 else words["seeds"].format(count=seeds),
    )
    return "\n".join([*rows, "", foot])


def speed_section() -> list[str]:
    runs = read_runs(RECORDS / "speed")
    if not runs:
        return []
    wall, compiled = ratios(runs, wall_seconds), ratios(runs, seconds_after_compiling)
    cold = (read("speed/calibration-ours") or runs[0])["compile_seconds"]
    lines = [
        "## Wall time to the same loss",
        "",
        f"`python -m benchmarks.speed`: {len(runs)} timed runs, one after the other, the runs of a seed in turn. Film reviews, 7.5M "
        "tokens to train on, vocabulary 8,192, context 256; the loss is that of 128 blocks of texts that no system trained on, at the "
        "end of the run. A peer runs for twelve minutes of steps as calibrated; ours for a twelfth, a sixth, a quarter and a third of "
        "that, each with a whole schedule. The time to the peer's loss is read between two of them, on a logarithmic scale of time; ≥ "
        "says that the shortest was there already. The clock stands still while a model is scored.",
        "",
        "Each side's learning rate is the best of those in the table below, tried over a sixth of its longest run with a seed of its "
        "own; our other rates are scaled with it. Compiling is in the wall time, with the compiler's cache warm from tuning; in the "
        f"first run of all it took ours {cold:.0f} s. The last column leaves it out on both sides.",
        "",
        "![Validation loss against seconds](speed.png)",
        "",
        "| peer | goal | seconds, peer / ours | with no time for compiling |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {TITLES[peer]} | ≥ {GOALS[peer]}× | **{summary(wall, peer)}** | {summary(compiled, peer)} |"
        for peer in PEERS
        if summary(wall, peer)
    ]
    lines += [
        "",
        "| run | setup | parameters | learning rate | steps | tokens | seconds | of them compiling | loss |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for run in runs:
        cells = [f"`{run['name']}`", run["setup"], f"{run['parameters']:,}", f"{run['learning_rate']:g}", f"{run['steps']}"]
        cells += [f"{run['tokens']:,}", f"{run['seconds']:.0f}", f"{run['compile_seconds']:.0f}", f"{run['loss']:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Tuning, the loss at the end of each try:", "", "| system | learning rate: loss |", "|---|---|"]
    for system, title in TITLES.items():
        paths = (RECORDS / "speed").glob(f"tuning-{system}-*.json")
        tried = sorted(
            (record["learning_rate"], record["loss"])
            for record in (json.loads(path.read_text(encoding="utf-8")) for path in paths)
        )
        lines.append(f"| {title} | {'; '.join(f'{rate:g}: {loss:.3f}' for rate, loss in tried)} |")
    return [*lines, ""]


def draw_speed() -> None:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    runs = read_runs(RECORDS / "speed")
    for run in runs:
        seconds, losses = zip(*((row["seconds"], row["loss"]) for row in run["history"]))
        axes.plot(seconds, losses, color=COLORS[run["system"]], linewidth=1, marker="o", markersize=2.5)
        axes.plot(seconds[-1], losses[-1], "o", color=COLORS[run["system"]], markersize=6)
    for system, color in COLORS.items():
        if any(run["system"] == system for run in runs):
            axes.plot([], [], color=color, label=TITLES[system].replace("`", ""))
    axes.set(xscale="log", xlabel="seconds of training, compiling included", ylabel="validation loss, nats a token")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    temporary = PICTURE.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=130)
    temporary.replace(PICTURE)


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
        "median and quartiles of the rounds. Goals: 1.1 eager, 1.0 compiled.",
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


def generation_section() -> list[str]:
    record = read("generation")
    if record is None:
        return []
    lines = [
        "## Generation",
        "",
        "`python -m benchmarks.generation`: greedy, 16 tokens in, 128 out, the dynamic cache, in turns; tokens a second after the "
        "first token. The bound is what reading all weights once a step allows. Goals: 1.4× stock; at 124M within 2× of the bound.",
        "",
        "| size | precision | batch | stock | ours | stock / ours, seconds | bound |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in record["rows"]:
        speed = row["tokens_per_second"]
        cells = [row["size"], row["dtype"], str(row["batch"]), f"{speed['stock']:.0f}", f"{speed['ours']:.0f}"]
        cells += [of_ratio(row["ratio"]), f"{row['bound_tokens_per_second']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
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


def page() -> str:
    sections = [speed_section(), step_section(), memory_section(), generation_section(), startup_section()]
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
    if read_runs(RECORDS / "speed"):
        draw_speed()
    PAGE.write_text(page(), encoding="utf-8")
    for file in WORDS:
        (ROOT / file).write_text(filled(file), encoding="utf-8")


if __name__ == "__main__":
    main()
