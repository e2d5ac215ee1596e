"""What a run asks of pretraining and of the fine-tuning of a task, and the one record of both."""

import platform
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase, TrainerState

from ..recipe.arguments import Recipe
from ..recipe.identity import public_values
from ..reports.origin import origin_of
from ..reports.records import emissions, folder_hash, make_record
from .adapters import adapter_kind
from .budget import settled_steps
from .callbacks import measured_speed
from .distributed import Launch
from .trainer import GuardedTrainer, skipped_steps


class Job(Protocol):
    """One kind of run. `run` calls its methods in the order in which they stand here; each keeps what the later ones need.

    Attributes:
        recipe: Of the run.
        tokenizer: Known from `prepare_data` on.
        record_kind: The kind of the record.
        auto_class: Name of the auto class of the model.
    """

    recipe: Recipe

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase: ...

    @property
    def record_kind(self) -> str: ...

    @property
    def auto_class(self) -> str: ...

    def plot(self, record: dict[str, Any], path: Path) -> None:
        """Draw a record into a file."""

    def check(self) -> None:
        """Raise `InputError` for a config or a tokenizer that no model can be trained with, as far as they are known without data."""

    def prepare_data(self, launch: Launch) -> dict[str, Any]:
        """Read, split and encode the data; returns what identifies and describes them in the record."""

    def train_rows(self) -> int | None:
        """Return rows of the train split; `None` where nobody knows."""

    def build_model(self) -> Any:
        """Return the model to be trained, with its adapter if it has one."""

    def score_baselines(self, model: Any) -> None:
        """Before the first step: check what the end asks of the model, and score what needs no trained one."""

    def handful(self, recipe: Recipe) -> "Job | None":
        """Return the same job on a few rows, for the rehearsal of its end; `None` where that cannot be done."""

    def build_trainer(self, model: Any) -> GuardedTrainer:
        """Return the trainer, with the optimizer of the recipe."""

    def score_before(self, trainer: GuardedTrainer) -> None:
        """Score a trained model before it is trained further."""

    def prepare_to_save(self, model: Any) -> None:
        """Set what a saved model carries beside its weights."""

    def evaluate(self, model: Any, trainer: GuardedTrainer | None) -> dict[str, Any]:
        """Return fields of the record that this kind of run adds; `test` is among them, with its `loss`."""


def build_record(
    job: Job,
    folder: Path,
    data: dict[str, Any],
    state: TrainerState,
    started: float,
    measured: dict[str, Any],
) -> dict[str, Any]:
    """Return the record of a run.

    Args:
        folder: Where the trained model lies.
        data: What `prepare_data` has returned.
        state: Of the trainer: its log and its number of steps.
        started: When the run began, on the clock of `time.monotonic`; earlier by what it took before it was interrupted.
        measured: What `evaluate` has returned; these fields come before those of the same name.
    """
    recipe, log = job.recipe, state.log_history
    history = [finite(row) for row in log if "loss" in row or "eval_loss" in row]
    # A run of fewer steps than logging_steps has no row of a loss; the one that Trainer ends with is always there.
    last = history[-1] if history else log[-1]
    common = {
        "name": recipe.output_dir.name,
        "auto_class": job.auto_class,
        "recipe": public_values(recipe),
        "adapter": adapter_kind(recipe),
        **inherited(recipe),
        "data": data,
        "model_sha256": folder_hash(folder),
        "steps": state.global_step,
        **settled_steps(folder),
        "skipped_steps": skipped_steps(log),
        **tokens_seen(log),
        "training_seconds": last["elapsed_seconds"],
        "total_seconds": time.monotonic() - started,
        "precision": "bfloat16" if recipe.training.bf16 else "float32",
        "compiled": bool(recipe.training.torch_compile),
        **measured_speed(history),
        "platform": platform.system(),
        "history": history,
        **emissions(folder),
    }
    return make_record(job.record_kind, **{**common, **measured})


def inherited(recipe: Recipe) -> dict[str, Any]:
    """Return, as `{"origin": ...}`, what the record of a run takes over from the model or the adapter that it trains further."""
    base = recipe.task.adapter or recipe.model.model_name_or_path
    return {} if base is None or recipe.task.random_weights else {"origin": origin_of(base)}


def tokens_seen(log: list[dict[str, Any]]) -> dict[str, int]:
    """Return the tokens that were learned from up to the last row, where rows tell; skipped steps are none of them."""
    told = [row["tokens"] for row in log if "tokens" in row]
    return {"tokens_seen": max(told)} if told else {}


def finite(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without numbers that JSON has not: the correlation of a constant is none."""
    return {key: value for key, value in row.items() if not isinstance(value, float) or np.isfinite(value)}
