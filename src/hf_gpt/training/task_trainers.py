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
from .rewards import REWARDS, FlatRewards, counting_flat_groups
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


class BalancedTrainer(GuardedTrainer):
    """What goes before a trainer of TRL's that adds the loss of balance itself, and logs it."""

    # Its outputs have no scores to count by.
    counts_experts = False
    _is_balanced = False

    @property
    def aux_loss_enabled(self) -> bool:
        """Whether it is added: while it trains, as our model does, and to no figure of an evaluation."""
        model: Any = self.model
        return self._is_balanced and model.training

    @aux_loss_enabled.setter
    def aux_loss_enabled(self, value: bool) -> None:
        self._is_balanced = value


def guarded(trainer: type, **changes: Any) -> Any:
    """Return the class of a library's trainer with the guards of ours before it, and methods of it replaced."""
    return type(f"Guarded{trainer.__name__}", (BalancedTrainer, trainer), changes)


def as_encoded(trainer: Any, dataset: Dataset, *arguments: Any) -> Dataset:
    """Take the place of a library's tokenizing: the task has done it."""
    return dataset


def trl_arguments(config: Any, recipe: Recipe, **changes: Any) -> Any:
    """Return the recipe's arguments as those of a trainer of TRL's, whose defaults of two keys are not the recipe's."""
    return config(
        **{"gradient_checkpointing": False, "bf16": False, **recipe.training_values, **changes}, trust_remote_code=False
    )


def parts(task: Task, model: Any, encoded: dict[str, Dataset]) -> dict[str, Any]:
    """Return what every trainer of TRL's is given."""
    return {
        "model": model,
        "train_dataset": encoded["train"],
        "eval_dataset": encoded["validation"],
        "processing_class": task.tokenizer,
        "callbacks": [ProgressRecorder()],
    }


def sft_trainer(recipe: Recipe, task: Task, model: Any, encoded: dict[str, Dataset]) -> GuardedTrainer:
    """TRL's, for a loss over a part of the text: the completion of a prompt, or what the assistant says, then packed."""
    trl = import_trl(recipe)
    packing = {"packing": task.is_packed, "eval_packing": False}
    given = getattr(model.config, "output_router_logits", None)
    trainer = guarded(trl.SFTTrainer)(
        **parts(task, model, encoded),
        args=trl_arguments(trl.SFTConfig, recipe, max_length=recipe.task.max_length, **packing),
        optimizer_cls_and_kwargs=optimizer_arguments(recipe),
    )
    if given is not None:
        # TRL has set it to what it does itself, and it would be saved so.
        model.config.output_router_logits = given
    return trainer


# Of each trainer that measures against the model as it was: those of the papers' authors and of TRL.
KL_COEFFICIENTS = {"dpo": 0.1, "reinforcement": 0.05}


def kl_coefficient(task: Task) -> float:
    """Return what a nat of distance from the model as it was costs: what the recipe says, or what is usual for the task."""
    given = task.settings.kl_coefficient
    return KL_COEFFICIENTS[task.trainer] if given is None else given


def dpo_trainer(recipe: Recipe, task: Task, model: Any, encoded: dict[str, Dataset]) -> GuardedTrainer:
    """TRL's, against the model as it was."""
    trl = import_trl(recipe)
    # Left to itself, TRL reads the reference from where the model came from, without the tokens that its tokenizer has gained; with
    # an adapter, the reference is the model without it.
    reference = None if isinstance(model, PeftModel) else copy.deepcopy(model)
    trainer = guarded(trl.DPOTrainer, _prepare_dataset=as_encoded)(
        **parts(task, model, encoded),
        ref_model=reference,
        args=trl_arguments(trl.DPOConfig, recipe, max_length=recipe.task.max_length, beta=kl_coefficient(task)),
    )
    # TRL's class takes no factory of an optimizer, which the trainer below it reads when training begins.
    trainer.optimizer_cls_and_kwargs = optimizer_arguments(recipe)
    return trainer


def reward_trainer(recipe: Recipe, task: Task, model: Any, encoded: dict[str, Dataset]) -> GuardedTrainer:
    """TRL's, for pairs of which one answer is better."""
    trl = import_trl(recipe)
    return guarded(trl.RewardTrainer)(
        **parts(task, model, encoded),
        args=trl_arguments(trl.RewardConfig, recipe, max_length=recipe.task.max_length),
        optimizer_cls_and_kwargs=optimizer_arguments(recipe),
    )


# What TRL calls the trainer and the arguments of an algorithm, and what they are told of it.
ALGORITHMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    # The mean over the tokens of each answer, as published (Shao et al. 2024, equation 3).
    "grpo": ("GRPOTrainer", "GRPOConfig", {"loss_type": "grpo"}),
    "rloo": ("RLOOTrainer", "RLOOConfig", {}),
}


def reinforcement_trainer(recipe: Recipe, task: Task, model: Any, encoded: dict[str, Dataset]) -> GuardedTrainer:
    """TRL's, on answers that the model draws itself; the reference of its distance is the model as it was."""
    trl = import_trl(recipe)
    settings, training = recipe.task, recipe.training
    trainer_name, config_name, told = ALGORITHMS[settings.algorithm]
    beta = kl_coefficient(task)
    has_reference = beta > 0 and not isinstance(model, PeftModel)
    reference = copy.deepcopy(model) if has_reference else None
    arguments = trl_arguments(
        getattr(trl, config_name),
        recipe,
        **told,
        remove_unused_columns=False,
        max_completion_length=settings.max_new_tokens,
        num_generations=settings.num_generations,
        # Of each prompt one answer: more prompts say more of a model than more answers do.
        num_generations_eval=1,
        beta=0.0 if has_reference else beta,
        # What is drawn and what is learned from are to be the same model.
        disable_dropout=True,
    )
    library = getattr(trl, trainer_name)
    changes = {"_tokenize_prompts": as_ids, "_calculate_rewards": counting_flat_groups(library)}
    trainer = guarded(library, **changes)(
        **parts(task, model, encoded),
        reward_funcs=REWARDS[str(settings.reward)](task, training.device),
        args=arguments,
    )
    if reference is not None:
        set_reference(trainer, reference, beta)
    trainer.optimizer_cls_and_kwargs = optimizer_arguments(recipe)
    trainer.add_callback(FlatRewards())
    return trainer


def as_ids(trainer: Any, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
    """Take the place of a library's tokenizing of prompts: the task has done it."""
    return prompts, None, {}


def set_reference(trainer: Any, reference: Any, beta: float) -> None:
    """Give a trainer the model as it was. Left to itself, TRL reads it from where the model came from, without the tokens that its
    tokenizer has gained."""
    from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

    disable_dropout_in_model(reference)
    add_fused_lm_head(reference, temperature=trainer.temperature)
    trainer.ref_model = trainer.accelerator.prepare_model(reference, evaluation_mode=True)
    trainer.beta = beta


TRAINERS = {
    "trainer": plain_trainer,
    "sft": sft_trainer,
    "dpo": dpo_trainer,
    "reward": reward_trainer,
    "reinforcement": reinforcement_trainer,
}
