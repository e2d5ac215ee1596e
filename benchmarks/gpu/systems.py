"""What is measured on a GPU: models and optimizers of GPT-2's size, and how much of the device a step takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM

import hf_gpt
from hf_gpt.conversion.layouts import LAYOUTS
from hf_gpt.conversion.translation import config_to_theirs
from hf_gpt.planning import training_flops

from ..gpt2 import Sizes, our_config, stock_gpt2
from ..speed.nanogpt import NanoGPT, Size


# Of a tokenizer that is trained here; the tables have GPT-2's size all the same.
ENTRIES = 8192


@dataclass(frozen=True)
class Load:
    """What every system is given; seconds are those of a race."""

    layers: int
    vocabulary: int
    length: int
    batch: int
    warm_up: int
    steps: int
    race_seconds: float


FULL = Load(layers=12, vocabulary=50304, length=1024, batch=32, warm_up=10, steps=30, race_seconds=120.0)
TINY = Load(layers=1, vocabulary=512, length=32, batch=2, warm_up=1, steps=2, race_seconds=1.0)


def on_gpu() -> bool:
    return torch.cuda.is_available()


def device() -> str:
    return "cuda" if on_gpu() else "cpu"


def synchronize() -> None:
    if on_gpu():
        torch.cuda.synchronize()


class NanoGPTForTrainer(nn.Module):
    """What `Trainer` calls: ids and labels in, a loss out."""

    def __init__(self, model: NanoGPT):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.model(input_ids[:, :-1], labels[:, 1:])}


def nanogpt(load: Load) -> nn.Module:
    return NanoGPTForTrainer(NanoGPT(Size(768, load.layers, 12, load.vocabulary, load.length)))


def stock(load: Load) -> nn.Module:
    return stock_gpt2(Sizes(768, load.layers, 12, load.vocabulary, load.length), attn_implementation="sdpa")


def config_of(preset: str, load: Load) -> hf_gpt.GPTConfig:
    """Return the config of a preset as its recipe has it."""
    modern = {"tie_word_embeddings": False, "residual_init": "zero"} if preset.startswith("modern") else {}
    return our_config(Sizes(0, load.layers, 0, load.vocabulary, load.length), preset, fused_loss=True, **modern)


def ours(preset: str, attention: str = "sdpa") -> Callable[[Load], nn.Module]:
    def build(load: Load) -> nn.Module:
        config = config_of(preset, load)
        config._attn_implementation = attention
        return hf_gpt.GPTForCausalLM(config)

    return build


def stock_qwen3(load: Load) -> nn.Module:
    """The same architecture as `modern-124m`, as an export of it would be."""
    values = {**config_to_theirs(LAYOUTS["qwen3"], config_of("modern-124m", load)), "use_cache": False}
    return Qwen3ForCausalLM(Qwen3Config(**values))


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=on_gpu())


def muon(model: nn.Module) -> torch.optim.Optimizer:
    return hf_gpt.Muon(model, lr=0.02, embedding_lr=0.1, head_lr=0.004, rest_lr=0.01)


@dataclass(frozen=True)
class Entry:
    """One system, through `Trainer`: how its model is made, its optimizer, and how many times the usual batch it gets."""

    build: Callable[[Load], nn.Module]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] = adamw
    times: int = 1
    compiled: bool = True


SYSTEMS = {
    "stock GPT-2": Entry(stock),
    "gpt2": Entry(ours("gpt2")),
    "nanoGPT's model": Entry(nanogpt),
    "modern-124m, Muon": Entry(ours("modern-124m"), muon),
    "stock Qwen3": Entry(stock_qwen3),
    # The two large ones lie so far apart that they are not in memory together.
    "modern-124m, twice the batch": Entry(ours("modern-124m"), times=2),
    "modern-124m": Entry(ours("modern-124m")),
    "gpt2, flex": Entry(ours("gpt2", "flex_attention")),
    "gpt2, not compiled": Entry(ours("gpt2"), compiled=False),
    "gpt2, twice the batch": Entry(ours("gpt2"), times=2),
}


def flops_per_token(name: str, load: Load) -> float:
    """Return 6 N + 12 L H Q T (PaLM, appendix B) of a system, from our config of its sizes."""
    is_modern = name.startswith(("modern", "stock Qwen3"))
    config: Any = config_of("modern-124m" if is_modern else "gpt2", load)
    return training_flops(config, load.length).total
