"""A stored notebook as a page: its prose, its code, what it printed and what it drew."""

import base64
import json
import re
from pathlib import Path
from typing import Any


# Colours of a terminal.
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LONGEST = 40


def as_markdown(text: str, page: Path) -> str:
    """Return the page of a notebook, and write its pictures beside it."""
    parts = []
    for number, cell in enumerate(json.loads(text)["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        parts += [shown for output in cell["outputs"] if (shown := output_of(output, page, number))]
    return "\n\n".join(parts) + "\n"


def output_of(output: dict[str, Any], page: Path, number: int) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        # Both languages draw their own.
        picture = page.with_name(f"{page.name.removesuffix('.md').replace('.', '-')}-{number}.png")
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(base64.b64decode("".join(data["image/png"])))
        return f"![What the cell draws]({picture.name})"
    if "text/html" in data:
        return "".join(data["text/html"])
    lines = ANSI.sub("", "".join(output.get("text", data.get("text/plain", ())))).split("\n")
    # Of a bar, what it was at its end.
    lines = [line.rstrip("\r").rsplit("\r", 1)[-1].rstrip() for line in lines]
    lines = [line for line in lines if line]
    cut = [*lines[: LONGEST // 2], "…", *lines[-LONGEST // 2 :]] if len(lines) > LONGEST else lines
    return "```text\n" + "\n".join(cut) + "\n```" if cut else ""
