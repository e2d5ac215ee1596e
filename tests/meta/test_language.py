"""Code, messages and pages use the words of the field."""

import re

import pytest
from tests.conftest import ROOT


PATTERNS = ("src/**/*.py", "docs/*.md", "README.md", "CONTRIBUTING.md", "recipes/**/*.yaml", "model_cards/*TEMPLATE.md")
FILES = [path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))]
# What is said in their place.
BANNED = {
    r"nats? a token": "nats per token",
    r"tokens? a second": "tokens/s",
    r"so many": "the number, or `limit`",
    r"belongs? into": "belongs in",
    r"stands? in(?! for)": "is in",
    r"(un)?mend(s|ed|ing)?": "fix, hint",
    r"(give|run) the( same)? command again|go on from": "rerun the same command, resume",
    r"(last|newest) whole checkpoint": "the last valid checkpoint",
    r"new weights": "random initialisation, from scratch",
    r"what a user would pick( instead)?": "baselines",
    r"(loss|logits) in slices|without the matrix of logits": "fused linear cross-entropy, chunked",
    r"makes of a text": "inspect a trained model",
    r"sooner": "faster, earlier",
    r"last_whole|go_on_from|reaches_for_weights|write_more": "last_valid, on_resume, allows_direct_weight_access, save_extra_state",
}


@pytest.mark.parametrize("banned", BANNED)
def test_a_word_of_our_own_is_not_used_where_the_field_has_one(banned):
    pattern = re.compile(rf"(?<!\w)({banned})(?!\w)", re.IGNORECASE)
    for path in FILES:
        # A phrase may go over the end of a line, in a comment or in a message of two parts.
        text = re.sub(r"""["']?\s*\n\s*(# |f?["'])?""", " ", path.read_text(encoding="utf-8"))
        found = pattern.search(text)
        context = text[max(found.start() - 50, 0) : found.end() + 50] if found else ""
        assert found is None, f"{path.relative_to(ROOT)}: {BANNED[banned]!r} in place of {found[0]!r} in …{context}…"


CHINESE = [ROOT / "README_zh.md", *sorted((ROOT / "docs").glob("*_zh.md"))]
# Code, what links lead to, tags, titles of works and quotes; what a model has written is a quote.
QUOTED = re.compile(
    r"<!-- (?:samples|alignment-answers):begin.*?:end -->|<!--.*?-->|^>[^\n]*|`[^`]*`|\]\([^)]*\)|https?://\S+|<[^>\n]+>"
    r"""|(?<!\*)\*[^*\n]+\*(?!\*)|“[^”]*”|'[^'\n]*'|"[^"\n]*\"""",
    re.DOTALL | re.MULTILINE,
)
WORD = r"[A-Za-z][A-Za-z'’-]*"
# Names have none of these among them, a sentence or a note has.
OF_A_SENTENCE = re.compile(
    r"(?<![\w-])(?:an?|and|any|are|as|at|be|but|by|each|every|for|from|had|has|have|if|in|is|it|its|no|not|of|on|one|or|so|than|that|the|"
    r"their|then|there|these|they|this|those|to|was|we|were|what|when|where|which|who|will|with|without|you|your)(?![\w-])",
    re.IGNORECASE,
)


BLOCK = re.compile(r"```.*?```", re.DOTALL)
# What code says to its reader: a comment, behind a line or on one of its own, and a docstring.
COMMENT = re.compile(r'(?:^|[ \t])# +([^\n]*)|"""(.*?)"""', re.DOTALL | re.MULTILINE)


def english_in(text):
    """What of a page is English: three words or more, beside each other, of which one holds a sentence together."""
    text = BLOCK.sub(lambda block: "\n".join(map("".join, COMMENT.findall(block[0]))), text)
    runs = re.findall(rf"{WORD}(?:[ ,;:()\d.%/]+{WORD}){{2,}}", QUOTED.sub("·", text))
    return [run for run in runs if OF_A_SENTENCE.search(run)]


@pytest.mark.parametrize("page", CHINESE, ids=lambda page: page.name)
def test_a_chinese_page_has_no_english_but_code_names_and_quotes(page):
    """A phrase of a table is translated in `benchmarks/chinese.py`."""
    assert english_in(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("| `quickstart` | 33 | Evaluation only, and not for training. |", 1),
        ("这一行 was never translated 成中文。", 1),
        ("| 打包的文件, as the package states | 1 |", 1),
        ("Radford 等，2018，*Improving language understanding by generative pre-training*；见 `a file of the run`", 0),
        ("modern、gpt1、gpt2；Intel Xeon Processor；“This movie is a film”", 0),
        ("> **This movie is** a film that I have seen", 0),
        ("```bash\nhf-gpt train my.txt   # the same with your own text\n```", 1),
        ("```bash\n# the same with your own text\nhf-gpt train my.txt\n```", 1),
        ('```python\ndef changed(model):\n    """Whether the logits change."""\n```', 1),
        ('```python\nfor one in the_rows_of(it):  # 每一行\n    print(f"and this is not one of them")\n```', 0),
        ("```bash\nhf-gpt train my.txt   # 用自己的文本\n```", 0),
    ],
)
def test_an_english_sentence_on_a_chinese_page_is_found(line, found):
    assert len(english_in(f"# 标题\n\n{line}\n")) == found
