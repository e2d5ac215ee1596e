"""Draws docs/generations.svg: one block of each generation, side by side, from the values of its preset."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

import hf_gpt


GENERATIONS = {
    "GPT-1, 2018": "gpt1",
    "GPT-2, 2019": "gpt2",
    "GPT-3, 2020": "gpt3-125m",
    "modern": "modern-124m",
    "gpt-oss, 2025": "gpt-oss-20b",
}
COLORS = {"norm": "#d9e6f2", "attention": "#fbe3c0", "mlp": "#d8ecd3", "stream": "#eeeeee"}
HEIGHT = 0.62
ARROW = {"arrowstyle": "->", "color": "#888888", "shrinkA": 0, "shrinkB": 0}


def parts(config: hf_gpt.GPTConfig) -> list[tuple[str, str]]:
    """Return what a token passes from below, each with its kind; `+` is an addition to the residual stream."""
    norm = {"layernorm": "LayerNorm", "rmsnorm": "RMSNorm"}[config.norm_type]
    seen = "full and banded in turn" if "sliding_attention" in (config.layer_types or ()) else "causal"
    groups = config.num_attention_heads // (config.num_key_value_heads or config.num_attention_heads)
    heads = f"{config.num_attention_heads} heads{f' on {config.num_key_value_heads}' if groups > 1 else ''}"
    rotary = ", rotated" if config.position_embedding_type == "rope" else ""
    more = f"{', q/k norm' if config.qk_norm else ''}{', sinks' if config.attention_sinks else ''}"
    attention = ("attention", f"attention, {seen}\n{heads}{rotary}{more}")
    mixture = f"{config.num_experts_per_tok} of {config.num_experts} gated MLPs"
    gate = {"mlp": "MLP", "glu": "gated MLP", "moe": mixture}[config.mlp_type]
    mlp = ("mlp", f"{gate}, {config.hidden_act}")
    add, normed = ("add", "+"), ("norm", norm)
    if config.norm_position == "post":
        block = [attention, add, normed, mlp, add, normed]
    else:
        block = [normed, attention, add, normed, mlp, add]
    table = "tokens + learned positions" if config.position_embedding_type == "learned" else "tokens"
    last = [] if config.norm_position == "post" else [normed]
    return [
        ("stream", table),
        *block,
        *last,
        ("stream", "output = tokens transposed" if config.tie_word_embeddings else "output"),
    ]


def draw(root: Path) -> None:
    draw_blocks(GENERATIONS, root / "docs" / "generations.svg")


def draw_blocks(presets: dict[str, str], path: Path) -> None:
    """Draw the block of each preset, by what it is called on the picture, as an SVG."""
    figure = Figure(figsize=(3.25 * len(presets), 7.2), layout="constrained")
    axes = figure.subplots(1, len(presets), squeeze=False)[0]
    for axis, (title, name) in zip(axes, presets.items()):
        config = hf_gpt.preset(name)
        axis.set_title(f"{title}\nnorm_position={config.norm_position}", fontsize=11)
        axis.set_xlim(-1.5, 1.6)
        axis.set_ylim(-0.2, 10.2)
        axis.axis("off")
        branch = 0.45
        for place, (kind, text) in enumerate(parts(config)):
            y = place * 1.08
            if kind == "add":
                axis.text(0, y + HEIGHT / 2, "⊕", ha="center", va="center", fontsize=17)
                axis.plot((0, 1.42, 1.42), (branch, branch, y + HEIGHT / 2), color="#888888", linewidth=1)
                axis.annotate("", (0.17, y + HEIGHT / 2), (1.42, y + HEIGHT / 2), arrowprops=ARROW)
            else:
                box = FancyBboxPatch(
                    (-1.2, y), 2.4, HEIGHT, boxstyle="round,pad=0.02", facecolor=COLORS[kind], edgecolor="#666666"
                )
                axis.add_patch(box)
                axis.text(0, y + HEIGHT / 2, text, ha="center", va="center", fontsize=8.5)
            if place:
                axis.annotate("", (0, y - 0.02), (0, y - 0.44), arrowprops={"arrowstyle": "->", "color": "#444444"})
            is_post = config.norm_position == "post"
            if (kind == "norm" and is_post) or (kind == "add" and not is_post) or place == 0:
                branch = y + HEIGHT + 0.1
    figure.savefig(path, format="svg", metadata={"Date": None})
