"""Inspect a trained model on a text, in plain values: what it expected at each token, where it looks, and which class it gives."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from ..data.encoding import plain
from ..data.tokenizer import load_tokenizer
from ..errors import InputError, counted
from ..planning import hardware
from .adapter_config import adapter_base
from .loading import load_config, load_model, load_pretrained
from .pretrained import find_model


# The heads that a text can be given to, and the classes that have them.
HEADS: dict[Any, Any] = {
    AutoModelForCausalLM: MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    AutoModelForSequenceClassification: MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
}


@dataclass(frozen=True)
class Reading:
    """What a language model expected of a text of n tokens.

    Attributes:
        pieces: The text cut into its tokens.
        losses: -log P(token | tokens before it) in nats; `None` for the first token, which nothing precedes.
    """

    pieces: list[str]
    losses: list[float | None]

    @property
    def perplexity(self) -> float | None:
        """exp of the mean loss; `None` for a single token."""
        known = [loss for loss in self.losses if loss is not None]
        mean = sum(known) / len(known) if known else None
        # exp overflows beyond 709 nats.
        return None if mean is None else math.exp(mean) if mean < 700 else math.inf


def load(name: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """Return a language model or a classifier, as its config says, with its tokenizer; of an adapter's folder, see `load_model`.

    Raises:
        InputError: there is none by that name, or it has another head.
    """
    name = find_model(name)
    if adapter_base(name) is not None:
        return load_model(name)
    config = load_config(name)
    architecture = str((config.architectures or [""])[0])
    heads = [auto for auto, classes in HEADS.items() if architecture in classes.values()]
    if not heads:
        raise InputError(
            f"model={name!r} is a {architecture or 'model without a head'}: a text can be given to a language model "
            "(...ForCausalLM) or to a classifier (...ForSequenceClassification)."
        )
    tokenizer = load_tokenizer(name)
    model = load_pretrained(heads[0], name, config=config)
    return hardware.to_run(model).eval(), tokenizer


def is_language_model(model: Any) -> bool:
    """Return whether `generate` continues a text, and not whether a text gets a class."""
    return model.can_generate()


# --------------------------------------------------------------------------------------------------------- a text in


def encode(model: Any, tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[torch.Tensor, list[str]]:
    """Return token ids of shape `(1, length)`, and the text cut where the tokens end.

    A letter of several tokens stands with the first of them; the others are empty.

    Raises:
        InputError: an empty text, one that is longer than the model's positions, or one of tokens that the model lacks.
    """
    encoded = tokenizer(text, return_offsets_mapping=tokenizer.is_fast, verbose=False)
    ids, pieces, done = encoded["input_ids"], [], 0
    if not ids:
        raise InputError("text='' is empty: write something first.")
    check_room(model, len(ids), 0)
    check_ids(model, ids)
    if not tokenizer.is_fast:
        # A tokenizer in Python does not tell where its tokens come from.
        special = set(tokenizer.all_special_ids)
        shown_ids = ["" if token in special else str(tokenizer.decode([token])) for token in ids]
        return torch.tensor([ids], device=model.device), shown_ids
    for start, end in encoded["offset_mapping"]:
        # What a tokenizer adds by itself, such as a beginning, is nowhere in the text.
        pieces.append(text[done : max(done, end)] if end > start else "")
        done = max(done, end)
    return torch.tensor([ids], device=model.device), pieces


def check_room(model: Any, length: int, max_new_tokens: int) -> None:
    """Raise `InputError` when the tokens of a text, with those to come, are more than the model's positions."""
    if fits(model, length + max_new_tokens):
        return
    limit = model.config.max_position_embeddings
    if max_new_tokens == 0:
        raise InputError(
            f"the text of {counted(length, 'tokens')} is more than the model's max_position_embeddings={limit}: shorten it."
        )
    raise InputError(
        f"the prompt of {counted(length, 'tokens')} and max_new_tokens={max_new_tokens} are more than the model's "
        f"max_position_embeddings={limit}: shorten one of them."
    )


def fits(model: Any, length: int) -> bool:
    """Return whether a text of that length has positions in the model; not every architecture has a limit."""
    limit = getattr(model.config, "max_position_embeddings", None)
    return limit is None or length <= limit


