"""What the pages say of wall time to the same loss: the sections of benchmarks/RESULTS.md and the tables of the READMEs."""

import statistics
from typing import Any

from .. import goals
from ..frame import find_records, processor_of, table
from .ratios import INFORMED_PEERS, PEERS, ratios, read_runs, seconds_after_compiling, summary, tokens, wall_seconds
from .systems import SYSTEMS


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
        "foot": "An {processors}, bfloat16 where it says so, {parameters:.1f}M parameters, the same film reviews; ten minutes a peer, "
        "threads: {threads}, {seeds} (median and range, which holds the median of all seeds with {confidence:.0%}). Each "
        "side has the best of its learning rates; ≥: our shortest run was there already.",
        "informed": " The last {peers}: five minutes a peer, threads: {threads}, {seeds}.",
        "long": " An hour: {seeds}, threads: {threads}, on an {processors}.",
        "float32": " Without bfloat16: {seeds}, threads: {threads}, kept to {instructions}, ten minutes a peer.",
        "before": " The hour beside the recipe as it was until 28 November, which learned less from a token.",
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
        "foot": "{processors}，注明处用 bfloat16，{parameters:.1f}M 参数，同一批影评；对手各训练十分钟，线程数 {threads}，"
        "{seeds}（中位数与范围，范围以 {confidence:.0%} 的概率包含所有种子的中位数）。"
        "各方都用自己最好的学习率；≥ 表示我们最短的一次训练就已经达到。",
        "informed": "最后 {peers} 个对手各训练五分钟，线程数 {threads}，{seeds}。",
        "long": "一小时的一列：{processors}，线程数 {threads}，{seeds}。",
        "float32": "没有 bfloat16 的一列：只用 {instructions}，线程数 {threads}，对手各训练十分钟，{seeds}。",
        "before": "一小时的一列比的是 11 月 28 日以前的配方，它从每个词元学到的少一些。",
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
    others, hour, float32 = (read_runs(f"speed-{name}") for name in ("informed", "long", "float32"))
    ours = next(run for run in runs if run["system"] == "ours")
    confidence = 1 - 2.0 ** (1 - len({run["seed"] for run in runs}))
    foot = words["foot"].format(parameters=ours["parameters"] / 1e6, confidence=confidence, **circumstances(words, runs))
    if informed:
        foot += words["informed"].format(peers=len(informed), **circumstances(words, others))
    if hour:
        foot += words["long"].format(**circumstances(words, hour))
        foot += words["before"] if of_another_recipe(hour) else ""
    measured = {run["system"] for run in [*runs, *others]}
    if missing := [words[peer] for peer in (*PEERS, *INFORMED_PEERS) if peer not in measured]:
        foot += words["missing"].format(words["and"].join(missing))
    head, shown = words["head"], [*rows, *informed]
    if float32:
        foot += words["float32"].format(instructions=float32[0]["device"]["instructions"], **circumstances(words, float32))
    else:
        head, shown = head[:-1], [row[:-1] for row in shown]
    return [*table(head, shown, "lr"), "", foot]


def circumstances(words: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, str]:
    """Return where runs were made and with how many seeds, in the language of a README."""
    count = len({run["seed"] for run in runs})
    return {
        "processors": words["or"].join(sorted({processor_of(run) for run in runs})),
        "threads": threads_of(runs),
        "seeds": words["seed"] if count == 1 else words["seeds"].format(count=count),
    }


def threads_of(runs: list[dict[str, Any]]) -> str:
    return ", ".join(map(str, sorted({run["device"]["threads"] for run in runs})))


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
        f"`python -m benchmarks speed`: {len(runs)} timed runs, threads: {threads_of(runs)}, the runs of a seed in turn and another "
        "seed's on the other core. Film reviews, 7.5M tokens to train on, vocabulary 8,192, context 256; the loss is that of 128 "
        "blocks of texts that no system trained on, at the end of the run. A peer runs for ten minutes of steps as calibrated on its "
        "processor; ours for a 24th, a twelfth, a sixth, a quarter and a third of that, as far as it takes, each with a whole "
        "schedule. The time to the peer's loss is read between two of them, on a logarithmic scale of time; ≥ says that the shortest "
        "was there already. The clock stands still while a model is scored. Median and range over the seeds: that of four holds the "
        "median of all seeds with a probability of 88 %, that of five with 94 %. Other work on the machine took up to a sixth of a "
        f"core.{of_another_recipe(runs)}",
        "",
        "Each side's learning rate is the best of those in the table below, tried over a sixth of its longest run at least, with a "
        "seed of its own; our other rates are scaled with it. Compiling is in the wall time, with the compiler's cache warm from "
        f"tuning; in the first run of all it took ours {cold}. The last column leaves it out on both sides.",
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
        "are those that tries of minutes found; over an hour, others may serve any of them better. The goals are those of ten "
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
    return [
        "### Peers that are given what we know",
        "",
        f"`python -m benchmarks speed --informed`: {len(runs)} timed runs; a peer has five minutes of steps, ours a quarter, a half, "
        "three quarters, all of it and half as much again, as far as it takes. Most of the gain above is in learning rates by group of "
        "weights, an untied output matrix and the schedule, which any model can have; here GPT-2 and Qwen3 have them, and nanochat is "
        "what its author found on other text, while ours was tried out by hand on this one at these lengths (docs/LOG.md). "
        f"Threads: {threads_of(runs)}; with one, other work ran on the other core. Every side is "
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


def sections() -> list[str]:
    """Return all that RESULTS.md says of wall time to a loss."""
    return [*speed_section(), *long_section(), *float32_section(), *informed_section(), *poems_section()]
