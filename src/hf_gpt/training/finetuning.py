"""Fine-tuning, from recipe to finished folder: `run` is its table of contents."""

import copy
import math
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset, IterableDataset
from peft import PeftModel
from tqdm.auto import tqdm
from transformers import PreTrainedModel, set_seed

from ..checks.boundary import refused
from ..data import packing as text_data
from ..data.sources import fingerprint, text_source
from ..data.tokenizer import load_tokenizer
from ..errors import InputError
from ..inference.loading import build_new, load_config, load_pretrained, override_fields
from ..planning.capacity import check_memory
from ..recipe.arguments import Recipe, public_values
from ..reports.plots import plot_task
from ..reports.records import code_state, emissions, folder_hash, make_record
from ..tasks import TASKS, Task, TaskSettings
from .budget import settled_steps
from .callbacks import ProgressRecorder, earlier_seconds
from .distributed import Launch, check_model
from .output_dir import check_output_folder, claimed_output_folder, wait_for_all
from .processes import children_end_with_this_process
from .rehearsal import (
    ROWS,
    TOKENS,
    WHAT,
    check_metric,
    check_tools,
    example_log,
    figures,
    is_rehearsed,
    quiet,
    rehearse_record,
    rehearsing,
    stand_in,
)
from .run import (
    adapter_kind,
    check_publishing,
    check_schedule,
    finish,
    finish_again,
    notice,
    optimizer_arguments,
    prepare_launch,
    quantization,
    save_model,
    train,
    with_adapter,
)
from .trainer import GuardedTrainer, skipped_steps


def run(recipe: Recipe) -> dict[str, Any]:
    """Fine-tunes what a recipe says and writes a complete model or adapter repository into its `output_dir`.

    Returns:
        The record of the run, as in its `record.json`.

    Raises:
        InputError: see the messages; nothing that was written before is lost.
    """
    started = time.monotonic()
    code_state()
    folder = recipe.output_dir
    for line in recipe.notices:
        notice(line)
    set_seed(recipe.training.seed)
    found = check_output_folder(folder, recipe)
    check_publishing(recipe)
    if found.task == "finish":
        return finish_again(recipe, found, plot_task)
    launch = prepare_launch(recipe)
    check_schedule(recipe, launch, None)
    task = build_task(recipe)
    with children_end_with_this_process(), recipe.training.main_process_first(desc="data"):
        source = text_source(recipe.data.dataset)
        shares = recipe.data.validation_share, recipe.data.test_share
        splits, dropped = text_data.task_splits(source, task.columns, task.group, *shares)
        splits["train"] = text_data.drawn_rows(splits["train"], recipe.task.max_train_rows, recipe.training.seed)
        encoded = task.prepare(splits)
    for line in count_lines(dropped, task):
        notice(line)
    steps = check_schedule(recipe, launch, len(encoded["train"]))
    model = build_model(recipe, task)
    check_model(launch, model)
    description = {"dropped": dropped, **fingerprint(source, None)}
    description["splits"] = {name: len(rows) for name, rows in splits.items()}
    baselines = rehearse(recipe, launch, steps, task, model, encoded, description)
    with claimed_output_folder(folder, recipe, description):
        trainer = TRAINERS[task.trainer](recipe, task, model, encoded)
        before = evaluate(trainer, task, encoded["test"]) if task.trainer == "sft" else None
        train(trainer, recipe)
        save_model(trainer)
        wait_for_all(recipe)
        record = measure(recipe, trainer, task, encoded, before, baselines, description, started)
        if trainer.is_world_process_zero():
            finish(recipe, record, plot_task)
    return record


def build_task(recipe: Recipe) -> Task:
    """The task of the recipe, with the tokenizer that it names or its model's."""
    arguments = recipe.task
    tokenizer = load_tokenizer(recipe.data.tokenizer or str(recipe.model.model_name_or_path))
    if tokenizer.pad_token_id is None:
        raise InputError("tokenizer: it has no pad_token, which fills short rows up: set one and save it again.")
    settings = TaskSettings(
        max_length=arguments.max_length,
        stride=arguments.stride,
        no_answer_threshold=arguments.no_answer_threshold,
        prompt=arguments.prompt,
        max_new_tokens=arguments.max_new_tokens,
        max_test_rows=arguments.max_test_rows,
        class_names=arguments.class_names,
        pad_to_multiple_of=64 if recipe.training.torch_compile else 8,
    )
    return TASKS[arguments.task](tokenizer, settings)


