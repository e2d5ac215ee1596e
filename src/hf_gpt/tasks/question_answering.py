"""Answers that are in a text, in the format of SQuAD (Rajpurkar et al. 2016 and 2018)."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset
from transformers import DataCollatorWithPadding, EvalPrediction

from ..data.encoding import plain
from ..errors import InputError, counted
from .metrics import answer_f1, answer_match
from .task import Baselines, Task
from .words import unit


# Longest answer in tokens, and how many of the best starts and ends are paired.
LONGEST_ANSWER = 30
CANDIDATES = 20


class QuestionAnswering(Task):
    """`question`, `context` and `answers: {text: [...], answer_start: [...]}`; a row without any has no answer in its text.

    The question is read before the text, so that a causal model knows what it looks for. A text that is too long becomes several
    windows. "No answer here" is the last token of a window, the only one that has read all of it.
    """

    auto_class: ClassVar[str] = "AutoModelForQuestionAnswering"
    pipeline: ClassVar[str] = "question-answering"
    figure: ClassVar[tuple[str, int]] = ("f1", 1)
    columns: ClassVar[dict[str, bool]] = {"question": True, "context": True, "answers": True, "group": False}
    group: ClassVar[tuple[str, ...]] = ("group", "context")

    def learn(self, train: Dataset) -> None:
        self.may_be_absent = any(not answers["text"] for answers in train["answers"])

    def encode(self, split: str, rows: Dataset) -> Dataset:
        if not self.tokenizer.is_fast:
            raise InputError(
                f"tokenizer: {type(self.tokenizer).__name__} does not tell where its tokens are, which an answer in a text needs: take "
                "one of the library tokenizers."
            )
        windows = []
        for number, row in enumerate(rows):
            start, end = self.answer_span(split, number, row)
            # As everywhere in these texts, a part ends with the boundary token.
            asked = self.token_ids([row["question"]])[0]
            question = [*self.begin, *asked, self.boundary()]
            room = self.settings.max_length - len(question) - 1
            if room <= self.settings.stride:
                raise InputError(
                    f"row {number} of the {split} split has a question of {counted(len(asked), 'tokens')}, which leaves no "
                    f"room for its text: max_length={self.settings.max_length} has to exceed question and "
                    f"stride={self.settings.stride}."
                )
            encoding = plain(self.tokenizer, row["context"], return_offsets_mapping=True)
            ids, offsets = encoding["input_ids"], encoding["offset_mapping"]
            step = room - self.settings.stride
            firsts = range(0, max(len(ids) - self.settings.stride, 1), step)
            if len(firsts) > 1:
                self.counts[split]["texts split into windows"] += 1
            for first in firsts:
                part = offsets[first : first + room]
                last = len(question) + len(part)
                inside = [i for i, (left, right) in enumerate(part) if left < end and right > start] if end > start else []
                whole = inside and part[inside[0]][0] <= start and part[inside[-1]][1] >= end
                windows.append(
                    {
                        "input_ids": [*question, *ids[first : first + room], self.boundary()],
                        "start_positions": len(question) + inside[0] if whole else last,
                        "end_positions": len(question) + inside[-1] if whole else last,
                        # For the figures, since labels are places in windows and answers are texts.
                        "row": number,
                        "context": row["context"],
                        "answers": row["answers"]["text"],
                        "begins": len(question),
                        "offsets": part,
                    }
                )
        return Dataset.from_list(windows)

    @staticmethod
    def answer_span(split: str, number: int, row: dict[str, Any]) -> tuple[int, int]:
        """Return the first and last-plus-one character of the first answer; `(0, 0)` without any."""
        texts = row["answers"]["text"]
        if not texts:
            return 0, 0
        start, text = row["answers"]["answer_start"][0], texts[0]
        trimmed = text.strip()
        # White space at an end is of no token of the answer; some count its beginning from it, and some from the first letter.
        for first in (start + text.index(trimmed), start):
            if row["context"][first : first + len(trimmed)] == trimmed and first >= 0:
                return first, first + len(trimmed)
        raise InputError(
            f"row {number} of the {split} split: the answer {texts[0]!r} is not at answer_start={start} of its context: "
            "fix the row or leave it out."
        )

    def collator(self) -> Any:
        return DataCollatorWithPadding(self.tokenizer, pad_to_multiple_of=self.pad_to_multiple_of)

    def metrics(self, prediction: EvalPrediction, encoded: Dataset) -> dict[str, float]:
        logits: Any = prediction.predictions
        starts, ends = logits
        best: dict[int, tuple[str, float, float]] = {}
        wanted: dict[int, list[str]] = {}
        for window, start_logits, end_logits in zip(encoded, starts, ends):
            row, last = window["row"], len(window["input_ids"]) - 1
            wanted[row] = window["answers"]
            text, score = self.best_answer(window, start_logits, end_logits)
            kept, kept_score, nothing = best.get(row, ("", -np.inf, np.inf))
            # The windows of a text agree that it has no answer only as far as the least sure of them.
            nothing = min(nothing, start_logits[last] + end_logits[last])
            best[row] = (text, score, nothing) if score > kept_score else (kept, kept_score, nothing)
        limit = self.settings.no_answer_threshold
        found = ["" if self.may_be_absent and score < nothing + limit else text for text, score, nothing in best.values()]
        return answer_match(found, list(wanted.values()))

    @staticmethod
    def best_answer(window: dict[str, Any], starts: np.ndarray, ends: np.ndarray) -> tuple[str, float]:
        """Return the span with the largest sum of start and end logit, and that sum."""
        context, begins, offsets = window["context"], window["begins"], window["offsets"]
        starts, ends = starts[begins : begins + len(offsets)], ends[begins : begins + len(offsets)]
        answer, highest = "", -np.inf
        likely_ends = np.argsort(-ends)[:CANDIDATES]
        for first in np.argsort(-starts)[:CANDIDATES]:
            for last in likely_ends:
                if first <= last < first + LONGEST_ANSWER and starts[first] + ends[last] > highest:
                    highest = starts[first] + ends[last]
                    answer = context[offsets[first][0] : offsets[last][1]].strip()
        return answer, float(highest)

    def each_baseline(self, splits: Mapping[str, Dataset], encoded: dict[str, Dataset]) -> Baselines:
        """Score the sentence that shares most words with the question, as the answer (the sliding window of Rajpurkar et al. 2016)."""
        test = splits["test"]
        what = f"sentence that shares most {unit(test['question'])} with the question"

        def score() -> dict[str, Any]:
            found = []
            for row in test:
                sentences = re.split(r"(?<=[.!?])\s+|(?<=[。！？｡।۔؟])", row["context"])
                found.append(max(sentences, key=lambda sentence: answer_f1(sentence, row["question"])))
            return {"name": what, **answer_match(found, [answers["text"] for answers in test["answers"]])}

        yield what, score
