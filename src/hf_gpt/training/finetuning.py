"""Fine-tuning: a trained model with the head of a task, on rows of that task, scored beside its baselines."""

import copy
import math
from dataclasses import replace
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from peft import PeftModel
from tqdm.auto import tqdm
from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

from ..data.rows import sample_rows, task_splits
from ..data.sources import fingerprint
from ..data.tokenizer import load_tokenizer, vocabulary_size, with_ends
from ..errors import InputError, counted
from ..inference.loading import build_new, load_config, load_pretrained, override_fields
from ..planning.capacity import check_memory
from ..recipe.arguments import Recipe
from ..reports.plots import plot_task
from ..reports.privacy import is_public
from ..reports.records import folder_hash
from ..reports.terminal import notice
from ..tasks import TASKS, Task
from ..tasks.details import cut
from ..tasks.preference import Preference
from .adapters import adapter_kind, quantization, with_adapter
from .balance import check_balance
from .callbacks import Forecast
from .distributed import Launch, check_model
from .job import finite
from .rehearsal import ROWS, TOKENS
from .reward_model import scores
from .saving import REFERENCE
from .task_trainers import TRAINERS, in_order
from .trainer import GuardedTrainer, untouched_random_state


class Finetuning:
    """The `Job` of a task.

    Attributes:
        encoded: The rows of each split, as the trainer takes them.
        is_rehearsal: Whether this is the handful of rows of a rehearsal, of which none may have a label that counts.
    """

    record_kind = "finetune"
    encoded: dict[str, Dataset]
    is_rehearsal = False

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.before: list[dict[str, Any]] = []
        self.baselines: list[dict[str, Any]] = []
        # What it wrote before it was trained further: details, as those of the record.
        self.said_before: dict[str, Any] = {}

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.task.tokenizer

    @property
    def auto_class(self) -> str:
        return self.task.auto_class

    def plot(self, record: dict[str, Any], path: Path) -> None:
        plot_task(record, path)

    def check(self) -> None:
        task = build_task(self.recipe)
        check_balance(self.recipe, model_config(self.recipe, task), task.auto_class)

    def prepare_data(self, launch: Launch) -> dict[str, Any]:
        recipe = self.recipe
        self.launch, self.task = launch, build_task(recipe)
        task = self.task
        shares = recipe.data.validation_share, recipe.data.test_share
        splits, dropped, counts = task_splits(recipe.source, task.columns, task.group, *shares)
        sizes = ", ".join(f"{name} {len(rows):,}" for name, rows in splits.items())
        notice(f"{counted(sum(map(len, splits.values())) + sum(dropped.values()), 'rows are read')}: {sizes}.")
        splits["train"] = sample_rows(splits["train"], recipe.task.max_train_rows, recipe.training.seed)
        # Before the labels are learned, which may fail for what was left out.
        for reason, count in dropped.items():
            notice(f"{counted(count, f'{reason} are left out')}.")
        task.left_out = sum(dropped.values())
        self.splits, self.encoded = splits, task.prepare(splits)
        for split, found in counts.items():
            task.counts[split].update(found)
        for line in [*task.summary(splits["train"]), length_line(task, self.encoded["train"]), *count_lines(task)]:
            notice(line)
        self.data = {"dropped": dropped, **fingerprint(recipe.source, None)}
        self.data["splits"] = {name: len(rows) for name, rows in splits.items()}
        return self.data

    def train_rows(self) -> int | None:
        arguments = self.recipe.training
        per_step = arguments.train_batch_size * arguments.gradient_accumulation_steps * self.launch.batches
        return self.task.places(len(self.encoded["train"]), per_step)

    def build_model(self) -> Any:
        model = build_model(self.recipe, self.task)
        check_model(self.launch, model)
        return model

    def score_baselines(self, model: Any) -> None:
        if self.recipe.task.task_baselines:
            self.baselines = self.task.baselines(self.splits, self.encoded)
            for line in self.task.not_scored:
                notice(line)

    def handful(self, recipe: Recipe) -> "Finetuning | None":
        if self.launch.processes > 1:
            # Trainers of several processes score together.
            return None
        few = copy.copy(self)
        few.recipe, few.is_rehearsal = recipe, True
        few.task, few.encoded = handful(self.task, self.encoded)
        return few

    def build_trainer(self, model: Any) -> GuardedTrainer:
        trainer = TRAINERS[self.task.trainer](self.recipe, self.task, model, self.encoded)
        if self.recipe.run.max_minutes is None:
            rows, arguments = len(self.encoded["validation"]), self.recipe.training
            per_step = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
            trainer.add_callback(Forecast(rows / per_step))
        return trainer

    def score_before(self, trainer: GuardedTrainer) -> None:
        if self.task.trainer in ("sft", "reinforcement"):
            found, self.said_before = evaluate(trainer, self.task, self.encoded["test"])
            self.before = [{"name": "the same model before fine-tuning", **found}]
        elif self.task.trainer == "dpo":
            # Every figure of it is a distance from this model.
            _, self.said_before = written(trainer, self.task, self.encoded["test"])

    def prepare_to_save(self, model: Any) -> None:
        """Nothing: `build_model` has set what generates."""

    def evaluate(self, model: Any, trainer: GuardedTrainer | None) -> dict[str, Any]:
        assert trainer is not None
        recipe, task = self.recipe, self.task
        test, details = evaluate(trainer, task, self.encoded["test"])
        if "loss" in test and not np.isfinite(test["loss"]):
            if not self.is_rehearsal:
                raise InputError(
                    f"the test loss is {test['loss']}: the run has diverged. Lower learning_rate, and start it anew with "
                    "overwrite=true."
                )
            test["loss"] = 1.0
        for row, said in zip(details.get("answers", []), self.said_before.get("answers", [])):
            row["before"] = said["answer"]
        if "answer_tokens" in self.said_before:
            details["answer_tokens"]["before"] = self.said_before["answer_tokens"]["mean"]
        base = str(recipe.model.model_name_or_path)
        # A copy of the adapter as it was, which TRL measures against, is no part of the model.
        parameters = [parameter for name, parameter in model.named_parameters() if f".{REFERENCE}." not in name]
        return {
            "task": recipe.task.task,
            "config": {key: value for key, value in task.config.items() if key == "num_labels"},
            "base": Path(str(recipe.values["model_name_or_path"])).name,
            "base_sha256": folder_hash(Path(base)) if Path(base).is_dir() and not recipe.task.random_weights else None,
            "random_weights": recipe.task.random_weights,
            "parameters": sum(parameter.numel() for parameter in parameters),
            "trainable_parameters": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
            "saved_bytes": sum(path.stat().st_size for path in recipe.output_dir.glob("*.safetensors")),
            "data": {**self.data, "counts": {split: dict(counts) for split, counts in task.counts.items()}},
            "epochs": trainer.state.epoch,
            "test": finite(test),
            "details": public_details(details, task.settings.shown_rows),
            "baselines": [finite(row) for row in [*self.before, *self.baselines]],
        }


