"""Parts of the page of `hf-gpt demo`: limits of its fields, rates as they are read, lists of them, and texts to begin with."""

from html import escape
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..errors import InputError
from ..reports.records import RECORD_FILE, read_record
from .writing import stream_text


STYLE = """
.rates { font-family: ui-monospace, monospace; font-size: 0.95rem; }
.rates div { display: flex; justify-content: space-between; padding: 3px 6px; margin: 2px 0; border-radius: 4px; }
"""
BAR = "rgba(59, 130, 246, 0.35)"


# Characters of a text that one visitor may have worked on.
CHARACTERS = 2000


def check_length(text: Any) -> str:
    """Return the text, or `InputError` when it is longer than the page takes or none; a field that was emptied is an empty one."""
    if text is None:
        return ""
    if not isinstance(text, str):
        raise InputError(f"the text is a {type(text).__name__}: write words.")
    if not is_unicode(text):
        raise InputError("the text holds half of a letter, which no file could hold: write it anew.")
    if len(text) > CHARACTERS:
        raise InputError(f"the text has {len(text):,} characters and this page takes {CHARACTERS:,}: shorten it.")
    return text


def is_unicode(text: str) -> bool:
    """Return whether the text has no half of a pair of surrogates, which JSON can hold and no encoding."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def check_number(name: str, value: Any, low: float, high: float) -> Any:
    """Return the number, or `InputError`: a page may be asked for what its sliders do not offer, and a field may be emptied."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}: give a number from {low:g} to {high:,.15g}.")
    return value


def rate(probability: float) -> str:
    """Return a probability in per cent, with a figure that is not 0 however small it is."""
    percent = 100 * probability
    if percent < 0.01:
        return "under 0.01%"
    return f"{percent:.0f}%" if percent >= 10 else f"{percent:.1f}%" if percent >= 1 else f"{percent:.2f}%"


def rates(shares: dict[str, float]) -> str:
    """Return a list of what is likely, best first, each with its rate and a bar, as HTML."""
    rows = []
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        bar = f"linear-gradient(to right, {BAR} {share:.2%}, transparent {share:.2%})"
        rows.append(f'<div style="background: {bar}"><span>{escape(name)}</span><span>{rate(share)}</span></div>')
    return f'<div class="rates">{"".join(rows)}</div>'


# Of the rows that a packaged recipe trains on, a text and what goes with it; another model is given none that may not fit it.
EXAMPLES: dict[str, tuple[str, str]] = {
    "movie-reviews": ("This film was so good that I watched it twice, and my wife did not like it at all.", ""),
    "arithmetic": ("What is 23 + 45?", ""),
    "debian-pairs": ("This package contains the header files that are needed to compile programs.", "development files"),
}
WORDS_BEFORE, TOKENS_SHOWN = 3, 24


def first_texts(folder: str, model: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, str]:
    """Return a prompt, a text to look at and one that goes with it: of the model's own data, or its own words, or none.

    Args:
        folder: Of the run, whose record says what it was trained on, or a name on the Hub.
    """
    record = read_record(Path(folder)) if (Path(folder) / RECORD_FILE).is_file() else {}
    text, second = EXAMPLES.get(record.get("data", {}).get("path", ""), ("", ""))
    if not model.can_generate():
        return "", text, second
    prompts = [sample["prompt"] for sample in record.get("samples") or ()]
    prompt = prompts[0] if prompts else ""
    if tokenizer.chat_template is not None:
        return text, text, second
    if not text:
        text = prompt + own_words(model, tokenizer, prompt)
    return prompt or begin(tokenizer, text), text, second


def own_words(model: Any, tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """Return what a model writes by itself: it is of the language that the model knows."""
    try:
        *_, written = ["", *stream_text(model, tokenizer, prompt, TOKENS_SHOWN, 0.8, 0.95, 50, 0)]
    except InputError:
        # No token begins a text, or the model reads less than that.
        return ""
    return " ".join(written.split())


def begin(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    ids = tokenizer(text, verbose=False)["input_ids"][: WORDS_BEFORE + 1] if text else []
    return str(tokenizer.decode(ids, skip_special_tokens=True)).replace("\N{REPLACEMENT CHARACTER}", "").strip()
