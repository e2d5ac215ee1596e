"""Text of others in a page of ours: shown as it is, in Markdown and the HTML that Markdown lets through, and never interpreted."""

import json
import re
from typing import Any

from ..errors import visible


class Safe(str):
    """What is Markdown already."""


# An underscore inside a word marks nothing.
MARKS = re.compile(r"[\\`*\[\]~$|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
# What would begin a heading, a list, a quotation or a rule.
BEGINNINGS = re.compile(r"^(\s*)(\d+(?=[.)])|[#+=>-])")
# Whatever `str.splitlines` and browsers take for the end of a line.
LINE_ENDS = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")
HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def inline(value: Any) -> Any:
    """Return a text for one line of a page, a cell of a table among them; what is no text is returned as it is."""
    return Safe(_escaped(LINE_ENDS.sub(" ", value))) if isinstance(value, str) and not isinstance(value, Safe) else value


def quoted(text: str) -> Safe:
    """Return a text for a quotation, over several lines."""
    lines = [_escaped(line) for line in text.splitlines() or [""]]
    if text.endswith("\n"):
        lines.append("")
    return Safe("\n> ".join([lines[0], *(BEGINNINGS.sub(r"\1\\\2", line) for line in lines[1:])]))


def code(value: Any) -> Safe:
    """Return a value as code within a line or a cell, between as many backticks as it needs."""
    text = visible(" ".join(str(value).split())).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return Safe(f"{fence}{space}{text}{space}{fence}")


def python(text: str) -> Safe:
    """Return a text as a literal of Python, for a block of code."""
    return Safe(visible(json.dumps(text, ensure_ascii=False)).replace("`", "\\u0060"))


def _escaped(text: str) -> str:
    marked = MARKS.sub(lambda found: "\\" + found.group(), visible(text))
    return "".join(HTML.get(letter, letter) for letter in marked)
