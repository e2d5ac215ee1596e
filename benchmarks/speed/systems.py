"""What is timed: our recipe, and what people use today, each as its users set it up. A system trains for so many steps."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from datasets import Dataset
from torch import nn
from transformers import (
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Trainer,
    TrainingArguments,
    default_data_collator,
    get_scheduler,
    set_seed,
)

import hf_gpt
from hf_gpt.planning import hardware
from hf_gpt.recipe.parser import load_recipe
from hf_gpt.training.optimizers import MATRICES, group_parameters
from hf_gpt.training.preparation import prepare_launch
from hf_gpt.training.pretraining import LanguageData, build_model, build_trainer

from ..gpt2 import NO_ENDS, STOCK_NO_DROPOUT, Sizes, stock_gpt2
from .clock import Clock
from .corpus import BLOCK, VOCABULARY, Blocks, Corpus
from .nanochat import train_nanochat
from .nanogpt import train_nanogpt


@dataclass(frozen=True)
class Run:
    """What one training run is told.

    Args:
        steps: Optimizer steps; the schedule ends with the last one.
        learning_rate: The one that is tuned.
        others: What the rates of embeddings, output matrix and the rest are multiplied by, beyond what `learning_rate` does to them.
        seed: Of the initial weights and of the order of the blocks.
        scores: How often the model is scored, the last time after the last step.
    """

    steps: int
    learning_rate: float
    seed: int
    scores: int
    others: float = 1.0


Train = Callable[[Run, Corpus, Clock], nn.Module]


@dataclass(frozen=True)
class System:
    """A way to train, with the learning rates that it is tuned over.

    Args:
        title: What it is called in the tables.
        setup: Its settings, for the record.
        batch: Blocks a step.
        learning_rates: The grid; a peer has no fewer tries than ours.
        train: Trains and returns the model; the clock stops with the last step.
        others: Tried after that, at the best of them.
    """

    title: str
    setup: str
    batch: int
    learning_rates: tuple[float, ...]
    train: Train
    others: tuple[float, ...] = (1.0,)


# As many parameters as our model, within two per cent; the width, depth and heads are what GPT-2 would take at this size.
GPT2_SIZE = Sizes(384, 6, 6, VOCABULARY, BLOCK)
# With an output matrix of its own for two layers less, as our recipe has it: within three per cent.
UNTIED_SIZE = Sizes(384, 4, 6, VOCABULARY, BLOCK)
# As `GPT2Config` has it.
DROPOUT = dict.fromkeys(STOCK_NO_DROPOUT, 0.1)


def compiled() -> dict[str, Any]:
    """Return what makes the stock `Trainer` fast: bfloat16, where the processor does not emulate it, and the compiler."""
    return {"bf16": hardware.multiplies_natively(), "torch_compile": True, "logging_steps": 50}


def train_by_stock(
    model: nn.Module, corpus: Corpus, clock: Clock, arguments: dict[str, Any], optimizers: tuple[Any, Any] = (None, None)
) -> nn.Module:
    """Return a model, trained by the stock `Trainer` as `run_clm.py` calls it."""
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir="runs/bench/trainer", report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True, **arguments
        ),
        train_dataset=Blocks(corpus.train),
        data_collator=default_data_collator,
        callbacks=[clock.callback()],
        optimizers=optimizers,
    )
    trainer.train()
    return trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)


def train_stock(run: Run, corpus: Corpus, clock: Clock) -> nn.Module:
    """float32, not compiled, AdamW with a linear schedule, batch 8, the dropout of `GPT2Config`: the defaults of `run_clm.py`."""
    set_seed(run.seed)
    model = stock_gpt2(GPT2_SIZE, **DROPOUT)
    arguments = {
        "max_steps": run.steps,
        "learning_rate": run.learning_rate,
        "seed": run.seed,
        "per_device_train_batch_size": SYSTEMS["stock"].batch,
        "lr_scheduler_type": "linear",
        "logging_steps": 50,
    }
    return train_by_stock(model, corpus, clock, arguments)


def train_tuned(system: str, build: Callable[[], nn.Module], run: Run, corpus: Corpus, clock: Clock) -> nn.Module:
    """Return a stock model as an expert would train it: bfloat16, compiled, no dropout, GPT-3's betas, warm-up and cosine."""
    set_seed(run.seed)
    arguments = {
        **compiled(),
        "max_steps": run.steps,
        "learning_rate": run.learning_rate,
        "seed": run.seed,
        "per_device_train_batch_size": SYSTEMS[system].batch,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(1, run.steps // 20),
        "weight_decay": 0.1,
        "adam_beta2": 0.95,
        "max_grad_norm": 1.0,
    }
    return train_by_stock(build(), corpus, clock, arguments)


def train_in_groups(system: str, build: Callable[[], PreTrainedModel], run: Run, corpus: Corpus, clock: Clock) -> nn.Module:
    """Return a stock model as a reader of docs/LOG.md would train it: rates, schedule and first embeddings of `pretrain/speed`.

    The rate that is tuned first is that of the matrices, the only one that the recipe leaves to Muon; then the others together.
    """
    set_seed(run.seed)
    model, recipe = build(), load_recipe("pretrain/speed")
    embeddings = cast(nn.Embedding, model.get_input_embeddings())
    nn.init.normal_(embeddings.weight, std=recipe.model.config["embedding_initializer_range"])
    rates = {
        MATRICES: run.learning_rate,
        "embeddings": run.others * (recipe.run.embedding_learning_rate or 0.0),
        "head": run.others * (recipe.run.head_learning_rate or 0.0),
        "rest": run.others * (recipe.run.rest_learning_rate or 0.0),
    }
    groups = [{"params": part, "lr": rates[name]} for name, part in group_parameters(model).items() if part]
    betas = recipe.training.adam_beta1, recipe.training.adam_beta2
    optimizer = torch.optim.AdamW(groups, betas=betas, eps=recipe.training.adam_epsilon, weight_decay=0.0)
    schedule = get_scheduler(
        "warmup_stable_decay",
        optimizer,
        max(1, run.steps // 40),
        run.steps,
        {"num_decay_steps": run.steps * 6 // 10, "decay_type": "linear"},
    )
    arguments = {
        **compiled(),
        "max_steps": run.steps,
        "seed": run.seed,
        "per_device_train_batch_size": SYSTEMS[system].batch,
        "max_grad_norm": 0.0,
    }
    return train_by_stock(model, corpus, clock, arguments, (optimizer, schedule))


def untied_gpt2() -> PreTrainedModel:
    return stock_gpt2(UNTIED_SIZE, tie_word_embeddings=False)


def stock_qwen3() -> PreTrainedModel:
    """The sizes of `pretrain/speed`, from nothing but a config."""
    model = load_recipe("pretrain/speed").model
    ours = hf_gpt.preset(model.preset or "", **model.config)
    same = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim")
    values: dict[str, Any] = {name: getattr(ours, name) for name in same}
    values |= {**NO_ENDS, "vocab_size": VOCABULARY, "max_position_embeddings": BLOCK}
    return Qwen3ForCausalLM(Qwen3Config(**values, tie_word_embeddings=False, use_cache=False))


def train_ours(run: Run, corpus: Corpus, clock: Clock, changes: tuple[str, ...] = ()) -> nn.Module:
    """`recipes/pretrain/speed.yaml` through the functions that `hf-gpt train` calls, its learning rates scaled together.

    `changes` are overrides of the recipe as the command takes them.
    """
    recipe = load_recipe("pretrain/speed")
    factor = run.learning_rate / recipe.training.learning_rate
    rates = {
        "embedding_learning_rate": recipe.run.embedding_learning_rate,
        "head_learning_rate": recipe.run.head_learning_rate,
        "rest_learning_rate": recipe.run.rest_learning_rate,
    }
    overrides = {
        **{name: factor * run.others * float(rate or 0.0) for name, rate in rates.items()},
        "learning_rate": run.learning_rate,
        "max_steps": run.steps,
        "lr_scheduler_kwargs": {"num_decay_steps": run.steps * 6 // 10, "decay_type": "linear"},
        "warmup_steps": max(1, run.steps // 40),
        "seed": run.seed,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 50,
        "output_dir": "runs/bench/ours",
        # Whether compiling pays is no question here: with what time it takes, and without, is reported.
        "torch_compile": True,
    }
    if hardware.multiplies_natively():
        overrides["attn_implementation"] = "eager"
    recipe = load_recipe("pretrain/speed", [*(f"{name}={value}" for name, value in overrides.items()), *changes])
    set_seed(run.seed)
    model = build_model(recipe, corpus.tokenizer)
    blocks = {"train": Blocks(corpus.train), "validation": Dataset.from_dict({"input_ids": corpus.validation})}
    trainer = build_trainer(recipe, prepare_launch(recipe), model, corpus.tokenizer, LanguageData(blocks, {}, {}))
    trainer.add_callback(clock.callback())
    trainer.train()
    return trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)


def train_nanogpt_loop(run: Run, corpus: Corpus, clock: Clock) -> nn.Module:
    return train_nanogpt(run.steps, run.learning_rate, run.seed, SYSTEMS["nanogpt"].batch, corpus, clock)


def train_nanochat_loop(run: Run, corpus: Corpus, clock: Clock) -> nn.Module:
    return train_nanochat(run.steps, run.learning_rate, run.seed, SYSTEMS["nanochat"].batch, corpus, clock)


# AdamW does not need for the matrices of other models what served beside our Muon.
OTHERS = (0.25, 0.5, 1.0)
SYSTEMS = {
    "ours": System(
        "hf-gpt, `pretrain/speed`",
        "modern, bfloat16, compiled, embeddings from 1, Muon (momentum 0.9) and AdamW (betas 0.8 and 0.95), batch 16, warm-up, "
        "stable, linear decay",
        16,
        (0.01, 0.015, 0.02, 0.03),
        train_ours,
        OTHERS,
    ),
    "stock": System(
        "`GPT2LMHeadModel` and `Trainer` as `run_clm.py` sets them up",
        "float32, not compiled, dropout 0.1, AdamW, batch 8, linear decay",
        8,
        (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3),
        train_stock,
    ),
    "expert": System(
        "the same as an expert tunes it",
        "bfloat16, compiled, no dropout, AdamW with betas 0.9 and 0.95, weight decay 0.1, clipping, batch 8, warm-up and cosine",
        8,
        (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3),
        partial(train_tuned, "expert", partial(stock_gpt2, GPT2_SIZE)),
    ),
    "nanogpt": System(
        "nanoGPT's model and loop",
        "bfloat16, compiled, no bias or dropout, AdamW, betas 0.9 and 0.95, weight decay 0.1, clipping, batch 12, warm-up and cosine",
        12,
        (3e-4, 6e-4, 1.2e-3, 2.4e-3, 4.8e-3),
        train_nanogpt_loop,
    ),
    "gpt2-groups": System(
        "stock GPT-2, untied, with our rates and schedule",
        "bfloat16, compiled, no dropout, embeddings from 1, AdamW with four rates, batch 16, warm-up, stable, linear decay",
        16,
        (1.25e-4, 2.5e-4, 5e-4, 1e-3),
        partial(train_in_groups, "gpt2-groups", untied_gpt2),
        OTHERS,
    ),
    "qwen3": System(
        "stock Qwen3 of our sizes",
        "bfloat16, compiled, AdamW with betas 0.9 and 0.95, weight decay 0.1, clipping, batch 8, warm-up and cosine",
        8,
        (5e-4, 1e-3, 2e-3, 4e-3, 8e-3),
        partial(train_tuned, "qwen3", stock_qwen3),
    ),
    "qwen3-groups": System(
        "stock Qwen3 of our sizes, with our rates and schedule",
        "bfloat16, compiled, embeddings from 1, AdamW with four rates, batch 16, warm-up, stable, linear decay",
        16,
        (1.25e-4, 2.5e-4, 5e-4, 1e-3),
        partial(train_in_groups, "qwen3-groups", stock_qwen3),
        OTHERS,
    ),
    "nanochat": System(
        "nanochat's model, optimizers and loop",
        "bfloat16, compiled, Muon and AdamW, its three rates by one factor, batch 16, linear decay",
        16,
        (0.5, 1.0, 1.5, 2.0),
        train_nanochat_loop,
    ),
}
