"""What of a recipe is settled before the first step: how it is launched, how long it is, with which optimizer."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers.trainer_utils import SaveStrategy

from ..checks.boundary import refused
from ..checks.places import check_place, holds
from ..data.sources import TextSource, local_files
from ..errors import InputError, counted, shown
from ..inference.adapter_config import adapter_base
from ..inference.pretrained import pretrained
from ..recipe.arguments import Recipe
from ..recipe.identity import SOURCES
from ..recipe.machine import CPU_SHARE, SLOWEST_CPU_FLOPS, cpu_flops
from ..recipe.packaged import how_to_make
from ..recipe.parser import run_size
from ..recipe.schedule import check_shares, epoch_line, resolve_schedule, steps_per_epoch
from ..reports.terminal import notice
from ..tasks import TASKS
from .adapters import adapter_kind, check_adapter, check_base
from .distributed import Launch, check_optimizer, read_launch, share_processors
from .objectives import OBJECTIVES
from .optimizers import OPTIMIZERS
from .rewards import check_reward


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


def check_sources(recipe: Recipe) -> None:
    """Raise `InputError` when the run's folder is, holds or lies in one that it starts from, which it would replace or add to.

    A folder of texts may hold the run: what is a run's is passed over where texts are read.
    """
    check_place(recipe.output_dir, "output_dir")
    with refused(f"output_dir={shown(str(recipe.output_dir))}"):
        folder = recipe.output_dir.resolve()
        texts = [("dataset", str(path)) for path in _files(recipe.source)]
        for field, name in [*_models(recipe), *texts]:
            source = Path(name).resolve()
            if holds(folder, source) or (holds(source, folder) and field != "dataset"):
                how = "is" if source == folder else "holds" if holds(folder, source) else "lies in"
                raise InputError(
                    f"output_dir={str(recipe.output_dir)!r} {how} {field}={name!r}, from which the run starts: name another "
                    "folder, so that nothing of it is replaced."
                )


def _models(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield what a run loads, with its key, and what that needs in turn."""
    for key in SOURCES:
        name = recipe.values.get(key)
        if name is not None:
            yield key, name
            base = adapter_base(name)
            if base is not None:
                yield f"the base of {key}", base


def _files(source: TextSource) -> Iterator[Path]:
    """Yield the files and folders that a source and its parts name."""
    for part in (source.validation, source.test, *(part for part, _ in source.mixture)):
        if part is not None:
            yield from _files(part)
    for pattern in [source.files] if isinstance(source.files, str) else source.files or []:
        path = Path(os.path.expanduser(pattern))
        if path.is_dir():
            yield path
        else:
            # What is missing is named where it is read.
            with suppress(InputError):
                yield from local_files(replace(source, files=pattern))


def check_settings(recipe: Recipe) -> None:
    """Raise `InputError` for what a task could not do, as far as the recipe and small files tell: before rows and a model are read."""
    settings = recipe.task
    if settings.task not in TASKS:
        return
    task = TASKS[settings.task]
    if task.trainer == "reinforcement":
        check_reward(settings)
        check_groups(recipe)
    if task.trainer == "dpo" and settings.kl_coefficient == 0:
        raise InputError(
            "kl_coefficient=0.0 leaves direct preference optimization nothing to learn: make it larger, such as 0.1."
        )
    if task.is_scored_by_answers and settings.max_new_tokens >= settings.max_length:
        raise InputError(
            f"max_new_tokens={settings.max_new_tokens} leaves no room for a prompt within max_length={settings.max_length}: make it "
            "smaller, or max_length larger."
        )


def check_groups(recipe: Recipe) -> None:
    """Raise `InputError` when the answers of a step are not those of whole prompts, which are compared with each other."""
    training, count = recipe.training, recipe.task.num_generations
    answers = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    if answers % count:
        raise InputError(
            f"num_generations={count} does not divide the {counted(answers, 'answers')} of a step (per_device_train_batch_size times "
            "gradient_accumulation_steps): change one of them."
        )


def find_base(recipe: Recipe) -> None:
    """Put where the model lies that is trained further in place of its name; the first process imports it, if it has to be.

    Raises:
        InputError: the folder of a run that was not made yet; or see `pretrained`.
    """
    name, adapter = recipe.model.model_name_or_path, recipe.task.adapter
    if adapter is not None:
        is_task = recipe.task.task in TASKS
        check_adapter(adapter, TASKS[recipe.task.task].auto_class if is_task else OBJECTIVES[recipe.run.objective].auto_class)
    if name is not None:
        hint = "" if Path(name).is_dir() else how_to_make(name)
        if hint:
            raise InputError(f"model_name_or_path={name!r} is no folder here{hint}: make it first, or name another model.")
        with recipe.training.main_process_first(desc="base"):
            recipe.model.model_name_or_path = pretrained(name, "model_name_or_path")
        if adapter is not None:
            check_base(adapter, recipe.model.model_name_or_path)


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
            f"max_steps={arguments.max_steps}: that many steps of {counted(tokens, 'tokens')} would take this processor about "
            f"{counted(days, 'days', ',.0f')}. The recipe needs a GPU, and `hf-gpt plan` says what it takes there: here, "
            "train pretrain/quickstart, or give max_minutes."
        )
    if seconds > LONG_STEP_SECONDS:
        notice(
            f"A step of {counted(tokens, 'tokens')} takes this processor about {counted(seconds / 60, 'minutes', ',.0f')}, in "
            "which it shows nothing: a smaller gradient_accumulation_steps or per_device_train_batch_size makes it shorter."
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
    if options.muon_momentum is not None:
        rates["momentum"] = options.muon_momentum
    factory = OPTIMIZERS[options.optimizer]
    return lambda: factory, rates
