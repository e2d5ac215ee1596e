"""Adapters by `peft`: low-rank updates of a frozen model (Hu et al. 2021), on a base in 4 bits too (Dettmers et al. 2023)."""

import re
from pathlib import Path
from typing import Any, get_type_hints

import torch
from huggingface_hub.dataclasses import type_validator
from huggingface_hub.errors import StrictDataclassFieldValidationError
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    load_peft_weights,
    set_peft_model_state_dict,
)
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.utils import is_bitsandbytes_available

from ..checks.boundary import refused
from ..checks.names import check_inside
from ..errors import InputError, did_you_mean, listed, reason_of, shown
from ..inference.adapter_config import adapter_base, adapter_config, is_same_base
from ..inference.loading import check_adapter_weights, check_pickles
from ..planning import hardware
from ..recipe.arguments import Recipe
from ..recipe.packaged import how_to_make


# peft knows these four kinds of head; the others keep their own randomly initialised weights by name.
TASK_TYPES = {
    "AutoModelForCausalLM": "CAUSAL_LM",
    "AutoModelForSequenceClassification": "SEQ_CLS",
    "AutoModelForTokenClassification": "TOKEN_CLS",
    "AutoModelForQuestionAnswering": "QUESTION_ANS",
}
HEAD_WEIGHTS = {"AutoModelForMultipleChoice": ["score"]}
# Fields of LoraConfig that say what it belongs to, which a run knows.
SET_BY_RUNS = (
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_type",
    "peft_version",
    "revision",
    "task_type",
)


def lora_config(auto_class: str, values: dict[str, Any], has_new_tokens: bool, is_tied: bool) -> LoraConfig:
    """Return the adapter that a recipe asks for.

    Args:
        auto_class: Name of the auto class of the model.
        values: Fields of `peft.LoraConfig`.
        has_new_tokens: Whether the tokenizer has grown: then the embeddings are trained and saved with the adapter.
        is_tied: Whether the output matrix is the token embedding.

    Raises:
        InputError: an unknown field, or values that exclude each other.
    """
    known = set(LoraConfig.__dataclass_fields__) - set(SET_BY_RUNS)
    for key in values:
        if key not in known:
            hint = did_you_mean(key, known, " See the documentation of peft.LoraConfig.")
            raise InputError(f"lora: {key!r} is not a field of LoraConfig.{hint}")
    check_field_types(values)
    given = {"task_type": TASK_TYPES.get(auto_class), "modules_to_save": HEAD_WEIGHTS.get(auto_class), **values}
    if has_new_tokens and given["modules_to_save"] is None and "trainable_token_indices" not in given:
        given["modules_to_save"] = ["embed_tokens"] if is_tied else ["embed_tokens", "lm_head"]
        given["ensure_weight_tying"] = is_tied
    try:
        return LoraConfig(**given)
    except (ValueError, TypeError) as error:
        raise InputError(f"lora: {error}") from error


def check_field_types(values: dict[str, Any]) -> None:
    """Raise `InputError` for a value of another type than its field of `peft.LoraConfig`, which looks at none of them."""
    hints = get_type_hints(LoraConfig)
    for key, value in values.items():
        hint = float if hints[key] is int and key == "lora_alpha" else hints[key]
        value = float(value) if hint is float and isinstance(value, int) and not isinstance(value, bool) else value
        try:
            type_validator(key, value, hint)
        except (StrictDataclassFieldValidationError, TypeError, ValueError):
            raise InputError(
                f"lora: {key}={shown(value)} is of type {type(value).__name__}, which is none that peft.LoraConfig takes there."
            ) from None


# Of the fields of LoraConfig that name parts of a model: what they name, and by which regular expression peft looks for an entry.
ENTRIES = {
    "target_modules": ("module", r"(.*\.)?{}"),
    "target_parameters": ("parameter", r"(.*\.)?{}"),
    "exclude_modules": ("matrix", r"(.*\.)?{}"),
    "modules_to_save": ("module", r".*{}"),
    "trainable_token_indices": ("module", r".*{}"),
    "layers_to_transform": ("adapted module", r".*\.{}\..*"),
    "layers_pattern": ("adapted module", r"(.*\.)?{}\.\d+\..*"),
    "rank_pattern": ("adapted matrix", r"(.*\.)?({})"),
    "alpha_pattern": ("adapted matrix", r"(.*\.)?({})"),
}


