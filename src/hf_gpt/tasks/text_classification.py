"""Classes or numbers for a text or a pair of texts (Radford et al. 2018, section 3.3: classification, entailment, similarity)."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from tokenizers.processors import TemplateProcessing
from transformers import DataCollatorWithPadding, EvalPrediction

from ..errors import InputError, counted, shown
from .details import class_weights, confusion, cut, label_scores, mistakes, weighted_loss
from .metrics import accuracy, compute, correlation, macro_f1, matthews, micro_f1
from .task import MOST_COUNTED, Baselines, Task, class_label_of, count_line, doubtful, label_indices, label_names
from .words import terms


SINGLE, MULTI, NUMBER = "single_label_classification", "multi_label_classification", "regression"


class TextClassification(Task):
    """`label` is a class (a name or a whole number), a list of classes, a row of zeros and ones (a column for each class), or a number
    with a point in it (regression)."""

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    pipeline: ClassVar[str] = "text-classification"
    figure: ClassVar[tuple[str, int]] = ("accuracy", 3)
    columns: ClassVar[dict[str, bool]] = {"text": True, "text_pair": False, "label": True, "group": False}
    group: ClassVar[tuple[str, ...]] = ("group", "text")

    def learn(self, train: Dataset) -> None:
        self.remember_boundaries()
        feature = train.features["label"]
        self.class_label = class_label_of(feature)
        labels = train["label"]
        self.is_multi_hot = self.class_label is None and is_multi_hot(labels)
        if isinstance(labels[0], float):
            self.problem, self.names = NUMBER, ["value"]
        elif self.is_multi_hot:
            self.problem, self.names = MULTI, self.called(range(len(labels[0])))
        elif isinstance(labels[0], list):
            self.problem = MULTI
            self.names = label_names(self.called(label for row in labels for label in row), self.left_out)
        else:
            self.problem, self.names = SINGLE, label_names(self.called(labels), self.left_out)
        if self.problem != SINGLE and all(label == labels[0] for label in labels):
            why = f" ({counted(self.left_out, 'rows were left out')})" if self.left_out else ""
            raise InputError(f"the train split has the single label {shown(labels[0])}{why}: there is nothing to tell apart.")
        self.check_class_names(self.names)
        self.config = {
            "problem_type": self.problem,
            "num_labels": len(self.names),
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: index for index, name in enumerate(self.names)},
        }

    def remember_boundaries(self) -> None:
        """Have the tokenizer that is saved close each text as `fitted` does: a pipeline then gives the model what training gave it."""
        if not self.tokenizer.is_fast:
            return
        begin, end = self.tokenizer.convert_ids_to_tokens(self.begin), str(self.tokenizer.eos_token)
        special = dict(zip([*begin, end], [*self.begin, self.boundary()]))
        opened = " ".join([*begin, "$A", end])
        self.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=opened, pair=f"{opened} $B {end}", special_tokens=list(special.items())
        )

    def labels(self, rows: Dataset) -> list[str]:
        return self.called(rows["label"])

    def targets(self, split: str, rows: Dataset) -> list[Any]:
        """Return the labels as the loss wants them: indices, rows of zeros and ones, or numbers."""
        if any(label is None for label in rows["label"]):
            raise InputError(f"column 'label' of the {split} split has rows without a value: fill them in or drop them.")
        if self.problem == NUMBER:
            return [number_of(label, f"row {number} of the {split} split") for number, label in enumerate(rows["label"])]
        if self.problem == MULTI:
            if self.is_multi_hot:
                return [
                    multi_hot(label, len(self.names), f"row {number} of the {split} split")
                    for number, label in enumerate(rows["label"])
                ]
            listed = [row if isinstance(row, list) else [row] for row in rows["label"]]
            chosen = [label_indices(self.called(row), self.names, split, True) for row in listed]
            return [[float(index in row) for index in range(len(self.names))] for row in chosen]
        return label_indices(self.labels(rows), self.names, split)

    def encode(self, split: str, rows: Dataset) -> Dataset:
        parts = [self.token_ids(list(rows["text"]))]
        if "text_pair" in rows.column_names:
            parts.append(self.token_ids(list(rows["text_pair"])))
        inputs = [self.fitted(split, list(row)) for row in zip(*parts)]
        shown_texts = list(map(cut, joined(rows)))
        return Dataset.from_dict({"input_ids": inputs, "labels": self.targets(split, rows), "shown": shown_texts})

    def collator(self) -> Any:
        return DataCollatorWithPadding(self.tokenizer, pad_to_multiple_of=self.pad_to_multiple_of)

    def metrics(self, prediction: EvalPrediction, encoded: Dataset) -> dict[str, float]:
        logits, targets = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        if self.problem == NUMBER:
            return correlation(logits.reshape(-1), targets)
        if self.problem == MULTI:
            return micro_f1((logits > 0).astype(int), targets.astype(int))
        return self.scores(logits.argmax(-1), targets)

    def details(self, prediction: EvalPrediction, encoded: Dataset) -> dict[str, Any]:
        if self.problem != SINGLE:
            return {}
        logits, targets = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        best = logits.argmax(-1)
        found, wanted = ([self.names[index] for index in part.tolist()] for part in (best, targets))
        return {
            "labels": label_scores(found, wanted, self.names),
            **confusion(best, targets, self.names),
            "mistakes": mistakes(logits, targets, list(encoded["shown"]), self.names),
        }

    def loss(self, train: Dataset) -> Callable[..., torch.Tensor] | None:
        given = self.settings.class_weights
        if given is not None and self.problem != SINGLE:
            raise InputError(f"class_weights={shown(given)} are for rows of one class each: leave them out.")
        weights = class_weights(given, self.names, list(train["labels"]))
        return None if weights is None else weighted_loss(weights)

    def summary(self, train: Dataset) -> list[str]:
        labels = list(train["label"])
        if self.problem == NUMBER:
            mean = sum(labels) / len(labels)
            lines = [f"labels of the train split are numbers from {min(labels):g} to {max(labels):g}, {mean:.4g} on average."]
            if len(set(labels)) <= MOST_COUNTED and all(label.is_integer() for label in labels):
                lines.append("Mind that all of them are whole: classes are written without a point, as 1 and not 1.0.")
            return lines
        if self.is_multi_hot:
            sums = dict(zip(self.names, np.asarray(labels, dtype=int).sum(0).tolist()))
            return [count_line("labels of the train split", Counter(sums)), *self.unused_class_names(self.names)]
        counts = Counter(self.called(label for row in labels for label in (row if isinstance(row, list) else [row])))
        told = [*doubtful(counts), *_unlabelled(counts), *self.unused_class_names(self.names)]
        return [count_line("labels of the train split", counts), *told]

    @staticmethod
    def scores(predictions: Any, targets: Any) -> dict[str, float]:
        return compute((accuracy, macro_f1, matthews), predictions, targets)

    def each_baseline(self, splits: Mapping[str, Dataset], encoded: dict[str, Dataset]) -> Baselines:
        """Score the most frequent class; TF-IDF of words with logistic regression as scikit-learn sets them up; and the features of
        `features_of`, its C chosen on the validation split. For numbers, ridge regression on the same features, its alpha alike. Where
        `terms` says so, characters take the place of words."""
        if self.problem == MULTI:
            return
        targets = {name: list(rows["labels"]) for name, rows in encoded.items()}
        kind = terms(joined(splits["train"]))
        of = "" if kind == "words" else f" of {kind}"
        if self.problem == NUMBER:
            yield f"TF-IDF{of} + ridge regression", partial(self.score_ridge, f"TF-IDF{of}", kind, splits, targets)
            return
        most = Counter(targets["train"]).most_common(1)[0][0]
        always = f"always {self.names[most]!r}"
        yield always, lambda: {"name": always, **self.scores([most] * len(targets["test"]), targets["test"])}
        plain = f"TF-IDF{of} + logistic regression, scikit-learn's defaults"
        yield plain, partial(self.score_plain, plain, kind, splits, targets)
        pairs = f"TF-IDF with pairs of {kind}"
        yield f"{pairs} + logistic regression", partial(self.score_pairs, pairs, kind, splits, targets)

    def score_plain(
        self, what: str, kind: str, splits: Mapping[str, Dataset], targets: dict[str, list[Any]]
    ) -> dict[str, Any]:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(TfidfVectorizer(**TERMS[kind]), LogisticRegression(max_iter=2000))
        model.fit(joined(splits["train"]), targets["train"])
        return {"name": what, **self.scores(model.predict(joined(splits["test"])), targets["test"])}

    def score_pairs(
        self, what: str, kind: str, splits: Mapping[str, Dataset], targets: dict[str, list[Any]]
    ) -> dict[str, Any]:
        from sklearn.linear_model import LogisticRegression

        features, also = features_of(splits, kind)
        models = [LogisticRegression(C=c, max_iter=2000) for c in (1.0, 3.0, 10.0, 30.0)]
        best = best_of(models, features, targets)
        name = f"{what}{also} + logistic regression (C={best.C:g})"
        return {"name": name, **self.scores(best.predict(features["test"]), targets["test"])}

    def score_ridge(
        self, what: str, kind: str, splits: Mapping[str, Dataset], targets: dict[str, list[Any]]
    ) -> dict[str, Any]:
        from sklearn.linear_model import Ridge

        features, _ = features_of(splits, kind)
        best = best_of([Ridge(alpha=alpha) for alpha in (0.1, 1.0, 10.0)], features, targets)
        name = f"{what} + ridge regression (alpha={best.alpha:g})"
        return {"name": name, **correlation(best.predict(features["test"]), targets["test"])}


# What scikit-learn is told of each kind of terms.
TERMS: dict[str, dict[str, Any]] = {"words": {}, "characters": {"analyzer": "char"}}


def best_of(models: list[Any], features: dict[str, Any], targets: dict[str, list[Any]]) -> Any:
    """Return the model that is best on the validation split, all of them fitted."""
    fitted = [model.fit(features["train"], targets["train"]) for model in models]
    return max(fitted, key=lambda model: model.score(features["validation"], targets["validation"]))


# What many write where nobody knows the label, as SNLI does; -1, which others have, is a class of its own beside 1, and of -1, 0, 1.
UNKNOWN = {"-", "--", "?"}


def _unlabelled(counts: Counter) -> list[str]:
    """Return a line for each label that may say that there is none: it is learned as it is written."""
    names = set(counts) & UNKNOWN | ({"-1"} if {"-1", "0", "1", "2"} <= set(counts) else set())
    return [
        f"Mind that {name!r} is learned as a label: if it says that there is none, dataset.where={{label: [...]}} keeps the others."
        for name in sorted(names)
    ]


def joined(rows: Dataset) -> list[str]:
    """Return the texts; of a pair, one below the other."""
    return [" \n ".join(parts) for parts in zip(*(rows[name] for name in ("text", "text_pair") if name in rows.column_names))]


def features_of(splits: Mapping[str, Dataset], kind: str) -> tuple[dict[str, Any], str]:
    """Return TF-IDF of words and pairs of words; of two texts also of the words that both have, and how much of each these are; and
    what to call the latter.

    Args:
        kind: Of `TERMS`: words, or what is in their place.
    """
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    train = splits["train"]
    settings = {"ngram_range": (1, 2), "sublinear_tf": True, **TERMS[kind]}
    try:
        vectorizer = TfidfVectorizer(min_df=2, **settings).fit(joined(train))
    except ValueError:
        # Of a few rows, no two may have anything in common.
        vectorizer = TfidfVectorizer(**settings).fit(joined(train))
    found: dict[str, Any] = {name: vectorizer.transform(joined(rows)) for name, rows in splits.items()}
    if "text_pair" not in train.column_names:
        return found, ""
    shared = TfidfVectorizer(sublinear_tf=True, **TERMS[kind]).fit([*train["text"], *train["text_pair"]])
    for name, rows in splits.items():
        both = shared.transform(rows["text"]).multiply(shared.transform(rows["text_pair"]))
        found[name] = hstack([found[name], both, both.sum(axis=1)]).tocsr()
    return found, f" and the {kind} that both texts have"


def number_of(label: Any, where: str) -> float:
    """Return a label as the number that it is, or raise `InputError`."""
    if not isinstance(label, (int, float)):
        raise InputError(f"{where} has label {shown(label)}: in the train split labels are numbers.")
    return float(label)


def is_multi_hot(labels: list[Any]) -> bool:
    """Return whether labels are rows of zeros and ones: all of one length, and of more than one column.

    Raises:
        InputError: lists of numbers with a point that are none.
    """
    if not isinstance(labels[0], list):
        return False
    found = (
        len({len(row) for row in labels}) == 1 and len(labels[0]) > 1 and all(is_bit(value) for row in labels for value in row)
    )
    for number, row in enumerate([] if found else labels):
        if any(isinstance(value, float) for value in row):
            raise InputError(
                f"row {number} of the train split has label {shown(row)}: give classes, or as many zeros and ones in each row."
            )
    return found


def is_bit(value: Any) -> bool:
    return isinstance(value, (int, float)) and value in (0, 1)


def multi_hot(label: list[Any], columns: int, where: str) -> list[float]:
    """Return zeros and ones as the loss wants them.

    Raises:
        InputError: they are none, or not as many as in the train split.
    """
    if len(label) != columns or not all(is_bit(value) for value in label):
        raise InputError(f"{where} has label {shown(label)}: in the train split a label is {columns} zeros and ones.")
    return [float(value) for value in label]
