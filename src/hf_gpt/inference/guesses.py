"""What a language model expected at one place of a text, as it can be read: a part of a letter is shown with the rest of it."""

from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from .inspect import encode, fits


def shown(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    """Return a token as it can be read on its own: spaces and line ends are seen; one without a text has its name."""
    return visible(str(tokenizer.decode([token_id])) or str(tokenizer.convert_ids_to_tokens(token_id)))


def visible(text: str) -> str:
    """Return the text with signs in place of what cannot be seen."""
    return text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥") or "·"


@torch.inference_mode()
def expected_at(
    model: Any, tokenizer: PreTrainedTokenizerBase, text: str, place: int, count: int = 8
) -> list[tuple[str, float]]:
    """Return likely tokens in place of one of a text with their probabilities, best first; nothing precedes the first.

    Args:
        place (`int`): Index of the token; the number of tokens for what comes after the text.
        count (`int`): How many.

    Raises:
        InputError: see `encode`.
    """
    ids, _ = encode(model, tokenizer, text)
    return expected_after(model, tokenizer, ids[:, :place], count) if place else []


@torch.inference_mode()
def expected_after(
    model: Any, tokenizer: PreTrainedTokenizerBase, before: torch.Tensor, count: int = 8
) -> list[tuple[str, float]]:
    """Return likely tokens after ids of shape `(1, length)` with their probabilities, best first."""
    best = model(input_ids=before, use_cache=False).logits[0, -1].float().softmax(-1)
    best = best.topk(min(count, len(best)))
    return list(zip(spelled(model, tokenizer, before, best.indices), best.values.tolist()))


# Tokens that a letter may have: UTF-8 takes four bytes.
LETTER = 4
PART = "\N{REPLACEMENT CHARACTER}"


def spelled(model: Any, tokenizer: PreTrainedTokenizerBase, before: torch.Tensor, tokens: torch.Tensor) -> list[str]:
    """Return tokens as they are read. One that ends within a letter is read with the likeliest end of it, and three dots.

    Args:
        before: Ids of what precedes, of shape `(1, length)`; a letter may have begun there.
        tokens: Ids, each in the same place.
    """
    length = before.shape[1]
    begun = max(
        (k for k in range(1, min(LETTER, length + 1)) if not decoded(tokenizer, before[0, -k:]).strip(PART)), default=0
    )
    texts = []
    for token in tokens.to(before):
        row = torch.cat([before[0], token[None]])
        while (
            decoded(tokenizer, row[length - begun :]).endswith(PART)
            and len(row) < length + LETTER
            and fits(model, len(row) + 1)
        ):
            following = model(input_ids=row[None], use_cache=False).logits[0, -1].argmax()
            row = torch.cat([row, following[None].to(row)])
        text = visible(decoded(tokenizer, row[length - begun :]).replace(PART, "")) if begun or len(row) > length + 1 else ""
        # What even the model makes no letter of is a box.
        texts.append((text.replace("·", "▯") + "…" * (len(row) > length + 1)) if text else shown(tokenizer, int(token)))
    return texts


def decoded(tokenizer: PreTrainedTokenizerBase, ids: torch.Tensor) -> str:
    return str(tokenizer.decode(ids.tolist()))
