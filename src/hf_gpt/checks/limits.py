"""Which numbers a recipe may hold: one row for each key, and why a key of `TrainingArguments` is not taken."""

import inspect
import math
import re
from dataclasses import dataclass
from typing import Any

from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION
from transformers.trainer_utils import SchedulerType

from ..errors import InputError, did_you_mean, shown


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included unless open; NaN and the infinities are in none.

    Args:
        also: Values outside that mean something of their own.
    """

    low: float = -math.inf
    high: float = math.inf
    is_low_open: bool = False
    is_high_open: bool = False
    also: tuple[float, ...] = ()

    def holds(self, value: float) -> bool:
        if value in self.also:
            return True
        if isinstance(value, float) and not math.isfinite(value):
            return False
        is_above = value > self.low if self.is_low_open else value >= self.low
        return is_above and (value < self.high if self.is_high_open else value <= self.high)

    def __str__(self) -> str:
        parts = []
        if self.low > -math.inf:
            parts.append(f"{'above' if self.is_low_open else 'at least'} {self.low:g}")
        if self.high < math.inf:
            parts.append(f"{'below' if self.is_high_open else 'at most'} {self.high:,.15g}")
        told = " and ".join(parts) or "a finite number"
        return told + "".join(f", or {value:g}" for value in self.also)


COUNT, COUNT_OR_NONE = Range(1, 2**31 - 1), Range(0, 2**31 - 1)
PROCESSES = Range(0, 1024)
RATE = Range(0, 1e6)
SHARE = Range(0, 1, is_low_open=True, is_high_open=True)
BELOW_ONE = Range(0, 1, is_high_open=True)
# NumPy's generator takes 32 bits; a smaller number than the smallest of float32 is none to an optimizer.
SEED, SMALLEST = Range(0, 2**32 - 1), 1.2e-38
# A number of steps, or a share of all of them.
INTERVAL = Range(0, 1e12, is_low_open=True)
NOT_NEGATIVE = Range(0)

RANGES: dict[str, Range] = {
    "validation_share": SHARE,
    "test_share": SHARE,
    "tokenizer_vocab_size": Range(258, 2**24),
    "block_size": Range(2, 2**31 - 1),
    "max_eval_blocks": COUNT,
    "preprocessing_workers": Range(1, 1024),
    "embedding_learning_rate": RATE,
    "head_learning_rate": RATE,
    "rest_learning_rate": RATE,
    "muon_momentum": BELOW_ONE,
    "ngram_orders": Range(1, 5),
    "sample_tokens": Range(1, 2**20),
    "early_stopping_patience": COUNT,
    "shown_rows": COUNT_OR_NONE,
    "max_minutes": Range(0, 1e8, is_low_open=True),
    "max_length": Range(8, 2**31 - 1),
    "stride": COUNT_OR_NONE,
    "no_answer_threshold": Range(),
    "max_new_tokens": Range(1, 2**20),
    "max_test_rows": COUNT,
    "max_train_rows": COUNT,
    "num_generations": Range(2, 1024),
    "kl_coefficient": RATE,
    "learning_curve": COUNT,
    "per_device_train_batch_size": COUNT,
    "per_device_eval_batch_size": COUNT,
    "gradient_accumulation_steps": COUNT,
    "num_train_epochs": Range(0, 1e9, is_low_open=True),
    "max_steps": Range(1, 10**12, also=(-1,)),
    "learning_rate": RATE,
    "warmup_steps": Range(0, 1e12),
    "weight_decay": RATE,
    "adam_beta1": BELOW_ONE,
    "adam_beta2": BELOW_ONE,
    "adam_epsilon": Range(SMALLEST, 1),
    "max_grad_norm": NOT_NEGATIVE,
    "label_smoothing_factor": BELOW_ONE,
    "neftune_noise_alpha": NOT_NEGATIVE,
    "torch_empty_cache_steps": COUNT,
    "logging_steps": INTERVAL,
    "eval_steps": INTERVAL,
    "save_steps": INTERVAL,
    "eval_delay": NOT_NEGATIVE,
    "eval_accumulation_steps": COUNT,
    "save_total_limit": COUNT,
    "seed": SEED,
    "data_seed": SEED,
    "dataloader_num_workers": PROCESSES,
    "dataloader_prefetch_factor": Range(1, 2**16),
    "ddp_bucket_cap_mb": Range(1, 2**20),
    "ddp_timeout": Range(1, 10**9),
}
# Inside the mappings of a recipe: what peft does not look at.
_LORA = {"r": Range(1, 2**20), "lora_alpha": Range(0, 1e6, is_low_open=True), "lora_dropout": BELOW_ONE}
INNER_RANGES: dict[str, dict[str, Range]] = {"lora": _LORA, "qlora": _LORA}
# How the Hub writes the name of a licence; what it has no name for is `other`.
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
# Mappings whose keys are names of fields.
FIELD_MAPPINGS = ("config", "lora", "qlora", "lr_scheduler_kwargs")


def check_range(key: str, value: Any, allowed: Range) -> None:
    """Raise `InputError` for a number, or one in a list, that is outside of its range."""
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, (int, float)) and not isinstance(number, bool) and not allowed.holds(number):
            raise InputError(f"{key}={shown(value)} must be {allowed}.")


def check_ranges(values: dict[str, Any]) -> None:
    """Raise `InputError` for a value of a recipe that is outside of its range or none of its choices."""
    for key, allowed in RANGES.items():
        if key in values:
            check_range(key, values[key], allowed)
    for key, choices in CHOICES.items():
        if key in values and values[key] not in choices:
            hint = did_you_mean(str(values[key])[:100], map(str, choices))
            raise InputError(
                f"{key}={shown(values[key])} must be one of {', '.join(str(choice) for choice in choices)}.{hint}"
            )
    license_name = values.get("license")
    if license_name is not None and not LICENSE.fullmatch(license_name):
        raise InputError(
            f"license={shown(license_name)} is no name of a licence on the Hub: apache-2.0, mit, cc-by-sa-4.0, other, …"
        )
    for part in FIELD_MAPPINGS:
        unnamed = [key for key in values.get(part) or {} if not isinstance(key, str)]
        if unnamed:
            raise InputError(f"{part}: {shown(unnamed[0])} is not the name of a field.")
    for part, ranges in INNER_RANGES.items():
        inner = values.get(part)
        for key, allowed in ranges.items():
            if isinstance(inner, dict) and key in inner:
                check_range(f"{part}.{key}", inner[key], allowed)


# -------------------------------------------------------------------------------- the keys of `TrainingArguments`

_TRAINS_AND_SCORES = "a run always trains, evaluates by eval_strategy and scores the test split"
_LAUNCHER = "how a run is spread over devices is the launcher's: `accelerate launch --config_file recipes/accelerate/…`"
_OPTIMIZER = "the optimizer is chosen by the key optimizer: muon or adamw"
_COLUMNS = "which columns the model reads is the task's to say"
_PREDICTIONS = "the figures of a task are computed from all predictions at once"
# Each with the values that it may have all the same, for they change nothing, and what to do instead.
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "accelerator_config": ((None,), "batches are shared out so that the record can count their tokens"),
    "auto_find_batch_size": (
        (False,),
        "the batch size is a part of what is learned, and of what is counted: set one that fits",
    ),
    "batch_eval_metrics": ((False,), _PREDICTIONS),
    "bf16_full_eval": ((False,), "it would cut the weights to 16 bits: bf16 covers the evaluation, too"),
    "fp16_full_eval": ((False,), "it would cut the weights to 16 bits: fp16 covers the evaluation, too"),
    "dataloader_in_order": ((True,), "batches that come in another order make another run when it is resumed"),
    "deepspeed": ((None,), _LAUNCHER),
    "do_eval": ((True,), _TRAINS_AND_SCORES),
    "do_predict": ((True,), _TRAINS_AND_SCORES),
    "do_train": ((True,), _TRAINS_AND_SCORES),
    "enable_jit_checkpoint": ((False,), "on SIGTERM a run writes a checkpoint and ends in any case"),
    "eval_do_concat_batches": ((True,), _PREDICTIONS),
    "eval_use_gather_object": ((False,), _PREDICTIONS),
    "fsdp": ((None, ""), _LAUNCHER),
    "fsdp_config": ((None,), _LAUNCHER),
    "hub_token": ((None,), "a recipe is kept and shared: log in with `hf auth login`"),
    "ignore_data_skip": ((False,), "a run that is resumed would read other batches than one that nobody interrupted"),
    "include_for_metrics": (([],), _PREDICTIONS),
    "label_names": ((None,), _COLUMNS),
    "length_column_name": (("length",), _COLUMNS),
    "liger_kernel_config": ((None,), "Liger has no kernels for this family: config.fused_loss does what matters most of it"),
    "local_rank": ((-1,), _LAUNCHER),
    "logging_nan_inf_filter": ((False,), "a loss that is not a number is never hidden: on_nan says what it does"),
    "optim": ((), _OPTIMIZER),
    "optim_args": ((None,), _OPTIMIZER),
    "optim_target_modules": ((None,), _OPTIMIZER),
    "parallelism_config": ((None,), _LAUNCHER),
    "remove_unused_columns": ((True,), _COLUMNS),
    "restore_callback_states_from_checkpoint": ((False,), "the callbacks of a run keep nothing to restore"),
    "resume_from_checkpoint": ((None,), "the same command resumes from the last valid checkpoint in output_dir by itself"),
    "save_on_each_node": ((False,), "nodes share the folder of a run, or none but the first writes"),
    "save_only_model": (
        (False,),
        "without the state of the optimizer an interrupted run could not resume to the same weights",
    ),
    "use_cache": ((False,), "training reads no cache"),
    "use_liger_kernel": ((False,), "Liger has no kernels for this family: config.fused_loss does what matters most of it"),
}
# Settled by a run, whatever a recipe says: what the hardware lacks is off, and one checkpoint alone is never kept.
SETTLED = ("bf16", "save_total_limit", "torch_compile", "use_cpu")
# Every other field of `TrainingArguments` that a recipe may set, each honoured as transformers documents it.
HONOURED = (
    *("activation_checkpointing", "activation_checkpointing_kwargs", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("average_tokens_across_devices", "data_seed", "dataloader_drop_last", "dataloader_multiprocessing_context"),
    *("dataloader_num_workers", "dataloader_persistent_workers", "dataloader_pin_memory", "dataloader_prefetch_factor"),
    *(
        "ddp_backend",
        "ddp_broadcast_buffers",
        "ddp_bucket_cap_mb",
        "ddp_find_unused_parameters",
        "ddp_static_graph",
        "ddp_timeout",
    ),
    *(
        "debug",
        "disable_tqdm",
        "eval_accumulation_steps",
        "eval_delay",
        "eval_on_start",
        "eval_steps",
        "eval_strategy",
        "fp16",
    ),
    *("full_determinism", "gradient_accumulation_steps", "gradient_checkpointing", "gradient_checkpointing_kwargs"),
    *("greater_is_better", "hub_always_push", "hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy"),
    *("include_num_input_tokens_seen", "label_smoothing_factor", "learning_rate", "load_best_model_at_end", "log_level"),
    *(
        "log_level_replica",
        "log_on_each_node",
        "logging_first_step",
        "logging_steps",
        "logging_strategy",
        "lr_scheduler_kwargs",
    ),
    *("lr_scheduler_type", "max_grad_norm", "max_steps", "metric_for_best_model", "neftune_noise_alpha", "num_train_epochs"),
    *(
        "output_dir",
        "per_device_eval_batch_size",
        "per_device_train_batch_size",
        "prediction_loss_only",
        "project",
        "push_to_hub",
    ),
    *("report_to", "run_name", "save_steps", "save_strategy", "seed", "skip_memory_metrics", "tf32", "torch_compile_backend"),
    *("torch_compile_mode", "torch_empty_cache_steps", "train_sampling_strategy", "trackio_bucket_id", "trackio_space_id"),
    *("trackio_static_space_id", "warmup_steps", "weight_decay"),
)
CHOICES: dict[str, tuple[Any, ...]] = {
    "attn_implementation": ("sdpa", "eager", "flex_attention", "flash_attention_2", "flash_attention_3"),
    "dataloader_multiprocessing_context": (None, "fork", "forkserver", "spawn"),
    "include_num_input_tokens_seen": (True, False, "all", "non_padding", "no"),
    "log_level": ("passive", "debug", "info", "warning", "error", "critical", "detail"),
    "log_level_replica": ("passive", "debug", "info", "warning", "error", "critical", "detail"),
    "torch_compile_mode": (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    "train_sampling_strategy": ("random", "sequential", "group_by_length"),
}
# The keywords of transformers' schedulers, which look at few of them before a run needs them.
SCHEDULE_RANGES = {
    **dict.fromkeys(("lr_end", "max_lr", "min_lr"), RATE),
    **dict.fromkeys(("min_lr_rate", "min_lr_ratio", "warmup_lr_rate", "eps"), Range(0, 1)),
    **dict.fromkeys(("num_stable_steps", "num_decay_steps"), Range(0, 1e12)),
    **dict.fromkeys(("num_cycles", "power", "threshold"), Range(0, 1e6)),
    **dict.fromkeys(("timescale", "window_size"), COUNT),
    **dict.fromkeys(("patience", "cooldown", "warmup", "reset_start"), COUNT_OR_NONE),
    "factor": SHARE,
}
SCHEDULE_CHOICES: dict[str, tuple[Any, ...]] = {
    "decay_type": ("linear", "cosine", "1-sqrt"),
    "mode": ("min", "max"),
    "smooth": (True, False),
    "threshold_mode": ("rel", "abs"),
    "warmup_type": ("linear", "cosine", "1-sqrt"),
}
# What of a text is a mapping: transformers would read the text of a file of that name.
MAPPINGS = ("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs", "lr_scheduler_kwargs")
CHECKPOINTING_KEYS = ("preserve_rng_state", "use_reentrant")


def check_refused(key: str, value: Any) -> None:
    """Raise `InputError` for a key that does not belong in a recipe, and say why; whatever the type of its value."""
    harmless, reason = REFUSED.get(key, ((value,), ""))
    if value not in harmless:
        told = "" if key.endswith("_token") else f"={shown(value)}"
        raise InputError(f"{key}{told} does not belong in a recipe: {reason}.")


def check_training_keys(values: dict[str, Any]) -> None:
    """Raise `InputError` for a key of `TrainingArguments` that a run would not honour, and say why."""
    for key in values:
        if key not in REFUSED and key not in SETTLED and key not in HONOURED:
            raise InputError(
                f"{key} is a field of TrainingArguments that is newer than this hf-gpt, which does not know what it does."
            )
    for key in MAPPINGS:
        if isinstance(values.get(key), str):
            raise InputError(f"{key}={shown(values[key])} must be a mapping, such as {{use_reentrant: false}}.")
    for key in MAPPINGS[:2]:
        for name, value in (values.get(key) or {}).items():
            if name not in CHECKPOINTING_KEYS or not isinstance(value, bool):
                raise InputError(
                    f"{key}: {shown(name)}: {shown(value)} is not one of {', '.join(CHECKPOINTING_KEYS)} with true or false."
                )
    if values.get("torch_compile") is not True and (values.get("torch_compile_mode") or values.get("torch_compile_backend")):
        raise InputError(
            "torch_compile_mode and torch_compile_backend say how to compile: set torch_compile: true beside them."
        )
    if values.get("label_smoothing_factor") and values.get("torch_compile"):
        raise InputError(
            "label_smoothing_factor together with torch_compile teaches a model to repeat its input, for transformers does not see "
            "that a compiled model's labels are shifted: leave one of them out."
        )


def check_schedule_keywords(schedule: str, keywords: dict[str, Any]) -> None:
    """Raise `InputError` for a keyword that transformers' scheduler of that name has not, or a value that it could not use."""
    function: Any = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(schedule)]
    parameters = inspect.signature(function).parameters
    is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    known = [name for name in (*SCHEDULE_RANGES, *SCHEDULE_CHOICES) if is_open or name in parameters]
    for name, value in keywords.items():
        key = f"lr_scheduler_kwargs.{name}"
        if name not in known:
            hint = did_you_mean(name, known, f" It takes {', '.join(known)}." if known else " It takes none.")
            raise InputError(f"{key}: lr_scheduler_type={schedule!r} has no such keyword.{hint}")
        if name in SCHEDULE_CHOICES and value not in SCHEDULE_CHOICES[name]:
            raise InputError(f"{key}={shown(value)} must be one of {', '.join(str(word) for word in SCHEDULE_CHOICES[name])}.")
        if name in SCHEDULE_RANGES and value is not None:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InputError(f"{key}={shown(value)} must be a number.")
            check_range(key, value, SCHEDULE_RANGES[name])
