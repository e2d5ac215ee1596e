"""The tree of docs/architecture.md: the first line of each module, in the order of the layers in pyproject.toml."""

import ast
from pathlib import Path

from .frame import ROOT, Section


PACKAGE = ROOT / "src" / "hf_gpt"
PAGE = ROOT / "docs" / "architecture.md"


def layers() -> list[list[str]]:
    """Return names of the modules and folders below `hf_gpt`, by layer, the highest first."""
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[[tool.importlinter.contracts]]")[1]
    listed = ast.literal_eval(contract[contract.index("layers = ") + len("layers = ") : contract.index("\n]") + 2])
    return [layer.split(" | ") for layer in listed]


def first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def tree() -> list[str]:
    lines = ["src/hf_gpt/"]
    for name in [name for layer in layers() for name in layer]:
        folder = PACKAGE / name
        if not folder.is_dir():
            lines.append(f"  {name + '.py':<35}{first_line(folder.with_suffix('.py'))}")
            continue
        lines.append(f"  {name + '/':<35}{first_line(folder / '__init__.py')}")
        for path in sorted(folder.rglob("*.py")):
            if path != folder / "__init__.py":
                inner = path.relative_to(folder)
                shown = f"{inner.parent.as_posix()}/" if path.name == "__init__.py" else inner.as_posix()
                lines.append(f"    {shown:<33}{first_line(path)}")
    return ["```", *lines, "```"]


SECTIONS = [Section(PAGE, "tree", tree)]
