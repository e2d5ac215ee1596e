"""From a recipe or the name of a preset to the plain values that `planning` takes."""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from ..data.loading import load_rows, text_rows
from ..data.packages import sha256_of
from ..data.packing import byte_count, token_count, tokenize
from ..data.sources import text_source
from ..data.splits import split_rows
from ..data.tokenizer import load_tokenizer, train_tokenizer
from ..errors import InputError, counted, did_you_mean
from ..modeling.configuration_hf_gpt import GPTConfig
from ..planning import USABLE_SHARE, Device, RunTime, Workload, check_length, hardware, memory_by_part, training_flops
from ..presets import preset
from ..recipe.arguments import Recipe
from ..recipe.machine import CPU_SHARE, compile_seconds
from ..recipe.own_text import is_own_text, recipe_of_text
from ..recipe.parser import load_recipe
from ..recipe.schedule import occasions, steps_per_epoch
from .optimizers import OPTIMIZERS


# Steps are timed where one row is expected to take at most the first number of seconds; with more rows, at most the second.
LONGEST_ROW, LONGEST_STEP = 20.0, 5.0
# Everything is timed at least twice, and for about so long, after once that does not count.
TIMED_SECONDS = 3.0
# Tokens of a prompt, and of those that follow, whose time is taken.
PROMPT_TOKENS, TIMED_TOKENS = 8, 8
# Characters of a train split that a tokenizer is trained on and counted with, to know how many tokens there are.
COUNTED_CHARACTERS = 2_000_000


@dataclass(frozen=True)
class PlannedRun:
    """What is planned.

    Args:
        load: What a device does at a time.
        tokens, minutes: How long it trains; `None` where nobody said.
        accumulation: Batches of one step.
        is_compiled: Whether it would be compiled here.
        recipe: What it was read from; `None` for a preset and for a task, whose length is that of its rows.
        notes: What is not counted, a line each.
    """

    config: GPTConfig
    load: Workload
    tokens: float | None = None
    minutes: float | None = None
    accumulation: int = 1
    is_compiled: bool = False
    recipe: Recipe | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Timings:
    """Seconds on this machine.

    Args:
        training_pass: Forward and backward.
        optimizer_step: After it.
        evaluation_pass: Forward, as an evaluation does it.
        sampled_token: Of a sample that is written during training.
        checkpoint: To write and hash one.
    """

    training_pass: float
    optimizer_step: float
    evaluation_pass: float = 0.0
    sampled_token: float = 0.0
    checkpoint: float = 0.0


