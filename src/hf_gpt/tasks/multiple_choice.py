"""The right one of several continuations (Radford et al. 2018, section 3.3: question answering and commonsense reasoning)."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset
from transformers import DataCollatorForMultipleChoice, EvalPrediction

from ..data.labels import WHOLE
from ..errors import InputError, counted, shown
from .metrics import accuracy
from .task import Baselines, Task, count_line
from .words import unit, words


class MultipleChoice(Task):
    """`question`, a list of `choices`, and `label`, the index of the right one.

    Each choice is read after the question; the vector of the last token is scored, and softmax goes over the choices.
    """

    auto_class: ClassVar[str] = "AutoModelForMultipleChoice"
    pipeline: ClassVar[str] = "multiple-choice"
    figure: ClassVar[tuple[str, int]] = ("accuracy", 3)
    columns: ClassVar[dict[str, bool]] = {"question": True, "choices": True, "label": True, "group": False}
    group: ClassVar[tuple[str, ...]] = ("group", "question")

    def learn(self, train: Dataset) -> None:
        self.choices = len(train[0]["choices"])
        if self.choices < 2:
            raise InputError("column 'choices' has fewer than two choices in the first row: there is nothing to choose.")

    def encode(self, split: str, rows: Dataset) -> Dataset:
        inputs, masks, labels = [], [], []
        for number, row in enumerate(rows):
            if len(row["choices"]) != self.choices:
                raise InputError(
                    f"row {number} of the {split} split has {counted(len(row['choices']), 'choices')}, the first row of the "
                    f"train split {self.choices}: give each row as many."
                )
            label = int(row["label"]) if WHOLE.fullmatch(str(row["label"])) else row["label"]
            if not isinstance(label, int) or not 0 <= label < self.choices:
                first = " (the first one is 0, not 1)" if label == self.choices else ""
                raise InputError(
                    f"row {number} of the {split} split has label {shown(label)}: give the index of the right choice, 0 to "
                    f"{self.choices - 1}{first}."
                )
            question, *choices = self.token_ids([row["question"], *row["choices"]])
            inputs.append([self.fitted(split, [question, choice]) for choice in choices])
            masks.append([[1] * len(ids) for ids in inputs[-1]])
            labels.append(label)
        return Dataset.from_dict({"input_ids": inputs, "attention_mask": masks, "labels": labels})

    def summary(self, train: Dataset) -> list[str]:
        counts = Counter(int(label) for label in train["label"])
        line = count_line("right choices of the train split", counts)
        return (
            [line] if 0 in counts else [line, "Mind that the first choice, 0, is right in no row: labels count from 0, not 1."]
        )

    def collator(self) -> Any:
        return DataCollatorForMultipleChoice(self.tokenizer, pad_to_multiple_of=self.pad_to_multiple_of)

    def metrics(self, prediction: EvalPrediction, encoded: Dataset) -> dict[str, float]:
        return accuracy(np.asarray(prediction.predictions).argmax(-1), prediction.label_ids)

    def each_baseline(self, splits: Mapping[str, Dataset], encoded: dict[str, Dataset]) -> Baselines:
        """Score the place that is right most often, and the choice whose words occur most in the question."""
        test, wanted = splits["test"], list(encoded["test"]["labels"])
        most = Counter(encoded["train"]["labels"]).most_common(1)[0][0]
        always = f"always choice {most + 1}"
        yield always, lambda: {"name": always, **accuracy([most] * len(test), wanted)}
        sharing = f"choice that shares most {unit(test['question'])} with the question"

        def score_shared() -> dict[str, Any]:
            shared = []
            for row in test:
                asked = set(words(row["question"].lower()))
                overlaps = [np.mean([word in asked for word in words(choice.lower()) or [""]]) for choice in row["choices"]]
                shared.append(int(np.argmax(overlaps)))
            return {"name": sharing, **accuracy(shared, wanted)}

        yield sharing, score_shared
