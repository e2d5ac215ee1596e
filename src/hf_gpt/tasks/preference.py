"""Two answers to one prompt, of which one is better (Rafailov et al. 2023: direct preference optimization)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset

from ..data.cells import TURNS
from ..data.conversations import WEIGHT, answer_ids, reply_ids, template_refusals
from ..data.dialogues import as_given, with_system
from ..errors import InputError
from .chat import check_turns, is_written, tools_of
from .chat_template import add_chat_template, turn_ends
from .task import Baselines, Task, small


ANSWERS = ("chosen", "rejected")


class Preference(Task):
    """`prompt`, `chosen` and `rejected`, as texts or as lists of messages, with `system` and `tools` as in `chat`.

    Of each pair the better answer is to gain more over the model as it was; the figures are called what the trainer calls them, whose
    own are means of batches.

    Attributes:
        pair_figures: The share of the pairs that are right, and the mean margin by which they are.
    """

    figure: ClassVar[tuple[str, int]] = ("rewards/accuracies", 3)
    pair_figures: ClassVar[tuple[str, str]] = ("rewards/accuracies", "rewards/margins")
    columns: ClassVar[dict[str, bool]] = {
        **dict.fromkeys(("prompt", *ANSWERS), True),
        **dict.fromkeys(("system", "tools", "group"), False),
    }
    group: ClassVar[tuple[str, ...]] = ("group", "prompt")
    trainer: ClassVar[str] = "dpo"

    def learn(self, train: Dataset) -> None:
        if any(not isinstance(train[0][name], str) for name in TURNS):
            add_chat_template(self.tokenizer)
            self.stop_ids = turn_ends(self.tokenizer)

    def encode(self, split: str, rows: Dataset) -> Dataset:
        kept: dict[str, list[np.ndarray]] = {"prompt_ids": [], "chosen_ids": [], "rejected_ids": []}
        for number, row in enumerate(rows):
            where = f"row {number} of the {split} split"
            with template_refusals(where):
                turns = [conversation(row["prompt"], row[name], row.get("system"), where) for name in ANSWERS]
                tools, whole = tools_of(row), [[*before, *after] for before, after in filter(None, turns)]
                if not is_written(self.tokenizer, whole, tools, self.counts[split]):
                    continue
                (asked, chosen), (_, rejected) = (
                    reply_ids(self.tokenizer, *said, tools) if said else answer_ids(self.tokenizer, row["prompt"], row[name])
                    for name, said in zip(ANSWERS, turns)
                )
            if len(asked) >= self.settings.max_length:
                self.counts[split]["rows left out: no room for an answer"] += 1
                continue
            room = self.settings.max_length - len(asked)
            if chosen[:room] == rejected[:room]:
                self.counts[split]["pairs left out: both answers are the same"] += 1
                continue
            if len(asked) + max(len(chosen), len(rejected)) > self.settings.max_length:
                self.counts[split]["rows whose answers are cut to max_length"] += 1
            for name, ids in zip(kept, (asked, chosen, rejected)):
                kept[name].append(small(ids))
        return Dataset.from_dict(kept)

    def score_pairs(self, margins: np.ndarray, encoded: Dataset) -> tuple[dict[str, float], dict[str, Any]]:
        """Return the figures of encoded pairs, and how many are right by whether the better answer has more tokens: a model that has
        learned no more than to like long answers is right in those alone.

        Args:
            margins: By how much the better answer of each pair is ahead.
        """
        is_right, more = margins > 0, self.more_tokens(encoded)
        parts = {"longer": more > 0, "not longer": more <= 0}
        by_length = {
            name: {"pairs": int(part.sum()), "accuracy": float(is_right[part].mean())}
            for name, part in parts.items()
            if part.any()
        }
        return dict(zip(self.pair_figures, (float(is_right.mean()), float(margins.mean())))), {"by_length": by_length}

    def each_baseline(self, splits: Mapping[str, Dataset], encoded: dict[str, Dataset]) -> Baselines:
        """Score the longer answer, which is what people often take for the better one; of two that are as long, half is right."""
        what = "the longer answer is better"

        def score() -> dict[str, Any]:
            right = np.mean(np.sign(self.more_tokens(encoded["test"])) / 2 + 0.5)
            return {"name": what, self.pair_figures[0]: float(right)}

        yield what, score

    def more_tokens(self, encoded: Dataset) -> np.ndarray:
        """Return how many tokens more than the other the better answer of each pair has."""
        chosen, rejected = (np.array([len(ids) for ids in encoded[name]]) for name in ("chosen_ids", "rejected_ids"))
        return chosen - rejected

    def questions(self, encoded: Dataset) -> list[tuple[list[int], str]]:
        better = (str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in encoded["chosen_ids"])
        return self.with_room(encoded["prompt_ids"], better)


def conversation(
    prompt: Any, answer: Any, system: str | None, where: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
    """Return the messages of a prompt and of an answer to it, of which at least one has any; `None` for two texts."""
    if isinstance(prompt, str) and isinstance(answer, str):
        return None
    asked = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else as_given(prompt)
    said = [{"role": "assistant", "content": answer}] if isinstance(answer, str) else as_given(answer)
    # Some repeat the prompt before each answer.
    said = said[len(asked) :] if said[: len(asked)] == asked else said
    asked = with_system(asked, system)
    said = said[len(asked) :] if said[: len(asked)] == asked else said
    if any(WEIGHT in turn for turn in said):
        raise InputError(f"an answer of {where} is marked as not to be learned: leave the row out, or the mark.")
    check_turns(asked, f"the prompt of {where}", "user")
    check_turns([*asked, *said], f"the prompt with an answer of {where}")
    return asked, said
