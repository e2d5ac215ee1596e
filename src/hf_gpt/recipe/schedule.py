"""Shares of a run, turned into steps once their number is known; what does not fit is refused before the first step."""

import math
from collections.abc import Mapping
from typing import Any

from ..errors import InputError, counted


# Muennighoff et al. 2023: four epochs are worth as much as new text, and what comes after sixteen next to nothing.
MOST_EPOCHS = 10.0
# How often something is done. `Trainer` reads a number below 1 as a share, and rounds it up.
INTERVALS = ("logging_steps", "eval_steps", "save_steps")
# Lengths of phases among the keywords of a scheduler, which `Trainer` reads as steps only.
PHASES = ("num_stable_steps", "num_decay_steps")
FIELDS = (*INTERVALS, "warmup_steps", "lr_scheduler_type", "lr_scheduler_kwargs")
# Schedules that have no warm-up, whatever the recipe says.
WITHOUT_WARMUP = ("constant", "reduce_lr_on_plateau", "greedy")


def steps_per_epoch(rows: int, batch_size: int, batches: int, accumulation: int) -> int:
    """Return the steps in which every row is seen once, as `Trainer` counts them.

    Args:
        rows: Of the train split.
        batch_size: Rows of one device at a time.
        batches: How many of these are different at a time: one for each process that reads data of its own.
        accumulation: Batches of one step of the optimizer.
    """
    return max(math.ceil(math.ceil(math.ceil(rows / batch_size) / batches) / accumulation), 1)


def epoch_line(steps: int, once: int) -> str | None:
    """Return how often every row is seen, as a sentence; `None` where no row is seen twice.

    Args:
        once: Steps of an epoch.
    """
    epochs = steps / once
    if epochs <= 1:
        return None
    line = f"The train split is small: {counted(steps, 'steps are')} {counted(epochs, 'epochs', '.3g')} of it."
    return (
        line
        if epochs <= MOST_EPOCHS
        else f"{line} Beyond {MOST_EPOCHS:g} a model learns it by heart: give more text or fewer steps."
    )


def resolve_schedule(arguments: Any, steps: int) -> dict[str, Any]:
    """Return the fields of training arguments that may be shares, as whole steps of a run of that length.

    Args:
        arguments: `TrainingArguments`, or anything that has their fields.
        steps: Steps of the run.

    Returns:
        `logging_steps`, `eval_steps`, `save_steps`, `warmup_steps` and `lr_scheduler_kwargs`.

    Raises:
        InputError: warm-up and decay are longer than the run.
    """
    keywords = arguments.lr_scheduler_kwargs or {}
    phases = {name: keywords[name] for name in PHASES if keywords.get(name) is not None}
    if str(getattr(arguments.lr_scheduler_type, "value", arguments.lr_scheduler_type)) not in WITHOUT_WARMUP:
        phases = {"warmup_steps": arguments.warmup_steps, **phases}
    lengths = phase_lengths(phases, steps)
    resolved = {name: given and _interval(given, steps) for name in INTERVALS for given in [getattr(arguments, name)]}
    warmup = {"warmup_steps": lengths.pop("warmup_steps")} if "warmup_steps" in lengths else {}
    return {**resolved, **warmup, "lr_scheduler_kwargs": {**keywords, **lengths}}


def phase_lengths(phases: Mapping[str, float], steps: int) -> dict[str, int]:
    """Return the steps of each phase of a schedule, in their order; shares are rounded so that all of them fit.

    Raises:
        InputError: they are longer than the run.
    """
    left, lengths = steps, {}
    # A rounded share may be a step too long; a number of steps that somebody wrote may not.
    shares = sum(value for value in phases.values() if value < 1)
    fixed = sum(int(value) for value in phases.values() if value >= 1)
    if fixed + shares * steps > steps * (1 + 1e-9) and phases:
        raise InputError(_does_not_fit(phases, steps, fixed, shares))
    for name, value in phases.items():
        if value >= 1:
            lengths[name] = int(value)
        elif name == "warmup_steps":
            # As `Trainer` rounds; but a run of a single step is not all warm-up, in which it would learn nothing.
            lengths[name] = min(math.ceil(value * steps), steps - 1)
        else:
            lengths[name] = min(round(value * steps), left)
        left = max(left - lengths[name], 0)
    return lengths


def occasions(interval: int | None, done: int, steps: int) -> int:
    """Return how often something is still done that a run does at intervals of steps and at its end; `None` for never."""
    return 0 if interval is None else steps // interval - done // interval + bool(steps % interval)


def check_shares(arguments: Any) -> None:
    """Raise `InputError` when the schedule of a run whose length nobody knows yet is written in steps."""
    keywords = arguments.lr_scheduler_kwargs or {}
    phases = {"warmup_steps": arguments.warmup_steps, **{name: keywords.get(name) for name in PHASES}}
    for name, value in phases.items():
        if value is not None and value >= 1:
            key = name if name == "warmup_steps" else f"lr_scheduler_kwargs.{name}"
            raise InputError(
                f"{key}={value:g} with max_minutes: how many steps the run will make is not known yet. Give a share of it, such as "
                f"{key}={0.03 if name == 'warmup_steps' else 0.6}."
            )


def _interval(given: float, steps: int) -> int:
    return int(given) if given >= 1 else math.ceil(given * steps)


def _does_not_fit(phases: Mapping[str, float], steps: int, fixed: int, shares: float) -> str:
    written = " and ".join(f"{name}={value:g}" for name, value in phases.items() if value)
    if not fixed:
        return f"{written} are {shares:.0%} of the run: shares of a schedule add up to at most 1."
    fixes = {"warmup_steps": "warmup_steps=0.03", "num_decay_steps": "lr_scheduler_kwargs.num_decay_steps=0.6"}
    fix = " ".join(fixes[name] for name in phases if name in fixes and phases[name] >= 1)
    needed = math.ceil(fixed / (1 - shares)) if shares < 1 else None
    longer = f", or max_steps={needed} or more" if needed else ""
    hint = f"give shares of the run, {fix}{longer}" if fix else f"make num_stable_steps shorter{longer}"
    return f"{written} do not fit into a run of {counted(steps, 'steps')}, in which the rate would never be what it should: {hint}."
