"""Dialogue and instructions: a causal model that learns what an assistant says and when it stops."""

from typing import Any, ClassVar

from datasets import Dataset

from ..errors import InputError
from .chat_template import add_chat_template
from .task import Task


class Chat(Task):
    """`messages`: dictionaries with `role` and `content`, user and assistant in turn, at most one `system` message before them.

    The loss is that of the assistant's turns alone; short conversations are packed into one row and do not see each other. There are
    no figures beside it: whether an answer is good is not decided by comparing words.
    """

    figure: ClassVar[tuple[str, int]] = ("loss", 3)
    columns: ClassVar[dict[str, bool]] = {"messages": True, "group": False}
    group: ClassVar[tuple[str, ...]] = ("group", "messages")
    trainer: ClassVar[str] = "sft"

    def learn(self, train: Dataset) -> None:
        add_chat_template(self.tokenizer)

    def encode(self, split: str, rows: Dataset) -> Dataset:
        kept = []
        for number, messages in enumerate(rows["messages"]):
            check_turns(messages, f"row {number} of the {split} split")
            encoding: Any = self.tokenizer.apply_chat_template(messages, return_dict=True)
            length = len(encoding["input_ids"])
            if length > self.settings.max_length:
                self.counts[split]["conversations left out: longer than max_length"] += 1
            else:
                kept.append(messages)
        return Dataset.from_dict({"messages": kept})


def check_turns(messages: list[dict[str, str]], where: str) -> None:
    """Raise `InputError` when roles do not alternate or the assistant does not have the last word."""
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    expected = ["user", "assistant"] * (len(turns) // 2)
    if not turns or turns != expected:
        raise InputError(
            f"{where} has the roles {', '.join(roles) or 'of no message'}: after at most one system message, user and assistant "
            "take turns, and the assistant has the last word."
        )