def count_lines(dropped: dict[str, int], task: Task) -> list[str]:
    """What was cut or left out, a line each."""
    lines = [f"{count:,} {reason} are left out." for reason, count in dropped.items()]
    for split, counts in task.counts.items():
        lines += [f"{split}: {count:,} {reason}." for reason, count in counts.items()]
    return lines


# ----------------------------------------------------------------------------------------------------------- model


def model_config(recipe: Recipe, task: Task) -> Any:
    """The trained model's config with what the task and the recipe change in it."""
    config = load_config(str(recipe.model.model_name_or_path), "model_name_or_path")
    # A token that the tokenizer has gained is beyond the table until this has grown with it.
    config.pad_token_id = task.tokenizer.pad_token_id if task.tokenizer.pad_token_id < config.vocab_size else None
    override_fields(config, {**task.config, **recipe.model.config})
    # Not every architecture has a limit.
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and recipe.task.max_length > limit:
        raise InputError(
            f"max_length={recipe.task.max_length} is more than the model's max_position_embeddings={limit}: make it shorter."
        )
    return config


def build_model(recipe: Recipe, task: Task) -> PreTrainedModel | PeftModel:
    """The trained model with the head of the task, its vocabulary grown with the tokenizer's, with an adapter if asked for."""
    arguments, name = recipe.task, str(recipe.model.model_name_or_path)
    config = model_config(recipe, task)
    auto_class = getattr(transformers, task.auto_class)
    attention = recipe.model.attn_implementation
    quantized = quantization(recipe)
    if adapter_kind(recipe) is None:
        check_memory(config, auto_class, f"{name!r}", True, recipe.training.use_cpu, recipe.training.world_size)
    if arguments.random_weights:
        model = build_new(auto_class, config, f"{name!r}", attn_implementation=attention)
    else:
        model = load_pretrained(
            auto_class,
            name,
            "model_name_or_path",
            config,
            # Only the heads of language models come with their base.
            head_is_new=task.auto_class != "AutoModelForCausalLM",
            attn_implementation=attention,
            dtype=torch.float32,
            **quantized,
        )
    has_new_tokens = len(task.tokenizer) > model.config.vocab_size
    if has_new_tokens:
        model.resize_token_embeddings(len(task.tokenizer))
    model.config.pad_token_id = task.tokenizer.pad_token_id
    if task.auto_class == "AutoModelForCausalLM":
        model.generation_config.eos_token_id = task.tokenizer.eos_token_id
        model.generation_config.pad_token_id = task.tokenizer.pad_token_id
    return with_adapter(recipe, model, task.auto_class, has_new_tokens)


# -------------------------------------------------------------------------------------------------------- training


def in_order(rows: Dataset) -> IterableDataset:
    """Rows whose predictions come in their order: `Trainer` groups those of a dataset with a length by their lengths, even to
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
        compute_metrics=lambda prediction: task.metrics(prediction.predictions, "validation"),
        optimizer_cls_and_kwargs=optimizer_arguments(recipe),
        callbacks=[ProgressRecorder()],
    )


def import_trl(recipe: Recipe) -> Any:
    """The library, or `InputError` with what to install: it needs a newer Python than the other tasks do."""
    try:
        import trl
    except ImportError as error:
        raise InputError(
            f"task={recipe.task.task!r} needs trl: pip install 'trl>=1.16', with Python 3.11 or newer."
        ) from error
    return trl


def guarded(trainer: type) -> Any:
    """The class of a library's trainer with the guards of ours before it."""
    return type(f"Guarded{trainer.__name__}", (GuardedTrainer, trainer), {})


