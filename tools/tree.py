"""Write the tree of docs/architecture.md from the first line of each module's docstring.

python -m tools.tree [--check]      in the order of the layers in pyproject.toml
"""

import ast
import sys
from pathlib import Path


ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "hf_gpt"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- tree:begin -->", "<!-- tree:end -->"


def layers() -> list[list[str]]:
    """Names of the modules and folders below `hf_gpt`, by layer, the highest first."""
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("[[tool.importlinter.contracts]]")[1]
    listed = ast.literal_eval(contract[contract.index("layers = ") + len("layers = ") : contract.index("\n]") + 2])
    return [layer.split(" | ") for layer in listed]


def first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def tree() -> str:
    lines = ["src/hf_gpt/"]
    for name in [name for layer in layers() for name in layer]:
        folder = PACKAGE / name
        if not folder.is_dir():
            lines.append(f"  {name + '.py':<26}{first_line(folder.with_suffix('.py'))}")
            continue
        lines.append(f"  {name + '/':<26}{first_line(folder / '__init__.py')}")
        for path in sorted(folder.rglob("*.py")):
            if path != folder / "__init__.py":
                inner = path.relative_to(folder)
                shown = f"{inner.parent.as_posix()}/" if path.name == "__init__.py" else inner.as_posix()
                lines.append(f"    {shown:<24}{first_line(path)}")
    return "\n".join(["```", *lines, "```"])


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    made = f"{before}{BEGIN}\n{tree()}\n{END}{rest.split(END)[1]}"
    if "--check" in sys.argv[1:]:
        sys.exit(f"{PAGE} is not what `python -m tools.tree` writes." if made != page else 0)
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
