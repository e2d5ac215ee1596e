"""The one exception that the command line turns into a message and exit code 2, and the hint that such messages give."""

import pickle
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class InputError(ValueError):
    """What a person gave cannot be used; the message names the field, the value and a hint."""


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "", cutoff: float = 0.6) -> str:
    """Return the end of a message about an unknown name: the nearest known one, with a space before it, else `otherwise`."""
    near = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f" Did you mean {near[0]!r}?" if near else otherwise


def listed(names: Iterable[Any], most: int = 20) -> str:
    """Return names as a message lists them: the first of them, long ones cut, signs that do not show written out, and how many
    there are beside these."""
    texts = [name if name.isprintable() else repr(name)[1:-1] for name in map(str, names)]
    cut = ", ".join(text if len(text) <= 60 else f"{text[:59]}…" for text in texts[:most])
    return f"{cut} and {len(texts) - most:,} more" if len(texts) > most else cut


# Verbs behind what is counted, for many and for one.
VERBS = {"are": "is", "were": "was", "have": "has", "leave": "leaves", "fit": "fits"}
# The first plural of a phrase, and such a verb behind it, with nothing but brackets between.
PLURAL = re.compile(rf"(\w+)s\b( \(.*?\))?(?: ({'|'.join(VERBS)})\b)?")


def counted(number: float, many: str, form: str = ",") -> str:
    """Return a number with what it counts, as "3 empty rows are left out" and "1 empty row is left out".

    Args:
        many: What is counted, in the plural.
        form: How the number is written.
    """
    written = f"{number:{form}}"
    return f"{written} {many if written != '1' else PLURAL.sub(_singular, many, count=1)}"


def _singular(plural: re.Match) -> str:
    noun, between, verb = plural.groups()
    noun = re.sub("sse$", "ss", re.sub("ie$", "y", noun))
    return f"{noun}{between or ''}" if verb is None else f"{noun}{between or ''} {VERBS[verb]}"


def reason_of(error: BaseException) -> str:
    """Return what a library says of a model that it cannot load, in one line; without its advice to let foreign code run."""
    told = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in told:
        return (
            "its pickled weights are damaged, or hold objects other than tensors, which could run code and are not read: convert "
            "them to safetensors where they come from."
        )
    if isinstance(error, KeyError):
        # Of which nothing is told but the key.
        return f"{told} is missing there, or not known"
    if "trust_remote_code" in told:
        return "it asks for Python code beside its weights to be run, which hf-gpt never does: read that code, then load it in Python."
    return told


# What a terminal obeys and a browser hides: controls but the ends of lines and a tab, and what turns the direction of a line around.
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")


def _code(found: re.Match) -> str:
    return str(found.group().encode("unicode_escape").decode())


def visible(text: str) -> str:
    """Return a text, of several lines maybe, with the codes of controls in place of them."""
    return CONTROLS.sub(_code, text)


def one_line(text: str) -> str:
    """Return a text as one line, whatever signs are in it: with the codes of all that is not printed as it is."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def shown(value: Any, limit: int = 120) -> str:
    """Return a value as a message shows it: on one line, cut where it would fill the screen."""
    if isinstance(value, (dict, list, tuple)) and len(value) > 20:
        return f"a {type(value).__name__} of {len(value):,} entries"
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        # A structure that holds itself is fine for repr; one of a thousand levels, or a number of 5,000 digits, is not.
        return f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