def check_entries(config: LoraConfig, names: dict[str, list[str]]) -> None:
    """Raise `InputError` for an entry that names nothing: where another one names something, peft passes over it.

    Args:
        names: Those of each kind, as far as they are known.
    """
    for field, (kind, form) in ENTRIES.items():
        given: Any = getattr(config, field)
        # Neither names a module: every matrix, and tokens of the one table.
        is_nameless = given == "all-linear" or (field == "trainable_token_indices" and isinstance(given, list))
        if kind not in names or given is None or is_nameless:
            continue
        is_whole, is_adapted = isinstance(given, str), kind.startswith("adapted")
        entries: list[Any] = [given] if isinstance(given, (str, int)) else sorted(given)
        for entry in entries:
            # Of modules, a list has ends of names, and one text is a regular expression, as is all that chooses among the adapted.
            pattern = form.format(entry if is_adapted else re.escape(entry)) if is_adapted or not is_whole else entry
            try:
                if any(re.fullmatch(pattern, name) for name in names[kind]):
                    continue
            except re.error as error:
                raise InputError(f"lora: {field}={entry!r} is no regular expression: {error}.") from error
            known = dict.fromkeys(name if is_adapted else re.sub(r".*\.\d+\.", "", name) for name in names[kind])
            raise InputError(f"lora: {field} has {entry!r}, which names no {kind} of the model: there are {listed(known)}.")


def add_adapter(model: PreTrainedModel, config: LoraConfig) -> PeftModel:
    """Return a frozen model with a new adapter.

    Raises:
        InputError: an entry of a field that names nothing of the model, or what else peft finds wrong.
    """
    matrices = [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Embedding, Conv1D))]
    modules = [*matrices, *(name for name, _ in model.named_modules(remove_duplicate=False) if name)]
    parameters = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    check_entries(config, {"matrix": matrices, "module": modules, "parameter": parameters})
    try:
        adapted = get_peft_model(model, config)
    except (ValueError, TypeError, LookupError, AttributeError, ImportError, NotImplementedError) as error:
        # peft looks at most of its fields only when it meets the modules, and then in many ways.
        raise InputError(f"lora: {reason_of(error)}") from error
    tuner: Any = adapted.base_model
    modules, parameters = tuner.targeted_module_names, tuner.targeted_parameter_names
    check_entries(config, {"adapted module": modules, "adapted matrix": [*modules, *parameters]})
    return adapted


def check_adapter(folder: str, auto_class: str) -> None:
    """Raise `InputError` when a folder holds no adapter, or one with another head."""
    if not Path(folder).is_dir():
        raise InputError(f"adapter={folder!r} is no folder here{how_to_make(folder)}: give the folder of a run with lora.")
    check_inside(Path(folder))
    if adapter_base(folder) is None:
        raise InputError(f"adapter={folder!r} has no adapter_config.json: give the folder of a run with lora.")
    kind = adapter_config(folder).get("task_type")
    if kind not in (None, TASK_TYPES.get(auto_class), "CAUSAL_LM"):
        raise InputError(
            f"adapter={folder!r} has a head of its own ({shown(kind)}), which this task has no use for: give another one."
        )


def check_base(folder: str, base: str) -> None:
    """Raise `InputError` when an adapter was trained on another base: by its weights where they are known, else by its name."""
    trained_on, is_same = str(adapter_base(folder)), is_same_base(folder, base)
    if is_same is False:
        raise InputError(
            f"adapter={folder!r} was trained on {trained_on!r} with other weights than model_name_or_path={base!r} has (base_sha256 in "
            "its record.json): give the base that it belongs to."
        )
    if is_same is None and Path(trained_on).name != Path(base).name:
        raise InputError(
            f"adapter={folder!r} was trained on {trained_on!r}, but model_name_or_path={base!r}: give the base that it belongs to."
        )


def load_adapter(model: PreTrainedModel, folder: str, base: str, auto_class: str) -> PeftModel:
    """Return a trained adapter, to be trained further: that of a language model under a new head, too.

    Raises:
        InputError: files of it that cannot be read, or that do not fit.
    """
    kind, wanted = adapter_config(folder).get("task_type"), TASK_TYPES.get(auto_class)
    try:
        if kind == "CAUSAL_LM" != wanted:
            return under_new_head(model, read_weights(folder, f"adapter={folder!r}"), folder, auto_class)
        adapted = put_into(model, folder, f"adapter={folder!r}", base, is_trainable=True)
        # The base may have another name by now, and is looked for by the one that is saved.
        adapted.peft_config["default"].base_model_name_or_path = model.name_or_path
        return adapted
    except InputError:
        raise
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        # Of many weights that do not fit, the last one.
        reason = str(error).splitlines()[-1:] if isinstance(error, RuntimeError) else []
        raise InputError(
            f"adapter={folder!r} does not fit model_name_or_path={base!r}: {''.join(reason) or reason_of(error)}"
        ) from error


