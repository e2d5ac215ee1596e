"""From texts to full blocks of token ids, of texts in memory and of a stream alike: tokenise, close, join, cut."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import datasets
import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..errors import InputError, counted
from .encoding import gives_back, opening, text_ids
from .sources import text_count
from .splits import rows_at_a_time, workers_for


def check_closing(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `InputError` for a tokenizer without an end-of-text token."""
    if tokenizer.eos_token_id is None:
        raise InputError("tokenizer: it has no eos_token, which separates documents: set one and save it again.")


def document_ids(
    tokenizer: PreTrainedTokenizerBase,
    begin: list[int],
    texts: list[str],
    firsts: Iterable[bool] = repeat(True),
    lasts: Iterable[bool] = repeat(True),
) -> list[np.ndarray]:
    """Tokenise documents, each opened as the tokenizer opens a prompt and closed by the end-of-text token.

    Args:
        begin: What `encoding.opening` says of the tokenizer.
        texts: Documents, or parts of them in order.
        firsts, lasts: Whether each text begins and ends a document.

    Returns:
        The ids of each text, int32, of shape `(tokens,)`.
    """
    opened, closed, nothing = (np.asarray(ids, dtype=np.int32) for ids in (begin, [tokenizer.eos_token_id], []))
    return [
        np.concatenate([opened if is_first else nothing, ids, closed if is_last else nothing])
        for ids, is_first, is_last in zip(text_ids(tokenizer, texts), firsts, lasts)
    ]


def cut_blocks(rest: np.ndarray, documents: Iterable[np.ndarray], block_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Join token ids, one document after the other, and cut them.

    Args:
        rest: Ids that were left over before, of shape `(tokens,)`.

    Returns:
        Full blocks, of shape `(blocks, block_size)`, and the ids that are left over now.
    """
    ids = np.concatenate([rest, *documents])
    whole = len(ids) // block_size * block_size
    return ids[:whole].reshape(-1, block_size), ids[whole:]


def _tokenize_batch(batch: dict[str, list], tokenizer: PreTrainedTokenizerBase, begin: list[int]) -> dict[str, list]:
    marks = (batch[name] for name in ("is_first", "is_last") if name in batch)
    return {"input_ids": document_ids(tokenizer, begin, batch["text"], *marks)}


def tokenize(texts: Dataset, tokenizer: PreTrainedTokenizerBase, workers: int | None = None) -> Dataset:
    """Tokenise texts in memory as `document_ids` does; the result has the column `input_ids`.

    Raises:
        InputError: the tokenizer has no end-of-text token.
    """
    check_closing(tokenizer)
    return texts.map(
        partial(_tokenize_batch, tokenizer=tokenizer, begin=opening(tokenizer)),
        batched=True,
        batch_size=rows_at_a_time(texts),
        remove_columns=texts.column_names,
        features=datasets.Features({"input_ids": datasets.List(datasets.Value("int32"))}),
        num_proc=workers,
        desc="Tokenising",
    )


# Characters that are tokenised and put together again, to see whether that gives the text.
TRIED_CHARACTERS = 200_000
LOSSY = (
    "the tokenizer's ids do not give the text back: part of it costs nothing, so bits per byte are too low to be compared with those "
    "of another tokenizer"
)


def is_lossy(texts: Dataset, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Say whether the ids of texts leave some of them out, as far as their beginning tells."""
    tried = 0
    for batch in texts.iter(batch_size=16):
        if not gives_back(tokenizer, batch["text"]):
            return True
        tried += sum(len(text) for text in batch["text"])
        if tried > TRIED_CHARACTERS:
            break
    return False


def full_blocks(documents, block_size: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield rows of exactly `block_size` ids; less than one block is left over at the end."""
    rest = np.empty(0, dtype=np.int32)
    for batch in documents.iter(batch_size=1000):
        blocks, rest = cut_blocks(rest, (np.asarray(ids, dtype=np.int32) for ids in batch["input_ids"]), block_size)
        yield from ({"input_ids": block} for block in blocks)


def pack(documents: Dataset, block_size: int) -> Dataset:
    """Pack tokenised documents into blocks, on disk.

    Returns:
        A dataset with `input_ids` of `block_size` ids a row.

    Raises:
        InputError: fewer tokens than one block.
    """
    arguments = {"documents": documents, "block_size": block_size}
    total = token_count(documents)
    if total < block_size:
        raise InputError(
            f"block_size={block_size} is more than the {counted(total, 'tokens')} of the split: give more text or a smaller "
            "block_size."
        )
    features = datasets.Features({"input_ids": datasets.List(datasets.Value("int32"), length=block_size)})
    return Dataset.from_generator(full_blocks, features=features, gen_kwargs=arguments)


@dataclass(frozen=True)
class Packed:
    """A split in blocks, and what the texts behind them measure; `bytes` are those of UTF-8.

    Attributes:
        blocks: Rows with `input_ids` of `block_size` ids.
    """

    blocks: Dataset
    texts: int
    bytes: int
    tokens: int

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / self.tokens

    def to_dict(self) -> dict[str, int]:
        """Return what a record says of it."""
        return {"texts": self.texts, "bytes": self.bytes, "tokens": self.tokens, "blocks": len(self.blocks)}


def pack_texts(texts: Dataset, tokenizer: PreTrainedTokenizerBase, block_size: int, wanted: int | None = 1) -> Packed:
    """Tokenise texts in memory and pack them; datasets caches both steps on disk by what they depend on.

    Raises:
        InputError: see `tokenize` and `pack`.
    """
    documents = tokenize(texts, tokenizer, workers_for(len(texts), wanted))
    return Packed(pack(documents, block_size), text_count(texts), byte_count(texts), token_count(documents))


def token_count(documents: Dataset) -> int:
    """Count the tokens of a tokenised dataset, without reading them into Python."""
    return sum(len(chunk.flatten()) for chunk in documents.with_format("arrow")[:]["input_ids"].chunks)


def flat_tokens(blocks: Dataset) -> np.ndarray:
    """Return all ids of packed blocks in order, as one array of shape `(tokens,)`."""
    return np.concatenate([np.asarray(chunk.flatten()) for chunk in blocks.with_format("arrow")[:]["input_ids"].chunks])


def byte_count(texts: Dataset) -> int:
    """Count the UTF-8 bytes of the column `text`."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for batch in texts.iter(1000) for text in batch["text"])


def check_token_ids(blocks: Dataset, vocab_size: int) -> None:
    """Raise `InputError` when packed blocks hold ids that a model of `vocab_size` entries does not have."""
    tokens = flat_tokens(blocks)
    highest = int(tokens.max())
    if highest >= vocab_size:
        raise InputError(
            f"the text holds token id {highest}, but the model's vocab_size={vocab_size}: use the tokenizer that the model was "
            "made for, or enlarge vocab_size."
        )
