"""A tag for each word: parts of speech, named entities."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from transformers import DataCollatorForTokenClassification, EvalPrediction

from ..data.encoding import behind_space
from ..errors import InputError, counted, listed
from .details import class_weights, label_scores, weighted_loss
from .metrics import compute, entity_f1, entity_scores, tag_accuracy
from .task import IGNORED, Baselines, Task, class_label_of, count_line, doubtful, label_names


class TokenClassification(Task):
    """`tokens` are the words of a sentence, `tags` one label for each.

    The label of a word sits on its last piece: a causal model has read the whole word only there.
    """

    auto_class: ClassVar[str] = "AutoModelForTokenClassification"
    pipeline: ClassVar[str] = "token-classification"
    figure: ClassVar[tuple[str, int]] = ("accuracy", 3)
    columns: ClassVar[dict[str, bool]] = {"tokens": True, "tags": True, "group": False}
    group: ClassVar[tuple[str, ...]] = ("group", "tokens")

    def learn(self, train: Dataset) -> None:
        self.class_label = class_label_of(train.features["tags"])
        self.names = label_names(self.called(tag for row in train["tags"] for tag in row), self.left_out)
        self.check_class_names(self.names)
        self.index = {name: place for place, name in enumerate(self.names)}
        self.is_entities = all(name == "O" or re.match(r"[BI]-", name) for name in self.names)
        self.config = {
            "num_labels": len(self.names),
            "id2label": dict(enumerate(self.names)),
            "label2id": self.index,
        }

    def encode(self, split: str, rows: Dataset) -> Dataset:
        inputs, labels, all_ends, all_tags = [], [], [], []
        room = self.settings.max_length - len(self.begin) - 1
        for number, (words, tags) in enumerate(zip(rows["tokens"], rows["tags"])):
            if len(words) != len(tags):
                raise InputError(
                    f"row {number} of the {split} split has {counted(len(words), 'tokens')} and {counted(len(tags), 'tags')}: "
                    "give one each."
                )
            tags = self.called(tags)
            unseen = [tag for tag in tags if tag not in self.index]
            # A rare tag that only a held-out row has is an error of the model, not of the data, unless a user misspelt all.
            if unseen:
                self.counts[split]["words with a tag that the train split has not"] += len(unseen)
            ids, targets = [*self.begin], [IGNORED] * len(self.begin)
            ends: list[int] = []
            # As in running text, a word is read with the space before it.
            for pieces, tag in zip([*self.token_ids(words[:1]), *behind_space(self.tokenizer, words[1:])], tags):
                if len(ids) - len(self.begin) + len(pieces) > room:
                    self.counts[split]["words beyond max_length"] += len(words) - len(ends)
                    break
                ids += pieces
                targets += [IGNORED] * (len(pieces) - 1) + [self.index.get(tag, IGNORED)] * bool(pieces)
                ends.append(len(ids) - 1)
            inputs.append([*ids, self.boundary()])
            labels.append([*targets, IGNORED])
            all_ends.append(ends)
            all_tags.append(tags[: len(ends)])
        found = sorted({tag for tags in all_tags for tag in tags})
        if found and set(found).isdisjoint(self.index):
            raise InputError(
                f"no tag of the {split} split occurs in the train split: {listed(found, 5)} there, "
                f"{listed(self.names, 5)} here."
            )
        if not any(all_ends):
            raise InputError(
                f"no word of the {split} split has room in max_length={self.settings.max_length}: make it longer."
            )
        # The places of the last pieces of the words that fit, and their tags. Labels do not say them all: a tag that training has not
        # has none there, and yet counts as an error.
        return Dataset.from_dict({"input_ids": inputs, "labels": labels, "ends": all_ends, "tags": all_tags})

    def collator(self) -> Any:
        return DataCollatorForTokenClassification(self.tokenizer, pad_to_multiple_of=self.pad_to_multiple_of)

    def metrics(self, prediction: EvalPrediction, encoded: Dataset) -> dict[str, float]:
        """Score the words that fit, those with a tag that training never saw counted as wrong."""
        return self.scores(self.found(prediction, encoded), list(encoded["tags"]))

    def found(self, prediction: EvalPrediction, encoded: Dataset) -> list[list[str]]:
        """Return the tags that the model gives the words that fit, by row."""
        best = np.asarray(prediction.predictions).argmax(-1)
        return [[self.names[row[end]] for end in ends] for row, ends in zip(best, encoded["ends"])]

    def details(self, prediction: EvalPrediction, encoded: Dataset) -> dict[str, Any]:
        """Return scores of whole entities by their type in the BIO scheme, else of words by their tag."""
        found, wanted = self.found(prediction, encoded), list(encoded["tags"])
        if self.is_entities:
            return {"labels": entity_scores(found, wanted)}
        of_words, as_given = ([tag for row in rows for tag in row] for rows in (found, wanted))
        return {"labels": label_scores(of_words, as_given, self.names)}

    def loss(self, train: Dataset) -> Callable[..., torch.Tensor] | None:
        tags = [self.index[tag] for row in train["tags"] for tag in row] if self.settings.class_weights else []
        weights = class_weights(self.settings.class_weights, self.names, tags)
        return None if weights is None else weighted_loss(weights)

    def summary(self, train: Dataset) -> list[str]:
        counts = Counter(self.called(tag for row in train["tags"] for tag in row))
        return [count_line("tags of the train split", counts), *doubtful(counts), *self.unused_class_names(self.names)]

    def scores(self, found: Any, wanted: Any) -> dict[str, float]:
        return compute((tag_accuracy, entity_f1) if self.is_entities else (tag_accuracy,), found, wanted)

    def each_baseline(self, splits: Mapping[str, Dataset], encoded: dict[str, Dataset]) -> Baselines:
        """Score the tag that each word has most often in the train split; the most frequent tag of rare words for a new one."""
        what = "most frequent tag of each word"
        yield what, lambda: {"name": what, **self.scores(*self.most_frequent(splits, encoded["test"]))}

    def most_frequent(self, splits: Mapping[str, Dataset], test: Dataset) -> tuple[list[list[str]], list[list[str]]]:
        """Return the tags that this baseline gives the words of the test split that fit, and those that they have."""
        counts: dict[str, Counter] = defaultdict(Counter)
        for words, tags in zip(splits["train"]["tokens"], splits["train"]["tags"]):
            for word, tag in zip(words, self.called(tags)):
                counts[word][tag] += 1
        rare = Counter(tag for tags in counts.values() if tags.total() == 1 for tag in tags)
        common = (rare or Counter(tag for tags in counts.values() for tag in tags.elements())).most_common(1)[0][0]
        best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
        wanted = list(test["tags"])
        found = [
            [best.get(word, common) for word in words[: len(tags)]] for words, tags in zip(splits["test"]["tokens"], wanted)
        ]
        return found, wanted
