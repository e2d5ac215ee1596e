"""N-gram language models over token ids: what any neural model of the same tokens has to beat.

With n = `order`, P(w_1 .. w_N) is the product over i of P(w_i | w_{i-n+1} .. w_{i-1}). Every smoothing here has one form:

    P(w | context) = weight(context w) + backoff(context) * P_lower(w)

where `weight` is the discounted relative frequency of the n-gram, zero where it was never seen, and `backoff`, the mass
that the discounts freed, is one where the context was never seen. `P_lower` is the distribution given the context less its
first token for Kneser-Ney, and the uniform distribution for add-k.

The n-grams are a trie in sorted arrays, one level per length. An n-gram's rank is its place in its level, and its key is

    rank of its first n-1 tokens * vocab_size + last token

which fits 64 bits at any vocabulary, unlike n packed tokens (five of 13 bits already do not), sorts the continuations of a
context next to each other, and makes counting, discounting and looking up whole-array operations.

Sources: Kneser and Ney 1995, "Improved backing-off for m-gram language modeling"; Chen and Goodman 1999, "An empirical
study of smoothing techniques for language modeling", Computer Speech and Language 13, pages 359-394.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import counted


MAX_ORDER = 5

# The weight of every n-gram, (n-grams,), and the back-off of every context, (contexts,).
_Estimate = tuple[np.ndarray, np.ndarray]


def _add_k(counts: np.ndarray, parents: np.ndarray, totals: np.ndarray, k: float, vocab_size: int) -> _Estimate:
    """(c + k) / (total + k V), written as an interpolation with 1 / V; Chen and Goodman 1999, section 2.1."""
    denominators = totals + k * vocab_size
    return counts / denominators[parents], k * vocab_size / denominators


def _maximum_likelihood(counts: np.ndarray, parents: np.ndarray, totals: np.ndarray, k: float, vocab_size: int) -> _Estimate:
    """c / total. A context never seen is no part of the likelihood, so it may take its longest seen suffix's estimate."""
    return counts / totals[parents], np.where(totals > 0, 0.0, 1.0)


def _kneser_ney(counts: np.ndarray, parents: np.ndarray, totals: np.ndarray, k: float, vocab_size: int) -> _Estimate:
    """(c - D(c)) / total, and the sum of the D(c) of a context / total; Chen and Goodman 1999, section 3."""
    discounts = kneser_ney_discounts(counts)[np.minimum(counts, 3)]
    freed = np.bincount(parents, weights=discounts, minlength=len(totals))
    # The n-gram that opens the corpus has no left neighbour: its continuation count, and its context's total, can be zero.
    seen = totals > 0
    denominators = np.where(seen, totals, 1)
    return (counts - discounts) / denominators[parents], np.where(seen, freed / denominators, 1.0)


def kneser_ney_discounts(counts: np.ndarray) -> np.ndarray:
    """Return the discounts of modified Kneser-Ney for n-grams counted 0, 1, 2, and 3 times or more.

    With n_r the number of n-grams counted r times and Y = n_1 / (n_1 + 2 n_2): D_r = r - (r + 1) Y n_{r+1} / n_r (Chen and
    Goodman 1999, section 3; equation 26 of their report TR-10-98). D_1 is Y itself, the single discount of Kneser and Ney
    1995. Corpora too small for the estimates, where an n_r is zero or a D_r is not positive, have that single discount
    throughout, and one half where not even that can be estimated.

    Args:
        counts (`np.ndarray`): (n-grams,), how often each n-gram of one length was counted.

    Returns:
        `np.ndarray`: (4,), float64.
    """
    n1, n2, n3, n4 = (int(n) for n in np.bincount(np.minimum(counts, 5), minlength=6)[1:5])
    single = n1 / (n1 + 2 * n2) if n1 else 0.5
    discounts = np.array([0.0, single, single, single])
    if n1 and n2 and n3 and n4:
        modified = np.array([0.0, single, 2 - 3 * single * n3 / n2, 3 - 4 * single * n4 / n3])
        if (modified[1:] > 0).all():
            discounts = modified
    return discounts


@dataclass(frozen=True)
class _Smoothing:
    estimate: Callable[[np.ndarray, np.ndarray, np.ndarray, float, int], _Estimate]
    continuation_counts: bool
    interpolates_with_uniform: bool


SMOOTHINGS = {
    "kneser_ney": _Smoothing(_kneser_ney, continuation_counts=True, interpolates_with_uniform=False),
    "add_k": _Smoothing(_add_k, continuation_counts=False, interpolates_with_uniform=True),
    "maximum_likelihood": _Smoothing(_maximum_likelihood, continuation_counts=False, interpolates_with_uniform=False),
}


