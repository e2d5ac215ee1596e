"""How a language model continues ids: settings that are checked, the ends of a text, and a stream of what is written."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import torch
from transformers import (
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
    TextStreamer,
    set_seed,
)

from ..data.encoding import opening
from ..errors import InputError, shown, visible
from .inspect import check_ids, check_room


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


class VisibleStreamer(TextStreamer):
    """Prints what is written as it comes, and no order to the terminal that is in it: any text may be in a prompt or a model."""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        super().on_finalized_text(visible(text), stream_end)


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
        raise InputError(f"prompt={shown(prompt)} has no token that the model could continue: write something.")
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


def endings(model: Any, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return arguments of `generate`: a text is over at the end that the model names, and at the one that its tokenizer names."""
    known = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(known if isinstance(known, list) else [known])} - {None}
    pad = min(ends, default=0) if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return {"eos_token_id": sorted(ends) or None, "pad_token_id": pad}


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
    """Return the continuation of a prompt as far as it is written, again and again until it is whole; see `stream_answer`."""
    ids = prompt_ids(tokenizer, prompt)
    for written, _ in stream_answer(model, tokenizer, ids, max_new_tokens, temperature, top_p, top_k, seed):
        yield written


def stream_answer(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    asked: list[int],
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    top_k: int,
    seed: int,
) -> Iterator[tuple[str, list[int]]]:
    """Return what follows ids as far as it is written, again and again until it is whole; then with its own ids, none before.

    Who closes the iterator ends the generation with the token that it is at.

    Raises:
        InputError: the ids and what follows are more than the model's positions, or a setting is none that it may be.
    """
    check_settings(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed)
    inputs = id_inputs(model, asked, max_new_tokens)
    streamer, told = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True), Told()

    def generate() -> list[int]:
        try:
            set_seed(seed)
            whole = model.generate(
                **inputs,
                **sampling(temperature, top_p, top_k),
                **endings(model, tokenizer),
                max_new_tokens=max_new_tokens,
                streamer=streamer,
                stopping_criteria=StoppingCriteriaList([told]),
            )
            return whole[0, len(asked) :].tolist()
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
                yield written, []
        finally:
            told.event.set()
        yield written, work.result()
