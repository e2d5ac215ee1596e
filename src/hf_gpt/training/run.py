"""A run from recipe to finished folder: `run` is the table of contents of every run."""

import sys
import time
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import ProgressCallback, TrainerState, set_seed
from transformers.trainer import TRAINER_STATE_NAME

from ..checks.boundary import refused
from ..checks.system import SIGPIPE
from ..data.loading import file_lines
from ..errors import InputError
from ..recipe.arguments import Recipe
from ..recipe.machine import compile_seconds
from ..reports.records import code_state
from ..reports.terminal import notice
from ..run_folder.checkpoints import last_valid
from .budget import keep_to_budget
from .callbacks import EarlyStopping, ProgressLine, earlier_seconds
from .causes import named_causes
from .finishing import check_publishing, check_terms, finish, finish_again
from .job import Job, build_record
from .output_dir import acquire_output_folder, check_output_folder, wait_for_all
from .preparation import check_schedule, check_settings, check_sources, check_time, find_base, prepare_launch
from .processes import children_end_with_this_process
from .rehearsal import rehearse
from .saving import save_model
from .shutdown import GracefulShutdown
from .trainer import GuardedTrainer


def run(recipe: Recipe) -> dict[str, Any]:
    """Train what a recipe says and write a complete model or adapter repository into its `output_dir`.

    A run that was interrupted resumes from its last valid checkpoint; a folder that holds anything else is not touched without
    `overwrite: true`.

    Returns:
        The record of the run, as in its `record.json`.

    Raises:
        InputError: see the messages; nothing that was written before is lost.
    """
    started = time.monotonic()
    code_state()
    for line in recipe.notices:
        notice(line)
    set_seed(recipe.training.seed)
    check_sources(recipe)
    found = check_output_folder(recipe.output_dir, recipe)
    check_publishing(recipe)
    job = job_of(recipe)
    if found.task == "finish":
        return finish_again(recipe, found, job.plot)
    check_settings(recipe)
    find_base(recipe)
    check_terms(recipe)
    launch = prepare_launch(recipe)
    check_schedule(recipe, launch, None)
    if recipe.source.streaming:
        # Before anything is asked of a Hub.
        check_time(recipe)
    job.check()
    with children_end_with_this_process(), recipe.training.main_process_first(desc="data"):
        data = job.prepare_data(launch)
    for line in file_lines(recipe.source):
        notice(line)
    steps = check_schedule(recipe, launch, job.train_rows())
    if not recipe.source.streaming:
        check_time(recipe)
    model = job.build_model()
    rehearse(job, launch, steps, model, data)
    with acquire_output_folder(recipe.output_dir, recipe, data):
        trainer = job.build_trainer(model)
        job.score_before(trainer)
        train(trainer, recipe)
        trained: Any = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
        job.prepare_to_save(trained)
        save_model(trainer)
        wait_for_all(recipe)
        measured = job.evaluate(trained, trainer)
        state, began = trainer.state, started - earlier_seconds(trainer)
        record = build_record(job, recipe.output_dir, data, state, began, measured)
        if trainer.is_world_process_zero():
            finish(recipe, record, job.plot)
    return record


def job_of(recipe: Recipe) -> Job:
    """Pretraining, or the fine-tuning of a task; what only one of them needs is slow to import."""
    if recipe.task.task == "language-modeling":
        from .pretraining import Pretraining

        return Pretraining(recipe)
    from .finetuning import Finetuning

    return Finetuning(recipe)


def train(trainer: GuardedTrainer, recipe: Recipe) -> None:
    """Train from the last valid checkpoint to the end.

    Raises:
        InputError: with the cause, where the run was ended from outside or has diverged.
        SystemExit: on a signal, or when nobody reads the output any more, after a checkpoint was written.
    """
    stop = GracefulShutdown(trainer)
    trainer.on_nan = recipe.run.on_nan
    with named_causes(recipe.output_dir), stop:
        # The ranks must not disagree about a checkpoint that the first one is about to remove.
        with recipe.training.main_process_first(desc="checkpoint"):
            checkpoint = last_valid_checkpoint(recipe.output_dir)
        if checkpoint is not None:
            check_state(Path(checkpoint))
        budget = keep_to_budget(trainer, recipe.run.max_minutes, recipe.output_dir)
        if trainer.pop_callback(ProgressCallback) is not None:
            trainer.add_callback(ProgressLine(budget))
        trainer.add_callback(stop)
        if recipe.run.early_stopping_patience is not None:
            trainer.add_callback(EarlyStopping(recipe.run.early_stopping_patience))
        trainer.on_resume(checkpoint)
        if recipe.training.torch_compile and trainer.is_world_process_zero():
            config: Any = getattr(trainer.model, "config", None)
            seconds = compile_seconds(getattr(config, "num_hidden_layers", None), trainer.args.device.type)
            notice(
                f"Compiling before the first step, about {seconds:.0f} s: less where it was done before, more on a busy machine."
            )
        trainer.train(resume_from_checkpoint=checkpoint)
        if stop.has_stopped:
            after = f"Stopped by {stop.signal_name} after step {trainer.state.global_step}"
            told = f"{after}, which is saved: rerun the same command to resume." if stop.can_save else f"{after}."
            tqdm.write(told, file=sys.stderr if stop.signal == SIGPIPE else sys.stdout)
    if stop.has_stopped:
        raise SystemExit(stop.exit_code)


# Of a checkpoint's `trainer_state.json`, what is a number; and what may be missing, with its type.
STATE_NUMBERS = (
    *(
        "epoch",
        "global_step",
        "max_steps",
        "logging_steps",
        "eval_steps",
        "save_steps",
        "train_batch_size",
        "num_train_epochs",
    ),
    "total_flos",
)
STATE_OPTIONS: dict[str, tuple[type, ...]] = {
    "best_metric": (int, float),
    "best_global_step": (int,),
    "best_model_checkpoint": (str,),
}


def check_state(checkpoint: Path) -> None:
    """Raise `InputError` when `Trainer` could not read where a checkpoint's run had got to."""
    path = checkpoint / TRAINER_STATE_NAME
    with refused(f"{path} cannot be read"):
        state = TrainerState.load_from_json(str(path))
        is_whole = (
            all(isinstance(getattr(state, name), (int, float)) for name in STATE_NUMBERS)
            and all(isinstance(getattr(state, name), (*kinds, type(None))) for name, kinds in STATE_OPTIONS.items())
            and checkpoint.name == f"checkpoint-{state.global_step}"
            and all(isinstance(row, dict) and "step" in row for row in state.log_history)
        )
        if not is_whole:
            raise InputError(
                f"{path} is not what a run writes: take {checkpoint} away to resume from the checkpoint before it."
            )


def last_valid_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that is whole; newer ones that are cut off or damaged are named and set aside."""
    checkpoint, lines = last_valid(folder)
    for line in lines:
        notice(line)
    if checkpoint is not None:
        notice(f"Resuming from {checkpoint}.")
    elif lines:
        notice("No valid checkpoint is left: starting from the beginning.")
    return None if checkpoint is None else str(checkpoint)
