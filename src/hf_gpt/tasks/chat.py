"""Dialogue and instructions: a causal model that learns what an assistant says and when it stops."""

import json
import re
from collections import Counter
from typing import Any, ClassVar

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..data.conversations import WEIGHT, conversation_ids, template_ids, template_refusals, template_text, unwritten
from ..data.dialogues import as_given, with_system
from ..errors import InputError, listed
from .chat_template import add_chat_template, turn_ends
from .task import IGNORED, Task, small


class Chat(Task):
    """`messages`: dictionaries with `role` and `content`, user and assistant in turn, at most one `system` message before them; with
    `tool_calls` of the assistant, answered by messages of a `tool`, and `tools`, which describes what may be called; or `system` as a
    column of its own.

    The loss is that of the assistant's turns alone; short conversations are packed into one row and do not see each other. There are
    no figures beside it: whether an answer is good is not decided by comparing words.
    """

    figure: ClassVar[tuple[str, int]] = ("loss", 3)
    columns: ClassVar[dict[str, bool]] = {"messages": True, "system": False, "tools": False, "group": False}
    group: ClassVar[tuple[str, ...]] = ("group", "messages")
    trainer: ClassVar[str] = "sft"
    is_packed: ClassVar[bool] = True

    def learn(self, train: Dataset) -> None:
        add_chat_template(self.tokenizer)
        self.stop_ids = turn_ends(self.tokenizer)

    def encode(self, split: str, rows: Dataset) -> Dataset:
        kept: dict[str, list] = {"input_ids": [], "labels": [], "prompt_ids": [], "reference": []}
        for number, row in enumerate(rows):
            where, tools = f"row {number} of the {split} split", tools_of(row)
            messages = with_system(as_given(row["messages"]), row.get("system"))
            check_turns(messages, where)
            learned = [place for place, turn in enumerate(messages) if turn["role"] == "assistant" and WEIGHT not in turn]
            if not learned:
                self.counts[split]["rows left out: every answer is marked as not to be learned"] += 1
                continue
            with template_refusals(where):
                if not is_written(self.tokenizer, [messages], tools, self.counts[split]):
                    continue
                ids, is_answer, left_out = conversation_ids(self.tokenizer, messages, tools)
                asked = template_ids(self.tokenizer, template_text(self.tokenizer, messages[: learned[-1]], True, tools))
            if len(ids) > self.settings.max_length:
                self.counts[split]["conversations left out: longer than max_length"] += 1
                continue
            marked = sum(WEIGHT in turn for turn in messages)
            if marked:
                self.counts[split]["answers not learned, as they are marked"] += marked
            if left_out:
                self.counts[split]["answers not learned: the chat template writes them otherwise where others follow"] += (
                    left_out
                )
            kept["input_ids"].append(small(ids))
            kept["labels"].append(small([token if said else IGNORED for token, said in zip(ids, is_answer)]))
            kept["prompt_ids"].append(small(asked))
            last = messages[learned[-1]]
            kept["reference"].append(last["content"] or json.dumps(last["tool_calls"], ensure_ascii=False))
        return Dataset.from_dict(kept)

    def questions(self, encoded: Dataset) -> list[tuple[list[int], str]]:
        """Return the last question of the first conversations with room for an answer: a person says whether it is a good one."""
        return self.with_room(encoded["prompt_ids"], encoded["reference"])


def tools_of(row: dict[str, Any]) -> list[dict[str, Any]] | None:
    return json.loads(row["tools"]) if row.get("tools") else None


def is_written(
    tokenizer: PreTrainedTokenizerBase,
    conversations: list[list[dict[str, Any]]],
    tools: list[dict[str, Any]] | None,
    counts: Counter,
) -> bool:
    """Return whether the chat template writes what is said in the conversations of a row; count what of it is not."""
    left_out = dict.fromkeys(name for messages in conversations for name in unwritten(tokenizer, messages, tools))
    if tools and not conversations:
        left_out = {"tools": None}
    if "tool_calls" in left_out and any(not message["content"] for messages in conversations for message in messages):
        counts["rows left out: the chat template writes no tool_calls, and a message is nothing else"] += 1
        return False
    for name in left_out:
        counts[f"rows with {name}, of which nothing is learned: the chat template does not write it"] += 1
    return True


# Who speaks, a letter each; of the assistant, `c` calls tools, which answer before it goes on.
LETTERS = {"system": "s", "user": "u", "assistant": "a", "tool": "t"}
TURNS = {
    "assistant": re.compile("s?u(ct+)*(au(ct+)*)*[ac]"),
    "user": re.compile("s?u(ct+)*(au(ct+)*)*"),
}


def check_turns(messages: list[dict[str, Any]], where: str, last: str = "assistant") -> None:
    """Raise `InputError` when roles do not alternate or another than `last` has the last word."""
    roles = [message["role"] for message in messages]
    letters = ["c" if "tool_calls" in message else LETTERS.get(message["role"], "?") for message in messages]
    if not TURNS[last].fullmatch("".join(letters)):
        raise InputError(
            f"{where} has the roles {listed(roles) or 'of no message'}: after at most one system message, user and assistant "
            f"take turns, and the {last} has the last word; a tool answers the assistant's tool_calls."
        )
