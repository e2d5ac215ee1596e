"""Milliseconds of parts of a step by themselves: they say more in seconds than whole models in minutes."""

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from filelock import FileLock
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import hf_gpt
from hf_gpt.modeling.layers_hf_gpt import GPTAttention

from ..speed.nanogpt import Block, Size
from .systems import Load, device, on_gpu, ours, synchronize


ROUNDS, WARM_UP = 20, 3


class OneProjection(nn.Linear):
    """Of three matrices that stay three, the products with one vector at once."""

    def __init__(self, attention: GPTAttention):
        first = attention.q_proj
        super().__init__(1, 1, bias=False)
        del self.weight
        self.parts = nn.ModuleList([first, attention.k_proj, attention.v_proj])

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(states, torch.cat([part.get_parameter("weight") for part in self.parts]))


class Shared(nn.Module):
    """What a projection gives of a product that was made for all three."""

    def __init__(self, product: OneProjection, number: int):
        super().__init__()
        self.product, self.number = product, number

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        # A compiler finds the product three times and makes it once.
        sizes = [part.out_features for part in self.product.parts]
        return self.product(states).split(sizes, dim=-1)[self.number]


def milliseconds(works: dict[str, Callable[[], Any]], lock: FileLock) -> dict[str, float]:
    """Return what each takes, alone; whatever it compiles it has compiled before."""
    for work in works.values():
        work()
    with lock:
        return {name: median_of(work) for name, work in works.items()}


def median_of(work: Callable[[], Any]) -> float:
    seconds = []
    for number in range(WARM_UP + (ROUNDS if on_gpu() else 1)):
        synchronize()
        begun = time.perf_counter()
        work()
        synchronize()
        if number >= WARM_UP:
            seconds.append(time.perf_counter() - begun)
    return 1000 * statistics.median(seconds)


def passes(block: nn.Module, load: Load, dtype: torch.dtype = torch.float32, **named: Any) -> Callable[[], None]:
    states = torch.randn(load.batch, load.length, 768, device=device(), dtype=dtype, requires_grad=True)
    compiled = torch.compile(block) if on_gpu() else block

    def work() -> None:
        with torch.autocast(device(), torch.bfloat16):
            made = compiled(states, **named)
        made.backward(torch.ones_like(made))

    return work


def with_one_projection(block: nn.Module) -> nn.Module:
    changed: Any = copy.deepcopy(block)
    product = OneProjection(changed.self_attn)
    for number, name in enumerate(("q_proj", "k_proj", "v_proj")):
        setattr(changed.self_attn, name, Shared(product, number))
    return changed


def blocks(load: Load) -> dict[str, Callable[[], Any]]:
    """One block, forward and backward, compiled: what a change of the layers would bring, before it is made."""
    model: Any = ours("modern-124m")(load).to(device()).train()
    positions = torch.arange(load.length, device=device())[None]
    rotary = model.model.embed_positions(torch.zeros(1, load.length, 768, device=device()), positions)[1]
    block = model.model.layers[0]
    return {
        "block": passes(block, load, rotary=rotary),
        "block, residual stream in bfloat16": passes(copy.deepcopy(block), load, torch.bfloat16, rotary=rotary),
        "block, one projection": passes(with_one_projection(block), load, rotary=rotary),
        "nanoGPT's block": passes(Block(Size(768, 1, 12, load.vocabulary, load.length)).to(device()), load),
    }


def attentions(load: Load) -> dict[str, Callable[[], Any]]:
    """Causal attention, forward and backward, by each kernel that `scaled_dot_product_attention` may take; it takes flash first."""
    kernels = {"attention, flash": SDPBackend.FLASH_ATTENTION}
    if on_gpu():
        kernels["attention, cuDNN"] = SDPBackend.CUDNN_ATTENTION
    shape = (3, load.batch, 12, load.length, 64)
    states = torch.randn(shape, device=device(), dtype=torch.bfloat16, requires_grad=True)

    def work(kernel: SDPBackend) -> None:
        with sdpa_kernel(kernel):
            query, key, value = states.unbind()
            made = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            made.backward(torch.ones_like(made))

    return {name: partial(work, kernel) for name, kernel in kernels.items()}


def optimizers(load: Load) -> dict[str, Callable[[], Any]]:
    """A step of Muon as ours takes it and as torch does, over the matrices of all blocks, and of fused AdamW over everything."""
    model: Any = ours("modern-124m")(load).to(device())
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    matrices = [parameter for parameter in model.model.layers.parameters() if parameter.ndim == 2]
    steps = {
        "Muon's step": hf_gpt.Muon(model, lr=0.02),
        "the step of torch.optim.Muon, matrices alone": torch.optim.Muon(matrices, lr=0.02),
        "fused AdamW's step": torch.optim.AdamW(model.parameters(), fused=on_gpu()),
    }
    return {name: optimizer.step for name, optimizer in steps.items()}


def parts(load: Load, lock: FileLock) -> dict[str, Any]:
    return {"milliseconds": milliseconds({**blocks(load), **attentions(load), **optimizers(load)}, lock)}