def build_task(recipe: Recipe) -> Task:
    """Return the task of the recipe, with the tokenizer that it names, its adapter's if that has one, or its model's."""
    arguments = recipe.task
    own = arguments.adapter and (Path(arguments.adapter) / "tokenizer_config.json").is_file()
    base = arguments.adapter if own else recipe.model.model_name_or_path
    tokenizer = with_ends(load_tokenizer(recipe.data.tokenizer or str(base)))
    return TASKS[arguments.task](tokenizer, arguments, pad_to_multiple_of=64 if recipe.training.torch_compile else 8)


def length_line(task: Task, train: Dataset) -> str:
    """Return how long the inputs of the train split are; those of a task without ids, a trainer of TRL's makes."""
    if "input_ids" not in train.column_names:
        return f"{counted(len(train), 'rows are trained on')}, of at most max_length={task.settings.max_length} tokens."
    lengths = [sum(map(len, ids)) if ids and isinstance(ids[0], list) else len(ids) for ids in train["input_ids"]]
    return (
        f"{counted(len(train), 'inputs are trained on')}, of {counted(sum(lengths) / len(lengths), 'tokens', ',.0f')} on "
        f"average and {max(lengths):,} at most (max_length={task.settings.max_length})."
    )


def public_details(details: dict[str, Any], most: int) -> dict[str, Any]:
    """Return the details of a record with at most `most` rows; those with a secret or somebody's folder in them are passed over."""
    rows = {name: islice(filter(is_public, details[name]), most) for name in ("mistakes", "answers") if name in details}
    return details | {name: list(part) for name, part in rows.items()}


