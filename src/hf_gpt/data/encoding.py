"""From a text to the ids that stand for it: the same in pretraining, in tasks and in evaluation."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase


# Characters that are tokenised at a time: a tokenizer takes some hundred bytes of memory for each.
PIECE = 1 << 16
# Where a text is cut without another token coming out. No tokenizer whose words end before white space (those of GPT-2, GPT-4, Llama 3,
# Qwen, and those trained here) has a word across the first; none with GPT-2's pattern across the others. One that cuts no words at all
# (SentencePiece) may have one token more or fewer at each cut.
CUTS = tuple(re.compile(cut) for cut in (r"(?<=[^\W_])(?=\s)", r"(?<=\S)(?=\s)", r"(?<=[^\W_])(?=[^\w\s'])"))


def pieces(text: str) -> Iterator[str]:
    """Return the text, in parts of `PIECE` characters or a little more, the last one up to twice as long."""
    start = 0
    while len(text) - start > 2 * PIECE:
        found = (cut.search(text, start + PIECE, start + 2 * PIECE - 1) for cut in CUTS)
        place = next((match.start() for match in found if match), start + PIECE)
        yield text[start:place]
        start = place
    yield text[start:]


def text_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[np.ndarray]:
    """Return the ids of each text, nothing added. The name of a special token that somebody has written is text like any other."""
    parts = [list(pieces(text)) for text in texts]
    flat = [part for of_text in parts for part in of_text]
    ids = iter(plain(tokenizer, flat)["input_ids"]) if flat else iter(())
    return [np.concatenate([np.asarray(next(ids), dtype=np.int32) for _ in of_text]) for of_text in parts]


def plain(tokenizer: PreTrainedTokenizerBase, texts: Any, **arguments: Any) -> Any:
    """Return what a tokenizer makes of texts, or of one, when nothing in them is a special token and none is added."""
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False, **arguments)


def behind_space(tokenizer: PreTrainedTokenizerBase, words: list[str]) -> list[list[int]]:
    """Return the ids of each word as it is read behind another one, with one space between: some tokenizers put one before every text
    by themselves (that of Llama 2), and a second would be a token that running text has not."""
    running, first, bare, spaced = plain(tokenizer, ["a b", "a", "b", " b"])["input_ids"]
    space = "" if running == [*first, *bare] != [*first, *spaced] else " "
    return plain(tokenizer, [f"{space}{word}" for word in words])["input_ids"] if words else []


def opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return what a tokenizer puts before every prompt by itself (`<s>` of Llama), so that a document begins with it, too."""
    framed, alone = tokenizer("a", verbose=False)["input_ids"], plain(tokenizer, "a")["input_ids"]
    places = (place for place in range(len(framed)) if framed[place : place + len(alone)] == alone)
    return list(framed[: next(places, 0)])


def gives_back(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> bool:
    """Return whether the ids of texts stand for all of them: a loss by the byte is of the text only then.

    White space that a tokenizer puts before a text or between words is not counted.
    """
    decoded = (tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in text_ids(tokenizer, texts))
    return all("".join(str(found).split()) == "".join(text.split()) for found, text in zip(decoded, texts))
