"""What MkDocs does with a page that it has made of docstrings: types stand between backticks there, as transformers writes them."""

import re
from typing import Any


TYPE = re.compile(r"<code>(`[^<]*)</code>")


def on_page_content(html: str, **kwargs: Any) -> str:
    """Return the page with types as the code that they are."""
    return TYPE.sub(lambda found: typed(found[1]), html)


def typed(text: str) -> str:
    """Return the HTML of a type such as `int`, *optional*."""
    return re.sub(r"\*(\w+)\*", r"<em>\1</em>", re.sub(r"`([^`]*)`", r"<code>\1</code>", text))
