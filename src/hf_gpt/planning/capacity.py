"""What a model will take beside what this machine has, compared before a weight is made."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from ..checks.limits import Range, check_range
from ..checks.system import memory_limits, total_memory
from ..errors import InputError, reason_of
from ..modeling.configuration_hf_gpt import GPTConfig
from . import parameter_counts


WEIGHT_BYTES = 4
# Weights and their gradients in float32, and two moments of each in an optimizer.
TRAINED_BYTES = 16
# Fields that are counted before a config is made of them: it would hold a list, or a name, for each.
CONFIG_RANGES = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), Range(1, 10_000)),
    "num_labels": Range(1, 10**6),
    **dict.fromkeys(("num_experts", "num_local_experts"), Range(0, 10**6)),
}
SIZES = (
    "num_hidden_layers",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
)


def check_sizes(values: dict[str, Any], where: str) -> None:
    """Raise `InputError` for a number that no config of any architecture can be made of.

    Args:
        values: Of a recipe's `config:` or of a `config.json`.
        where: What they are, for the message.
    """
    for key, value in values.items():
        if isinstance(value, int) and not isinstance(value, bool):
            check_range(f"{where}: {key}", value, CONFIG_RANGES.get(key, Range(-(2**53), 2**53)))


def host_memory() -> int:
    """Return bytes of memory that this process may have: of the machine, or of the container or the limit that it runs in."""
    limits = [total_memory(), *memory_limits()]
    for path in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if path.is_file() and (text := path.read_text().strip()).isdigit():
            limits.append(int(text))
    return min(limits)


def device_memory(use_cpu: bool) -> int:
    """Return bytes of one device that trains."""
    if use_cpu or not torch.cuda.is_available():
        return host_memory()
    return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)


def parameter_total(config: Any, auto_class: Any, trust_remote_code: bool = False) -> int:
    """Return the parameters of a model, of which no weight is made."""
    if isinstance(config, GPTConfig):
        return sum(parameter_counts(config).values())
    try:
        with torch.device("meta"):
            return sum(
                parameter.numel()
                for parameter in auto_class.from_config(
                    copy.deepcopy(config), trust_remote_code=trust_remote_code
                ).parameters()
            )
    except (RuntimeError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"config: a {type(config).__name__} of such fields cannot be built: {reason_of(error)}") from error


def check_memory(
    config: Any,
    auto_class: Any,
    name: str,
    trained: bool = False,
    use_cpu: bool = True,
    devices: int = 1,
    trust_remote_code: bool = False,
) -> None:
    """Raise `InputError` when a model is larger than the memory that it would be held or trained in, and say what would fit.

    Args:
        name: What the model is called in the message.
        trained: Whether all of its weights are trained, which takes four times the weights.
        devices: That may share what is trained.
        trust_remote_code: Whether code beside the config may run.
    """
    total = parameter_total(config, auto_class, trust_remote_code)
    needs = [("weights in float32", WEIGHT_BYTES * total, host_memory())]
    if trained:
        needs.append(("weights, gradients and optimizer", TRAINED_BYTES * total // devices, device_memory(use_cpu)))
    for what, needed, present in needs:
        if needed > present:
            raise InputError(
                f"{name} has {total:,} parameters: {what} take {needed / 2**30:,.1f} GiB, and there are {present / 2**30:,.1f} GiB. "
                f"{hint(config, total * present // needed)}"
            )


def hint(config: Any, parameters: int) -> str:
    """Return the field that makes a model too large, with its value and the largest that would fit; it is furthest from GPT-2's."""
    if not isinstance(config, GPTConfig):
        return "Choose a smaller one."
    usual = GPTConfig()
    for name in sorted(SIZES, key=lambda name: getattr(config, name) / getattr(usual, name), reverse=True):
        lowest, highest = 0, getattr(config, name)
        while highest - lowest > 1:
            middle = (lowest + highest) // 2
            changed = SimpleNamespace(**{**vars(config), name: middle})
            fits = sum(parameter_counts(changed).values()) <= parameters
            lowest, highest = (middle, highest) if fits else (lowest, middle)
        if lowest:
            return f"{name}={getattr(config, name):,} is the reason: {lowest:,} would fit."
    return "Make it smaller in more than one of its sizes."
