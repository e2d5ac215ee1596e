"""Rows out of Debian's package descriptions: what a text says in one line."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any


Rows = Iterator[dict[str, Any]]
# Shorter ones say little more than their one-line summary, or less.
MIN_DOCUMENT_CHARACTERS = 80
COMPANIONS = ("-common", "-data", "-dbg", "-dev", "-doc")

_SPACES = re.compile(r"\s+")
_ITEM = re.compile(r"\s*([*+\-–•]|o|\d+[.)])\s")
_WIDE = re.compile("[\u3000-\u9fff\uff00-\uffef]")


def paragraphs(long: str) -> list[str]:
    """Return the paragraphs of a long description, unwrapped; each item of a list is one of its own."""
    found: list[str] = []
    going_on = False
    for line in long.split("\n"):
        # The first space is markup, a second one marks a line that begins anew, and a single dot is an empty line.
        body = line.removeprefix(" ")
        text = _SPACES.sub(" ", body).strip()
        if text in ("", "."):
            going_on = False
        elif going_on and not _ITEM.match(body):
            # Chinese and Japanese put no space between lines.
            glue = "" if _WIDE.match(found[-1][-1]) and _WIDE.match(text) else " "
            found[-1] += glue + text
        else:
            found.append(text)
            going_on = True
    return found


def split_description(description: str) -> tuple[str, list[str]]:
    """Return the synopsis and the paragraphs of a description."""
    synopsis, _, long = description.partition("\n")
    return synopsis.strip(), paragraphs(long)


def _packages(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _distinct(path: Path) -> Iterator[dict[str, str]]:
    seen: set[tuple[str, ...]] = set()
    # Stable, so that a library speaks for itself before its headers do.
    for package in sorted(_packages(path), key=lambda package: package["package"].endswith(COMPANIONS)):
        synopsis, long = split_description(package["en"])
        document, group = "\n".join(long), package["source"]
        known = {(long[0],), (group, synopsis)} if long else set()
        if not synopsis or len(document) < MIN_DOCUMENT_CHARACTERS or known & seen:
            continue
        seen |= known
        yield {"document": document, "summary": synopsis, "group": group, "section": package["section"]}


def summaries(path: Path) -> Rows:
    """`document` (the long description), `summary` (the synopsis), `group` (the source package).

    A synopsis or a first paragraph comes once within a group, and a first paragraph once in all: a library, its headers and its
    documentation differ in a closing sentence. Split by group all the same, since packages of one source share wording.
    """
    for row in _distinct(path):
        yield {"document": row["document"], "summary": row["summary"], "group": row["group"]}


def pairs(path: Path) -> Rows:
    """`text` (a long description), `text_pair` (a synopsis), `label` (`match` or `other`), `group` (source of the text).

    About half of the synopses are another package's of the same section. Those are handed on in a circle, so that each
    description and each synopsis comes once and neither alone tells the label.
    """
    circles: dict[str, list[dict[str, str]]] = {}
    rows = list(_distinct(path))
    for row in rows:
        if hashlib.sha256(row["document"].encode()).digest()[0] % 2:
            circles.setdefault(row["section"], []).append(row)
    given = {
        id(row): following["summary"]
        for circle in circles.values()
        for row, following in zip(circle, [*circle[1:], circle[0]])
        if row["group"] != following["group"] and row["summary"] != following["summary"]
    }
    for row in rows:
        synopsis = given.get(id(row), row["summary"])
        label = "other" if id(row) in given else "match"
        yield {"text": row["document"], "text_pair": synopsis, "label": label, "group": row["group"]}
