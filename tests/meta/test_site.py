"""The site: every page is there in both languages, no link is dead, nothing comes from elsewhere, and its reference is the code's.

make docs
"""

import dataclasses
import gzip
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import typer
from tests.conftest import ROOT
from tests.helpers.commands import run_command
from tests.helpers.website import build_site
from tools.website import reference
from tools.website.pages import LINK, anchored, gather, headings, name_of, pages, relinked, spaced

import hf_gpt
from hf_gpt import cli
from hf_gpt.recipe.arguments import PARTS
from hf_gpt.recipe.own_text import is_own_text, recipe_of_text
from hf_gpt.recipe.parser import load_recipe


# ------------------------------------------------------------------------------------------------------------ the pages


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    gather(folder)
    return folder


def test_every_page_of_the_documents_is_on_the_site(gathered):
    there = pages()
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} < set(there)
    assert {"README.md", "README_zh.md", "CHANGELOG.md", "benchmarks/RESULTS.md"} <= set(there)
    for page in there.values():
        # The site has a switch of its own.
        assert not re.search(r"English \| \[|\] ?\([^)]*\) \| 中文", (gathered / page).read_text(encoding="utf-8"))


def test_the_links_of_every_page_lead_to_a_page_or_a_file(gathered):
    for page in gathered.rglob("*.md"):
        if page.is_relative_to(gathered / "files"):
            continue
        for found in LINK.finditer(page.read_text(encoding="utf-8")):
            assert (page.parent / found[1]).is_file(), f"{page.name}: {found[1]}"


def test_the_anchors_of_every_link_are_there_in_both_languages(gathered):
    """A page that has no Chinese form leads to the Chinese form of another, by an English anchor."""
    count = 0
    for page in [path for path in gathered.rglob("*.md") if not path.is_relative_to(gathered / "files")]:
        for link, anchor in LINK.findall(page.read_text(encoding="utf-8")):
            target = page.parent / link
            if anchor and target.suffix == ".md":
                forms = [target, target.with_name(f"{target.stem}.zh.md")]
                for text in [form.read_text(encoding="utf-8") for form in forms if form.is_file()]:
                    lines = text.split("\n")
                    names = {name_of(lines[place]) for place in headings(lines)} | set(re.findall(r'<a id="([^"]*)"', text))
                    assert anchor[1:] in names, f"{page.name}: {link}{anchor}"
                    count += 1
    assert count > 10


def test_a_comment_in_code_is_no_heading():
    assert anchored("# 一\n```\n# a\n```\n## 二", "# One\n## Two, `b`") == ('# 一\n```\n# a\n```\n<a id="two-b"></a>\n\n## 二')


TRANSLATED = sorted(path.stem.removesuffix("_zh") for path in (ROOT / "docs").glob("*_zh.md"))


@pytest.mark.parametrize("name", TRANSLATED)
def test_a_translated_page_has_the_same_blocks(name):
    english, chinese = ((ROOT / "docs" / f"{name}{end}.md").read_text(encoding="utf-8") for end in ("", "_zh"))
    blocks = [re.findall(r"```(?:bash|python)\n(.*?)```", text, flags=re.DOTALL) for text in (english, chinese)]
    # But for comments and docstrings, which are translated too.
    said = re.compile(r'"{3}.*?"{3}|(?:^|(?<=\s))#[^\n]*', flags=re.DOTALL | re.MULTILINE)
    commands = [
        [line.rstrip() for block in part for line in said.sub("", block).splitlines() if line.strip()] for part in blocks
    ]
    assert commands[0] == commands[1]
    assert len(re.findall(r"^#+ ", english, flags=re.MULTILINE)) == len(re.findall(r"^#+ ", chinese, flags=re.MULTILINE))
    assert len(re.findall(r"[\u4e00-\u9fff]", chinese)) > 150


def test_the_pages_of_the_start_are_translated():
    assert {"laptop", "gpu", "own-text", "lineage"} <= set(TRANSLATED)


def test_a_link_to_what_is_not_there_is_an_error():
    with pytest.raises(FileNotFoundError, match=r"docs/x\.md links to nowhere\.md"):
        relinked("[a](nowhere.md)", Path("docs/x.md"), Path("x.md"), {})


def test_a_list_gets_the_line_that_markdown_wants_before_it():
    assert spaced("Say:\n- one\n- two\n```\na\n- b\n```") == "Say:\n\n- one\n- two\n```\na\n- b\n```"


# -------------------------------------------------------------------------------------------------- made from the code


def test_the_keys_of_a_recipe_are_those_of_the_dataclasses():
    page = reference.recipe_keys()
    for part, kind in PARTS.items():
        for field in dataclasses.fields(kind):
            if part != "training":
                assert f"| <code>{field.name}</code> | " in page
    # Each has its words, those of inherited fields too.
    assert "| <code>stride</code> | <code>int</code> | <code>128</code> | Tokens that two windows of a long text share" in page
    assert "| <code>test_share</code> | <code>float</code> | <code>0.05</code> | Shares of the texts that are held out" in page
    assert "why it does not belong in a recipe" in page


