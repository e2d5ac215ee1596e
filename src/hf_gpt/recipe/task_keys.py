"""Which tasks read a key of a recipe: one that a task never reads is refused, and not ignored."""

from dataclasses import MISSING, fields
from typing import Any

from ..errors import InputError, shown
from ..tasks import TASKS
from .arguments import PARTS


LANGUAGE_MODELING = "language-modeling"
EVERY_TASK = (LANGUAGE_MODELING, *TASKS)
_CLASSES = ("text-classification", "token-classification")
_WRITE = ("text-to-text", "chat", "preference", "reinforcement")
# A key that is not here is read by every task.
READ_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("tokenizer_vocab_size", "block_size", "max_eval_blocks", "preprocessing_workers"), (LANGUAGE_MODELING,)),
    **dict.fromkeys(("objective", "ngram_orders", "sample_prompts", "sample_tokens"), (LANGUAGE_MODELING,)),
    **dict.fromkeys(("max_length", "max_train_rows", "learning_curve", "random_weights", "task_baselines"), tuple(TASKS)),
    **dict.fromkeys(("stride", "no_answer_threshold"), ("question-answering",)),
    "prompt": ("text-to-text",),
    "max_new_tokens": _WRITE,
    "max_test_rows": ("text-to-text", "reinforcement"),
    **dict.fromkeys(("class_names", "class_weights"), _CLASSES),
    "shown_rows": ("text-classification", *_WRITE),
    **dict.fromkeys(("algorithm", "reward", "reward_model", "reward_pattern", "num_generations"), ("reinforcement",)),
    "kl_coefficient": ("preference", "reinforcement"),
    # Of `TrainingArguments`, what the trainers of pairs and of rewards pass over, and that of two labels a row.
    "label_smoothing_factor": (LANGUAGE_MODELING, *_CLASSES, "multiple-choice", "text-to-text", "chat"),
    "train_sampling_strategy": tuple(name for name in EVERY_TASK if name != "reinforcement"),
}
READ_BY_ALL = (
    *("preset", "model_type", "model_name_or_path", "config", "attn_implementation"),
    *("dataset", "validation_share", "test_share", "tokenizer"),
    *("optimizer", "embedding_learning_rate", "head_learning_rate", "rest_learning_rate", "muon_momentum"),
    *("max_minutes", "early_stopping_patience", "on_nan", "license", "overwrite"),
    *("task", "lora", "qlora", "adapter"),
)
# Which reward reads a key of `reinforcement`.
READ_BY_REWARD = {"reward_model": "model", "reward_pattern": "format"}


def check_readers(values: dict[str, Any], task: str) -> None:
    """Raise `InputError` for a key of a recipe that its task never reads and that says something else than the default.

    Args:
        values: As the types of their keys.
        task: One of `EVERY_TASK`.
    """
    for key in set(values) & set(READ_BY):
        if task not in READ_BY[key] and values[key] != _default(key):
            raise InputError(
                f"{key}={shown(values[key])} is read by {' and '.join(READ_BY[key])} alone, and not by task={task!r}: leave it out."
            )
    for key, reward in READ_BY_REWARD.items():
        if values.get(key) is not None and values.get("reward") not in (None, reward):
            raise InputError(
                f"{key}={shown(values[key])} is read by reward={reward!r} alone, and not by reward={values['reward']!r}: leave it out."
            )


def _default(key: str) -> Any:
    (field,) = (item for part in PARTS.values() for item in fields(part) if item.name == key)
    return field.default if field.default_factory is MISSING else field.default_factory()
