"""A run rehearses its end before it begins: what would fail when everything is trained fails in the first minute.

Whatever happens here leaves weights, random numbers and the folder of the run as they were.
"""

import copy
import io
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainerState, get_scheduler
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_utils import SchedulerType

from ..checks.boundary import refused
from ..errors import InputError, counted, did_you_mean
from ..recipe.arguments import Recipe
from ..recipe.schedule import resolve_schedule
from ..reports.console import PRINTERS
from ..reports.model_card import render_card
from ..reports.record_fields import check_fields
from ..reports.records import RECORD_FILE, write_json
from .distributed import Launch
from .job import Job, build_record
from .preparation import optimizer_arguments
from .trainer import GuardedTrainer, untouched_random_state


# Of each split and for each sample: enough to be one of each kind.
ROWS, TOKENS = 2, 2
WHAT = "the end of this run, rehearsed before its beginning"


def rehearse(job: Job, launch: Launch, steps: int, model: Any, data: dict[str, Any]) -> None:
    """Have everything of the end of a run happen once, on a handful of rows, in the first process.

    Args:
        steps: Of the run; as far as they are known, where it fixes them itself.
        model: The one that will be trained.
        data: What the record says of the data.

    Raises:
        InputError: what would have failed at the end.
    """
    recipe = job.recipe
    if recipe.training.process_index:
        return
    with rehearsing() as folder, refused(WHAT):
        model = stand_in(model)
        check_tools(recipe, model, steps)
        job.score_baselines(model)
        few = job.handful(quiet(recipe, folder)) if is_rehearsed(recipe, launch) else None
        if few is None:
            return
        # Trainers of several processes evaluate together.
        trainer = few.build_trainer(model) if launch.processes == 1 else None
        if trainer is not None:
            check_metric(recipe, figures(trainer))
        model.to(recipe.training.device)
        few.prepare_to_save(model)
        measured = few.evaluate(model, trainer)
        state = TrainerState(global_step=1, log_history=example_log(recipe.data.block_size, measured["test"]))
        record = build_record(few, folder, data, state, time.monotonic(), measured)
        rehearse_record(recipe, record, job.plot, model, few.tokenizer, folder)


@contextmanager
def rehearsing() -> Iterator[Path]:
    """A folder that is thrown away. Within, random numbers may be drawn and compiled code is not: afterwards nobody can tell."""
    with untouched_random_state(), torch.compiler.set_stance("force_eager"), tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def is_rehearsed(recipe: Recipe, launch: Launch) -> bool:
    """Return whether a model may be asked: where it is split, no process has it whole, and nobody has tried modules of 4 bits twice."""
    return launch.strategy in ("one process", "ddp") and recipe.task.qlora is None


def stand_in(model: Any) -> Any:
    """Return the model with modules and configs of its own, and the same weights: it takes no memory, and is not to be trained."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def quiet(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe of a trainer that writes nothing but into that folder, tells nobody, and starts no process."""
    changes = {
        "output_dir": str(folder),
        "report_to": [],
        "push_to_hub": False,
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_prefetch_factor": None,
        "dataloader_persistent_workers": False,
    }
    arguments = copy.copy(recipe.training)
    for name, value in changes.items():
        setattr(arguments, name, value)
    return replace(recipe, training=arguments, training_values={**recipe.training_values, **changes})


def figures(trainer: GuardedTrainer) -> set[str]:
    """Return what an evaluation during training tells, without `eval_`."""
    trainer.remove_callback(PrinterCallback)
    # Of a trainer's first evaluation only, which is this one.
    told = set(trainer.evaluate()) - {"eval_model_preparation_time"}
    return {name.removeprefix("eval_") for name in told if name.startswith("eval_")}


