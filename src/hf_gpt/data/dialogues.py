"""Dialogues and instructions in the layouts that people have: of ShareGPT, of Alpaca, messages in parts, and with calls of tools."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import datasets
from datasets import Value

from ..errors import InputError, shown
from .conversations import WEIGHT
from .labels import read_literal


SPOKEN = {"role": Value("string"), "content": Value("string")}
MESSAGES = datasets.List(SPOKEN)
# What a message has beside these, such as tool_calls, as JSON: of each message it is of another type.
MORE = "more"
MESSAGES_WITH_MORE = datasets.List({**SPOKEN, MORE: Value("string")})
# How people call the fields of a message that every one has.
SPOKEN_NAMES = ("role", "from", "content", "value", "refusal")
# Columns of texts in other layouts than ours.
LAYOUTS = ("conversations", "instruction", "input", "output", "history")
# Who speaks, in the words of ShareGPT; and of OpenAI, before there were tools.
SPEAKERS = {"human": "user", **dict.fromkeys(("gpt", "chatgpt", "bot", "model"), "assistant"), "function": "tool"}
# By which of an assistant's messages people say whether it is learned: OpenAI and Mistral, Axolotl, ms-swift.
MARKS = (WEIGHT, "train", "training", "loss")
IS_LEARNED = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def as_text(value: Any) -> str:
    """Return a text or a number as text; raise `ValueError` for what holds others."""
    if isinstance(value, (dict, list)):
        raise ValueError(value)
    return str(value)


def _asked(row: dict[str, Any]) -> str | None:
    """Return instruction and input, with an empty line between."""
    return "\n\n".join(as_text(row[name]) for name in ("instruction", "input") if row.get(name)) or None


def _said(row: dict[str, Any]) -> str | None:
    return None if row["output"] is None else as_text(row["output"])


def _turns(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was said before, pairs of a question and an answer, and then instruction and output."""
    before = row.get("history") or []
    before = read_literal(before) if isinstance(before, str) else before
    if not isinstance(before, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in before):
        raise ValueError(before)
    texts = [None if text is None else as_text(text) for pair in before for text in pair]
    spoken = [*texts, _asked(row), _said(row)]
    return [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(spoken)]


# What of a row of Alpaca a column of ours is.
FROM_INSTRUCTIONS: dict[str, tuple[tuple[str, ...], Any, Callable[[dict[str, Any]], Any]]] = {
    "messages": (("instruction", "input", "output", "history"), MESSAGES, _turns),
    "source": (("instruction", "input"), Value("string"), _asked),
    "target": (("output",), Value("string"), _said),
}


# How messages in a cell of text begin, which then have to be such to the end.
TURN_START = re.compile(r"""\s*\[\s*\{\s*["'](role|from)["']\s*:""")


def is_dialogue(value: Any) -> bool:
    """Return whether a prompt or an answer is messages, as such or as a JSON string, and not a text."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return isinstance(value, (dict, list))
    try:
        turns = read_literal(value)
    except (ValueError, RecursionError):
        return bool(TURN_START.match(value))
    if isinstance(turns, dict):
        return turns.get("role", turns.get("from")) in ("assistant", "user", *SPEAKERS) and _is_turn(turns)
    return isinstance(turns, list) and bool(turns) and all(map(_is_turn, turns))


def _is_turn(value: Any) -> bool:
    names = set(value) if isinstance(value, dict) else set()
    return bool(names & {"role", "from"} and names & {"content", "value", "tool_calls", "function_call"})


def read_turns(value: Any, role: str) -> list[dict[str, Any]]:
    """Return a prompt or an answer as messages; a text, as some have beside them, is one of `role`."""
    return read_messages(value) if is_dialogue(value) else [{"role": role, "content": as_text(value)}]


def read_messages(value: Any) -> list[dict[str, Any]]:
    """Return messages as such, as ShareGPT's turns, or either as a JSON string."""
    turns = read_literal(value) if isinstance(value, str) else value
    read = []
    for turn in [turns] if isinstance(turns, dict) else turns:
        role = turn["role"] if turn.get("role") is not None else turn["from"]
        content = next((turn[name] for name in ("content", "value", "refusal") if turn.get(name) is not None), None)
        found = {"role": SPEAKERS.get(role, role), "content": _content(content)}
        others = {name: part for name, part in turn.items() if name not in (*SPOKEN_NAMES, *MARKS) and not _is_nothing(part)}
        more = {name: without_nulls(part) for name, part in others.items()}
        if found["role"] == "assistant" and not _is_learned(turn):
            more[WEIGHT] = 0
        read.append({**found, MORE: _as_json(_with_arguments(more))} if more else found)
    return read