def count_lines(task: Task) -> list[str]:
    """Return what was counted of each split, a line each."""
    return [f"{split}: {counted(count, reason)}." for split, counts in task.counts.items() for reason, count in counts.items()]


# ----------------------------------------------------------------------------------------------------------- model


def model_config(recipe: Recipe, task: Task) -> Any:
    """Return the trained model's config with what the task, as far as it knows its rows, and the recipe change in it."""
    config = load_config(str(recipe.model.model_name_or_path), "model_name_or_path")
    # A token that the tokenizer has gained is beyond the table until this has grown with it.
    config.pad_token_id = task.tokenizer.pad_token_id if task.tokenizer.pad_token_id < config.vocab_size else None
    override_fields(config, {**task.config, **recipe.model.config})
    if task.auto_class == "AutoModelForCausalLM" and getattr(config, "is_causal", True) is False:
        raise InputError(
            f"config.is_causal=false: each position would see the answer that task={recipe.task.task!r} learns to write: leave it out, "
            "or take a causal model."
        )
    # Not every architecture has a limit.
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and recipe.task.max_length > limit:
        raise InputError(
            f"max_length={recipe.task.max_length} is more than the model's max_position_embeddings={limit}: make it shorter."
        )
    if adapter_kind(recipe) is None:
        auto_class, training = getattr(transformers, task.auto_class), recipe.training
        name = repr(recipe.model.model_name_or_path)
        check_memory(config, auto_class, name, True, training.use_cpu, training.world_size)
    return config


def build_model(recipe: Recipe, task: Task) -> PreTrainedModel | PeftModel:
    """Return the trained model with the head of the task, its vocabulary grown with the tokenizer's, with an adapter if asked for."""
    arguments, name = recipe.task, str(recipe.model.model_name_or_path)
    config = model_config(recipe, task)
    auto_class = getattr(transformers, task.auto_class)
    attention = recipe.model.attn_implementation
    quantized = quantization(recipe)
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
    needed = vocabulary_size(task.tokenizer)
    has_new_tokens = needed > model.config.vocab_size
    if has_new_tokens:
        model.resize_token_embeddings(needed)
    model.config.pad_token_id = task.tokenizer.pad_token_id
    if task.auto_class == "AutoModelForCausalLM":
        model.generation_config.eos_token_id = task.stop_ids
        model.generation_config.pad_token_id = task.tokenizer.pad_token_id
    return with_adapter(recipe, model, task.auto_class, has_new_tokens)


# --------------------------------------------------------------------------------------------------------- results


def handful(task: Task, encoded: dict[str, Dataset]) -> tuple[Task, dict[str, Dataset]]:
    """Return a task that writes little, and a few of its rows."""
    few = copy.copy(task)
    shown_rows = min(ROWS, task.settings.shown_rows)
    few.settings = replace(task.settings, max_new_tokens=TOKENS, max_test_rows=ROWS, shown_rows=shown_rows)
    return few, {name: part.select(range(min(ROWS, len(part)))) for name, part in encoded.items()}


