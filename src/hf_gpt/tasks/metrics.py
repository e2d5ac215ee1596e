"""Metrics that work without a network: each is a function of predictions and references, one of each for every row.

Returns, of all of them: the figures by name.
"""

import re
import string
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from .words import bare_words, is_latin, is_unspaced, unit, words


def accuracy(predictions: Any, references: Any) -> dict[str, float]:
    """Compute the share of the rows whose prediction is the reference."""
    return {"accuracy": float(np.mean(np.asarray(predictions) == np.asarray(references)))}


def macro_f1(predictions: Any, references: Any) -> dict[str, float]:
    """Compute F1 = 2 P R / (P + R) of each class, averaged over the classes (scikit-learn, `average="macro"`)."""
    from sklearn.metrics import f1_score

    return {"f1": float(f1_score(references, predictions, average="macro"))}


def matthews(predictions: Any, references: Any) -> dict[str, float]:
    """Compute the correlation of two labellings, 0 for chance whatever the sizes of the classes (Matthews 1975; scikit-learn)."""
    from sklearn.metrics import matthews_corrcoef

    # Of a single class, scikit-learn gives the same, with a warning.
    if len(np.union1d(predictions, references)) < 2:
        return {"matthews": 0.0}
    return {"matthews": float(matthews_corrcoef(references, predictions))}


def micro_f1(predictions: Any, references: Any) -> dict[str, float]:
    """Compute F1 over all decisions of a labelling with several labels per row (scikit-learn, `average="micro"`)."""
    from sklearn.metrics import f1_score

    return {"f1": float(f1_score(references, predictions, average="micro", zero_division=0))}


def correlation(predictions: Any, references: Any) -> dict[str, float]:
    """Compute Pearson's r of the numbers and Spearman's rho of their ranks (scipy); of equal numbers, neither is defined."""
    from scipy.stats import pearsonr, spearmanr

    found, wanted = (np.asarray(numbers, dtype=np.float64) for numbers in (predictions, references))
    if np.ptp(found) == 0 or np.ptp(wanted) == 0:
        return {"pearson": float("nan"), "spearman": float("nan")}
    return {"pearson": float(pearsonr(found, wanted)[0]), "spearman": float(spearmanr(found, wanted)[0])}


def tag_accuracy(predictions: list[list[str]], references: list[list[str]]) -> dict[str, float]:
    """Compute the share of the words whose tag is right, over all rows."""
    pairs = [pair for row in zip(predictions, references) for pair in zip(*row)]
    return {"accuracy": sum(found == wanted for found, wanted in pairs) / len(pairs)}


def entity_f1(predictions: list[list[str]], references: list[list[str]]) -> dict[str, float]:
    """Compute F1 of whole entities in the BIO scheme (seqeval; Tjong Kim Sang and De Meulder 2003)."""
    from seqeval.metrics import f1_score, precision_score, recall_score

    return {
        "entity_f1": float(f1_score(references, predictions, zero_division=0)),
        "entity_precision": float(precision_score(references, predictions, zero_division=0)),
        "entity_recall": float(recall_score(references, predictions, zero_division=0)),
    }


def entity_scores(predictions: list[list[str]], references: list[list[str]]) -> dict[str, dict[str, float]]:
    """Compute precision, recall and F1 of the entities of each type in the BIO scheme (seqeval), with how many there are."""
    from seqeval.metrics import classification_report
    from seqeval.metrics.sequence_labeling import get_entities

    if not get_entities([*references, *predictions]):
        return {}
    report: Any = classification_report(references, predictions, output_dict=True, zero_division=0)
    return {
        kind: {
            "precision": float(row["precision"]),
            "recall": float(row["recall"]),
            "f1": float(row["f1-score"]),
            "rows": int(row["support"]),
        }
        for kind, row in report.items()
        if not kind.endswith(" avg")
    }


# Left out of texts without spaces between words, beside what Rajpurkar et al. leave out of all.
UNSPACED_PUNCTUATION = string.punctuation + "。，、；：？！…—·～（）《》〈〉「」『』【】〔〕“”‘’"


def normalize_answer(text: str) -> str:
    """Put a text in lower case without punctuation, articles and repeated spaces (Rajpurkar et al. 2016, section 6.1)."""
    left_out = UNSPACED_PUNCTUATION if is_unspaced(text) else string.punctuation
    text = "".join(character for character in text.lower() if character not in left_out)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def answer_f1(prediction: str, reference: str) -> float:
    """Compute F1 of the words that two answers share, counted with repetition; 1 when both are empty. Of a script without spaces
    between words, each character is one (Cui et al. 2019)."""
    parts = words if is_unspaced(reference) else str.split
    found, wanted = (parts(normalize_answer(answer)) for answer in (prediction, reference))
    if not found or not wanted:
        return float(found == wanted)
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted))


def answer_match(predictions: list[str], references: list[list[str]]) -> dict[str, float]:
    """Compute exact match and F1 of answers, each against the best of its references, in percent (Rajpurkar et al. 2016, 2018)."""
    exact, overlap = [], []
    for found, wanted in zip(predictions, references):
        answers = wanted or [""]
        exact.append(max(normalize_answer(found) == normalize_answer(answer) for answer in answers))
        overlap.append(max(answer_f1(found, answer) for answer in answers))
    return {"exact_match": 100 * float(np.mean(exact)), "f1": 100 * float(np.mean(overlap))}


class BareWords:
    """`bare_words`, as rouge-score asks for them."""

    def tokenize(self, text: str) -> list[str]:
        return bare_words(text)


def rouge(predictions: list[str], references: list[str]) -> dict[str, float]:
    """Compute ROUGE-1, ROUGE-2 and ROUGE-L F1 with stemming, in percent (Lin 2004; rouge-score).

    rouge-score itself finds words of the letters a to z alone. Of references in other letters they are those of `bare_words`.
    """
    from rouge_score.rouge_scorer import RougeScorer

    tokenizer = None if is_latin(references) else BareWords()
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True, tokenizer=tokenizer)
    rows = [scorer.score(wanted, found) for found, wanted in zip(predictions, references)]
    return {name: 100 * float(np.mean([row[name].fmeasure for row in rows])) for name in ("rouge1", "rouge2", "rougeL")}


def translation(predictions: list[str], references: list[str]) -> dict[str, float]:
    """Compute BLEU (Papineni et al. 2002) and chrF (Popović 2015) of a whole set, in percent (sacrebleu); where scripts have no spaces
    between words, BLEU of characters."""
    import sacrebleu

    tokenize = "char" if unit(references) == "characters" else "13a"
    return {
        "bleu": float(sacrebleu.corpus_bleu(predictions, [references], tokenize=tokenize).score),
        "chrf": float(sacrebleu.corpus_chrf(predictions, [references]).score),
    }


def compute(metrics: tuple[Callable[..., dict[str, float]], ...], predictions: Any, references: Any) -> dict[str, float]:
    """Compute the figures of several metrics over the same rows."""
    return {name: value for metric in metrics for name, value in metric(predictions, references).items()}
