"""A text for a text, as a continuation of a prompt: summarization, translation, generative question answering (Radford et al. 2019)."""

import string
from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from datasets import Dataset
from transformers import EvalPrediction

from ..data.conversations import answer_ids
from ..errors import InputError, counted
from .metrics import answer_match, compute, rouge, translation
from .task import IGNORED, Baselines, Task, small
from .words import first_sentence, lead, unit, words


class TextToText(Task):
    """`source` goes into the recipe's `prompt`, and `target` is learned as what follows; the loss is that of the target alone.

    A source that is too long for `max_length` loses its end, and is counted.
    """

    figure: ClassVar[tuple[str, int]] = ("rougeL", 1)
    columns: ClassVar[dict[str, bool]] = {"source": True, "target": True, "group": False}
    group: ClassVar[tuple[str, ...]] = ("group", "source")
    trainer: ClassVar[str] = "sft"
    is_scored_by_answers: ClassVar[bool] = True

    def learn(self, train: Dataset) -> None:
        fields = {name for _, name, _, _ in string.Formatter().parse(self.settings.prompt) if name is not None}
        if fields != {"source"}:
            raise InputError(f"prompt={self.settings.prompt!r} has to hold {{source}} and no other name in braces.")

    def encode(self, split: str, rows: Dataset) -> Dataset:
        kept: dict[str, list[Any]] = {"input_ids": [], "labels": [], "prompt_ids": [], "target": []}
        for source, target in zip(rows["source"], rows["target"]):
            source = self.fitting(split, source, target)
            if source is None:
                continue
            prompt, answer = self.pair(source, target)
            kept["target"].append(target)
            kept["prompt_ids"].append(small(prompt))
            kept["input_ids"].append(small([*prompt, *answer]))
            kept["labels"].append(small([*[IGNORED] * len(prompt), *answer]))
        return Dataset.from_dict(kept)

    def pair(self, source: str, target: str) -> tuple[list[int], list[int]]:
        return answer_ids(self.tokenizer, self.settings.prompt.format(source=source), target)

    def fitting(self, split: str, source: str, target: str) -> str | None:
        """Return as much of a source as `max_length` has room for beside its target; `None` if that is nothing."""

        def length(characters: int) -> int:
            return sum(map(len, self.pair(source[:characters], target)))

        if length(len(source)) <= self.settings.max_length:
            return source
        characters = bisect_right(range(1, len(source)), self.settings.max_length, key=length)
        if characters:
            self.counts[split]["sources cut to max_length"] += 1
            return source[:characters]
        self.counts[split]["rows left out: no room for the source"] += 1
        if split == "test":
            raise InputError(
                f"a test row has a target of {counted(len(self.pair('', target)[1]), 'tokens')}, which leaves no room for its "
                f"source: max_length={self.settings.max_length} is too small."
            )
        return None

    def questions(self, encoded: Dataset) -> list[tuple[list[int], str]]:
        return list(zip(encoded["prompt_ids"], encoded["target"]))[: self.settings.max_test_rows]

    def metrics(self, prediction: EvalPrediction, encoded: Dataset) -> dict[str, float]:
        """Score generated texts against targets: `predictions` and `label_ids`."""
        return self.scores(prediction.predictions, prediction.label_ids)

    @staticmethod
    def scores(found: Any, wanted: Any) -> dict[str, float]:
        return compute((rouge, translation), found, wanted) | answer_match(found, [[text] for text in wanted])

    def summary(self, train: Dataset) -> list[str]:
        if unit(train["target"]) == "words":
            return []
        return [
            "targets are of a script without spaces between words: ROUGE, BLEU and F1 take each of its characters for a word."
        ]

    def each_baseline(self, splits: Mapping[str, Dataset], encoded: dict[str, Dataset]) -> Baselines:
        """Score the first sentence of the source, and as many of its first words as a target has on average."""
        limit = self.settings.max_test_rows
        sources, wanted = (list(splits["test"][name])[:limit] for name in ("source", "target"))
        targets = splits["train"]["target"]
        number = max(1, round(sum(len(words(target)) for target in targets) / len(targets)))
        beginnings: dict[str, Callable[[str], str]] = {
            "first sentence of the source": first_sentence,
            f"first {number} {unit(targets)} of the source": partial(lead, number=number),
        }
        for what, beginning in beginnings.items():
            yield what, partial(self.score_beginning, what, list(map(beginning, sources)), wanted)

    def score_beginning(self, what: str, found: list[str], wanted: list[str]) -> dict[str, Any]:
        return {"name": what, **self.scores(found, wanted)}
