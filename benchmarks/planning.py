"""Compares what `hf-gpt plan` says with runs on this machine and with published runs.

python -m benchmarks.planning             measures, writes benchmarks/records/planning.json and the tables: `make planning`
python -m benchmarks.planning --table     the tables alone, from the record that is there
"""

import gc
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from hf_gpt import GPTConfig, GPTForCausalLM, preset
from hf_gpt.optim import OPTIMIZERS, OptimizerSettings
from hf_gpt.planning import Workload


SETTINGS = OptimizerSettings(
    lr=1e-3, weight_decay=0.0, embedding_lr=1e-3, head_lr=1e-3, rest_lr=1e-3, betas=(0.9, 0.95), eps=1e-8, momentum=0.95
)


def build(config: GPTConfig, load: Workload) -> GPTForCausalLM:
    torch.manual_seed(0)
    model = GPTForCausalLM._from_config(config, attn_implementation=load.attention).train()
    if load.checkpointing:
        model.gradient_checkpointing_enable()
    return model


def token_ids(config: GPTConfig, load: Workload) -> torch.Tensor:
    return torch.randint(0, config.vocab_size, (load.rows, load.length), generator=torch.Generator().manual_seed(0))


def loss_of(model: GPTForCausalLM, ids: torch.Tensor, load: Workload) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=load.bfloat16):
        return model(ids, labels=ids, use_cache=False).loss


def measured_flops(config: GPTConfig, load: Workload) -> float:
    """Products and sums of one trained token, counted by torch while it trains."""
    model, ids = build(config, load), token_ids(config, load)
    with FlopCounterMode(display=False) as counter:
        loss_of(model, ids, load).backward()
    return counter.get_total_flops() / load.tokens


def saved_bytes(config: GPTConfig, load: Workload) -> float:
    """Bytes that autograd keeps at the end of a forward pass, each storage once, weights and ids left out."""
    model, ids = build(config, load), token_ids(config, load)
    known = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers(), ids)}
    found: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    if load.checkpointing:
        # Its inputs are held by a function, not by autograd.
        def keep_input(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            keep(inputs[0])

        for block in model.model.layers:
            block.register_forward_pre_hook(keep_input)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = loss_of(model, ids, load)
    del loss
    return float(sum(found.values()))


def state_bytes(config: GPTConfig, load: Workload) -> dict[str, int]:
    """Bytes of weights, gradients and optimizer after a step, tensor by tensor."""
    model, ids = build(config, load), token_ids(config, load)
    optimizer = OPTIMIZERS[load.optimizer](model, SETTINGS)
    loss_of(model, ids, load).backward()
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value) and value.ndim]
    return {
        "weights": sum(parameter.nbytes for parameter in model.parameters()),
        "gradients": sum(parameter.grad.nbytes for parameter in model.parameters() if parameter.grad is not None),
        "optimizer": sum(state.nbytes for state in states),
    }


def resident_bytes(config: GPTConfig, load: Workload) -> float:
    """Largest resident size of this process in the second of two micro-batches, less what it held before the model was there.

    Then weights, gradients, optimizer and activations are there together. Linux only, in a process of its own.
    """
    # The libraries are loaded and the first kernels chosen before the count begins.
    warm = preset("modern-5m", hidden_size=32, vocab_size=64, intermediate_size=64, num_hidden_layers=1, fused_loss=True)
    loss_of(build(warm, load), token_ids(warm, load), load).backward()
    gc.collect()
    before = _status("VmRSS")
    model, ids = build(config, load), token_ids(config, load)
    optimizer = OPTIMIZERS[load.optimizer](model, SETTINGS)
    loss_of(model, ids, load).backward()
    optimizer.step()
    gc.collect()
    # Linux begins to look for the largest size anew.
    Path("/proc/self/clear_refs").write_text("5")
    loss_of(model, ids, load).backward()
    return float(_status("VmHWM") - before)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}.")
