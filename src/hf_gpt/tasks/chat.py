"""Dialogue and instructions: a causal model that learns what an assistant says and when it stops."""

from typing import ClassVar

from datasets import Dataset

from ..data.conversations import conversation_ids, template_ids, template_text
from ..errors import InputError, listed
from .chat_template import add_chat_template, template_refusals, turn_ends
from .task import IGNORED, Task, small


class Chat(Task):
    """`messages`: dictionaries with `role` and `content`, user and assistant in turn, at most one `system` message before them.

    The loss is that of the assistant's turns alone; short conversations are packed into one row and do not see each other. There are
    no figures beside it: whether an answer is good is not decided by comparing words.
    """

    figure: ClassVar[tuple[str, int]] = ("loss", 3)
    columns: ClassVar[dict[str, bool]] = {"messages": True, "group": False}
    group: ClassVar[tuple[str, ...]] = ("group", "messages")
    trainer: ClassVar[str] = "sft"
    is_packed: ClassVar[bool] = True

    def learn(self, train: Dataset) -> None:
        add_chat_template(self.tokenizer)
        self.stop_ids = turn_ends(self.tokenizer)

    def encode(self, split: str, rows: Dataset) -> Dataset:
        kept: dict[str, list] = {"input_ids": [], "labels": [], "prompt_ids": [], "reference": []}
        for number, messages in enumerate(rows["messages"]):
            where = f"row {number} of the {split} split"
            check_turns(messages, where)
            with template_refusals(where):
                ids, is_answer, left_out = conversation_ids(self.tokenizer, messages)
                asked = template_ids(self.tokenizer, template_text(self.tokenizer, messages[:-1], True))
            if len(ids) > self.settings.max_length:
                self.counts[split]["conversations left out: longer than max_length"] += 1
                continue
            if left_out:
                self.counts[split]["answers not learned: the chat template writes them otherwise where others follow"] += (
                    left_out
                )
            kept["input_ids"].append(small(ids))
            kept["labels"].append(small([token if said else IGNORED for token, said in zip(ids, is_answer)]))
            kept["prompt_ids"].append(small(asked))
            kept["reference"].append(messages[-1]["content"])
        return Dataset.from_dict(kept)

    def questions(self, encoded: Dataset) -> list[tuple[list[int], str]]:
        """Return the last question of the first conversations with room for an answer: a person says whether it is a good one."""
        return self.with_room(encoded["prompt_ids"], encoded["reference"])


def check_turns(messages: list[dict[str, str]], where: str, last: str = "assistant") -> None:
    """Raise `InputError` when roles do not alternate or another than `last` has the last word."""
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    expected = [("user", "assistant")[place % 2] for place in range(len(turns))]
    if turns != expected or turns[-1:] != [last]:
        raise InputError(
            f"{where} has the roles {listed(roles) or 'of no message'}: after at most one system message, user and assistant "
            f"take turns, and the {last} has the last word."
        )
