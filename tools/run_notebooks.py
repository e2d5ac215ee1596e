"""Run notebooks from their text form and store them with their outputs: `python tools/run_notebooks.py [NAME ...]`, all by default."""

import re
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient


ROOT = Path(__file__).parents[1]
# Where they write what they train: outside of what git sees.
PLACE = ROOT / "build" / "notebooks"
BAR = re.compile(r"\[\d\d:\d\d[<,\]]|\d+%\|")
LINES = 20
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def settled(text: str) -> str:
    """Return what was said, without the bars between it, which are drawn again and again."""
    lines = [line.rstrip() for line in re.split(r"\r?\n|\r", ANSI.sub("", text)) if not BAR.search(line)]
    lines = [line for line, before in zip(lines, ["", *lines]) if line or before]
    # Of a run that says how far it is, the beginning and the end.
    return "\n".join([*lines[:LINES], "…", *lines[-LINES:]] if len(lines) > 2 * LINES + 1 else lines)


def is_bar(output: Any) -> bool:
    """Return whether an output is a bar of a notebook, and not what a cell shows."""
    data = output.get("data", {})
    return "image/png" not in data and ("progress" in data.get("text/html", "") or any("widget" in kind for kind in data))


def tidy(cell: Any) -> None:
    """Leave out of a cell what is of the machine that ran it, and make one stream of what a pause has cut."""
    cell.metadata = {}
    kept: list[Any] = []
    for output in cell.get("outputs", ()):
        if output.output_type == "stream" and output.name == "stderr":
            # Warnings of libraries to their developers, with where they are installed.
            continue
        if is_bar(output):
            continue
        if kept and output.output_type == "stream" == kept[-1].output_type:
            kept[-1].text += output.text
        else:
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = settled(output.text)
    if "outputs" in cell:
        cell.outputs = kept


def main(names: list[str]) -> None:
    for name in names or sorted(path.stem for path in (ROOT / "notebooks").glob("*.py")):
        source = ROOT / "notebooks" / f"{name}.py"
        place = PLACE / name
        place.mkdir(parents=True, exist_ok=True)
        notebook = jupytext.read(source)
        NotebookClient(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": str(place)}}).execute()
        for number, cell in enumerate(notebook.cells):
            cell.id = f"cell-{number}"
            tidy(cell)
        notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
        nbformat.write(notebook, source.with_suffix(".ipynb"))
        print(source.with_suffix(".ipynb").relative_to(ROOT), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
