"""From a prompt or a conversation to the ids that a model reads: in training those that generation starts from, and then the answer."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..checks.boundary import UNUSABLE
from ..errors import InputError, reason_of
from .encoding import opening, plain


# A code point that is no character of any text (Unicode, section 23.7). Inside the name of a special token it says that somebody has
# written that name, and no template.
MARK = "\ufdd0"
# The field of an assistant's message that is not learned.
WEIGHT = "weight"


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Return what a model reads of a prompt in which nothing is a special token."""
    return [*opening(tokenizer), *plain(tokenizer, prompt)["input_ids"]]


def answer_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """Return the ids of a prompt, as generation gives them to a model, and of the answer up to the end of the text."""

    def encode(text: str) -> list[int]:
        return prompt_ids(tokenizer, text)

    asked = encode(prompt)
    whole = encode(prompt + answer)
    answered = whole[len(asked) :] if whole[: len(asked)] == asked else plain(tokenizer, answer)["input_ids"]
    return asked, [*answered, tokenizer.eos_token_id]


# ------------------------------------------------------------------------------------------------------- conversations


@contextmanager
def template_refusals(what: str, hint: str = ".") -> Iterator[None]:
    """Within it, what a chat template raises of what it does not write, or cannot, is an `InputError` that names it.

    Args:
        what: A conversation or its place.
        hint: The end of the message.
    """
    # A module of its own, so that a plain installation is told which extra brings it.
    from jinja2 import TemplateError

    try:
        yield
    except InputError:
        raise
    except (TemplateError, *UNUSABLE) as error:
        raise InputError(f"the tokenizer's chat template refuses {what}: {reason_of(error).rstrip('.')}{hint}") from error


def special_names(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return how special tokens are written, long ones first."""
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return sorted({*added, *tokenizer.all_special_tokens} - {""}, key=len, reverse=True)


def template_text(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, Any]],
    begins_answer: bool = False,
    tools: list[dict[str, Any]] | None = None,
) -> str:
    """Return a conversation as the tokenizer's chat template writes it, with a `MARK` in what it has of special tokens' names.

    Args:
        messages: With whatever fields a template may know, such as `tool_calls`.
        begins_answer: Whether the beginning of the assistant's next turn follows.
        tools: Descriptions of what the assistant may call.
    """
    names = re.compile("|".join(map(re.escape, special_names(tokenizer))) or "(?!)")

    def mark(found: re.Match) -> str:
        return f"{found[0][:1]}{MARK}{found[0][1:]}"

    def marked(value: Any) -> Any:
        if isinstance(value, dict):
            return {marked(name): marked(part) for name, part in value.items()}
        if isinstance(value, list):
            return [marked(part) for part in value]
        return names.sub(mark, value.replace(MARK, "")) if isinstance(value, str) else value

    told: Any = marked([{name: part for name, part in message.items() if name != WEIGHT} for message in messages])
    return str(tokenizer.apply_chat_template(told, tools=marked(tools), tokenize=False, add_generation_prompt=begins_answer))


def unwritten(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
) -> list[str]:
    """Return the names of what the chat template leaves out of a conversation: fields of its messages, and `tools`."""
    from jinja2 import TemplateError

    names = dict.fromkeys(name for message in messages for name in message if name not in ("role", "content", WEIGHT))
    if not names and tools is None:
        return []
    whole = template_text(tokenizer, messages, tools=tools)

    def is_written(name: str) -> bool:
        less = [{key: part for key, part in message.items() if key != name} for message in messages]
        try:
            return template_text(tokenizer, less, tools=None if name == "tools" else tools) != whole
        except (TemplateError, *UNUSABLE):
            # A template that asks for a field knows it.
            return True

    return [name for name in (*names, *(["tools"] if tools is not None else [])) if not is_written(name)]


def template_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of what `template_text` has written: its special tokens are such, and those that somebody has written are text."""
    ids: list[int] = []
    names = "|".join(f"{re.escape(name[:1])}{MARK}{re.escape(name[1:])}" for name in special_names(tokenizer))
    for part in re.split(f"({names or '(?!)'})", text):
        if MARK in part:
            ids += plain(tokenizer, part.replace(MARK, ""))["input_ids"]
        elif part:
            ids += tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


class Reading:
    """The ids of a text that is read on and on; what was read stays as it was read.

    Attributes:
        ids: Of the text so far.
        is_answer: Of each, whether the assistant has said it.
    """

    def __init__(self, encode: Callable[[str], list[int]]):
        self.encode = encode
        self.text = ""
        self.ids: list[int] = []
        self.is_answer: list[bool] = []

    def read_up_to(self, text: str, is_answer: bool) -> None:
        """Go on to the end of a text that begins with the one so far."""
        whole = self.encode(text)
        if whole[: len(self.ids)] != self.ids:
            whole = [*self.ids, *self.encode(text[len(self.text) :])]
        self.is_answer += [is_answer] * (len(whole) - len(self.ids))
        self.text, self.ids = text, whole


def conversation_ids(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None
) -> tuple[list[int], list[bool], int]:
    """Return the ids of a conversation; of each, whether the assistant has said it, to be learned; and how many answers are not
    marked so, beside those with a `WEIGHT` of 0.

    An answer begins where generation would begin it and ends with its last special token. One that the template writes otherwise as
    soon as others follow, such as one with its thoughts, is not marked.
    """
    names = tuple(special_names(tokenizer))
    text = template_text(tokenizer, messages, tools=tools)
    reading = Reading(lambda part: template_ids(tokenizer, part))
    left_out = 0
    for number, message in enumerate(messages):
        if message["role"] != "assistant" or WEIGHT in message:
            continue
        before = template_text(tokenizer, messages[:number], True, tools)
        after = template_text(tokenizer, messages[: number + 1], tools=tools)
        after = after.rstrip() if after.rstrip().endswith(names) else after
        if text.startswith(before) and text.startswith(after) and len(reading.text) <= len(before) < len(after):
            reading.read_up_to(before, False)
            reading.read_up_to(after, True)
        else:
            left_out += 1
    is_open = bool(reading.text) and reading.text == text and not text.endswith(names)
    reading.read_up_to(text, False)
    # A template without an end of a turn leaves it to the end of the text.
    ends = [tokenizer.eos_token_id] if is_open else []
    return [*reading.ids, *ends], [*reading.is_answer, *[True] * len(ends)], left_out


def reply_ids(
    tokenizer: PreTrainedTokenizerBase,
    prompt: list[dict[str, Any]],
    reply: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None = None,
) -> tuple[list[int], list[int]]:
    """Return the ids of the messages before a reply, as generation gives them to a model, and of the reply to its last special token.

    Raises:
        ValueError: the template writes the messages before the reply otherwise where it follows.
    """
    names = tuple(special_names(tokenizer))
    before, after = template_text(tokenizer, prompt, True, tools), template_text(tokenizer, [*prompt, *reply], tools=tools)
    if not after.startswith(before):
        raise ValueError("it writes the messages otherwise where a reply follows")
    reading = Reading(lambda part: template_ids(tokenizer, part))
    reading.read_up_to(before, False)
    asked = reading.ids
    is_open = not after.rstrip().endswith(names)
    reading.read_up_to(after if is_open else after.rstrip(), True)
    return asked, [*reading.ids[len(asked) :], *([tokenizer.eos_token_id] if is_open else [])]
