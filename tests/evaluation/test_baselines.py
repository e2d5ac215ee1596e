"""The n-gram models against a slow transcription of their formulas, and what they promise about arguments."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from hf_gpt.evaluation.ngram import MAX_ORDER, SMOOTHINGS, NgramModel, kneser_ney_discounts


VOCAB_SIZE = 13
ORDERS = range(1, MAX_ORDER + 1)


def zipfian_corpus(length, seed, vocab_size=VOCAB_SIZE):
    # The last two ids never occur: an unseen token has to have a probability too.
    ranks = np.arange(1, vocab_size - 1)
    return np.random.default_rng(seed).choice(vocab_size - 2, size=length, p=(1 / ranks) / (1 / ranks).sum())


def structured_corpus(length, seed):
    """A second-order Markov chain: two tokens of context say more than one, and one more than none."""
    generator = np.random.default_rng(seed)
    transitions = np.random.default_rng(99).dirichlet(np.full(VOCAB_SIZE, 0.1), size=(VOCAB_SIZE, VOCAB_SIZE))
    tokens = [0, 1]
    while len(tokens) < length:
        tokens.append(generator.choice(VOCAB_SIZE, p=transitions[tokens[-2], tokens[-1]]))
    return np.array(tokens)


class DirectKneserNey:
    """Interpolated modified Kneser-Ney as Chen and Goodman 1999 write it down, with sets of strings and dictionaries."""

    def __init__(self, tokens, order, vocab_size):
        tokens = tuple(int(token) for token in tokens)
        grams = {n: [tokens[i : i + n] for i in range(len(tokens) - n + 1)] for n in range(1, order + 1)}
        self.order, self.vocab_size, self.counts = order, vocab_size, {order: Counter(grams[order])}
        for n in range(1, order):
            left_neighbours = defaultdict(set)
            for gram in grams[n + 1]:
                left_neighbours[gram[1:]].add(gram[0])
            self.counts[n] = {gram: len(neighbours) for gram, neighbours in left_neighbours.items()}
        self.discounts = {n: self.discounts_of(list(counts.values())) for n, counts in self.counts.items()}

    @staticmethod
    def discounts_of(counts):
        n = [sum(count == r for count in counts) for r in range(5)]
        y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
        if all(n[1:]):
            d = {r: r - (r + 1) * y * n[r + 1] / n[r] for r in (1, 2, 3)}
            if min(d.values()) > 0:
                return d
        return dict.fromkeys((1, 2, 3), y)

    def probability(self, token, context):
        context = tuple(int(t) for t in context)[max(0, len(context) - self.order + 1) :]
        n = len(context) + 1
        lower = self.probability(token, context[1:]) if context else 1 / self.vocab_size
        continuations = [count for gram, count in self.counts[n].items() if gram[:-1] == context]
        if not continuations:
            return lower
        d = self.discounts[n]
        count = self.counts[n].get((*context, token), 0)
        discounted = count - d[min(count, 3)] if count else 0
        freed = sum(d[min(other, 3)] for other in continuations)
        return (discounted + freed * lower) / sum(continuations)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("length", "seed"), [(6, 0), (40, 1), (400, 2), (1500, 3)])
def test_kneser_ney_equals_the_direct_transcription(order, length, seed):
    corpus = zipfian_corpus(length, seed)
    text = np.random.default_rng(seed).integers(0, VOCAB_SIZE, 40)
    text[:10] = corpus[:10] if length >= 10 else text[:10]
    model, reference = NgramModel.fit(corpus, order, VOCAB_SIZE), DirectKneserNey(corpus, order, VOCAB_SIZE)
    expected = [np.log(reference.probability(int(text[i]), text[:i])) for i in range(len(text))]
    np.testing.assert_allclose(model.log_probabilities(text), expected, rtol=1e-12)


def test_the_corpora_above_reach_the_three_discounts_and_both_fallbacks():
    discounts = [
        DirectKneserNey(zipfian_corpus(length, seed), 3, VOCAB_SIZE).discounts for length, seed in [(6, 0), (1500, 3)]
    ]
    assert any(len(set(d.values())) == 3 for d in discounts[1].values())
    assert any(set(d.values()) == {0.5} for d in discounts[1].values())
    assert any(len(set(d.values())) == 1 for d in discounts[0].values())


def test_discounts_by_hand():
    # n1, n2, n3, n4 = 8, 4, 3, 2, so Y = 8 / 16.
    counts = np.repeat([0, 1, 2, 3, 4, 7], [5, 8, 4, 3, 2, 1])
    np.testing.assert_allclose(kneser_ney_discounts(counts), [0, 0.5, 2 - 1.5 * 3 / 4, 3 - 2 * 2 / 3])
    np.testing.assert_allclose(kneser_ney_discounts(np.array([1, 1, 2])), [0, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(kneser_ney_discounts(np.array([1, 1, 1])), [0, 1, 1, 1])
    np.testing.assert_allclose(kneser_ney_discounts(np.array([9, 8])), [0, 0.5, 0.5, 0.5])


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", ORDERS)
def test_every_context_has_a_distribution(smoothing, order):
    corpus = zipfian_corpus(300, 4)
    model = NgramModel.fit(corpus, order, VOCAB_SIZE, smoothing, k=0.3)
    seen = [corpus[i : i + length] for i in (0, 17, 130) for length in range(6)]
    # The end of the corpus is a context that nothing follows; the ids 11 and 12 are not in the corpus.
    unseen = [corpus[-4:], np.array([12, 11, 12, 12]), np.array([0, 12]), np.array([12, 0, 0]), np.array([3, 12, 0, 1])]
    for context in seen + unseen:
        distribution = model.next_token_probabilities(context)
        assert distribution.shape == (VOCAB_SIZE,)
        assert distribution.min() >= 0 if smoothing == "maximum_likelihood" else distribution.min() > 0
        assert distribution.sum() == pytest.approx(1, abs=1e-12)
        one_by_one = [model.log_probabilities(np.append(context, token).astype(int))[-1] for token in range(VOCAB_SIZE)]
        np.testing.assert_allclose(np.exp(one_by_one), distribution, rtol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_maximum_likelihood_and_add_k_are_ratios_of_counts(order):
    corpus, k = zipfian_corpus(500, 5), 0.25
    grams = Counter(tuple(corpus[i : i + order].tolist()) for i in range(len(corpus) - order + 1))
    contexts = Counter()
    for gram, count in grams.items():
        contexts[gram[:-1]] += count
    likelihood = NgramModel.fit(corpus, order, VOCAB_SIZE, "maximum_likelihood")
    added = NgramModel.fit(corpus, order, VOCAB_SIZE, "add_k", k=k)
    for i in range(0, len(corpus) - order + 1, 7):
        gram = tuple(corpus[i : i + order].tolist())
        count, total = grams[gram], contexts[gram[:-1]]
        assert np.exp(likelihood.log_probabilities(gram)[-1]) == pytest.approx(count / total, rel=1e-12)
        assert np.exp(added.log_probabilities(gram)[-1]) == pytest.approx((count + k) / (total + k * VOCAB_SIZE), rel=1e-12)
    assert np.exp(added.log_probabilities(np.full(order, 12))[-1]) == pytest.approx(
        k / (len(corpus) + k * VOCAB_SIZE) if order == 1 else 1 / VOCAB_SIZE, rel=1e-12
    )


def test_maximum_likelihood_is_exact_on_its_corpus_and_infinite_on_an_unseen_token():
    model = NgramModel.fit(np.array([0, 1, 0, 1, 0, 2]), 2, 3, "maximum_likelihood")
    np.testing.assert_allclose(np.exp(model.log_probabilities(np.array([0, 1, 0, 2]))), [1 / 2, 2 / 3, 1, 1 / 3])
    assert model.loss(np.array([0, 0])) == np.inf


@pytest.mark.parametrize("smoothing", ["kneser_ney", "add_k"])
def test_more_context_helps_where_the_text_has_structure(smoothing):
    train, validation = structured_corpus(20_000, 0), structured_corpus(4_000, 1)
    losses = [NgramModel.fit(train, order, VOCAB_SIZE, smoothing, k=0.01).loss(validation) for order in (1, 2, 3)]
    assert losses[0] > losses[1] + 0.1
    assert losses[1] > losses[2] + 0.1


def test_kneser_ney_beats_add_k_and_stays_finite_beyond_the_order_of_the_text():
    train, validation = structured_corpus(3_000, 0), structured_corpus(2_000, 1)
    kneser_ney = NgramModel.fit(train, 5, VOCAB_SIZE).loss(validation)
    assert kneser_ney < NgramModel.fit(train, 5, VOCAB_SIZE, "add_k", k=0.1).loss(validation) < np.inf


def test_loss_is_the_mean_in_nats_and_dtypes_do_not_matter():
    corpus = zipfian_corpus(400, 6)
    model = NgramModel.fit(corpus.astype(np.uint16), 3, VOCAB_SIZE)
    assert model.loss(corpus) == pytest.approx(-model.log_probabilities(corpus.astype(np.uint8)).mean())
    assert model.loss(corpus) == NgramModel.fit(corpus.tolist(), 3, VOCAB_SIZE).loss(corpus.tolist())
    assert NgramModel.fit(corpus, 1, np.int64(100)).loss([99]) > np.log(100)


def test_a_vocabulary_past_13_bits_a_token_keeps_five_grams_apart():
    vocab_size = 250_000
    corpus = np.random.default_rng(7).integers(vocab_size - 20, vocab_size, 3_000)
    small = NgramModel.fit(corpus - (vocab_size - 20), 5, 20, "maximum_likelihood")
    large = NgramModel.fit(corpus, 5, vocab_size, "maximum_likelihood")
    np.testing.assert_array_equal(large.log_probabilities(corpus), small.log_probabilities(corpus - (vocab_size - 20)))


def test_sampling_is_reproducible_and_follows_the_model():
    model = NgramModel.fit(structured_corpus(5_000, 0), 3, VOCAB_SIZE)
    first = model.sample(200, seed=1, prompt=[0, 1])
    assert first.shape == (200,)
    np.testing.assert_array_equal(first, model.sample(200, seed=1, prompt=[0, 1]))
    assert not np.array_equal(first, model.sample(200, seed=2, prompt=[0, 1]))
    # A text of one continuation per context can only be recited.
    recited = NgramModel.fit(np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4]), 2, 5, "maximum_likelihood").sample(6, 0, prompt=[3])
    assert recited.tolist() == [4, 0, 1, 2, 3, 4]
    drawn = np.bincount(NgramModel.fit(np.array([0, 0, 0, 1]), 1, 2, "maximum_likelihood").sample(4_000, 0)) / 4_000
    np.testing.assert_allclose(drawn, [0.75, 0.25], atol=0.03)


def test_the_end_of_the_corpus_leaves_maximum_likelihood_something_to_draw():
    assert NgramModel.fit(np.array([0, 1, 2]), 3, 3, "maximum_likelihood").sample(10, seed=0).shape == (10,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 0}, "order=0 .*1 to 5"),
        ({"order": 6}, "order=6 .*1 to 5"),
        ({"order": 2.0}, "order=2.0 .*1 to 5"),
        ({"tokens": []}, "tokens is empty"),
        ({"tokens": [1, 2, VOCAB_SIZE]}, f"tokens holds the id {VOCAB_SIZE}, outside"),
        ({"tokens": [1, -2, 3]}, "tokens holds the id -2, outside"),
        ({"tokens": [1.0, 2.0, 3.0]}, "tokens has dtype float64; pass integer"),
        ({"tokens": [[1, 2], [3, 4]]}, "tokens has shape .2, 2.; pass a one-dimensional"),
        ({"tokens": [1]}, "tokens has 1 token, .*order=2; pass at least 2"),
        ({"vocab_size": 0}, "vocab_size=0 "),
        ({"vocab_size": 2**40}, "vocab_size=1099511627776 "),
        ({"smoothing": "laplace"}, "smoothing='laplace' is unknown; pass one of kneser_ney"),
        ({"smoothing": "add_k", "k": 0}, "k=0 is not a positive number"),
        ({"smoothing": "add_k", "k": float("nan")}, "k=nan is not a positive number"),
    ],
)
def test_an_argument_that_cannot_be_used_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        NgramModel.fit(**{"tokens": [1, 2, 3], "order": 2, "vocab_size": VOCAB_SIZE, **arguments})


def test_the_model_checks_what_it_is_asked_about():
    model = NgramModel.fit([1, 2, 3], 2, VOCAB_SIZE)
    with pytest.raises(ValueError, match="tokens is empty"):
        model.loss(np.zeros(0, dtype=int))
    with pytest.raises(ValueError, match="tokens holds the id 13, outside"):
        model.log_probabilities([13])
    with pytest.raises(ValueError, match="context holds the id -1, outside"):
        model.next_token_probabilities([-1])
    with pytest.raises(ValueError, match="prompt holds the id 99, outside"):
        model.sample(3, 0, prompt=[99])
    with pytest.raises(ValueError, match="length=-1 is negative"):
        model.sample(-1, 0)
