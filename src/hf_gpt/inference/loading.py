"""Trained models from a folder or from the Hub: whole, finite and of a size that fits, or refused with what is wrong."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerBase

from ..checks.boundary import read_object, refused
from ..checks.names import check_name
from ..conversion.checkpoints import check_pickle
from ..data.tokenizer import load_tokenizer
from ..errors import InputError, did_you_mean, shown
from ..modeling.configuration_hf_gpt import GPTConfig
from ..planning import hardware
from ..planning.capacity import check_memory, check_sizes
from ..reports.terminal import notice
from .adapter_config import ADAPTER_CONFIG, adapter_base, adapter_config, is_same_base
from .pretrained import find_model


def load_config(name: str, field: str = "model", trust_remote_code: bool = False) -> Any:
    """Return the config of a model in a folder or on the Hub.

    Args:
        field: What the name was given as, for messages.
        trust_remote_code: Whether code beside it may run.

    Raises:
        InputError: there is none, it is an adapter's, or it cannot be read.
    """
    check_name(name, field)
    path = Path(name) / "config.json"
    if not path.is_file() and (base := adapter_base(name)) is not None:
        raise InputError(
            f"{field}={name!r} is an adapter of {base!r}: merge it with peft (`merge_and_unload()`) and save the whole; a recipe "
            "trains it further by its key adapter."
        )
    where = "cannot be loaded" if Path(name).exists() else "is no folder here, and cannot be loaded from the Hub"
    with refused(f"{field}={name!r} {where}"):
        if path.is_file():
            check_sizes(read_object(path, "copy it again."), str(path))
        return AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)


def override_fields(config: Any, values: dict[str, Any]) -> None:
    """Change fields of a trained model's config.

    Raises:
        InputError: an unknown field, a value that it cannot have, or fields that contradict each other.
    """
    check_sizes(values, "config")
    known = set(GPTConfig.__dataclass_fields__) if isinstance(config, GPTConfig) else set(config.to_dict())
    known |= {"num_labels", "id2label", "label2id", "problem_type"}
    for key in values:
        if key not in known:
            raise InputError(f"config: {key!r} is not a field of {type(config).__name__}.{did_you_mean(key, known)}")
    try:
        for key, value in values.items():
            setattr(config, key, value)
        if isinstance(config, GPTConfig):
            config.validate_architecture()
    except (ValueError, TypeError, AttributeError, StrictDataclassError) as error:
        # The strict dataclass wraps the message of a check in its own; the check's is the one that tells.
        raise InputError(f"config: {' '.join(str(error.__cause__ or error).split())}") from error


def build_new(auto_class: Any, config: Any, name: str, **arguments: Any) -> Any:
    """Return a model with random weights.

    Args:
        name: What the model is called in a message.
        arguments: Of `from_config`.

    Raises:
        InputError: it is larger than the memory, or its config is none that a model can be built of.
    """
    check_memory(config, auto_class, name)
    with refused(f"the model {name} cannot be built"):
        return auto_class.from_config(config, trust_remote_code=False, **arguments)


def load_pretrained(
    auto_class: Any, name: str, field: str = "model", config: Any = None, head_is_new: bool = False, **arguments: Any
) -> Any:
    """Return a trained model, every weight of which was read and is finite.

    Args:
        field: What the name was given as, for messages.
        config: In place of the one beside the weights.
        head_is_new: Whether weights outside of the base model may be missing: the head of a task, which is trained first.
        arguments: Of `from_pretrained`.

    Raises:
        InputError: see the messages.
    """
    what, changed = f"{field}={name!r}", {}
    if config is None:
        config = load_config(name, field)
    else:
        changed = changed_fields(config, load_config(name, field))
    check_memory(config, auto_class, what)
    with refused(f"{what} cannot be loaded"):
        check_pickles(Path(name))
        model, found = auto_class.from_pretrained(
            name, config=config, output_loading_info=True, ignore_mismatched_sizes=True, trust_remote_code=False, **arguments
        )
    check_weights(model, found, what, head_is_new, changed)
    for key, (now, trained) in changed.items():
        notice(f"Mind that config.{key}={shown(now)} differs from what the weights were trained with ({shown(trained)}).")
    for key, hint in misspelt_fields(model.config):
        notice(
            f"Mind that {key!r} in the config of {what} is not a field of {type(model.config).__name__}, and is not read.{hint}"
        )
    return model


def misspelt_fields(config: Any) -> Iterator[tuple[str, str]]:
    """Yield what looks like a field of ours and is none, with a hint: transformers keeps what it does not know."""
    if isinstance(config, GPTConfig):
        known = {*GPTConfig.__dataclass_fields__, *GPTConfig().to_dict(), *GPTConfig.attribute_map}
        for key in sorted(set(config.to_dict()) - known):
            if hint := did_you_mean(key, GPTConfig.__dataclass_fields__, cutoff=0.8):
                yield key, hint


def check_pickles(folder: Path) -> None:
    """Raise `InputError` for a pickle of weights that is none, where a folder has no other weights."""
    if not any(folder.glob("*.safetensors")):
        for path in sorted(folder.glob("*_model*.bin")):
            check_pickle(path)


# Fields of a config by which no trained weight computes anything else: they are for training, for heads, or for ids of tokens. What
# sees later tokens or not is a way to use a base for some tasks.
HARMLESS = re.compile(
    r".*(drop|pdrop).*|classifier_.*|router_aux_loss_coef|auxiliary_lm_weight|(embedding_)?initializer_range|residual_init|is_causal|fused_loss"
    r"|use_cache|(bos|eos|pad)_token_id|id2label|label2id|problem_type|architectures"
)


def changed_fields(config: Any, saved: Any) -> dict[str, tuple[Any, Any]]:
    """Return the fields that change what trained weights compute, each with its value and the one they were trained with."""
    now, trained = config.to_dict(), saved.to_dict()
    return {key: (now[key], trained.get(key)) for key in now if now[key] != trained.get(key) and not HARMLESS.fullmatch(key)}


def check_weights(
    model: Any, found: dict[str, Any], what: str, head_is_new: bool, changed: dict[str, tuple[Any, Any]]
) -> None:
    """Raise `InputError` when a weight was not in the files, had another shape there, has no place in the model, or is not finite.

    Args:
        found: What `from_pretrained` tells with `output_loading_info`.
        what: The model, for the message.
        changed: See `changed_fields`.
    """
    inside = f"{model.base_model_prefix}."
    missing = [key for key in sorted(found["missing_keys"]) if key.startswith(inside) or not head_is_new]
    mismatched = {key: f"{tuple(stored)} in its files and {tuple(shape)}" for key, stored, shape in found["mismatched_keys"]}
    left = [key for key in sorted(found["unexpected_keys"]) if not is_of_another_head(model, key, head_is_new)]
    settings = ", ".join(f"config.{key}={shown(now)}" for key, (now, _) in changed.items())
    hint = f"leave {settings} out" if changed else "its config is another checkpoint's, or its files are not whole"
    for names, fault in (
        (missing, "lacks the weight {}{}, which would be random"),
        (sorted(mismatched), "has the weight {}{} in another shape: {} by its config"),
        (left, "has the weight {}{}, which no parameter takes and which would be thrown away"),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"{what} {fault.format(names[0], more, mismatched.get(names[0]))}: {hint}.")
    for key, parameter in model.named_parameters():
        if parameter.is_floating_point() and not parameter.is_meta and not torch.isfinite(parameter).all():
            raise InputError(f"{what}: the weight {key} is not finite: take another checkpoint, this one is damaged.")


def is_of_another_head(model: Any, key: str, head_is_new: bool) -> bool:
    """Return whether a weight that a model has no parameter for is of the head of another task, which is meant to be left out.

    Args:
        head_is_new: Whether a head of the same name may be another, too.
    """
    inside = f"{model.base_model_prefix}."
    part = key.removeprefix(inside).split(".")[0]
    if key.startswith(inside):
        # What classifiers of BERT's family read, and taggers do without.
        return part == "pooler"
    # The names of a base that was saved alone have no prefix.
    return not hasattr(model.base_model, part) and (head_is_new or not hasattr(model, part))


# What a model with another head than that of a language model is used by, by the end of its architecture's name.
OTHER_HEADS = {
    "ForSequenceClassification": "pipeline('text-classification', ...)",
    "ForTokenClassification": "pipeline('token-classification', ...)",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
    "ForMultipleChoice": "AutoModelForMultipleChoice",
}


def check_head(config: Any, name: str) -> None:
    """Raise `InputError` when the architecture of a config is one with a head that gives no next token."""
    for architecture in config.architectures or []:
        for ending, use in OTHER_HEADS.items():
            if str(architecture).endswith(ending):
                raise InputError(
                    f"model={name!r} is a {architecture} and no causal language model, which this needs: use transformers.{use}."
                )


def check_adapter(name: str) -> None:
    """Raise `InputError` when an adapter was trained with a head that gives no next token."""
    kind = adapter_config(name).get("task_type")
    if kind not in (None, "CAUSAL_LM"):
        raise InputError(
            f"model={name!r} is an adapter with a head of its own ({shown(kind)}), and no causal language model: its card says how to "
            "load it in Python."
        )


def check_adapter_weights(missing: Iterable[str], left: Iterable[str], what: str, base: str) -> None:
    """Raise `InputError` when a weight of an adapter is not in its file, or one of its file has no place in its base."""
    # A second copy of a matrix that was trained is in some files: the one beside it is read.
    left = [name for name in left if not name.endswith((".modules_to_save.weight", ".original_module.weight"))]
    for names, fault in ((missing, "lacks the weight"), (left, f"does not fit {base!r}, which has no place for its weight")):
        for name in sorted(names)[:1]:
            raise InputError(f"{what} {fault} {name}: give the base that it was trained on, or copy its files again.")


def find_base(folder: str, base: str, what: str) -> str:
    """Return where the base of an adapter lies.

    Args:
        base: As the adapter's config names it.
        what: The adapter, for messages.

    Raises:
        InputError: it is not there, or has other weights than the adapter was trained on.
    """
    config = Path(folder) / ADAPTER_CONFIG
    try:
        found = find_model(base, f"the base of {what}, base_model_name_or_path")
    except InputError as error:
        if Path(base).is_absolute() or Path(base).exists():
            raise
        raise InputError(
            f"{error} A folder of that name is looked for where the command is given, as it was where the run was started: give it "
            f"there, or write the whole path of the base into {config}."
        ) from error
    if is_same_base(folder, found) is False:
        raise InputError(
            f"{what} was trained on other weights than those in {base!r} (base_sha256 in its record.json): write where its base lies "
            f"into base_model_name_or_path of {config}."
        )
    return found


def load_model(name: str, as_saved: bool = False) -> tuple[Any, PreTrainedTokenizerBase]:
    """Return a causal language model of any architecture with its tokenizer; of an adapter's folder, its base with the adapter in it.

    Args:
        name: See `find_model`.
        as_saved: Whether its weights keep their type even where this machine emulates it: to be written, not run. An adapter is then
            refused: it is no weights of the model.

    Raises:
        InputError: there is none by that name, or it is a masked one, or one with another head.
    """
    name = find_model(name)
    base = None if as_saved else adapter_base(name)
    if base is not None:
        check_adapter(name)
    whole = name if base is None else find_base(name, base, f"model={name!r}")
    config = load_config(whole)
    check_head(config, whole)
    tokenizer = load_tokenizer(name)
    model = load_pretrained(AutoModelForCausalLM, whole, config=config)
    if base is not None:
        with refused(f"model={name!r} cannot be put into its base {base!r}"):
            if len(tokenizer) > model.config.vocab_size:
                # The rows that are new come with the adapter: nothing is drawn for them.
                model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
            found = model.load_adapter(name)
        # A second copy of a matrix that was trained is in some files: the one beside it is read.
        left = [
            key for key in found.unexpected_keys if not key.endswith((".modules_to_save.weight", ".original_module.weight"))
        ]
        check_adapter_weights(found.missing_keys, left, f"model={name!r}", base)
    if getattr(model.config, "is_causal", True) is False:
        raise InputError(
            f"model={name!r} is a masked language model, which neither continues a text nor has a probability of one: use "
            "transformers.pipeline('fill-mask', ...), or fine-tune it."
        )
    return (model if as_saved else hardware.to_run(model)).eval(), tokenizer
