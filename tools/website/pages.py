"""Which files of the repository are pages of the site, and what their links lead to there."""

import re
import shutil
from pathlib import Path, PurePosixPath

from . import notebooks, reference


ROOT = Path(__file__).parents[2]
GATHERED = ROOT / "build" / "pages"
# Beside docs/: where the page is on the site. A name ending in .zh.md is the Chinese form of the page of that name.
OTHERS = {
    "README.md": "index.md",
    "README_zh.md": "index.zh.md",
    "benchmarks/RESULTS.md": "results.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
# What is shown as it is; of other files a link leads to their text.
AS_THEY_ARE = {".png", ".svg", ".jpg"}
SCRIPT = Path(__file__).with_name("iframe-worker.js")
LINK = re.compile(r"(?<=\]\()(?!https?://|mailto:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
# Above a page, what leads to the other language: the site has a switch.
SWITCH = re.compile(r"^(?:English \| \[中文\]\([^)]*\)|\[English\]\([^)]*\) \| 中文)(?: \| |\n)?", re.MULTILINE)
LANGUAGES = {"md": "markdown", "py": "python", "json": "json", "yaml": "yaml", "sh": "bash"}


def pages() -> dict[str, str]:
    """Return the path on the site of every page, by its path in the repository."""
    found = {path.relative_to(ROOT).as_posix(): path.name for path in sorted((ROOT / "docs").glob("*.md"))}
    found |= {f"notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    found |= {f"model_cards/{path.parent.name}/README.md": f"cards/{path.parent.name}.md" for path in cards()}
    return {source: re.sub(r"_zh\.md$", ".zh.md", page) for source, page in (found | OTHERS).items()}


def cards() -> list[Path]:
    return sorted((ROOT / "model_cards").glob("*/README.md"))


def gather(target: Path) -> int:
    """Write every page and what it shows below `target`, and return how many pages there are."""
    places, copied = pages(), set()
    for source, page in places.items():
        text, linked = (ROOT / source).read_text(encoding="utf-8"), set[str]()
        if source.endswith(".ipynb"):
            # Its only links are to its own pictures.
            text = notebooks.as_markdown(text, target / page)
        else:
            text, linked = relinked(SWITCH.sub("", text, count=1), PurePosixPath(source), PurePosixPath(page), places)
            if source.endswith("_zh.md"):
                text = anchored(text, (ROOT / source.replace("_zh.md", ".md")).read_text(encoding="utf-8"))
        write(target / page, spaced(text))
        copied |= linked
    for source in sorted(copied):
        show(source, target)
    generated = reference.pages()
    for page, content in generated.items():
        write(target / page, content)
    reference.draw_presets(target / "presets")
    write(target / "assets" / SCRIPT.name, SCRIPT.read_text(encoding="utf-8"))
    return len(places) + len(generated)


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def relinked(text: str, source: PurePosixPath, page: PurePosixPath, places: dict[str, str]) -> tuple[str, set[str]]:
    """Return the text with links as they are on the site, and the files of the repository that it links to beside its pages."""
    linked = set()

    def replaced(match: re.Match) -> str:
        name = normal(source.parent / match[1])
        anchor = match[2] or ""
        # The site knows which language a page is of; its headings are other ones in the other language.
        place = re.sub(r"\.zh\.md$", ".md", places[name]) if name in places else shown_at(name)
        if page.name.endswith(".zh.md") and place.replace(".md", ".zh.md") in places.values():
            anchor = ""
        if name not in places:
            if not (ROOT / name).exists():
                raise FileNotFoundError(f"{source} links to {match[1]}, which is not there")
            linked.add(name)
        return relative(place, page) + anchor

    return LINK.sub(replaced, text), linked


def anchored(text: str, english: str) -> str:
    """Return a page with the anchors of its English form above its headings: a page that has no Chinese form leads to those."""
    lines, names = text.split("\n"), english.split("\n")
    for place, named in list(zip(headings(lines), headings(names)))[1:]:
        lines[place] = f'<a id="{name_of(names[named])}"></a>\n\n{lines[place]}'
    return "\n".join(lines)


def headings(lines: list[str]) -> list[int]:
    """Return which of the lines are headings, and no comment in a block of code."""
    found, is_code = [], False
    for place, line in enumerate(lines):
        is_code ^= line.startswith("```")
        if line.startswith("#") and not is_code:
            found.append(place)
    return found


def name_of(heading: str) -> str:
    """Return the anchor that MkDocs gives a heading."""
    return re.sub(r"[^\w -]", "", heading.lstrip("#").strip().lower()).replace(" ", "-")


def normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def relative(place: str, page: PurePosixPath) -> str:
    return "../" * (len(page.parts) - 1) + place


def shown_at(source: str) -> str:
    """Return where a file or a folder of the repository is on the site; a dot in a page's name would tell its language."""
    return f"files/{source}" if PurePosixPath(source).suffix in AS_THEY_ARE else f"files/{source.replace('.', '-')}.md"


def show(source: str, target: Path) -> None:
    """Copy a picture; write a page with the text of any other file, or with the names in a folder."""
    path, place = ROOT / source, target / shown_at(source)
    if path.suffix in AS_THEY_ARE:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        return
    if path.is_dir():
        body = "\n".join(f"- `{inner.name}`" for inner in sorted(path.iterdir()) if not inner.name.startswith((".", "__")))
    else:
        body = f"~~~~ {LANGUAGES.get(path.suffix[1:], 'text')}\n{path.read_text(encoding='utf-8').rstrip()}\n~~~~"
    write(place, f"---\nsearch:\n  exclude: true\n---\n\n# {source}\n\n{body}\n")


def spaced(text: str) -> str:
    """Return the text with an empty line before each list, which GitHub does not need and Python-Markdown does."""
    lines: list[str] = []
    is_code = False
    for line in text.split("\n"):
        is_code ^= line.lstrip().startswith("```")
        before = lines[-1] if lines else ""
        begins_list = re.match(r"(?:[-*]|\d+\.) ", line) is not None
        if begins_list and not is_code and before.strip() and not re.match(r"(?:[-*]|\d+\.) |\s|#|<!--", before):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)