def check_ids(model: Any, ids: list[int]) -> None:
    """Raise `InputError` when a text has a token that the model does not know."""
    entries = model.get_input_embeddings().num_embeddings
    if max(ids) >= entries:
        raise InputError(f"the text holds token id {max(ids)}, but the model has {entries}: its tokenizer is another model's.")


# ------------------------------------------------------------------------------------------------------- what comes out


@torch.inference_mode()
def read_text(model: Any, tokenizer: PreTrainedTokenizerBase, text: str) -> Reading:
    """Return how well a language model expected each token of a text.

    Raises:
        InputError: see `encode`.
    """
    ids, pieces = encode(model, tokenizer, text)
    log_probabilities = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    losses = -log_probabilities[:-1].gather(-1, ids[0, 1:, None])[:, 0]
    return Reading(pieces, [None, *losses.tolist()])


@torch.inference_mode()
def read_answer(model: Any, tokenizer: PreTrainedTokenizerBase, asked: list[int], answer: list[int]) -> Reading:
    """Return how well a language model expected each token of an answer, given the ids that it follows."""
    ids = torch.tensor([[*asked, *answer]], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(asked) - 1 : -1]
    losses = -logits.float().log_softmax(-1).gather(-1, ids[0, len(asked) :, None])[:, 0]
    return Reading(cut(tokenizer, answer), losses.tolist())


def cut(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """Return what each id adds to the text of all; a letter of several tokens is with the last of them, the others are empty."""
    pieces, done = [], 0
    for end in range(1, len(ids) + 1):
        text = str(tokenizer.decode(ids[:end]))
        is_whole = end == len(ids) or not text.endswith("\N{REPLACEMENT CHARACTER}")
        pieces.append(text[done:] if is_whole else "")
        done = len(text) if is_whole else done
    return pieces


@contextmanager
def eager_attention(model: Any) -> Iterator[None]:
    """Within it the model computes attention by the formula, the only way in which its weights come out."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@torch.inference_mode()
def attention_maps(model: Any, tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[str], torch.Tensor]:
    """Return where each token of a text looks: the pieces, and weights of shape `(layers, heads, length, length)`.

    Row i of a map has the weights with which token i mixes the tokens; they sum to 1, or to less where a head has a sink.

    Raises:
        InputError: see `encode`; or the model has no attention.
    """
    ids, pieces = encode(model, tokenizer, text)
    with eager_attention(model):
        outputs = model(input_ids=ids, output_attentions=True, use_cache=False)
    if not outputs.attentions:
        raise InputError(f"model_type={model.config.model_type!r} has no attention that could be shown.")
    return pieces, torch.cat(list(outputs.attentions)).float().cpu()


@torch.inference_mode()
def classify(model: Any, tokenizer: PreTrainedTokenizerBase, text: str, second: str = "") -> dict[str, float] | float:
    """Return the probability of each class of a text, or of a pair of texts; of a model of regression its number.

    A tokenizer without marks of its own gets the end-of-text token around each text, as in training (`tasks`).

    Raises:
        InputError: see `encode`.
    """
    texts = [text, second] if second else [text]
    if any(not part.strip() for part in texts):
        raise InputError("text='' is empty: write something first.")
    end = tokenizer.eos_token_id
    if tokenizer.num_special_tokens_to_add(pair=len(texts) > 1) == 0 and isinstance(end, int):
        ids = [end, *(token for part in texts for token in [*plain(tokenizer, part)["input_ids"], end])]
    else:
        ids = tokenizer(*texts, verbose=False)["input_ids"]
    check_room(model, len(ids), 0)
    check_ids(model, ids)
    given = torch.tensor([ids], device=model.device)
    # Without a mask, a closing token that fills up short rows, too, would be taken for padding.
    logits = model(input_ids=given, attention_mask=torch.ones_like(given)).logits[0].float()
    if model.config.problem_type == "regression" or len(logits) == 1:
        return float(logits[0])
    is_multiple = model.config.problem_type == "multi_label_classification"
    probabilities = logits.sigmoid() if is_multiple else logits.softmax(-1)
    return {model.config.id2label[index]: value for index, value in enumerate(probabilities.tolist())}
