"""What MkDocs does with a page that it has made of docstrings: types stand between backticks there, as transformers writes them."""

import re
from typing import Any


def on_page_content(html: str, **kwargs: Any) -> str:
    """Return the page with types as the code that they are."""
    return re.sub(r"<code>`([^<`]*)`(?:, \*([a-z]+)\*)?</code>", lambda found: typed(*found.groups()), html)


def typed(name: str, mark: str | None) -> str:
    return f"<code>{name}</code>" + (f", <em>{mark}</em>" if mark else "")
