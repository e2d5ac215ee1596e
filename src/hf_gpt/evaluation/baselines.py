"""N-gram models beside a language model, on the same tokens."""

import time
from typing import Any

import numpy as np

from .ngram import NgramModel
from .perplexity import score


def score_ngrams(
    train: np.ndarray, test: np.ndarray, orders: list[int], block_size: int, vocab_size: int, bytes_per_token: float
) -> list[dict[str, Any]]:
    """Score n-gram models of the train tokens on exactly the test tokens that a GPT is scored on.

    Args:
        train: Token ids, `(tokens,)`, of the packed blocks one after the other; `test` likewise.
        orders: Of the models, 1 for a unigram.
        block_size: Tokens of a block, of which the first is never predicted.
        bytes_per_token: Of the test texts.

    Returns:
        For each order its name, order, seconds, and the fields of `LanguageModelScore`.
    """
    is_predicted = np.ones(len(test), dtype=bool)
    is_predicted[::block_size] = False
    scored = []
    for order in orders:
        begun = time.monotonic()
        losses = -NgramModel.fit(train, order, vocab_size).log_probabilities(test)[is_predicted]
        result = score(float(losses.sum()), len(losses), bytes_per_token)
        name = "unigram" if order == 1 else f"Kneser-Ney {order}-gram"
        scored.append({"name": name, "order": order, "seconds": time.monotonic() - begun, **result.to_dict()})
    return scored