def sft_trainer(recipe: Recipe, task: Task, model: Any, encoded: dict[str, Dataset]) -> GuardedTrainer:
    """TRL's, for a loss over a part of the text: the completion of a prompt, or what the assistant says, then packed."""
    trl = import_trl(recipe)
    is_chat = "messages" in encoded["train"].column_names
    arguments = trl.SFTConfig(
        **{"gradient_checkpointing": False, "bf16": False, **recipe.training_values},
        max_length=recipe.task.max_length,
        packing=is_chat,
        eval_packing=False,
        assistant_only_loss=is_chat,
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
    trainer = guarded(trl.DPOTrainer)(
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


# ------------------------------------------------------------------------------------------------------- rehearsal


def rehearse(
    recipe: Recipe,
    launch: Launch,
    steps: int,
    task: Task,
    model: Any,
    encoded: dict[str, Dataset],
    data: dict[str, Any],
) -> list[dict[str, Any]]:
    """Has everything of the end of this run happen once, on a handful of rows, in the first process.

    Returns:
        The baselines, which need no trained model and may need all rows: they are scored here, as a whole.

    Raises:
        InputError: what would have failed at the end.
    """
    if recipe.training.process_index:
        return []
    with rehearsing() as folder, refused(WHAT):
        model = stand_in(model)
        check_tools(recipe, model, steps)
        baselines = task.baselines(encoded) if recipe.task.task_baselines else []
        # Trainers of several processes score together.
        if launch.processes > 1 or not is_rehearsed(recipe, launch):
            return baselines
        few, rows = handful(task, encoded)
        trainer = TRAINERS[task.trainer](quiet(recipe, folder), few, model, rows)
        check_metric(recipe, figures(trainer))
        test = evaluate(trainer, few, rows["test"])
        if not np.isfinite(test["loss"]):
            # A few rows may have no label that counts.
            test["loss"] = 1.0
        log = [{**row, **{f"eval_{name}": value for name, value in test.items()}} for row in example_log(1)]
        record = describe(recipe, folder, task, model, test, baselines, data, log, 1, 0.01, time.monotonic())
        rehearse_record(recipe, record, plot_task, model, task.tokenizer, folder)
    return baselines


def handful(task: Task, encoded: dict[str, Dataset]) -> tuple[Task, dict[str, Dataset]]:
    """A task of a few rows, and these as it has encoded them; whatever `task` has learned and counted stays as it is."""
    few = copy.copy(task)
    for name, value in vars(task).items():
        if isinstance(value, dict):
            setattr(few, name, dict(value))
    few.counts = {name: Counter() for name in task.counts}
    few.settings = replace(task.settings, max_new_tokens=TOKENS, max_test_rows=ROWS)
    rows = {name: part.select(range(min(ROWS, len(part)))) for name, part in encoded.items()}
    if task.trainer == "trainer":
        # Figures are computed from the rows, of which one may be several when it is encoded.
        few.rows = {name: part.select(range(min(ROWS, len(part)))) for name, part in task.rows.items()}
        rows |= {name: few.encode(name, few.rows[name]) for name in ("validation", "test")}
    return few, rows


# --------------------------------------------------------------------------------------------------------- results


def evaluate(trainer: GuardedTrainer, task: Task, test: Dataset) -> dict[str, float]:
    """The figures of the test split: the task's own, beside the loss."""
    if task.trainer == "trainer":
        trainer.compute_metrics = None
        output = trainer.predict(in_order(test), metric_key_prefix="test")
        return {"loss": (output.metrics or {})["test_loss"], **task.metrics(output.predictions, "test")}
    found = trainer.evaluate(test)
    kept = {name.removeprefix("eval_"): value for name, value in found.items()}
    wanted = ("loss", "rewards/accuracies", "rewards/margins", "mean_token_accuracy")
    result = {name: kept[name] for name in wanted if name in kept}
    if task.trainer == "sft":
        result["perplexity"] = math.exp(min(result["loss"], 700))
        if "prompt" in test.column_names:
            result |= task.metrics(answers(trainer, task, test), "test")
    return result


@torch.inference_mode()
def answers(trainer: GuardedTrainer, task: Task, rows: Dataset, batch_size: int = 16) -> list[str]:
    """The likeliest continuation of each prompt, token by token."""
    model: Any = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    was_training, tokenizer = model.training, task.tokenizer
    model.eval()
    prompts = list(rows["prompt"])[: task.settings.max_test_rows]
    texts = []
    for first in tqdm(range(0, len(prompts), batch_size), desc="Generating", unit="batch", leave=False):
        inputs = tokenizer(
            prompts[first : first + batch_size],
            add_special_tokens=False,
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(model.device)
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=task.settings.max_new_tokens,
            do_sample=False,
            use_cache=True,
        )
        new = output[:, inputs["input_ids"].shape[1] :]
        texts += [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
    model.train(was_training)
    return texts


def measure(
    recipe: Recipe,
    trainer: GuardedTrainer,
    task: Task,
    encoded: dict[str, Dataset],
    before: dict[str, float] | None,
    baselines: list[dict[str, Any]],
    data: dict[str, Any],
    started: float,
) -> dict[str, Any]:
    """Test figures beside the baselines': the record of the run."""
    test = evaluate(trainer, task, encoded["test"])
    if not np.isfinite(test["loss"]):
        raise InputError(
            f"the test loss is {test['loss']}: the run has diverged. Lower learning_rate, and start it anew with overwrite=true."
        )
    if before is not None:
        baselines = [{"name": "the same model before fine-tuning", **before}, *baselines]
    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    state = trainer.state
    log, steps = state.log_history, state.global_step
    started -= earlier_seconds(trainer)
    return describe(recipe, recipe.output_dir, task, model, test, baselines, data, log, steps, state.epoch, started)


def describe(
    recipe: Recipe,
    folder: Path,
    task: Task,
    model: Any,
    test: dict[str, float],
    baselines: list[dict[str, Any]],
    data: dict[str, Any],
    log: list[dict[str, Any]],
    steps: int,
    epochs: float | None,
    started: float,
) -> dict[str, Any]:
    """The record of a model that was trained for so many steps, with that log and these figures, and lies in that folder."""
    history = [row for row in log if "loss" in row or "eval_loss" in row]
    # A run of fewer steps than logging_steps has no row of a loss; the one that Trainer ends with is always there.
    last = history[-1] if history else log[-1]
    parameters = list(model.parameters())
    weights = list(folder.glob("*.safetensors"))
    return make_record(
        "finetune",
        name=recipe.output_dir.name,
        task=recipe.task.task,
        auto_class=task.auto_class,
        config={key: value for key, value in task.config.items() if key == "num_labels"},
        recipe=public_values(recipe),
        base=Path(str(recipe.model.model_name_or_path)).name,
        base_sha256=None if recipe.task.random_weights else base_hash(str(recipe.model.model_name_or_path)),
        random_weights=recipe.task.random_weights,
        adapter=adapter_kind(recipe),
        parameters=sum(parameter.numel() for parameter in parameters),
        trainable_parameters=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        saved_bytes=sum(path.stat().st_size for path in weights),
        data={**data, "counts": {split: dict(counts) for split, counts in task.counts.items()}},
        model_sha256=folder_hash(folder),
        steps=steps,
        **settled_steps(folder),
        skipped_steps=skipped_steps(log),
        epochs=epochs,
        training_seconds=last["elapsed_seconds"],
        total_seconds=time.monotonic() - started,
        precision="bfloat16" if recipe.training.bf16 else "float32",
        compiled=bool(recipe.training.torch_compile),
        history=[finite(row) for row in history],
        test=finite(test),
        baselines=[finite(row) for row in baselines],
        **emissions(folder),
    )


def base_hash(name: str) -> str | None:
    """The hash of the weights that were started from, when they lie in a folder."""
    return folder_hash(Path(name)) if Path(name).is_dir() else None


def finite(row: dict[str, Any]) -> dict[str, Any]:
    """A row without numbers that JSON has not: the correlation of a constant is none."""
    return {key: value for key, value in row.items() if not isinstance(value, float) or np.isfinite(value)}


__all__ = ["build_model", "build_task", "run"]