def planned_run(recipe: str | None, name: str | None, devices: int, on_cpu: bool, given: dict[str, Any]) -> PlannedRun:
    """Read a recipe or a preset.

    Args:
        recipe, name: A recipe of pretraining or somebody's text, or the name of a preset; exactly one.
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

    read = recipe_of_text if is_own_text(str(recipe)) else load_recipe
    loaded = read(str(recipe), ["use_cpu=true"] if on_cpu else [])
    # The trainer's libraries are of no use to a preset, and slow to import.
    from .planned_task import base_config, notes_of
    from .pretraining import model_config

    if loaded.model.model_type is not None:
        raise InputError(f"{recipe} trains a model of another family, whose parts a plan does not count: give --preset.")
    is_task = loaded.task.task != "language-modeling"
    if loaded.model.preset is None:
        config = base_config(loaded, is_task and given["tokens"] is None)
    else:
        config = model_config(loaded, loaded.model.config.get("vocab_size", loaded.data.tokenizer_vocab_size))
    training = loaded.training
    # Another device does what the recipe asks for; this one what was settled for it.
    attention = loaded.model.attn_implementation if on_cpu else loaded.values.get("attn_implementation")
    values = {
        "length": loaded.task.max_length if is_task else loaded.data.block_size,
        "rows": training.per_device_train_batch_size,
        "optimizer": loaded.run.optimizer,
        "bfloat16": bool(training.bf16 if on_cpu else loaded.values.get("bf16")),
        "attention": attention or "sdpa",
        "checkpointing": False,
        "on_cpu": on_cpu,
        **chosen,
    }
    workload = Workload(**values)
    accumulation = training.gradient_accumulation_steps
    tokens = given["tokens"]
    check_length(config, workload.length)
    if is_task:
        tokens = planned_tokens(loaded, devices) if tokens is None else tokens
        return PlannedRun(config, workload, tokens, accumulation=accumulation, notes=notes_of(loaded))
    minutes = loaded.run.max_minutes if tokens is None else None
    if tokens is None and minutes is None and training.max_steps > 0:
        tokens = float(training.max_steps * accumulation * workload.tokens * devices)
    is_compiled = on_cpu and training.torch_compile
    return PlannedRun(config, workload, tokens, minutes, accumulation, is_compiled, loaded, notes_of(loaded))


def planned_tokens(recipe: Recipe, devices: int) -> float:
    """Return the tokens that a task is trained on, padding left out."""
    from .planned_task import task_tokens

    arguments = recipe.training
    batch = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * devices
    rows, length = task_tokens(recipe, batch)
    trained = arguments.max_steps * batch if arguments.max_steps > 0 else rows * arguments.num_train_epochs
    return trained * length


# ------------------------------------------------------------------------------------------------------- how long it takes


def run_time(run: PlannedRun, device: Device, devices: int, is_timed: bool, speed: float) -> RunTime:
    """Return how long a run takes, and how many steps it will make in the time that it has.

    Args:
        devices: Processes, each taken to be as fast as this one where that is measured.
        is_timed: Whether its parts are timed here; where one row alone takes too long, or the model more memory than there is, they
            are not.
        speed: Tokens/s of all devices where they are not.
    """
    timings = source = None
    if is_timed and (rows := timed_rows(run, device)):
        timings = measured_timings(run.config, replace(run.load, rows=rows), run.is_compiled)
        times = run.load.rows / rows
        timings = replace(
            timings, training_pass=timings.training_pass * times, evaluation_pass=timings.evaluation_pass * times
        )
        kind = f"{'bfloat16' if run.load.bfloat16 else 'float32'}{', compiled' if run.is_compiled else ''}"
        source = f"measured here: steps of {rows} x {counted(run.load.length, 'tokens')} in {kind}"
    per_step = run.accumulation * run.load.tokens * devices
    step = per_step / speed if timings is None else run.accumulation * timings.training_pass + timings.optimizer_step
    told = RunTime(per_step / step, source or "extrapolated", notes=run.notes)
    if run.recipe is None:
        return told
    return length_of(run, run.recipe, devices, step, timings, told)


def length_of(run: PlannedRun, recipe: Recipe, devices: int, step: float, timings: Timings | None, told: RunTime) -> RunTime:
    """Return the steps of a recipe's run and the seconds of its parts, by the functions by which the run itself fixes them."""
    # The trainer's libraries are of no use to a preset, and slow to import.
    from .budget import Costs, foreseen_steps, run_intervals
    from .objectives import PROMPTS
    from .pretraining import STREAM_STEPS, TOKENS_ON_THE_WAY

    arguments, per_step = recipe.training, step * told.tokens_per_second
    # A forward pass is a third of a training pass.
    forward = timings.evaluation_pass if timings else step / run.accumulation / 3
    prompts = PROMPTS if recipe.run.sample_prompts is None else len(recipe.run.sample_prompts)
    tokens = prompts * min(recipe.run.sample_tokens, TOKENS_ON_THE_WAY)
    # How large the text is matters where the run may reach its last epoch, or scores all that is held out.
    most = 0.0 if run.minutes is None else 60 * run.minutes * told.tokens_per_second / arguments.num_train_epochs
    most_scored = recipe.data.max_eval_blocks
    if most_scored is None or not recipe.data.validation_share or (run.tokens is None and run.minutes is None):
        most = math.inf
    else:
        most = max(most, most_scored * recipe.data.block_size * train_share(recipe) / recipe.data.validation_share)
    known = train_tokens(recipe, most)
    blocks = None if known is None else max(int(known / recipe.data.block_size), 1)
    once = STREAM_STEPS
    if blocks is not None:
        once = steps_per_epoch(blocks, arguments.train_batch_size, devices, run.accumulation)
    limit = arguments.max_steps if arguments.max_steps > 0 else STREAM_STEPS
    if blocks is not None and arguments.max_steps <= 0:
        limit = math.ceil(arguments.num_train_epochs * once)
    held_out = math.inf if blocks is None else blocks * recipe.data.validation_share / train_share(recipe)
    scored = min(held_out, most_scored or math.inf)
    batches = 0 if scored == math.inf else math.ceil(scored / (arguments.eval_batch_size * devices))
    passes = batches * forward * arguments.eval_batch_size / run.load.rows
    costs = Costs(step, passes + tokens * (timings.sampled_token if timings else 0.0), timings.checkpoint if timings else 0.0)
    compiling = compile_seconds(run.config.num_hidden_layers, "cpu") if run.is_compiled else 0.0
    schedule = arguments
    notes = (
        told.notes
        if scored < math.inf
        else (
            *told.notes,
            "evaluations not counted: how much is held out is not known",
        )
    )
    if run.tokens is not None:
        steps, extra = max(math.ceil(run.tokens / per_step), 1), 0
    elif run.minutes is not None:
        steps, extra = foreseen_steps(run.minutes, compiling, limit, once, costs, arguments, schedule), 1
        if steps == limit and arguments.max_steps <= 0:
            notes = (
                *notes,
                f"{counted(arguments.num_train_epochs, 'epochs', 'g')} of the train split, about "
                f"{counted(known or 0, 'tokens', ',.0f')}, and no more",
            )
    elif blocks is not None:
        steps, extra = limit, 0
    else:
        return told
    evaluations, checkpoints = (
        0 if every is None else occasions(every, 0, steps) + extra for every in run_intervals(arguments, schedule, steps, once)
    )
    parts = {
        "compiling": compiling,
        counted(steps, "steps"): steps * step,
        counted(evaluations, "evaluations"): evaluations * costs.evaluation,
        counted(checkpoints, "checkpoints"): checkpoints * costs.checkpoint,
    }
    parts = {name: seconds for name, seconds in parts.items() if seconds}
    return replace(told, steps=steps, tokens=float(steps * per_step), parts=parts, notes=notes)


