"""A trained reward model: loaded whole or refused with what is wrong, and asked for its number of each answer."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from ..checks.boundary import refused
from ..data.tokenizer import load_tokenizer, vocabulary_size
from ..errors import InputError
from ..inference.adapter_config import adapter_base, adapter_config
from ..inference.loading import find_base, load_config, load_pretrained
from ..recipe.packaged import how_to_make
from .adapters import put_into


SCORED_AT_ONCE = 32


def check_reward_model(folder: str) -> None:
    """Raise `InputError` when a folder is not there, or what it holds has another head than a reward model or more labels."""
    what = f"reward_model={folder!r}"
    if not Path(folder).is_dir():
        raise InputError(f"{what} is no folder here{how_to_make(folder)}: give the folder of a run of task: reward.")
    if adapter_base(folder) is not None:
        is_head, labels = adapter_config(folder).get("task_type") == "SEQ_CLS", adapter_labels(Path(folder), what)
    else:
        config = load_config(folder, "reward_model")
        is_head, labels = is_classifier(config.architectures), config.num_labels
    if not is_head:
        raise InputError(
            f"{what} gives no number for an answer: it is a language model or has another head. task: reward makes one."
        )
    if labels != 1:
        raise InputError(f"{what} has {labels} labels, and a reward is one number: task: reward makes one.")


def load_reward_model(folder: str, tokenizer: PreTrainedTokenizerBase) -> Any:
    """Return the reward model of a run, whole or an adapter with its base.

    Args:
        tokenizer: Of the model whose answers it scores, which have to be the same ids to it.

    Raises:
        InputError: see `check_reward_model`; or it reads other ids.
    """
    check_reward_model(folder)
    what, base = f"reward_model={folder!r}", adapter_base(folder)
    whole = folder if base is None else find_base(folder, base, what)
    config = load_config(whole, "reward_model")
    own = load_tokenizer(folder)
    if own.get_vocab() != tokenizer.get_vocab():
        raise InputError(
            f"{what} has another tokenizer than the model, whose answers it could not read: train both from the same base."
        )
    config.num_labels, config.pad_token_id = 1, tokenizer.pad_token_id
    model = load_pretrained(
        AutoModelForSequenceClassification, whole, "reward_model", config, head_is_new=base is not None, dtype=torch.float32
    )
    if base is not None:
        with refused(f"{what} cannot be put into its base {base!r}"):
            if vocabulary_size(own) > model.config.vocab_size:
                model.resize_token_embeddings(vocabulary_size(own), mean_resizing=False)
            model = put_into(model, folder, what, base)
    return model.eval().requires_grad_(False)


def is_classifier(architectures: list[str] | None) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in architectures or [])


def adapter_labels(folder: Path, what: str) -> int:
    """Return how many labels the head that lies with an adapter has."""
    try:
        with safe_open(folder / "adapter_model.safetensors", "pt") as file:
            heads = [file.get_slice(name).get_shape()[0] for name in sorted(file.keys()) if name.endswith("score.weight")]
    except (SafetensorError, OSError) as error:
        raise InputError(f"{what}: its weights cannot be read ({error}): copy them again.") from error
    return heads[0] if heads else 0


@torch.inference_mode()
def scores(model: Any, tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]) -> torch.Tensor:
    """Return the number that a reward model gives each row of ids."""
    was_training, found = model.training, []
    model.eval()
    for first in range(0, len(rows), SCORED_AT_ONCE):
        batch = {"input_ids": rows[first : first + SCORED_AT_ONCE]}
        inputs = tokenizer.pad(batch, padding_side="right", return_tensors="pt").to(model.device)
        output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        found.append(output.logits[:, 0].float().cpu())
    model.train(was_training)
    return torch.cat(found)
