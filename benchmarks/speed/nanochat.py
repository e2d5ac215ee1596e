"""nanochat (github.com/karpathy/nanochat) from its description, as first released in October 2025: its model, optimizers and loop.

Written for this comparison, since it is no package: rotary positions, norms without weights, also after the token embedding and on
queries and keys, squared ReLU, an untied output matrix from zero, logits between -15 and 15; Muon for the matrices and AdamW for both
tables, all rates lowered together to zero at the end; bfloat16 by autocast and `torch.compile`. Its schedule falls over as large a part
of the steps as ours, longer than in its first release. What came later (value embeddings, learned residual weights, windows, a decay of
the matrices) is not here.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from hf_gpt.planning import hardware

from .clock import Clock
from .corpus import Corpus
from .nanogpt import Size, windows


# Of its own output matrix, two layers less than nanoGPT.
SIZE = Size(layers=4)
HIGHEST_LOGIT = 15.0
# Its author's for a width of 768; AdamW's go by the inverse square root of the width. A factor on all three is what is tuned here.
MATRIX_RATE, EMBEDDING_RATE, HEAD_RATE, TUNED_WIDTH = 0.02, 0.2, 0.004, 768
DECAY_SHARE = 0.6
# Muon's momentum rises over so many steps.
MOMENTUM, MOMENTUM_STEPS = (0.85, 0.95), 300


def norm(x: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(x, (x.shape[-1],))


class Attention(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.query, self.key, self.value, self.projection = (nn.Linear(size.width, size.width, bias=False) for _ in range(4))

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        query, key, value = (
            layer(x).view(batch, length, self.heads, -1).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        query, key = (norm(rotate(part, cosine, sine)) for part in (query, key))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.projection(mixed.transpose(1, 2).reshape(batch, length, width))


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine + second * sine, second * cosine - first * sine], dim=-1).to(x.dtype)


class Block(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.attention = Attention(size)
        self.up = nn.Linear(size.width, 4 * size.width, bias=False)
        self.projection = nn.Linear(4 * size.width, size.width, bias=False)

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(norm(x), cosine, sine)
        return x + self.projection(functional.relu(self.up(norm(x))).square())


class NanoChat(nn.Module):
    def __init__(self, size: Size = SIZE) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.head = nn.Linear(size.width, size.vocabulary, bias=False)
        channels = torch.arange(0, size.width // size.heads, 2) / (size.width // size.heads)
        angles = torch.outer(torch.arange(size.block), 10000.0**-channels)
        self.angles = torch.stack([angles.cos(), angles.sin()])
        nn.init.normal_(self.tokens.weight)
        for name, parameter in self.named_parameters():
            if name.endswith(("head.weight", "projection.weight")):
                nn.init.zeros_(parameter)
            elif "blocks" in name:
                outputs, inputs = parameter.shape
                nn.init.normal_(parameter, std=min(1.0, math.sqrt(outputs / inputs)) / math.sqrt(inputs))

    def forward(self, ids: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logits, or with `targets` (the ids, one place on) the loss."""
        cosine, sine = self.angles[:, : ids.shape[1]]
        x = norm(self.tokens(ids))
        for block in self.blocks:
            x = block(x, cosine, sine)
        logits = HIGHEST_LOGIT * torch.tanh(self.head(norm(x)).float() / HIGHEST_LOGIT)
        if targets is None:
            return logits
        return functional.cross_entropy(logits.flatten(0, 1), targets.reshape(-1))


def train_nanochat(steps: int, factor: float, seed: int, batch: int, corpus: Corpus, clock: Clock) -> nn.Module:
    torch.manual_seed(seed)
    model, batches = NanoChat(), windows(corpus, batch, seed)
    by_width = factor * math.sqrt(TUNED_WIDTH / SIZE.width)
    tables = [
        {"params": [model.head.weight], "lr": HEAD_RATE * by_width},
        {"params": [model.tokens.weight], "lr": EMBEDDING_RATE * by_width},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(tables, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.0),
        torch.optim.Muon(model.blocks.parameters(), lr=MATRIX_RATE * factor, weight_decay=0.0),
    ]
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    rates = [group["lr"] for group in groups]
    compiled = torch.compile(model)
    clock.start()
    for step in range(steps):
        for group, rate in zip(groups, rates):
            group["lr"] = rate * min(1.0, (steps - step) / (DECAY_SHARE * steps))
        share = min(1.0, step / MOMENTUM_STEPS)
        groups[-1]["momentum"] = (1 - share) * MOMENTUM[0] + share * MOMENTUM[1]
        ids = next(batches)
        clock.has_batch()
        with torch.autocast("cpu", torch.bfloat16, enabled=hardware.multiplies_natively()):
            loss = compiled(ids[:, :-1], ids[:, 1:])
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        clock.step(step + 1, lambda: model)
    return model