@dataclass(frozen=True)
class _Level:
    """The n-grams of one length: `keys`, `counts` (n-grams,), `weights` (n-grams + 1,), `backoffs` (contexts + 1,).

    The last weight, 0, and the last back-off, 1, belong to no n-gram: rank -1, "never seen", reads them.
    """

    keys: np.ndarray
    counts: np.ndarray
    weights: np.ndarray
    backoffs: np.ndarray

    def ranks(self, keys: np.ndarray) -> np.ndarray:
        """Return the rank of each key, -1 where it was never seen; a key made from the context rank -1 is negative, so unseen."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, -1)


class NgramModel:
    """An n-gram language model over token ids; `NgramModel.fit` makes one from a corpus.

    Attributes:
        order (`int`): The n of the n-grams; 1 is the unigram model.
        vocab_size (`int`): Token ids are in [0, vocab_size).
        smoothing (`str`): A key of `SMOOTHINGS`.
        k (`float`): What add-k adds to every count; the other smoothings have no use for it.
    """

    def __init__(self, tables: Sequence[tuple[np.ndarray, np.ndarray]], vocab_size: int, smoothing: str, k: float) -> None:
        """`tables`: sorted keys and counts, int64 (n-grams,), of every length from 1; made by `fit`."""
        self.order = len(tables)
        self.vocab_size = vocab_size
        self.smoothing = smoothing
        self.k = k
        self._levels: list[_Level] = []
        contexts = 1
        for keys, counts in tables:
            parents = keys // vocab_size
            totals = np.bincount(parents, weights=counts, minlength=contexts)
            weights, backoffs = SMOOTHINGS[smoothing].estimate(counts, parents, totals, k, vocab_size)
            self._levels.append(_Level(keys, counts, np.append(weights, 0.0), np.append(backoffs, 1.0)))
            contexts = len(keys)

    @property
    def tables(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Sorted keys and counts of every length from 1: what other smoothings of the same counts are made from."""
        return [(level.keys, level.counts) for level in self._levels]

    @classmethod
    def fit(
        cls, tokens: np.ndarray, order: int, vocab_size: int, smoothing: str = "kneser_ney", k: float = 1.0
    ) -> "NgramModel":
        """Count the n-grams of a corpus and estimate their probabilities.

        The token that ends a document is a token as any other, and n-grams run across it.

        - `"kneser_ney"`: interpolated, with three discounts per order; no probability is zero.
        - `"add_k"`: (c + k) / (total + k V); no probability is zero.
        - `"maximum_likelihood"`: c / total; what was never seen after a context that was seen has probability zero.

        Args:
            tokens (`np.ndarray`): (tokens,), integers in [0, vocab_size).
            order (`int`): 1 to 5; at least as many tokens are needed.
            vocab_size (`int`): The size of the vocabulary that probabilities sum to one over.
            smoothing (`str`): As above.
            k (`float`): Positive; for add-k.

        Returns:
            `NgramModel`: The fitted model.

        Raises:
            ValueError: an argument outside what is said above.
        """
        _check_settings(order, vocab_size, smoothing, k)
        order, vocab_size, k = int(order), int(vocab_size), float(k)
        ids = _token_ids("tokens", tokens, vocab_size)
        if len(ids) < order:
            raise ValueError(
                f"tokens has {counted(len(ids), 'tokens')}, which hold no n-gram of order={order}; pass at least {order}."
            )
        tables: list[tuple[np.ndarray, np.ndarray]] = []
        ranks = np.zeros(len(ids) + 1, dtype=np.int64)
        for n in range(1, order + 1):
            keys, places, inverse, counts = np.unique(
                ranks[:-1] * vocab_size + ids[n - 1 :], return_index=True, return_inverse=True, return_counts=True
            )
            if n > 1 and SMOOTHINGS[smoothing].continuation_counts:
                # A shorter n-gram counts the distinct tokens seen before it: the distinct longer n-grams that end in it.
                shorter_keys, _ = tables[-1]
                tables[-1] = (shorter_keys, np.bincount(ranks[places + 1], minlength=len(shorter_keys)))
            tables.append((keys, counts))
            ranks = inverse
        return cls(tables, vocab_size, smoothing, k)

    def log_probabilities(self, tokens: np.ndarray) -> np.ndarray:
        """Return the log-probability of every token given its up to `order - 1` predecessors in the same array.

        The first tokens have the shorter contexts that the array gives them; Kneser-Ney then uses its lower-order
        distributions. Entries from 1 on are token for token what a causal model gives for its labels; it has none for the
        first token.

        Args:
            tokens (`np.ndarray`): (tokens,), integers in [0, vocab_size), at least one.

        Returns:
            `np.ndarray`: (tokens,), float64, in nats; `-inf` where maximum likelihood gives zero.

        Raises:
            ValueError: tokens that are not as above.
        """
        ids = _token_ids("tokens", tokens, self.vocab_size)
        probabilities = np.full(len(ids), 1 / self.vocab_size)
        contexts = np.zeros(len(ids), dtype=np.int64)
        for n, level in enumerate(self._levels[: len(ids)]):
            ranks = level.ranks(contexts * self.vocab_size + ids[n:])
            lower = self._lower(probabilities[n:])
            probabilities[n:] = level.weights[ranks] + level.backoffs[contexts] * lower
            contexts = ranks[:-1]
        with np.errstate(divide="ignore"):
            return np.log(probabilities)

    def loss(self, tokens: np.ndarray) -> float:
        """Return the mean negative log-probability in nats per token, over all `tokens` (tokens,); see `log_probabilities`."""
        return float(-self.log_probabilities(tokens).mean())

    def next_token_probabilities(self, context: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the distribution of the token that follows.

        Args:
            context (`Sequence[int]`): (tokens,), any number, also none; the last `order - 1` are used.

        Returns:
            `np.ndarray`: (vocab_size,), float64, summing to one.

        Raises:
            ValueError: a context that is not integers in [0, vocab_size).
        """
        ids = _token_ids("context", context, self.vocab_size, may_be_empty=True)
        ids = ids[max(0, len(ids) - self.order + 1) :]
        probabilities = np.full(self.vocab_size, 1 / self.vocab_size)
        # The rank of each suffix of the context, the longest last, is found by reading on from one level to the next.
        suffixes = np.zeros(len(ids) + 1, dtype=np.int64)
        for n, level in enumerate(self._levels[: len(ids) + 1]):
            rank = suffixes[-1]
            first, last = np.searchsorted(level.keys, (rank * self.vocab_size, (rank + 1) * self.vocab_size))
            probabilities = level.backoffs[rank] * self._lower(probabilities)
            probabilities[level.keys[first:last] - rank * self.vocab_size] += level.weights[first:last]
            suffixes = level.ranks(suffixes[:-1] * self.vocab_size + ids[n:])
        return probabilities

    def _lower(self, probabilities: np.ndarray) -> np.ndarray:
        uniform = SMOOTHINGS[self.smoothing].interpolates_with_uniform
        return np.full_like(probabilities, 1 / self.vocab_size) if uniform else probabilities

    def sample(self, length: int, seed: int, prompt: Sequence[int] | np.ndarray = ()) -> np.ndarray:
        """Draw tokens one after another from the model's own distribution; one seed gives one text.

        Args:
            length (`int`): How many tokens to draw.
            seed (`int`): Of `np.random.default_rng`.
            prompt (`Sequence[int]`): (tokens,), what the drawn tokens follow.

        Returns:
            `np.ndarray`: (length,), int64, without the prompt.

        Raises:
            ValueError: a negative length, or a prompt that is not integers in [0, vocab_size).
        """
        if length < 0:
            raise ValueError(f"length={length} is negative; pass how many tokens to draw.")
        ids = _token_ids("prompt", prompt, self.vocab_size, may_be_empty=True)
        generator = np.random.default_rng(seed)
        text = np.concatenate([ids, np.zeros(length, dtype=np.int64)])
        for end in range(len(ids), len(text)):
            probabilities = self.next_token_probabilities(text[max(0, end - self.order + 1) : end])
            text[end] = generator.choice(self.vocab_size, p=probabilities)
        return text[len(ids) :]


def _check_settings(order: int, vocab_size: int, smoothing: str, k: float) -> None:
    if not isinstance(order, int | np.integer) or not 1 <= order <= MAX_ORDER:
        raise ValueError(f"order={order!r} is not an n-gram order; pass an integer from 1 to {MAX_ORDER}.")
    # Below 2**31, the keys of fewer than 2**32 n-grams of one length fit 63 bits.
    if not isinstance(vocab_size, int | np.integer) or not 1 <= vocab_size < 2**31:
        raise ValueError(f"vocab_size={vocab_size!r} is not in 1 .. 2**31 - 1; pass the size of the tokenizer's vocabulary.")
    if not isinstance(smoothing, str) or smoothing not in SMOOTHINGS:
        raise ValueError(f"smoothing={smoothing!r} is unknown; pass one of {', '.join(SMOOTHINGS)}.")
    if not isinstance(k, int | float | np.number) or not 0 < k < float("inf"):
        raise ValueError(f"k={k!r} is not a positive number; for no smoothing pass smoothing='maximum_likelihood'.")


def _token_ids(name: str, tokens: Sequence[int] | np.ndarray, vocab_size: int, *, may_be_empty: bool = False) -> np.ndarray:
    ids = np.asarray(tokens)
    if ids.ndim != 1:
        raise ValueError(f"{name} has shape {ids.shape}; pass a one-dimensional array of token ids.")
    if ids.size == 0:
        if may_be_empty:
            return np.zeros(0, dtype=np.int64)
        raise ValueError(f"{name} is empty; pass at least one token id.")
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name} has dtype {ids.dtype}; pass integer token ids.")
    for extreme in (int(ids.min()), int(ids.max())):
        if not 0 <= extreme < vocab_size:
            raise ValueError(
                f"{name} holds the id {extreme}, outside [0, {vocab_size}); pass the vocab_size of the tokenizer that made it."
            )
    return ids.astype(np.int64)
