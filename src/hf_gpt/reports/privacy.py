"""Keeps secrets and the folders of a person's machine out of what others will read."""

import os
import re
from collections.abc import Iterator
from typing import Any

from huggingface_hub import get_token

from ..errors import InputError


# Hugging Face, GitHub, OpenAI and AWS keys, the head of a private key, and the name and password of an address.
SECRET = re.compile(
    r"\b(?:hf_|hf_oauth_|api_org_|gh[opsu]_|github_pat_|sk-)[A-Za-z0-9_-]{30,}|\bAKIA[0-9A-Z]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|(?<=://)[^\s/?#:@\"'`<>{}]*:[^\s/?#@\"'`<>{}]+(?=@[\w\[.])"
)
# `/home/name`, `/Users/name`, `/root/` and `C:\Users\name`, but not the path of an address such as example.org/home/name.
HOME_FOLDER = re.compile(r"(?<![\w.])(?:/home/[^/\s\"'`]+|/Users/[^/\s\"'`]+|/root(?=/)|[A-Za-z]:\\+Users\\+[^\\\s\"'`]+)")


def check_public(content: Any, name: str, generated: tuple[str, ...] = ()) -> None:
    """Raise `InputError` when `content` holds a secret or a home folder; the message never shows a secret.

    Args:
        content: Text, or what JSON can hold.
        name: What it is called in the message, for example `record.json`.
        generated: Keys at the top whose text a model wrote: there, only this machine's own home folder counts as one.
    """
    token = get_token()
    # Stays `~` for a user who has none.
    home = os.path.expanduser("~")
    for place, text in _texts(content):
        where = f"{name}: {place}" if place else name
        if SECRET.search(text) or (token and token in text):
            raise InputError(
                f"{where} holds an access token, a password or a key: take it out, and give tokens to huggingface_hub with "
                "`hf auth login`."
            )
        is_generated = place.startswith(generated) if generated else False
        found = None if is_generated else HOME_FOLDER.search(text)
        folder = found[0] if found else home if len(home) > 1 and re.search(rf"{re.escape(home)}(?![\w.-])", text) else None
        if folder:
            raise InputError(
                f"{where} holds the folder {folder!r} of a person's machine: use a relative path or a name of the Hub there."
            )


def is_public(content: Any) -> bool:
    """Return whether `content` holds neither a secret nor a home folder."""
    try:
        check_public(content, "")
    except InputError:
        return False
    return True


def without_secrets(text: str) -> str:
    """Return the text with every access token replaced, for messages that come from elsewhere."""
    token = get_token()
    if token:
        text = text.replace(token, "***")
    return SECRET.sub("***", text)


def _texts(content: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Return each string of a JSON value, keys included, with the way to it."""
    if isinstance(content, str):
        yield place, content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield place, str(key)
            yield from _texts(value, f"{place}.{key}" if place else str(key))
    elif isinstance(content, (list, tuple)):
        for index, value in enumerate(content):
            yield from _texts(value, f"{place}[{index}]")
