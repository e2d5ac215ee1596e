"""Inspect a trained model on a text, in plain values: how it continues, what was expected at each token, where it looks."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
    set_seed,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from ..data.encoding import opening, plain
from ..data.tokenizer import load_tokenizer
from ..errors import InputError
from ..errors import shown as shown_value
from ..planning import hardware
from .loading import load_config, load_pretrained
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
    """Return a language model or a classifier, as its config says, with its tokenizer.

    Raises:
        InputError: there is none by that name, or it has another head.
    """
    name = find_model(name)
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
    return hardware.in_native_type(model).eval(), tokenizer


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
        raise InputError(f"the text of {length} tokens is more than the model's max_position_embeddings={limit}: shorten it.")
    raise InputError(
        f"the prompt of {length} tokens and max_new_tokens={max_new_tokens} are more than the model's "
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
    return pieces, torch.cat(list(outputs.attentions)).float()


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
    logits = model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float()
    if model.config.problem_type == "regression" or len(logits) == 1:
        return float(logits[0])
    is_multiple = model.config.problem_type == "multi_label_classification"
    probabilities = logits.sigmoid() if is_multiple else logits.softmax(-1)
    return {model.config.id2label[index]: value for index, value in enumerate(probabilities.tolist())}


# ------------------------------------------------------------------------------------------------------- how it continues


# What each setting of `generate` may be. A seed is what NumPy's generator takes; below the smallest temperature logits overflow.
SETTINGS: dict[str, tuple[float, float]] = {
    "max_new_tokens": (1, 2**20),
    "temperature": (1e-3, 1e3),
    "top_p": (0, 1),
    "top_k": (0, 2**20),
    "seed": (0, 2**32 - 1),
}
WHOLE = ("max_new_tokens", "top_k", "seed")


def check_settings(**settings: Any) -> None:
    """Raise `InputError` for a setting of `generate` that is no number, or none that it may be; a `temperature` of 0 is one."""
    for name, value in settings.items():
        low, high = SETTINGS[name]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        is_inside = is_number and (low <= value <= high or (name == "temperature" and value == 0))
        if not is_inside or (name in WHOLE and value != int(value)):
            kind = "a whole number" if name in WHOLE else "a number"
            zero = "0, or " if name == "temperature" else ""
            raise InputError(f"{name}={value!r} must be {kind}: {zero}from {low:g} to {high:,.15g}.")


class Told(StoppingCriteria):
    """Ends a generation when somebody else says so."""

    def __init__(self):
        self.event = Event()

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs) -> torch.Tensor:
        return torch.full((len(input_ids),), self.event.is_set(), dtype=torch.bool, device=input_ids.device)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Return token ids of a prompt, opened as each text of training was; an empty one begins a new text.

    Raises:
        InputError: the tokenizer makes nothing of it.
    """
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    # Some tokenizers close a text as well, after which there would be nothing to continue.
    begun = tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
    ids = [*opening(tokenizer), *begun] if begun else [start]
    if (prompt and not begun) or ids[0] is None:
        raise InputError(f"prompt={shown_value(prompt)} has no token that the model could continue: write something.")
    return list(ids)


def id_inputs(model: Any, ids: list[int], max_new_tokens: int) -> dict[str, torch.Tensor]:
    """Return ids and mask for `generate`.

    Raises:
        InputError: they and the continuation are more than the model's positions, or the model has no such token.
    """
    check_room(model, len(ids), max_new_tokens)
    check_ids(model, ids)
    row = torch.tensor([ids], device=model.device)
    return {"input_ids": row, "attention_mask": torch.ones_like(row)}


def prompt_inputs(model: Any, tokenizer: PreTrainedTokenizerBase, prompt: str, max_new_tokens: int) -> dict[str, torch.Tensor]:
    """Return ids and mask of a prompt for `generate`; see `prompt_ids` and `id_inputs`."""
    return id_inputs(model, prompt_ids(tokenizer, prompt), max_new_tokens)


def sampling(temperature: float, top_p: float, top_k: int = 50) -> dict[str, Any]:
    """Return arguments of `generate`: 0 as `temperature` takes the likeliest token each time, 0 as `top_k` leaves all in."""
    if temperature == 0:
        return {"do_sample": False}
    # A slider gives whole numbers, which transformers does not take.
    return {"do_sample": True, "temperature": float(temperature), "top_p": float(top_p), "top_k": top_k}


def stream_text(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    top_k: int,
    seed: int,
) -> Iterator[str]:
    """Return the continuation of a prompt as far as it is written, again and again until it is whole.

    Who closes the iterator ends the generation with the token that it is at.

    Raises:
        InputError: prompt and continuation are more than the model's positions, or a setting is none that it may be.
    """
    check_settings(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed)
    inputs = prompt_inputs(model, tokenizer, prompt, max_new_tokens)
    streamer, told = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True), Told()

    def generate() -> None:
        try:
            set_seed(seed)
            model.generate(
                **inputs,
                **sampling(temperature, top_p, top_k),
                max_new_tokens=max_new_tokens,
                streamer=streamer,
                stopping_criteria=StoppingCriteriaList([told]),
            )
        finally:
            # Who waits for the next word would wait for ever if anything failed, the decoding of the last word included.
            try:
                streamer.end()
            finally:
                streamer.text_queue.put(streamer.stop_signal)

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(generate)
        written = ""
        try:
            for part in streamer:
                written += part
                yield written
        finally:
            told.event.set()
        work.result()
