"""A text for a text, as a continuation of a prompt: summarization, translation, generative question answering (Radford et al. 2019)."""

import string
from collections.abc import Mapping
from typing import Any, ClassVar

from datasets import Dataset
from transformers import EvalPrediction

from ..data.encoding import plain
from ..errors import InputError
from .metrics import answer_match, compute, rouge, translation
from .task import Task


class TextToText(Task):
    """`source` goes into the recipe's `prompt`, and `target` is learned as what follows; the loss is that of the target alone.

    A source that is too long for `max_length` loses its end, and is counted.
    """

    figure: ClassVar[tuple[str, int]] = ("rougeL", 1)
    columns: ClassVar[dict[str, bool]] = {"source": True, "target": True, "group": False}
    group: ClassVar[tuple[str, ...]] = ("group", "source")
    trainer: ClassVar[str] = "sft"

    def learn(self, train: Dataset) -> None:
        fields = {name for _, name, _, _ in string.Formatter().parse(self.settings.prompt) if name is not None}
        if fields != {"source"}:
            raise InputError(f"prompt={self.settings.prompt!r} has to hold {{source}} and no other name in braces.")

    def encode(self, split: str, rows: Dataset) -> Dataset:
        frame = len(self.token_ids([self.settings.prompt.format(source="")])[0])
        targets = [len(ids) for ids in self.token_ids(list(rows["target"]))]
        prompts, completions = [], []
        sources = plain(self.tokenizer, list(rows["source"]), return_offsets_mapping=True)
        for row, offsets, length in zip(rows, sources["offset_mapping"], targets):
            # One token closes the target.
            room = self.settings.max_length - frame - length - 1
            if room < 1:
                self.counts[split]["rows left out: no room for the source"] += 1
                if split == "test":
                    raise InputError(
                        f"a test row has a target of {length} tokens, which leaves no room for its source: max_length="
                        f"{self.settings.max_length} is too small."
                    )
                continue
            source = row["source"]
            if len(offsets) > room:
                self.counts[split]["sources cut to max_length"] += 1
                source = source[: offsets[room - 1][1]]
            prompts.append(self.settings.prompt.format(source=source))
            completions.append(row["target"])
        return Dataset.from_dict({"prompt": prompts, "completion": completions})

    def questions(self, encoded: Dataset) -> list[tuple[str, str]]:
        return list(zip(encoded["prompt"], encoded["completion"]))[: self.settings.max_test_rows]

    def metrics(self, prediction: EvalPrediction, encoded: Dataset) -> dict[str, float]:
        """Score generated texts against targets: `predictions` and `label_ids`."""
        return self.scores(prediction.predictions, prediction.label_ids)

    @staticmethod
    def scores(found: Any, wanted: Any) -> dict[str, float]:
        return compute((rouge, translation), found, wanted) | answer_match(found, [[text] for text in wanted])

    def baselines(self, splits: Mapping[str, Dataset], encoded: dict[str, Dataset]) -> list[dict[str, Any]]:
        """Score the first sentence of the source, and as many of its first words as a target has on average."""
        limit = self.settings.max_test_rows
        sources, wanted = (list(splits["test"][name])[:limit] for name in ("source", "target"))
        targets = splits["train"]["target"]
        words = max(1, round(sum(len(target.split()) for target in targets) / len(targets)))
        first = [source.split(". ")[0].split("\n")[0] for source in sources]
        lead = [" ".join(source.split()[:words]) for source in sources]
        return [
            {"name": "first sentence of the source", **self.scores(first, wanted)},
            {"name": f"first {words} words of the source", **self.scores(lead, wanted)},
        ]