def train_share(recipe: Recipe) -> float:
    return 1 - recipe.data.validation_share - recipe.data.test_share


def train_tokens(recipe: Recipe, most: float) -> float | None:
    """Return about how many tokens the train split has; `None` where it has more than `most`, or lies elsewhere.

    They are counted as the run counts them, in the beginning of the text.
    """
    from .planned_task import is_here

    source = text_source(recipe.data.dataset)
    if not is_here(source):
        return None
    rows = load_rows(source)
    # A token is rarely more than eight bytes.
    if math.isfinite(most) and byte_count(text_rows(rows, source.text_column)) * train_share(recipe) > 8 * most:
        return None
    shares = recipe.data.validation_share, recipe.data.test_share
    train = split_rows(rows, source.text_column, *shares).parts["train"]
    size = byte_count(train)
    texts, characters = 0, 0
    while texts < len(train) and characters < COUNTED_CHARACTERS:
        characters, texts = characters + len(train[texts]["text"]), texts + 1
    few = train.select(range(texts))
    name = recipe.data.tokenizer or recipe.model.model_name_or_path
    tokenizer = (
        train_tokenizer(iter([few["text"]]), recipe.data.tokenizer_vocab_size, recipe.data.block_size)
        if name is None
        else load_tokenizer(name)
    )
    return size * token_count(tokenize(few, tokenizer)) / max(byte_count(few), 1)


# ------------------------------------------------------------------------------------------------------------ what is timed


def timed_rows(run: PlannedRun, device: Device) -> int:
    """Return rows of the passes that are timed; 0 where one row alone takes too long, or the model more memory than there is."""
    per_row = training_flops(run.config, run.load.length).total * run.load.length / (CPU_SHARE * device.peak_flops)
    memory = sum(memory_by_part(run.config, replace(run.load, rows=1), "cpu", 1, 1).values())
    if per_row > LONGEST_ROW or memory > USABLE_SHARE * device.memory:
        return 0
    return min(run.load.rows, max(1, int(LONGEST_STEP / per_row)))


def measured_timings(config: GPTConfig, load: Workload, is_compiled: bool) -> Timings:
    """Times the parts of a run over random tokens.

    One block is compiled for all, and what is around the blocks by itself: a graph of the whole model takes longer to compile, and is
    about as fast.
    """
    # Building a weight takes what a plan of another device does without.
    from ..modeling.modeling_hf_gpt import GPTForCausalLM

    config.fused_loss = True
    model: Any = GPTForCausalLM._from_config(config, attn_implementation=load.attention)
    rates = {"lr": 1e-4, "embedding_lr": 1e-4, "head_lr": 1e-4, "rest_lr": 1e-4}
    optimizer = OPTIMIZERS[load.optimizer](model, **rates, weight_decay=0.0, betas=(0.9, 0.95), eps=1e-8)
    ids = torch.randint(config.vocab_size, (load.rows, load.length))

    def forward() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=load.bfloat16):
            return model(ids, labels=ids).loss

    def training_pass() -> None:
        forward().backward()

    def optimizer_step() -> None:
        optimizer.step()
        optimizer.zero_grad()

    model.eval()
    with torch.no_grad():
        evaluation_pass = seconds_of(forward)
    count = min(TIMED_TOKENS, config.max_position_embeddings - 1)
    prompt = ids[:1, : min(PROMPT_TOKENS, config.max_position_embeddings - count)]
    sampled = seconds_of(partial(model.generate, prompt, max_new_tokens=count, min_new_tokens=count, do_sample=True))
    model.train()
    compiled_less = 0.0
    if is_compiled:
        blocks, model.model.layers = model.model.layers, nn.ModuleList()
        eager = seconds_of(training_pass)
        model.compile()
        compiled_less = eager - seconds_of(training_pass)
        model._compiled_call_impl, model.model.layers = None, blocks
        for block in blocks:
            block.compile()
    passes, steps = seconds_in_turn(training_pass, optimizer_step)
    return Timings(passes - compiled_less, steps, evaluation_pass, sampled / count, checkpoint_seconds(model, optimizer))


def seconds_in_turn(*calls: Callable[[], Any]) -> list[float]:
    """The median time of each call, made in turn; in the first turn memory is touched for the first time, or something compiled."""
    times: list[list[float]] = [[] for _ in calls]
    begun = math.inf
    while len(times[0]) < 3 or time.perf_counter() - begun < TIMED_SECONDS:
        for call, taken in zip(calls, times):
            before = time.perf_counter()
            call()
            taken.append(time.perf_counter() - before)
        begun = min(begun, time.perf_counter())
    return [median(taken[1:]) for taken in times]


def seconds_of(call: Callable[[], Any]) -> float:
    return seconds_in_turn(call)[0]


def checkpoint_seconds(model: Any, optimizer: Any) -> float:
    """Return seconds to write and hash what a checkpoint holds."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint"
        torch.save([model.state_dict(), optimizer.state_dict()], path)
        sha256_of(path)
    return time.perf_counter() - begun
