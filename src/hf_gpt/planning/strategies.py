"""Who holds what when many devices train one model, what that needs of each, and what they send each other."""

import math
from dataclasses import dataclass, replace

from ..errors import InputError, did_you_mean
from ..modeling.configuration_hf_gpt import GPTConfig
from .counts import block_matrices, parameter_counts
from .memory import Workload, activation_bytes, loss_bytes, optimizer_bytes, recomputed_bytes


# Of the memory of a device, the share that a plan fills: what the driver, the communication library and the gaps of the
# allocator take is measured by nobody in advance. An assumption.
USABLE_SHARE = 0.9


@dataclass(frozen=True)
class Strategy:
    """Who holds what.

    Args:
        shards: Devices that share weights, gradients and optimizer: `none`, `node` or `all`.
        splits: Whether the devices of a node share each matrix, and with it one batch.
        for_cpu: Whether it is for a machine without accelerators; the others are for accelerators.
    """

    shards: str = "none"
    splits: bool = False
    for_cpu: bool = False


STRATEGIES: dict[str, Strategy] = {
    "ddp": Strategy(),
    "fsdp2": Strategy(shards="all"),
    "hsdp": Strategy(shards="node"),
    "tensor-parallel": Strategy(splits=True),
    "cpu": Strategy(for_cpu=True),
}


def check_strategy(name: str) -> None:
    """Raise `InputError` for a name that is none of `STRATEGIES`."""
    if name not in STRATEGIES:
        hint = did_you_mean(name, STRATEGIES)
        raise InputError(f"strategy={name!r} is unknown.{hint} The strategies are {', '.join(STRATEGIES)}.")


def split_size(config: GPTConfig, devices: int) -> int:
    """Return the most devices that can share the matrices of one model: as many as divide the key heads and the feed-forward layer, or
    one, where the model has no plan of tensor parallelism."""
    if config.num_experts or config.attention_sinks:
        return 1
    shared = math.gcd(config.num_key_value_heads, config.intermediate_size)
    return max(size for size in range(1, devices + 1) if shared % size == 0)


def memory_by_part(config: GPTConfig, load: Workload, name: str, devices: int, devices_per_node: int) -> dict[str, float]:
    """Return bytes of one device by part, at the moment of a step when all are there: in the backward pass of a later micro-batch."""
    strategy, counts = STRATEGIES[name], parameter_counts(config)
    node = min(devices, devices_per_node)
    total, blocks = float(sum(counts.values())), block_matrices(config)
    parts = split_size(config, node) if strategy.splits else 1
    shards = {"none": 1, "node": node, "all": devices}[strategy.shards]
    # What tensor parallelism leaves whole: the tables, the norms and, tied to a table, the output matrix.
    output = counts["output matrix"]
    held = total - (blocks + output) * (1 - 1 / parts)
    share = held / total / shards
    largest = max(blocks / config.num_hidden_layers, config.vocab_size * config.hidden_size)
    if shards > 1:
        # The tables and the output matrix stay gathered through a step, a block is at work and the next one on its way.
        outside = total - blocks
        copies = load.compute_bytes * (outside + 2 * blocks / config.num_hidden_layers)
        buffers = 4.0 * largest
    else:
        # Autocast does not reach the kernels of experts.
        copies = 2.0 * block_matrices(config, experts=0) / parts if load.bfloat16 else 0.0
        # Gradients are summed in buckets, which hold all of them a second time unless they are asked to be views.
        buffers = 4.0 * held if devices > parts else 0.0
    loss = loss_bytes(config, load)
    # A block is computed again when the slices of logits are gone, in the space that they had.
    again = max(recomputed_bytes(config, load, parts) * load.tokens - loss["logits"], 0.0)
    return {
        "weights": 4 * total * share,
        "weights in use": copies,
        "gradients": 4 * total * share,
        "optimizer": optimizer_bytes(config, load.optimizer) * share,
        "communication": buffers,
        "activations": activation_bytes(config, load, parts) * load.tokens + again,
        **loss,
    }


def largest_batch(config: GPTConfig, load: Workload, name: str, devices: int, devices_per_node: int, memory: float) -> int:
    """Return the most rows of a device at a time that leave it within `USABLE_SHARE` of its memory; 0 if not even one does."""

    def fits(rows: int) -> bool:
        parts = memory_by_part(config, replace(load, rows=rows), name, devices, devices_per_node)
        return sum(parts.values()) <= USABLE_SHARE * memory

    if not fits(1):
        return 0
    lowest, highest = 1, 2
    while fits(highest):
        lowest, highest = highest, 2 * highest
    while highest - lowest > 1:
        middle = (lowest + highest) // 2
        lowest, highest = (middle, highest) if fits(middle) else (lowest, middle)
    return lowest


def communication_bytes(config: GPTConfig, load: Workload, name: str, devices: int, devices_per_node: int) -> float:
    """Return bytes that a device sends in a step, in rings: what arrives is as much again.

    Sharded: weights are gathered for each pass and gradients scattered (Rajbhandari et al. 2020, section 7.2.2: 3 N). Replicated:
    gradients are scattered and gathered (2 N, section 7.1). Split: two sums of the stream for each block and pass (Shoeybi et al.
    2019, section 3).
    """
    strategy, total = STRATEGIES[name], sum(parameter_counts(config).values())
    node = min(devices, devices_per_node)
    if strategy.shards != "none":
        group = devices if strategy.shards == "all" else node
        gathered = 3.0 * load.compute_bytes * total * (group - 1) / group
        copies = devices // group
        return gathered + 2.0 * 4 * total / group * (copies - 1) / copies
    parts = split_size(config, node) if strategy.splits else 1
    stream = 4.0 * config.num_hidden_layers * load.tokens * config.hidden_size * 4
    copies = max(devices // parts, 1)
    return stream * 2 * (parts - 1) / parts + 2.0 * 4 * total / parts * (copies - 1) / copies