def check_tools(recipe: Recipe, model: Any, steps: int) -> None:
    """Make the reporters, the optimizer and the schedule of a run once.

    Args:
        steps: Of the run; as far as they are known, where it fixes them itself.

    Raises:
        InputError: one of them cannot be made.
    """
    arguments = recipe.training
    for name in arguments.report_to or []:
        with refused(f"report_to={name!r} cannot be used"):
            for reporter in get_reporting_integration_callbacks([name]):
                reporter()
    with refused(f"optimizer={recipe.run.optimizer!r} cannot be made"):
        factory, rates = optimizer_arguments(recipe)
        optimizer = factory()(model, **rates)
    schedule = SchedulerType(arguments.lr_scheduler_type).value
    with refused(f"lr_scheduler_type={schedule!r} cannot be made"):
        resolved = resolve_schedule(arguments, steps)
        warmup = resolved.get("warmup_steps", 0)
        made: Any = get_scheduler(schedule, optimizer, warmup, steps, resolved["lr_scheduler_kwargs"])
        factors = [factor(step) for factor in getattr(made, "lr_lambdas", []) for step in (0, 1, steps // 2, steps)]
        if not all(math.isfinite(factor) and factor >= 0 for factor in factors):
            raise InputError(f"lr_scheduler_type={schedule!r} gives rates that are none: look at lr_scheduler_kwargs.")


def check_prompts(prompts: list[str], tokenizer: PreTrainedTokenizerBase, model: Any) -> None:
    """Raise `InputError` for a prompt of no token, or of more than the model has positions."""
    limit = getattr(model.config, "max_position_embeddings", None)
    for prompt in prompts:
        length = len(tokenizer(prompt)["input_ids"])
        told = repr(prompt if len(prompt) <= 60 else f"{prompt[:60]}…")
        if not length:
            raise InputError(f"sample_prompts: {told} holds no token: give a text to continue, or [] for no samples.")
        if limit is not None and length > limit:
            raise InputError(
                f"sample_prompts: {told} has {counted(length, 'tokens')}, and the model {counted(limit, 'positions')}: make it shorter."
            )


def check_metric(recipe: Recipe, names: set[str]) -> None:
    """Raise `InputError` when the best checkpoint, or a rate, is to be chosen by what is no figure of an evaluation.

    Args:
        names: Of these figures, without `eval_`.
    """
    name = recipe.training.metric_for_best_model
    if name is not None and name.removeprefix("eval_") not in names:
        hint = did_you_mean(name.removeprefix("eval_"), sorted(names))
        told = ", ".join(sorted(names))
        raise InputError(f"metric_for_best_model={name!r} is no figure of the evaluation.{hint} The figures are {told}.")


def rehearse_record(
    recipe: Recipe,
    record: dict[str, Any],
    plot: Callable[[dict[str, Any], Path], None],
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> None:
    """Draw, write, render and print a record, and save what of a model is no weight.

    Args:
        folder: To be thrown away.

    Raises:
        InputError: one of these fails.
    """
    with refused(WHAT):
        check_fields(record, RECORD_FILE)
        plot(record, folder / "loss.png")
        write_json(folder / RECORD_FILE, record)
        (folder / "README.md").write_text(render_card(record), encoding="utf-8")
        tokenizer.save_pretrained(folder)
        if not isinstance(model, PeftModel) and model.can_generate():
            model.generation_config.save_pretrained(folder)
        # As what it will be printed to takes it.
        encoding, errors = (getattr(sys.stdout, name, None) for name in ("encoding", "errors"))
        with io.TextIOWrapper(io.BytesIO(), encoding=encoding or "utf-8", errors=errors or "strict") as file:
            PRINTERS[record["kind"]](record, recipe.output_dir, file)


def example_log(tokens: int, test: dict[str, float]) -> list[dict[str, Any]]:
    """Return rows as `Trainer` logs them, of a run that has not begun, with the figures of an evaluation."""
    common = {"epoch": 0.01, "step": 1, "tokens": tokens, "elapsed_seconds": 1.0}
    training = {"loss": 1.0, "grad_norm": 1.0, "learning_rate": 1e-3, "tokens_per_second": float(tokens), **common}
    return [training, {"eval_runtime": 1.0, **{f"eval_{name}": value for name, value in test.items()}, **common}]