def test_the_commands_are_those_of_the_command_line():
    page = reference.commands()
    for name, command in typer.main.get_command(cli.app).commands.items():
        assert f"\n## hf-gpt {name}\n" in page
        assert all(
            f"<code>{option}</code>" in page for parameter in command.params for option in parameter.opts if option[0] == "-"
        )


def test_every_preset_has_its_size_and_its_picture(gathered):
    page = (gathered / "presets.md").read_text()
    assert "| [`gpt2`](#gpt2) | 124.4M | 12 | 768 | 12 / 12 | 1,024 | 50,257 |" in page
    for name in hf_gpt.list_presets():
        assert f"![The block of {name}](presets/{name}.svg)" in page
        assert "<svg" in (gathered / "presets" / f"{name}.svg").read_text()


def test_the_public_names_are_in_the_reference():
    assert {f"::: hf_gpt.{name}" for name in hf_gpt.__all__ if not name.startswith("_")} <= set(
        reference.public_names().splitlines()
    )


# ------------------------------------------------------------------------------------------------------------- as built


# What a page, a style or a script of ours may not name: another host. Material's own scripts know some, for parts that are off.
ELSEWHERE = re.compile(r"""(?:url\(|@import|src=|srcset=)\s*["']?(?:https?:)?//""")


class Links(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.links, self.names = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.names.add(given.get("id"))
        self.links += [(tag, given[key]) for key in ("href", "src") if given.get(key)]


@pytest.fixture(scope="module")
def site():
    return build_site()


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_a_dead_link_or_anything_from_elsewhere(site):
    parsed = {path.resolve(): Links(path) for path in site.rglob("*.html") if path.name != "404.html"}
    # Of English and Chinese, the same pages; what has no translation is there in English.
    names = {path.relative_to(site.resolve()).as_posix() for path in parsed}
    assert {f"zh/{name}" for name in names if not name.startswith("zh/")} <= names
    assert {"index.html", "recipe-keys.html", "zh/laptop.html", "api/modeling.html", "cards/quickstart.html"} <= names
    for path, page in parsed.items():
        for tag, link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert tag == "a" or parts.scheme == "data", f"{path.name} loads {link}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path.name}: {link}"
            if parts.fragment and target in parsed:
                assert unquote(parts.fragment) in parsed[target].names | {"__skip"}, f"{path.name}: {link}"


@pytest.mark.slow
def test_the_search_needs_neither_a_server_nor_another_host(site):
    """In a page that is opened as a file too: its words are in a script, and so is what stands for a worker there."""
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = ")
    assert '"location":"recipe-keys.html' in index
    assert '"location":"zh/laptop.html' in index
    for name in ("index.html", "zh/api/modeling.html"):
        scripts = re.findall(r'<script src="([^"]*)"', (site / name).read_text(encoding="utf-8"))
        assert [Path(script).name.split(".")[0] for script in scripts] == ["iframe-worker", "bundle"]
    for path in [*site.rglob("*.css"), *site.rglob("*.html"), site / "assets" / "iframe-worker.js"]:
        assert not ELSEWHERE.search(path.read_text(encoding="utf-8")), path.name


@pytest.mark.slow
def test_types_of_docstrings_are_code(site):
    page = (site / "api" / "modeling.html").read_text(encoding="utf-8")
    assert "<code>int</code>, <em>optional</em>" in page
    assert "<code>`" not in page


# ------------------------------------------------------------------------------------------------ commands of the start


def commands_of(page, name):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if f"{name} " in line and "hf" in line]


TRAININGS = [command for page in ("laptop", "gpu", "own-text") for command in commands_of(page, "train")]


@pytest.mark.parametrize("command", TRAININGS, ids=" ".join)
def test_a_command_that_trains_is_a_recipe_here(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text("A text of one's own.\n" * 200)
    (tmp_path / "my-folder").mkdir()
    (tmp_path / "my-folder" / "a.txt").write_text("Another one.\n" * 200)
    (tmp_path / "mine.csv").write_text("text,label\n" + "a text,good\nanother,bad\n" * 50)
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as file:
        file.write('{"body": "A row."}\n' * 200)
    name, *overrides = command[command.index("train") + 1 :]
    recipe = (recipe_of_text if is_own_text(name) else load_recipe)(name, overrides)
    for override in overrides:
        key, _, value = override.partition("=")
        if key == "output_dir":
            assert str(recipe.output_dir) == value


@pytest.mark.parametrize("command", commands_of("gpu", "plan"), ids=" ".join)
def test_a_command_that_plans_answers(command, monkeypatch, capsys):
    code, printed, told = run_command(monkeypatch, capsys, *command[1:])
    assert code == 0, told
    assert "parameters" in printed
