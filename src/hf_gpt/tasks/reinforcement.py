"""Answers that the model finds itself, each with a reward (Ouyang et al. 2022, section 3.5; Shao et al. 2024; Ahmadian et al. 2024)."""

from typing import Any, ClassVar

from datasets import Dataset
from transformers import EvalPrediction

from ..data.conversations import prompt_ids, template_ids, template_refusals, template_text
from ..data.dialogues import as_given, with_system
from ..errors import InputError, counted, shown
from .chat import check_turns, is_written, tools_of
from .chat_template import add_chat_template, turn_ends
from .last_number import is_number, last_number
from .task import Task, small


# Rewards that compare with the right answer.
NEED_ANSWER = ("arithmetic",)


class Reinforcement(Task):
    """`prompt`, as a text that is continued or as messages that are answered, and `answer`, the right one, where there is one.

    `algorithm` says how rewards become gradients, `reward` where they come from. The figures are the mean reward of answers that are
    drawn, how far the model has gone from the one that it was (`kl`, nats per token), and how often its likeliest answer is right.
    """

    figure: ClassVar[tuple[str, int]] = ("reward", 3)
    columns: ClassVar[dict[str, bool]] = {"prompt": True, "answer": False, "system": False, "tools": False, "group": False}
    group: ClassVar[tuple[str, ...]] = ("group", "prompt")
    trainer: ClassVar[str] = "reinforcement"
    is_scored_by_answers: ClassVar[bool] = True

    def learn(self, train: Dataset) -> None:
        if self.settings.reward in NEED_ANSWER and "answer" not in train.column_names:
            raise InputError(
                f"reward={self.settings.reward!r} compares with the column answer, which the rows lack: name it in dataset.columns, or "
                "take another reward."
            )
        if not isinstance(train[0]["prompt"], str):
            add_chat_template(self.tokenizer)
            self.stop_ids = turn_ends(self.tokenizer)

    def encode(self, split: str, rows: Dataset) -> Dataset:
        """Encode prompts to ids, in the column that TRL takes them from."""
        kept: dict[str, list] = {"prompt": [], **({"answer": []} if "answer" in rows.column_names else {})}
        room = self.settings.max_length - self.settings.max_new_tokens
        for number, row in enumerate(rows):
            where = f"row {number} of the {split} split"
            with template_refusals(where):
                prompt, tools = row["prompt"], tools_of(row)
                messages = [] if isinstance(prompt, str) else with_system(as_given(prompt), row.get("system"))
                if not is_written(self.tokenizer, [messages] if messages else [], tools, self.counts[split]):
                    continue
                ids = self.asked(messages or prompt, f"the prompt of {where}", tools)
            if len(ids) > room:
                self.counts[split]["prompts left out: longer than max_length - max_new_tokens"] += 1
            elif self.settings.reward in NEED_ANSWER and not (row["answer"] or "").strip():
                self.counts[split]["prompts left out: no answer to compare with"] += 1
            else:
                if self.settings.reward in NEED_ANSWER and last_number(row["answer"]) is None:
                    raise InputError(
                        f"{where} has the answer {shown(row['answer'])}, which ends in no number: fix the row, leave it out, or take "
                        f"another reward than {self.settings.reward}."
                    )
                kept["prompt"].append(small(ids))
                if "answer" in kept:
                    kept["answer"].append((row["answer"] or "").strip())
        return Dataset.from_dict(kept)

    def asked(self, prompt: Any, where: str, tools: list[dict[str, Any]] | None) -> list[int]:
        if isinstance(prompt, str):
            return prompt_ids(self.tokenizer, prompt)
        check_turns(prompt, where, "user")
        return template_ids(self.tokenizer, template_text(self.tokenizer, prompt, True, tools))

    def scored(self, test: Dataset) -> Dataset:
        return test.select(range(min(len(test), self.settings.max_test_rows or len(test))))

    def places(self, rows: int, per_step: int) -> int:
        """Return the answers that are drawn in an epoch: those of whole steps, as TRL leaves out the prompts of a smaller one.

        Raises:
            InputError: there is no step to be had.
        """
        answers = rows * self.settings.num_generations
        if answers < per_step:
            raise InputError(
                f"the train split has {counted(rows, 'prompts')}, and num_generations={self.settings.num_generations} answers to each "
                f"do not fill the {per_step:,} of a step (per_device_train_batch_size times gradient_accumulation_steps): give more "
                "prompts, or make a step smaller."
            )
        return answers // per_step * per_step

    def questions(self, encoded: Dataset) -> list[tuple[list[int], str]]:
        rows = self.scored(encoded)
        return list(zip(rows["prompt"], rows["answer"] if "answer" in rows.column_names else [""] * len(rows)))

    def metrics(self, prediction: EvalPrediction, encoded: Dataset) -> dict[str, float]:
        """Score the likeliest answers: how many are right, where rows say what is."""
        ends_in_number = self.settings.reward in NEED_ANSWER
        found: Any = [
            is_right(text, wanted) if ends_in_number or is_number(wanted) else text.strip() == wanted
            for text, wanted in zip(prediction.predictions, prediction.label_ids)
            if str(wanted)
        ]
        return {"accuracy": sum(found) / len(found)} if found else {}


def is_right(text: str, answer: str) -> bool:
    """Return whether a text ends in the number that an answer ends in, or is the answer where that ends in none."""
    wanted = last_number(answer)
    return text.strip() == answer.strip() if wanted is None else last_number(text) == wanted
