"""What of a recipe is settled before the first step: how it is launched, how long it is, with which optimizer."""

import math
from pathlib import Path
from typing import Any

from transformers.trainer_utils import SaveStrategy

from ..errors import InputError
from ..inference.pretrained import pretrained
from ..recipe.arguments import Recipe
from ..recipe.machine import CPU_SHARE, SLOWEST_CPU_FLOPS, cpu_flops
from ..recipe.packaged import how_to_make
from ..recipe.parser import run_size
from ..recipe.schedule import check_shares, epoch_line, resolve_schedule, steps_per_epoch
from ..reports.terminal import notice
from .adapters import adapter_kind
from .distributed import Launch, check_optimizer, read_launch, share_processors
from .optimizers import OPTIMIZERS


# Of a run on a processor: what nobody waits for, and a step of which a line says beforehand that it is long.
MOST_DAYS, LONG_STEP_SECONDS = 7.0, 300.0


def prepare_launch(recipe: Recipe) -> Launch:
    """Return how the launcher spreads this run.

    Raises:
        InputError: the recipe asks for what cannot be done so.
    """
    launch = read_launch(recipe.training.world_size)
    check_optimizer(launch, recipe.run.optimizer)
    arguments = recipe.task
    if launch.tensor_parallel > 1 and (
        arguments.task != "language-modeling" or adapter_kind(recipe) is not None or recipe.training.torch_compile
    ):
        raise InputError(
            "tensor parallelism trains whole models for language modelling, not compiled: launch a task, an adapter or "
            "torch_compile=true with ddp.yaml or fsdp2.yaml of recipes/accelerate."
        )
    if launch.tensor_parallel > 1 and recipe.training.save_strategy != SaveStrategy.NO:
        # `Trainer` writes a checkpoint's optimizer from the first process, which has a part of it, and refuses to.
        recipe.training.save_strategy = SaveStrategy.NO
        notice(
            "Tensor parallelism: no checkpoints, since Trainer cannot write a split optimizer; an interrupted run starts again."
        )
    share_processors(launch, recipe.training.distributed_state)
    return launch


def find_base(recipe: Recipe) -> None:
    """Put where the model lies that is trained further in place of its name; the first process imports it, if it has to be.

    Raises:
        InputError: the folder of a run that was not made yet; or see `pretrained`.
    """
    name, adapter = recipe.model.model_name_or_path, recipe.task.adapter
    if adapter is not None and not Path(adapter).is_dir():
        raise InputError(f"adapter={adapter!r} is no folder here{how_to_make(adapter)}: give the folder of a run with lora.")
    if name is not None:
        hint = "" if Path(name).is_dir() else how_to_make(name)
        if hint:
            raise InputError(f"model_name_or_path={name!r} is no folder here{hint}: make it first, or name another model.")
        with recipe.training.main_process_first(desc="base"):
            recipe.model.model_name_or_path = pretrained(name, "model_name_or_path")


def check_schedule(recipe: Recipe, launch: Launch, rows: int | None) -> int:
    """Say how often a small text will be read, and warn where that is too often.

    Args:
        rows: Of the train split; `None` where nobody knows.

    Returns:
        The steps of the run; a run with a time budget may fix fewer.

    Raises:
        InputError: warm-up and decay are longer than the run; before it has a folder, so that the fix can be given.
    """
    arguments = recipe.training
    if recipe.run.max_minutes is not None:
        check_shares(arguments)
    steps, once = arguments.max_steps, None
    if rows is not None:
        once = steps_per_epoch(rows, arguments.train_batch_size, launch.batches, arguments.gradient_accumulation_steps)
        steps = steps if steps > 0 else math.ceil(arguments.num_train_epochs * once)
    if steps > 0:
        resolve_schedule(arguments, steps)
    if once is not None and recipe.run.max_minutes is None and (line := epoch_line(steps, once)):
        notice(line)
    return steps


def check_time(recipe: Recipe) -> None:
    """Say when a step takes this processor minutes, and refuse steps that would take it weeks: they are meant for a GPU."""
    arguments = recipe.training
    values = {**recipe.training_values, "max_steps": 1}
    flops = run_size(recipe.model, recipe.data, recipe.run, values, recipe.task.task != "language-modeling").flops
    # Nothing is measured for a step that is short on any processor.
    if flops is None or not arguments.use_cpu or flops / SLOWEST_CPU_FLOPS < LONG_STEP_SECONDS:
        return
    seconds = flops / (CPU_SHARE * cpu_flops())
    tokens = arguments.gradient_accumulation_steps * arguments.per_device_train_batch_size * recipe.data.block_size
    days = arguments.max_steps * seconds / 86400
    if recipe.run.max_minutes is None and days > MOST_DAYS:
        raise InputError(
            f"max_steps={arguments.max_steps}: that many steps of {tokens:,} tokens would take this processor about {days:,.0f} days. "
            "The recipe needs a GPU, and `hf-gpt plan` says what it takes there: here, train pretrain/quickstart, or give max_minutes."
        )
    if seconds > LONG_STEP_SECONDS:
        notice(
            f"A step of {tokens:,} tokens takes this processor about {seconds / 60:,.0f} minutes, in which it shows nothing: a smaller "
            "gradient_accumulation_steps or per_device_train_batch_size makes it shorter."
        )


def optimizer_arguments(recipe: Recipe) -> tuple[Any, dict[str, Any]]:
    """Return the optimizer of the recipe, as `Trainer(optimizer_cls_and_kwargs=...)` takes a factory."""
    arguments, options = recipe.training, recipe.run
    rate = arguments.learning_rate
    rates = {
        "lr": rate,
        "weight_decay": arguments.weight_decay,
        "embedding_lr": rate if options.embedding_learning_rate is None else options.embedding_learning_rate,
        "head_lr": rate if options.head_learning_rate is None else options.head_learning_rate,
        "rest_lr": rate if options.rest_learning_rate is None else options.rest_learning_rate,
        "betas": (arguments.adam_beta1, arguments.adam_beta2),
        "eps": arguments.adam_epsilon,
    }
    factory = OPTIMIZERS[options.optimizer]
    return lambda: factory, rates
