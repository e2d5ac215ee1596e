"""Classes or numbers for a text or a pair of texts (Radford et al. 2018, section 3.3: classification, entailment, similarity)."""

from collections import Counter
from typing import Any, ClassVar

import numpy as np
from datasets import ClassLabel, Dataset
from tokenizers.processors import TemplateProcessing
from transformers import DataCollatorWithPadding, EvalPrediction

from ..errors import InputError
from .metrics import accuracy, compute, correlation, macro_f1, matthews, micro_f1
from .task import Task, label_indices, label_names


SINGLE, MULTI, NUMBER = "single_label_classification", "multi_label_classification", "regression"


class TextClassification(Task):
    """`label` is a class (a name or a whole number), a list of classes, or a number with a point in it (regression)."""

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    pipeline: ClassVar[str] = "text-classification"
    figure: ClassVar[tuple[str, int]] = ("accuracy", 3)
    columns: ClassVar[dict[str, bool]] = {"text": True, "text_pair": False, "label": True, "group": False}
    group: ClassVar[tuple[str, ...]] = ("group", "text")

    def learn(self, train: Dataset) -> None:
        self.remember_boundaries()
        feature = train.features["label"]
        self.class_label = feature if isinstance(feature, ClassLabel) else None
        first = train[0]["label"]
        if isinstance(first, float):
            self.problem, self.names = NUMBER, ["value"]
        elif isinstance(first, list):
            self.problem = MULTI
            self.names = label_names([str(label) for row in train["label"] for label in row], self.left_out)
        else:
            self.problem, self.names = SINGLE, label_names(self.labels(train), self.left_out)
        self.config = {
            "problem_type": self.problem,
            "num_labels": len(self.names),
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: index for index, name in enumerate(self.names)},
        }

    def remember_boundaries(self) -> None:
        """Have the tokenizer that is saved close each text as `fitted` does: a pipeline then gives the model what training gave it."""
        end = str(self.tokenizer.eos_token)
        self.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{end} $A {end}", pair=f"{end} $A {end} $B {end}", special_tokens=[(end, self.boundary())]
        )

    def labels(self, rows: Dataset) -> list[str]:
        if self.class_label is not None:
            return [self.class_label.int2str(label) for label in rows["label"]]
        given = self.settings.class_names or {}
        return [str(given.get(label, label)) for label in rows["label"]]

    def targets(self, split: str, rows: Dataset) -> list[Any]:
        """Return the labels as the loss wants them: indices, rows of zeros and ones, or numbers."""
        if any(label is None for label in rows["label"]):
            raise InputError(f"column 'label' of the {split} split has rows without a value: fill them in or drop them.")
        if self.problem == NUMBER:
            return [float(label) for label in rows["label"]]
        if self.problem == MULTI:
            chosen = [label_indices([str(label) for label in row], self.names, split) for row in rows["label"]]
            return [[float(index in row) for index in range(len(self.names))] for row in chosen]
        return label_indices(self.labels(rows), self.names, split)

    def encode(self, split: str, rows: Dataset) -> Dataset:
        parts = [self.token_ids(list(rows["text"]))]
        if "text_pair" in rows.column_names:
            parts.append(self.token_ids(list(rows["text_pair"])))
        inputs = [self.fitted(split, list(row)) for row in zip(*parts)]
        return Dataset.from_dict({"input_ids": inputs, "labels": self.targets(split, rows)})

    def collator(self) -> Any:
        return DataCollatorWithPadding(self.tokenizer, pad_to_multiple_of=self.pad_to_multiple_of)

    def metrics(self, prediction: EvalPrediction, split: str) -> dict[str, float]:
        logits, targets = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        if self.problem == NUMBER:
            return correlation(logits.reshape(-1), targets)
        if self.problem == MULTI:
            return micro_f1((logits > 0).astype(int), targets.astype(int))
        return self.scores(logits.argmax(-1), targets)

    @staticmethod
    def scores(predictions: Any, targets: Any) -> dict[str, float]:
        return compute((accuracy, macro_f1, matthews), predictions, targets)

    def baselines(self, encoded: dict[str, Dataset]) -> list[dict[str, Any]]:
        """Score the most frequent class; TF-IDF of words with logistic regression as scikit-learn sets them up; and TF-IDF of words and
        pairs of words, its C chosen on the validation split. For numbers, ridge regression on the same features, its alpha alike."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.pipeline import make_pipeline

        if self.problem == MULTI:
            return []
        texts = {
            name: [" \n ".join(parts) for parts in zip(*(rows[c] for c in ("text", "text_pair") if c in rows.column_names))]
            for name, rows in self.rows.items()
        }
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        features = {"train": vectorizer.fit_transform(texts["train"])}
        features |= {name: vectorizer.transform(texts[name]) for name in ("validation", "test")}
        targets = {name: list(rows["labels"]) for name, rows in encoded.items()}
        if self.problem == NUMBER:
            fitted = [Ridge(alpha=alpha).fit(features["train"], targets["train"]) for alpha in (0.1, 1.0, 10.0)]
            best = max(fitted, key=lambda model: model.score(features["validation"], targets["validation"]))
            found = correlation(best.predict(features["test"]), targets["test"])
            return [{"name": f"TF-IDF + ridge regression (alpha={best.alpha:g})", **found}]
        most = Counter(targets["train"]).most_common(1)[0][0]
        plain = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=2000)).fit(texts["train"], targets["train"])
        fitted = [
            LogisticRegression(C=c, max_iter=2000).fit(features["train"], targets["train"]) for c in (1.0, 3.0, 10.0, 30.0)
        ]
        best = max(fitted, key=lambda model: model.score(features["validation"], targets["validation"]))
        return [
            {"name": f"always {self.names[most]!r}", **self.scores([most] * len(targets["test"]), targets["test"])},
            {
                "name": "TF-IDF + logistic regression, scikit-learn's defaults",
                **self.scores(plain.predict(texts["test"]), targets["test"]),
            },
            {
                "name": f"TF-IDF with pairs of words + logistic regression (C={best.C:g})",
                **self.scores(best.predict(features["test"]), targets["test"]),
            },
        ]
