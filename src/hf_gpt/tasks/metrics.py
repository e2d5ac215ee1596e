"""Metrics that work without a network: `evaluate.Metric` classes over well-kept libraries.

`evaluate.load` fetches a script from the Hub each time; these are the same figures from an installed package.
"""

import re
import string
from collections import Counter
from typing import Any

import evaluate
import numpy as np
from datasets import Features, List, Value


def _info(metric: type, predictions: Any, references: Any) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(
        description=metric.__doc__ or "",
        citation="",
        inputs_description="predictions and references, one of each for every row",
        features=Features({"predictions": predictions, "references": references}),
    )


class Accuracy(evaluate.Metric):
    """Share of the rows whose prediction is the reference."""

    def _info(self):
        return _info(type(self), Value("int64"), Value("int64"))

    def _compute(self, predictions, references):
        return {"accuracy": float(np.mean(np.asarray(predictions) == np.asarray(references)))}


class MacroF1(evaluate.Metric):
    """F1 = 2 P R / (P + R) of each class, averaged over the classes (scikit-learn, `average="macro"`)."""

    def _info(self):
        return _info(type(self), Value("int64"), Value("int64"))

    def _compute(self, predictions, references):
        from sklearn.metrics import f1_score

        return {"f1": float(f1_score(references, predictions, average="macro"))}


class Matthews(evaluate.Metric):
    """Correlation of two labellings, 0 for chance whatever the sizes of the classes (Matthews 1975; scikit-learn)."""

    def _info(self):
        return _info(type(self), Value("int64"), Value("int64"))

    def _compute(self, predictions, references):
        from sklearn.metrics import matthews_corrcoef

        return {"matthews": float(matthews_corrcoef(references, predictions))}


class MicroF1(evaluate.Metric):
    """F1 over all decisions of a labelling with several labels a row (scikit-learn, `average="micro"`)."""

    def _info(self):
        return _info(type(self), List(Value("int64")), List(Value("int64")))

    def _compute(self, predictions, references):
        from sklearn.metrics import f1_score

        return {"f1": float(f1_score(np.asarray(references), np.asarray(predictions), average="micro", zero_division=0))}


class Correlation(evaluate.Metric):
    """Pearson's r of the numbers and Spearman's rho of their ranks (scipy)."""

    def _info(self):
        return _info(type(self), Value("float64"), Value("float64"))

    def _compute(self, predictions, references):
        from scipy.stats import pearsonr, spearmanr

        return {
            "pearson": float(pearsonr(predictions, references)[0]),
            "spearman": float(spearmanr(predictions, references)[0]),
        }


class TagAccuracy(evaluate.Metric):
    """Share of the words whose tag is right, over all rows."""

    def _info(self):
        return _info(type(self), List(Value("string")), List(Value("string")))

    def _compute(self, predictions, references):
        pairs = [pair for row in zip(predictions, references) for pair in zip(*row)]
        return {"accuracy": sum(found == wanted for found, wanted in pairs) / len(pairs)}


class EntityF1(evaluate.Metric):
    """F1 of whole entities in the BIO scheme (seqeval; Tjong Kim Sang and De Meulder 2003)."""

    def _info(self):
        return _info(type(self), List(Value("string")), List(Value("string")))

    def _compute(self, predictions, references):
        from seqeval.metrics import f1_score, precision_score, recall_score

        return {
            "entity_f1": float(f1_score(references, predictions, zero_division=0)),
            "entity_precision": float(precision_score(references, predictions, zero_division=0)),
            "entity_recall": float(recall_score(references, predictions, zero_division=0)),
        }


def normalize_answer(text: str) -> str:
    """Lower case without punctuation, articles and repeated spaces (Rajpurkar et al. 2016, section 6.1)."""
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def answer_f1(prediction: str, reference: str) -> float:
    """F1 of the words that two answers share, counted with repetition; 1 when both are empty."""
    found, wanted = normalize_answer(prediction).split(), normalize_answer(reference).split()
    if not found or not wanted:
        return float(found == wanted)
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted))


class AnswerMatch(evaluate.Metric):
    """Exact match and F1 of answers, each against the best of its references, in percent (Rajpurkar et al. 2016 and 2018)."""

    def _info(self):
        return _info(type(self), Value("string"), List(Value("string")))

    def _compute(self, predictions, references):
        exact, overlap = [], []
        for found, wanted in zip(predictions, references):
            answers = wanted or [""]
            exact.append(max(normalize_answer(found) == normalize_answer(answer) for answer in answers))
            overlap.append(max(answer_f1(found, answer) for answer in answers))
        return {"exact_match": 100 * float(np.mean(exact)), "f1": 100 * float(np.mean(overlap))}


class Rouge(evaluate.Metric):
    """ROUGE-1, ROUGE-2 and ROUGE-L F1 with stemming, in percent (Lin 2004; rouge-score)."""

    def _info(self):
        return _info(type(self), Value("string"), Value("string"))

    def _compute(self, predictions, references):
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
        rows = [scorer.score(wanted, found) for found, wanted in zip(predictions, references)]
        return {name: 100 * float(np.mean([row[name].fmeasure for row in rows])) for name in ("rouge1", "rouge2", "rougeL")}


class Translation(evaluate.Metric):
    """BLEU (Papineni et al. 2002) and chrF (Popović 2015) of a whole set, in percent (sacrebleu)."""

    def _info(self):
        return _info(type(self), Value("string"), Value("string"))

    def _compute(self, predictions, references):
        import sacrebleu

        return {
            "bleu": float(sacrebleu.corpus_bleu(predictions, [references]).score),
            "chrf": float(sacrebleu.corpus_chrf(predictions, [references]).score),
        }


def compute(metrics: tuple[type[evaluate.Metric], ...], predictions: Any, references: Any) -> dict[str, float]:
    """The figures of several metrics over the same rows."""
    result: dict[str, float] = {}
    for metric in metrics:
        result |= metric(keep_in_memory=True).compute(predictions=predictions, references=references) or {}
    return result
