"""What a training run will take: parameters, FLOPs, bytes, hours, cost. Each formula names its source.

`experiments/planning.py` compares them with runs on this machine and with published runs.
"""

from .counts import active_parameters, block_matrices, compute_optimal_tokens, parameter_counts, training_flops
from .devices import DEVICE_NAMES, DEVICES, Device, find_device, named_device
from .memory import Workload, activation_bytes, block_activations, loss_bytes, optimizer_bytes, whole_logits_bytes
from .plan import MEASURED_UP_TO, USED_SHARE, RunTime, check_length, plan
from .strategies import STRATEGIES, USABLE_SHARE, largest_batch, memory_by_part, split_size


__all__ = [
    "DEVICES",
    "DEVICE_NAMES",
    "MEASURED_UP_TO",
    "STRATEGIES",
    "USABLE_SHARE",
    "USED_SHARE",
    "Device",
    "RunTime",
    "Workload",
    "activation_bytes",
    "active_parameters",
    "block_activations",
    "block_matrices",
    "check_length",
    "compute_optimal_tokens",
    "find_device",
    "largest_batch",
    "loss_bytes",
    "memory_by_part",
    "named_device",
    "optimizer_bytes",
    "parameter_counts",
    "plan",
    "split_size",
    "training_flops",
    "whole_logits_bytes",
]