def _is_learned(turn: dict[str, Any]) -> bool:
    """Return whether a message is to be learned, as all are without a mark.

    Raises:
        InputError: a mark that is neither yes nor no.
    """
    marks = {name: str(turn[name]).lower() for name in MARKS if turn.get(name) is not None}
    for name, mark in marks.items():
        if mark not in IS_LEARNED:
            raise InputError(
                f"{name} of a message is {shown(turn[name])}: it is learned, which is 1 or true, or not, 0 or false."
            )
    return all(IS_LEARNED[mark] for mark in marks.values())


def _is_nothing(value: Any) -> bool:
    return value is None or value in ("", [], {})


def without_nulls(value: Any) -> Any:
    """Return what a cell holds without the keys that Arrow has added where another row has them."""
    if isinstance(value, dict):
        return {name: without_nulls(part) for name, part in value.items() if part is not None}
    return [without_nulls(part) for part in value] if isinstance(value, list) else value


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _with_arguments(more: dict[str, Any]) -> dict[str, Any]:
    """Return the other fields of a message with the arguments of tools as chat templates take them: as a mapping, and not as JSON."""
    if "function_call" in more:
        called = more.pop("function_call")
        more["tool_calls"] = [{"type": "function", "function": read_literal(called) if isinstance(called, str) else called}]
    if isinstance(more.get("tool_calls"), str):
        more["tool_calls"] = read_literal(more["tool_calls"])
    for call in more.get("tool_calls", []):
        called = call.get("function", call)
        if "arguments" not in called:
            continue
        # What is no JSON is what a model has said.
        with suppress(TypeError, ValueError, RecursionError):
            called["arguments"] = json.loads(called["arguments"])
    return more


def as_given(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages as a chat template takes them: what was kept as JSON are fields again. One that is not learned has a `WEIGHT`."""
    return [
        {"role": turn["role"], "content": turn["content"] or "", **json.loads(turn.get(MORE) or "{}")} for turn in messages
    ]


def with_system(messages: list[dict[str, Any]], system: str | None) -> list[dict[str, Any]]:
    """Return messages with the text of a column `system` before them, unless that is their first."""
    first = {"role": "system", "content": system}
    return messages if not (system or "").strip() or first in messages[:1] else [first, *messages]


def calls_tools(message: dict[str, Any]) -> bool:
    """Return whether a message, as it was read, asks for a tool, and so may say nothing."""
    return "tool_calls" in json.loads(message.get(MORE) or "{}")


def read_tools(value: Any) -> str | None:
    """Return descriptions of tools, a list of them, one, or either as a JSON string, as the JSON of a list; `None` for none."""
    tools = read_literal(value) if isinstance(value, str) else value
    tools = [tools] if isinstance(tools, dict) and tools else tools
    if not tools:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise ValueError(value)
    return _as_json(without_nulls(tools))


# What transformers and the APIs of OpenAI call a part of a message that is text.
TEXT_PARTS = ("text", "input_text", "output_text")


def _content(value: Any) -> str | None:
    """Return the text of a message; of one in parts, these one behind the other, as chat templates write them.

    Raises:
        InputError: a part that is no text.
    """
    if not isinstance(value, list):
        return None if value is None else as_text(value)
    for part in value:
        is_text = isinstance(part, str) or (part.get("type", "text") in TEXT_PARTS and isinstance(part.get("text"), str))
        if not is_text:
            kind = part.get("type") or shown(part, 80)
            raise InputError(f"a part of a message is of type {kind!r}, and only text is learned: leave the row out.")
    return "".join(part if isinstance(part, str) else part["text"] for part in value)
