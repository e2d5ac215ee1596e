"""All figures of a run that is only planned."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import InputError
from ..modeling.configuration_hf_gpt import GPTConfig
from .counts import active_parameters, compute_optimal_tokens, parameter_counts, training_flops
from .devices import Device
from .memory import Workload, whole_logits_bytes
from .strategies import STRATEGIES, USABLE_SHARE, check_strategy, communication_bytes, largest_batch, memory_by_part


# Of a time budget, what a run uses; the rest is for a machine that slows down as it gets warm.
USED_SHARE = 0.95
# The largest model whose memory and FLOPs were measured, by experiments/planning.py; above it a figure is extrapolated.
MEASURED_UP_TO = 50e6


@dataclass(frozen=True)
class RunTime:
    """How long a run takes.

    Args:
        tokens_per_second: Of all devices, while steps are made.
        source: How it was found.
        steps, tokens: Of the run; `None` where nobody said how long it is.
        parts: Seconds of what the training of these steps consists of, by its name; empty where only the steps are known.
        notes: What has to be known of the number of steps.
    """

    tokens_per_second: float
    source: str = "extrapolated"
    steps: int | None = None
    tokens: float | None = None
    parts: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def check_length(config: GPTConfig, length: int) -> None:
    """Raise `InputError` for rows that are longer than the model can read, or have nothing to predict."""
    if not 2 <= length <= config.max_position_embeddings:
        raise InputError(
            f"length={length} must be at least 2 and at most {config.max_position_embeddings}, the model's max_position_embeddings."
        )


def plan(
    config: GPTConfig,
    load: Workload,
    device: Device,
    devices: int = 1,
    devices_per_node: int = 8,
    strategies: tuple[str, ...] | None = None,
    tokens: float | None = None,
    mfu: float = 0.4,
    time_run: Callable[[float], RunTime] = RunTime,
    price: float | None = None,
) -> dict[str, Any]:
    """Return all figures of a run, as values that JSON can hold.

    Args:
        tokens: Tokens to train on; by default those of `time_run`, or the compute-optimal number.
        mfu: Model FLOPs utilisation: the share of the peak that goes into `Flops.total` (Chowdhery et al. 2022, section 4.1).
        time_run: From tokens/s at that MFU to the time of the run, once the values are found to make sense; it may measure the speed,
            and then the MFU is what that makes of it.
        price: Of a device for an hour, in any currency.

    Raises:
        InputError: a strategy or a number that makes no sense.
    """
    for name, value, lowest in (
        ("devices", devices, 1),
        ("devices_per_node", devices_per_node, 1),
        ("batch_size", load.rows, 1),
        ("tokens", tokens, 1),
        ("price", price, 0),
    ):
        if value is not None and not value >= lowest:
            raise InputError(f"{name}={value} must be at least {lowest}.")
    check_length(config, load.length)
    if not 0 < mfu <= 1:
        raise InputError(f"mfu={mfu} must be more than 0 and at most 1: it is a share of the peak.")
    for name in strategies or ():
        check_strategy(name)
    counts = parameter_counts(config)
    total = sum(counts.values())
    optimal, optimal_source = compute_optimal_tokens(total)
    flops = training_flops(config, load.length)
    peak = devices * device.peak_flops / flops.total
    run_time = time_run(peak * mfu)
    speed = run_time.tokens_per_second
    mfu = speed / peak
    tokens = tokens or run_time.tokens or optimal
    hours = (sum(run_time.parts.values()) or tokens / speed) / 3600
    source = "measured" if total <= MEASURED_UP_TO else "extrapolated"
    names = strategies or tuple(name for name, strategy in STRATEGIES.items() if strategy.for_cpu == device.is_cpu)
    return {
        "parameters": {"total": total, **counts},
        "active_parameters": active_parameters(config) if config.num_experts else None,
        "flops_per_token": {
            "total": flops.total,
            "matrices": flops.matrices,
            "attention": flops.attention,
            "masked": flops.masked,
            "recomputed": flops.recomputed,
            "six_n": 6.0 * total,
            "source": source,
        },
        "tokens": {"planned": tokens, "optimal": optimal, "source": optimal_source},
        "training_flops": flops.total * tokens,
        "whole_logits": whole_logits_bytes(config, load),
        "memory_source": source if load.on_cpu else "extrapolated",
        "strategies": [
            _strategy_figures(config, replace(load, checkpointing=checkpointing), device, name, devices, devices_per_node)
            for name in names
            for checkpointing in (False, True)
        ],
        "time": {
            "tokens_per_second": speed,
            "source": run_time.source,
            "steps": run_time.steps,
            "parts": run_time.parts,
            "notes": list(run_time.notes),
            "hours": hours,
            "device_hours": hours * devices,
            "compute_seconds_a_step": devices * load.tokens / speed,
            "cost": None if price is None else hours * devices * price,
        },
        "given": {"devices": devices, "length": load.length, "rows": load.rows, "mfu": mfu, "optimizer": load.optimizer},
        "device": {"memory": device.memory, "peak_flops": device.peak_flops, "source": device.source},
    }


def _strategy_figures(
    config: GPTConfig, load: Workload, device: Device, name: str, devices: int, devices_per_node: int
) -> dict[str, Any]:
    parts = memory_by_part(config, load, name, devices, devices_per_node)
    sent = communication_bytes(config, load, name, devices, devices_per_node)
    return {
        "strategy": name,
        "checkpointing": load.checkpointing,
        "memory": parts,
        "total": sum(parts.values()),
        "fits": sum(parts.values()) <= USABLE_SHARE * device.memory,
        "largest_batch": largest_batch(config, load, name, devices, devices_per_node, device.memory),
        "communication_bytes": sent,
        "communication_seconds": 2 * sent / device.interconnect if device.interconnect else None,
    }
