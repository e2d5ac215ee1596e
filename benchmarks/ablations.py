"""What each part of `pretrain/speed` is worth: the recipe, and the recipe with one thing changed.

Writes benchmarks/records/ablations, a record for each run; what is there is left out.

Each run has about the steps with which ours has the losses of peers in `benchmarks.speed`, on the same corpus and scored alike. The
learning rates are 1.5 times the recipe's, but where AdamW takes Muon's place: it is given five to choose from with the first seed.
"""

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hf_gpt.recipe.parser import load_recipe

from .frame import apart, record_path, write_record
from .speed.clock import Clock
from .speed.corpus import BLOCK, Blocks, Corpus, load_corpus, random_corpus
from .speed.systems import Run, train_ours


# The best rate in tries of 48 steps; three times as many show whether what helps early still helps.
STEPS, LONGER, LEARNING_RATE = 46, 138, 0.03
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Change:
    """One row of the table.

    Args:
        title: What is changed.
        overrides: Of the recipe. Sizes change only as far as the parameters stay within three per cent.
        steps: How long it is trained; compared with the recipe after as many.
        seeds: Those that it is run with: one for a learning rate that was not the best there.
    """

    title: str
    overrides: tuple[str, ...]
    steps: int = STEPS
    seeds: tuple[int, ...] = SEEDS


def adamw(rate: str, steps: int = STEPS, seeds: tuple[int, ...] = SEEDS) -> Change:
    return Change(f"AdamW for the matrices, {rate}", ("optimizer=adamw", f"learning_rate={rate}"), steps, seeds)


CHANGES = {
    "recipe": Change("the recipe", ()),
    "adamw-0.00025": adamw("0.00025", seeds=(0,)),
    "adamw-0.0005": adamw("0.0005", seeds=(0,)),
    "adamw-0.001": adamw("0.001"),
    "adamw-0.002": adamw("0.002", seeds=(0,)),
    "adamw-0.004": adamw("0.004", seeds=(0,)),
    "embedding-rate": Change("embeddings at the head's learning rate", ("embedding_learning_rate=0.006",)),
    "cosine": Change("a cosine schedule", ("lr_scheduler_type=cosine", "lr_scheduler_kwargs={}")),
    "half-batch": Change("batch 8, the same number of steps", ("per_device_train_batch_size=8",)),
    "tied": Change(
        "output matrix tied, two layers more, both at 0.03",
        ("config={num_hidden_layers: 7, intermediate_size: 1024}", "embedding_learning_rate=0.03"),
    ),
    "gelu": Change(
        "GELU without a gate", ("config.mlp_type=mlp", "config.hidden_act=gelu_new", "config.intermediate_size=1440")
    ),
    "learned-positions": Change(
        "learned positions",
        ("config.position_embedding_type=learned", f"config.max_position_embeddings={BLOCK}"),
    ),
    "no-qk-norm": Change("no norm of queries and keys", ("config.qk_norm=false",)),
    "layernorm": Change("LayerNorm and biases", ("config.norm_type=layernorm", "config.use_bias=true")),
    "depth-scaled": Change("residual projections not from zero", ("config.residual_init=depth_scaled",)),
    "logits": Change("the loss from whole logits", ("config.fused_loss=false",)),
    "sdpa": Change("`scaled_dot_product_attention`", ("attn_implementation=sdpa",)),
    "not-compiled": Change("not compiled", ("torch_compile=false",)),
    "float32": Change("float32", ("bf16=false",)),
    # What nanochat does otherwise, as far as a recipe can.
    "first-beta": Change("AdamW's first beta 0.9", ("adam_beta1=0.9",)),
    "momentum": Change("Muon's momentum 0.95", ("muon_momentum=0.95",)),
    "small-embeddings": Change("embeddings from 0.02", ("config.embedding_initializer_range=null",)),
    "no-warmup": Change("no warm-up", ("warmup_steps=0",), seeds=(0,)),
    "wide-initial": Change("initial weights from 0.05", ("config.initializer_range=0.05",), seeds=(0,)),
    "relu2": Change(
        "squared ReLU without a gate",
        ("config.mlp_type=mlp", "config.hidden_act=relu2", "config.intermediate_size=1440"),
        seeds=(0,),
    ),
    "recipe-longer": Change("the recipe", (), LONGER),
    "adamw-0.0005-longer": adamw("0.0005", LONGER, seeds=(0,)),
    "adamw-0.001-longer": adamw("0.001", LONGER),
}


def record_of(name: str, seed: int) -> str:
    return f"ablations/{name}-seed-{seed}"


def train(name: str, seed: int, steps: int, corpus: Corpus, more: tuple[str, ...] = ()) -> None:
    change = CHANGES[name]
    clock = Clock(Blocks(corpus.validation), {steps}, bf16=name != "float32")
    model = train_ours(Run(steps, LEARNING_RATE, seed, 1), corpus, clock, (*change.overrides, *more))
    content: dict[str, Any] = {
        "title": change.title,
        "changes": list(change.overrides),
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": steps,
        "tokens": steps * load_recipe("pretrain/speed", list(change.overrides)).training.per_device_train_batch_size * BLOCK,
        "seconds": clock.seconds,
        "seconds_after_compiling": clock.seconds - clock.compile_seconds,
        "median_step_seconds": statistics.median(clock.steps),
        "loss": clock.history[-1]["loss"],
        "corpus_sha256": corpus.sha256,
    }
    write_record(record_of(name, seed), "ablation", **content)
    print(
        f"{name}, seed {seed}: loss {content['loss']:.3f}, {content['seconds_after_compiling']:.0f} s after compiling",
        flush=True,
    )


def train_recorded(name: str, seed: int) -> None:
    train(name, seed, CHANGES[name].steps, load_corpus())


def smoke(folder: Path) -> None:
    """Every change for two steps of two rows of random ids, not compiled."""
    torch._dynamo.config.disable = True
    for name in CHANGES:
        train(name, 0, 2, random_corpus(), ("per_device_train_batch_size=2",))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)


def run(options: argparse.Namespace) -> None:
    for seed in options.seeds:
        for name, change in CHANGES.items():
            if seed in change.seeds and not record_path(record_of(name, seed)).is_file():
                apart(train_recorded, name, seed)