def evaluate(trainer: GuardedTrainer, task: Task, test: Dataset) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the figures of the test split, the task's own beside the loss, and what a person looks at behind them."""
    if task.trainer == "trainer":
        trainer.compute_metrics = None
        output: Any = trainer.predict(in_order(test), metric_key_prefix="test")
        return {"loss": (output.metrics or {})["test_loss"], **task.metrics(output, test)}, task.details(output, test)
    validated = list(trainer.state.log_history)
    found = trainer.evaluate(task.scored(test))
    # The log is of the validation split, and so is the curve that is drawn of it.
    trainer.state.log_history = validated
    kept = {name.removeprefix("eval_"): value for name, value in found.items()}
    # Of answers that a model draws itself, a loss measures nothing.
    has_loss = ("loss",) if task.trainer != "reinforcement" else ()
    wanted = (*has_loss, "reward", "kl", "rewards/accuracies", "rewards/margins", "mean_token_accuracy")
    result = {name: kept[name] for name in wanted if name in kept}
    details: dict[str, Any] = {}
    if isinstance(task, Preference):
        figures, details = task.score_pairs(MARGINS[task.trainer](trainer, task, test), test)
        result |= figures
    if task.trainer == "sft":
        result["perplexity"] = math.exp(min(result["loss"], 700))
    figures, said = written(trainer, task, test)
    return result | figures, details | said


def score_margins(trainer: Any, task: Task, test: Dataset) -> np.ndarray:
    """Return by how much larger than the other's the number of the better answer of each pair is."""
    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    chosen, rejected = (scores(model, task.tokenizer, test[name]).numpy() for name in ("chosen_ids", "rejected_ids"))
    return chosen - rejected


def gain_margins(trainer: Any, task: Task, test: Dataset) -> np.ndarray:
    """Return by how much more than the other the better answer of each pair has gained: of a single pair, a mean of TRL's is this."""
    figures = trainer._metrics["eval"]
    with untouched_random_state():
        for row in tqdm(test, desc="Scoring", unit="pair", leave=False):
            trainer.prediction_step(trainer.model, trainer.data_collator([row]), True)
    margins = np.array(figures["rewards/margins"])
    figures.clear()
    return margins


# Of each trainer of pairs.
MARGINS = {"reward": score_margins, "dpo": gain_margins}


def written(trainer: GuardedTrainer, task: Task, test: Dataset) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the figures of what it writes for rows of the test split, and what a person looks at behind them; neither for no rows."""
    asked = task.questions(test)
    if not asked:
        return {}, {}
    said = answers(trainer, task, [question for question, _ in asked])
    texts: Any = [text.strip() for text in task.tokenizer.batch_decode(said, skip_special_tokens=True)]
    references: Any = [reference for _, reference in asked]
    rows = [
        {"prompt": cut(str(task.tokenizer.decode(question))), "answer": cut(text), "reference": cut(reference)}
        for (question, reference), text in zip(asked, texts)
    ]
    lengths = {"answers": len(said), "mean": sum(map(len, said)) / len(said), "most": task.settings.max_new_tokens}
    return task.metrics(EvalPrediction(texts, references), test), {"answers": rows, "answer_tokens": lengths}


@torch.inference_mode()
def answers(trainer: GuardedTrainer, task: Task, prompts: list[list[int]], batch_size: int = 16) -> list[list[int]]:
    """Return the ids of the likeliest continuation of each prompt, token by token, up to its end."""
    model: Any = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    was_training, tokenizer, ends = model.training, task.tokenizer, set(task.stop_ids)
    model.eval()
    found: list[list[int]] = []
    for first in tqdm(range(0, len(prompts), batch_size), desc="Generating", unit="batch", leave=False):
        batch = {"input_ids": prompts[first : first + batch_size]}
        inputs = tokenizer.pad(batch, padding_side="left", return_tensors="pt").to(model.device)
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=task.settings.max_new_tokens,
            do_sample=False,
            use_cache=True,
        )
        new = output[:, inputs["input_ids"].shape[1] :].tolist()
        found += [list(takewhile(lambda token: token not in ends, ids)) for ids in new]
    model.train(was_training)
    return found
