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
