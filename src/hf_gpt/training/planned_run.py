"""From a recipe or the name of a preset to the plain values that `planning` takes."""

import time
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from ..errors import InputError, did_you_mean
from ..modeling.configuration_hf_gpt import GPTConfig
from ..planning import USABLE_SHARE, Device, MeasuredSpeed, Workload, hardware, memory_by_part, training_flops
from ..presets import preset
from ..recipe.machine import CPU_SHARE, compile_seconds
from ..recipe.parser import load_recipe
from .optimizers import OPTIMIZERS


# Steps are timed where they are expected to take so many seconds with one row; with more rows, at most the second number.
LONGEST_ROW, LONGEST_STEP, TIMED_STEPS = 20.0, 5.0, 3
# How many times as long a step takes that is not compiled, with eager attention in bfloat16: the ablation "not compiled" of
# benchmarks/RESULTS.md, 1.24 to 1.45.
NOT_COMPILED = 1.35


@dataclass(frozen=True)
class PlannedRun:
    """What is planned.

    Args:
        load: What a device does at a time.
        tokens, minutes: How long it trains; `None` where nobody said.
        accumulation: Batches of one step.
        is_compiled: Whether it would be compiled here.
    """

    config: GPTConfig
    load: Workload
    tokens: float | None = None
    minutes: float | None = None
    accumulation: int = 1
    is_compiled: bool = False


def planned_run(recipe: str | None, name: str | None, devices: int, on_cpu: bool, given: dict[str, Any]) -> PlannedRun:
    """Read a recipe or a preset.

    Args:
        recipe, name: A recipe of pretraining, or the name of a preset; exactly one.
        given: `length`, `rows`, `optimizer` and `tokens`, each `None` where the recipe's or the model's holds.

    Raises:
        InputError: neither or both of recipe and preset, an unknown name, or a recipe that trains no new model of this family.
    """
    if recipe is None and name is None:
        raise InputError("plan takes a recipe, such as pretrain/quickstart, or --preset NAME: give one of them.")
    if recipe is not None and name is not None:
        raise InputError(f"plan takes a recipe or --preset, and not both: leave {recipe} or --preset {name} out.")
    optimizer = given["optimizer"]
    if optimizer is not None and optimizer not in OPTIMIZERS:
        hint = did_you_mean(optimizer, OPTIMIZERS)
        raise InputError(f"optimizer={optimizer!r} is unknown.{hint} The optimizers are {', '.join(OPTIMIZERS)}.")
    chosen = {key: value for key, value in given.items() if value is not None and key != "tokens"}
    if name is not None:
        try:
            config = preset(name)
        except ValueError as error:
            raise InputError(str(error)) from error
        bfloat16 = not on_cpu or hardware.multiplies_natively()
        load = Workload(**{"length": config.max_position_embeddings, "on_cpu": on_cpu, "bfloat16": bfloat16, **chosen})
        return PlannedRun(config, load, given["tokens"])

    loaded = load_recipe(str(recipe), ["use_cpu=true"] if on_cpu else [])
    # The trainer's libraries are of no use to a preset, and slow to import.
    from .pretraining import model_config

    if loaded.model.preset is None:
        raise InputError(
            f"{recipe} trains no new model of a preset, which is what a plan counts: give --preset, or such a recipe."
        )
    config = model_config(loaded, loaded.model.config.get("vocab_size", loaded.data.tokenizer_vocab_size))
    training = loaded.training
    # Another device does what the recipe asks for; this one what was settled for it.
    attention = loaded.model.attn_implementation if on_cpu else loaded.values.get("attn_implementation")
    values = {
        "length": loaded.data.block_size,
        "rows": training.per_device_train_batch_size,
        "optimizer": loaded.run.optimizer,
        "bfloat16": bool(training.bf16 if on_cpu else loaded.values.get("bf16")),
        "attention": attention or "sdpa",
        "checkpointing": False,
        "on_cpu": on_cpu,
        **chosen,
    }
    load = Workload(**values)
    accumulation = training.gradient_accumulation_steps
    tokens, minutes = given["tokens"], None
    if tokens is None and training.max_steps > 0:
        tokens = float(training.max_steps * accumulation * load.tokens * devices)
    elif tokens is None:
        minutes = loaded.run.max_minutes
    return PlannedRun(config, load, tokens, minutes, accumulation, on_cpu and training.torch_compile)


def measured_speed(run: PlannedRun, device: Device, devices: int = 1) -> MeasuredSpeed | None:
    """Time a few steps of a run on this processor.

    Args:
        device: This processor.
        devices: Processes that are each taken to be as fast as this one.

    Returns:
        `None` where one row alone takes too long, or the model more memory than there is.
    """
    per_row = training_flops(run.config, run.load.length).total * run.load.length / (CPU_SHARE * device.peak_flops)
    memory = sum(memory_by_part(run.config, replace(run.load, rows=1), "cpu", 1, 1).values())
    if per_row > LONGEST_ROW or memory > USABLE_SHARE * device.memory:
        return None
    rows = min(run.load.rows, max(1, int(LONGEST_STEP / per_row)))
    load = replace(run.load, rows=rows)
    pass_seconds, optimizer_seconds = step_seconds(run.config, load)
    source = (
        f"measured here: {TIMED_STEPS} steps of {rows} x {load.length} tokens in {'bfloat16' if load.bfloat16 else 'float32'}"
    )
    pass_seconds *= run.load.rows / rows
    if run.is_compiled:
        pass_seconds /= NOT_COMPILED
        source += f", not compiled; a compiled pass is taken to be {NOT_COMPILED} times as fast"
    step = run.accumulation * pass_seconds + optimizer_seconds
    tokens = run.accumulation * run.load.tokens * devices
    compiling = compile_seconds(run.config.num_hidden_layers, "cpu") if run.is_compiled else 0.0
    return MeasuredSpeed(tokens / step, tokens, compiling, source)


def step_seconds(config: GPTConfig, load: Workload) -> tuple[float, float]:
    """Seconds of a forward and backward pass over random tokens, and of the optimizer's step after it, not compiled."""
    # Building a weight takes what a plan of another device does without.
    from ..modeling.modeling_hf_gpt import GPTForCausalLM

    config.fused_loss = True
    model = GPTForCausalLM._from_config(config, attn_implementation=load.attention).train()
    rates = {"lr": 1e-4, "embedding_lr": 1e-4, "head_lr": 1e-4, "rest_lr": 1e-4}
    optimizer = OPTIMIZERS[load.optimizer](model, **rates, weight_decay=0.0, betas=(0.9, 0.95), eps=1e-8)
    passes, steps = [], []
    for _ in range(TIMED_STEPS + 1):
        ids = torch.randint(config.vocab_size, (load.rows, load.length))
        begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=load.bfloat16):
            loss = model(ids, labels=ids).loss
        loss.backward()
        passed = time.perf_counter()
        optimizer.step()
        optimizer.zero_grad()
        passes.append(passed - begun)
        steps.append(time.perf_counter() - passed)
    # In the first one, memory is touched for the first time.
    return median(passes[1:]), median(steps[1:])