def put_into(model: PreTrainedModel, folder: str, what: str, base: str, is_trainable: bool = False) -> PeftModel:
    """Return a model with the adapter in a folder, all of whose weights have found their place.

    Args:
        what: The adapter, for a message.
        base: What the model is called there.
    """
    weights = read_weights(folder, what)
    adapted = PeftModel.from_pretrained(model, folder, is_trainable=is_trainable, trust_remote_code=False)
    # peft only warns of what is missing, and drops what is left.
    found: Any = set_peft_model_state_dict(adapted, weights)
    check_adapter_weights([name for name in found.missing_keys if ".lora_" in name], found.unexpected_keys, what, base)
    return adapted


def read_weights(folder: str, what: str) -> dict[str, torch.Tensor]:
    """Return the weights of an adapter.

    Args:
        what: The adapter, for a message.
    """
    with refused(f"{what}: its weights cannot be read"):
        check_pickles(Path(folder))
        return load_peft_weights(folder, "cpu")


def under_new_head(model: PreTrainedModel, read: dict[str, torch.Tensor], folder: str, auto_class: str) -> PeftModel:
    """Return a model with the adapter that a language model has learned, and a head that is trained and saved with it.

    Args:
        read: The weights of the adapter.
    """
    config: Any = LoraConfig.from_peft_type(**adapter_config(folder))
    config.task_type, config.inference_mode = TASK_TYPES.get(auto_class), False
    # The output matrix of a language model is no part of a model with another head.
    kept = [name for name in config.modules_to_save or [] if name != "lm_head"]
    config.modules_to_save = [*kept, *HEAD_WEIGHTS.get(auto_class, [])] or None
    adapted = get_peft_model(model, config)
    # What it has not learned is the new head.
    weights = get_peft_model_state_dict(adapted)
    learned = {name: tensor for name, tensor in read.items() if ".lm_head." not in name}
    if strange := sorted(set(learned) - set(weights)):
        raise ValueError(f"{strange[0]} has no place in it")
    set_peft_model_state_dict(adapted, {**weights, **learned})
    return adapted


def four_bit_config() -> BitsAndBytesConfig:
    """Return how the base of a `qlora` run is held: NormalFloat of 4 bits, its constants quantized too (Dettmers et al. 2023).

    Raises:
        InputError: no bitsandbytes, or none that knows a device of this machine.
    """
    if not is_bitsandbytes_available():
        raise InputError("qlora needs bitsandbytes: pip install bitsandbytes, or use lora, which trains the same adapter.")
    from transformers.integrations import validate_bnb_backend_availability

    try:
        validate_bnb_backend_availability(raise_exception=True)
    except RuntimeError as error:
        raise InputError(
            "qlora: the bitsandbytes that is installed runs on no device of this machine: install its latest version, or use lora."
        ) from error
    is_native = hardware.multiplies_natively(torch.bfloat16, hardware.device_type())
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if is_native else torch.float32,
    )


def quantization(recipe: Recipe) -> dict[str, Any]:
    """Return what `from_pretrained` is told beside the rest, for a base in 4 bits.

    Raises:
        InputError: `qlora` where it cannot run, or with random initialisation, which there is nothing to be held of.
    """
    if recipe.task.qlora is None:
        return {}
    if recipe.model.model_name_or_path is None or recipe.task.random_weights:
        raise InputError("qlora holds trained weights in 4 bits: give model_name_or_path, without random_weights.")
    return {"quantization_config": four_bit_config()}


def with_adapter(recipe: Recipe, model: PreTrainedModel, auto_class: str, has_new_tokens: bool) -> PreTrainedModel | PeftModel:
    """Return the model with the adapter that the recipe asks for or names; as it is when it asks for none."""
    arguments = recipe.task
    if arguments.adapter is not None:
        return load_adapter(model, arguments.adapter, str(recipe.model.model_name_or_path), auto_class)
    values = arguments.lora if arguments.lora is not None else arguments.qlora
    if values is None:
        return model
    return add_adapter(model, lora_config(auto_class, values, has_new_tokens, model.config.tie_word_embeddings))


def adapter_kind(recipe: Recipe) -> str | None:
    """Return which kind of adapter a run leaves; `None` for a whole model."""
    if recipe.task.qlora is not None:
        return "qlora"
    return "lora" if recipe.task.lora is not None or recipe.task.adapter is not None else None
