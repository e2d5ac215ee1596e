"""Which trainer runs a task: transformers' own, or one of TRL's, each with the guards of ours."""

import copy
from typing import Any

from datasets import Dataset, IterableDataset
from peft import PeftModel

from ..errors import InputError
from ..recipe.arguments import Recipe
from ..tasks import Task
from .callbacks import ProgressRecorder
from .preparation import optimizer_arguments
from .trainer import GuardedTrainer


def in_order(rows: Dataset) -> IterableDataset:
    """Return rows whose predictions come in their order: `Trainer` groups those of a dataset with a length by their lengths, even to
    evaluate, and a task finds the row of a prediction by its place."""
    return rows.to_iterable_dataset()


def plain_trainer(recipe: Recipe, task: Task, model: Any, encoded: dict[str, Dataset]) -> GuardedTrainer:
    """transformers' own."""
    return GuardedTrainer(
        model=model,
        args=recipe.training,
        train_dataset=encoded["train"],
        eval_dataset=in_order(encoded["validation"]),
        data_collator=task.collator(),
        processing_class=task.tokenizer,
        compute_metrics=lambda prediction: task.metrics(prediction, encoded["validation"]),
        compute_loss_func=task.loss(encoded["train"]),
        optimizer_cls_and_kwargs=optimizer_arguments(recipe),
        callbacks=[ProgressRecorder()],
    )


def import_trl(recipe: Recipe) -> Any:
    """Return the library, or `InputError` with what to install: it needs a newer Python than the other tasks do."""
    try:
        import trl
    except ImportError as error:
        raise InputError(
            f"task={recipe.task.task!r} needs trl: pip install 'trl>=1.16', with Python 3.11 or newer."
        ) from error
    return trl


def guarded(trainer: type, **changes: Any) -> Any:
    """Return the class of a library's trainer with the guards of ours before it, and methods of it replaced."""
    return type(f"Guarded{trainer.__name__}", (GuardedTrainer, trainer), changes)


def as_encoded(trainer: Any, dataset: Dataset, *arguments: Any) -> Dataset:
    """Take the place of a library's tokenizing: the task has done it."""
    return dataset


def sft_trainer(recipe: Recipe, task: Task, model: Any, encoded: dict[str, Dataset]) -> GuardedTrainer:
    """TRL's, for a loss over a part of the text: the completion of a prompt, or what the assistant says, then packed."""
    trl = import_trl(recipe)
    arguments = trl.SFTConfig(
        **{"gradient_checkpointing": False, "bf16": False, **recipe.training_values},
        max_length=recipe.task.max_length,
        packing=task.is_packed,
        eval_packing=False,
        trust_remote_code=False,
    )
    return guarded(trl.SFTTrainer)(
        model=model,
        args=arguments,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        processing_class=task.tokenizer,
        optimizer_cls_and_kwargs=optimizer_arguments(recipe),
        callbacks=[ProgressRecorder()],
    )


def dpo_trainer(recipe: Recipe, task: Task, model: Any, encoded: dict[str, Dataset]) -> GuardedTrainer:
    """TRL's, against the model as it was."""
    trl = import_trl(recipe)
    arguments = trl.DPOConfig(
        **{"gradient_checkpointing": False, "bf16": False, **recipe.training_values},
        max_length=recipe.task.max_length,
        trust_remote_code=False,
    )
    # Left to itself, TRL reads the reference from where the model came from, without the tokens that its tokenizer has gained; with
    # an adapter, the reference is the model without it.
    reference = None if isinstance(model, PeftModel) else copy.deepcopy(model)
    trainer = guarded(trl.DPOTrainer, _prepare_dataset=as_encoded)(
        model=model,
        ref_model=reference,
        args=arguments,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        processing_class=task.tokenizer,
        callbacks=[ProgressRecorder()],
    )
    # TRL's class takes no factory of an optimizer, which the trainer below it reads when training begins.
    trainer.optimizer_cls_and_kwargs = optimizer_arguments(recipe)
    return trainer


TRAINERS = {"trainer": plain_trainer, "sft": sft_trainer, "dpo": dpo_trainer}
