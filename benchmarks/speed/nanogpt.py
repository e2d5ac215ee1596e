"""nanoGPT (github.com/karpathy/nanoGPT) from its description: its model, its optimizer groups, its schedule and its loop.

Written for this comparison, since it is no package: GPT-2 without biases, weights tied, `F.scaled_dot_product_attention`, exact GELU,
residual projections at 0.02 / sqrt(2 * layers); AdamW with decay on matrices only; clipping at 1; warm-up, then a cosine to a
tenth of the learning rate; random windows of the token stream; bfloat16 by autocast and `torch.compile`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from hf_gpt.planning import hardware

from .clock import Clock
from .corpus import BLOCK, VOCABULARY, Corpus


@dataclass(frozen=True)
class Size:
    width: int = 384
    layers: int = 6
    heads: int = 6
    vocabulary: int = VOCABULARY
    block: int = BLOCK


class Attention(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.qkv = nn.Linear(size.width, 3 * size.width, bias=False)
        self.projection = nn.Linear(size.width, size.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(x).split(width, dim=2)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.projection(mixed.transpose(1, 2).contiguous().view(batch, length, width))


class Block(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(size.width, bias=False)
        self.attention = Attention(size)
        self.norm_2 = nn.LayerNorm(size.width, bias=False)
        self.up = nn.Linear(size.width, 4 * size.width, bias=False)
        self.projection = nn.Linear(4 * size.width, size.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.projection(functional.gelu(self.up(self.norm_2(x))))


class NanoGPT(nn.Module):
    def __init__(self, size: Size = Size()) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.positions = nn.Embedding(size.block, size.width)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                std = 0.02 / math.sqrt(2 * size.layers) if "projection" in name else 0.02
                nn.init.normal_(parameter, std=std)

    def forward(self, ids: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logits, or with `targets` (the ids, one place on) the loss."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits = functional.linear(self.norm(x), self.tokens.weight)
        if targets is None:
            return logits
        return functional.cross_entropy(logits.flatten(0, 1), targets.reshape(-1))


def rate_at(step: int, steps: int, highest: float) -> float:
    """Warm-up over a twentieth of the steps, then a cosine to a tenth of the highest rate."""
    warm = max(1, steps // 20)
    if step < warm:
        return highest * (step + 1) / (warm + 1)
    share = (step - warm) / max(1, steps - warm)
    return highest * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


def windows(corpus: Corpus, batch: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield ids from random places of the token stream, `(batch, BLOCK + 1)`: each is followed by what it is to predict."""
    random, stream = np.random.default_rng(seed), corpus.train.reshape(-1)
    while True:
        starts = random.integers(0, len(stream) - BLOCK - 1, batch)
        yield torch.from_numpy(np.stack([stream[start : start + BLOCK + 1] for start in starts]).astype(np.int64))


def train_nanogpt(steps: int, learning_rate: float, seed: int, batch: int, corpus: Corpus, clock: Clock) -> nn.Module:
    torch.manual_seed(seed)
    model, batches = NanoGPT(), windows(corpus, batch, seed)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95))
    compiled = torch.compile(model)
    clock.start()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, learning_rate)
        ids = next(batches)
        clock.has_batch()
        with torch.autocast("cpu", torch.bfloat16, enabled=hardware.multiplies_natively()):
            loss = compiled(ids[:, :-1], ids[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.step(step + 1, lambda: model)
    return model
