"""Dialogue and instructions: a causal model that learns what an assistant says and when it stops."""

from typing import ClassVar

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

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
        kept: dict[str, list] = {"input_ids": [], "assistant_masks": [], "asked": [], "reference": []}
        for number, messages in enumerate(rows["messages"]):
            check_turns(messages, f"row {number} of the {split} split")
            ids, mask = assistant_tokens(self.tokenizer, messages)
            if len(ids) > self.settings.max_length:
                self.counts[split]["conversations left out: longer than max_length"] += 1
            else:
                kept["input_ids"].append(ids)
                kept["assistant_masks"].append(mask)
                kept["asked"].append(render(self.tokenizer, messages[:-1], asks=True))
                kept["reference"].append(messages[-1]["content"])
        return Dataset.from_dict(kept)

    def questions(self, encoded: Dataset) -> list[tuple[str, str]]:
        """Return the last question of the first conversations with room for an answer: a person says whether it is a good one."""
        room = self.settings.max_length - self.settings.max_new_tokens
        asked: list[tuple[str, str]] = []
        for question, reference in zip(encoded["asked"], encoded["reference"]):
            if len(asked) == self.settings.shown_rows:
                break
            if len(self.tokenizer(question, add_special_tokens=False, verbose=False)["input_ids"]) <= room:
                asked.append((question, reference))
        return asked


def assistant_tokens(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """Return the tokens of a conversation by the tokenizer's chat template, and 1 for each that the assistant has to write.

    What it has to write is what the template puts between the request for an answer and the end of the turn, whichever template it is;
    each part is tokenised by itself, as it is when the model is asked.

    Raises:
        InputError: the template refuses the conversation, or writes what is before an answer otherwise when the answer is there.
    """
    written, ids, mask = "", [], []
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked = render(tokenizer, messages[:place], asks=True)
        answered = render(tokenizer, messages[: place + 1], asks=False)
        if not answered.startswith(asked) or not asked.startswith(written):
            raise InputError(
                "tokenizer: its chat template writes a conversation anew when an answer follows, as those do that leave thoughts out: "
                "what the assistant says cannot be told from the rest. Set another chat_template."
            )
        before, answer = (
            tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            for text in (asked[len(written) :], answered[len(asked) :])
        )
        # What a template puts behind the end of a turn, a new line for example, is no part of the answer.
        end = len(answer) - (answer[::-1].index(tokenizer.eos_token_id) if tokenizer.eos_token_id in answer else 0)
        ids += [*before, *answer]
        mask += [0] * len(before) + [1] * end + [0] * (len(answer) - end)
        written = answered
    return ids, mask


def render(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], asks: bool) -> str:
    # Chat templates are Jinja's, which a plain installation lacks.
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asks))
    except TemplateError as error:
        raise InputError(f"the tokenizer's chat template refuses a conversation ({error}).") from error


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
