"""Words of a text in any script: where none has spaces between them, each character counts as one."""

import re
import unicodedata
from collections.abc import Iterable, Sequence


# Characters of scripts that are written without spaces between words: Thai and Lao, Tibetan, Burmese, Khmer, kana and Chinese ones.
_UNSPACED = "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
UNSPACED = re.compile(f"[{_UNSPACED}]")
WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
# What scikit-learn takes for a word unasked.
TERM = re.compile(r"(?u)\b\w\w+\b")


def words(text: str) -> list[str]:
    """Return what is between spaces; of a script without any, each character."""
    return WORD.findall(text)


def lead(text: str, number: int) -> str:
    """Return a text up to the end of its first words, `number` of them."""
    ends = [found.end() for found in WORD.finditer(text)][:number]
    return text[: ends[-1]].strip() if ends else ""


def bare_words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation and symbols."""
    return words("".join(" " if unicodedata.category(sign)[0] in "PS" else sign for sign in text.lower()))


def first_sentence(text: str) -> str:
    """Return a text up to its first full stop before a space, its first end of a sentence of another script, or the end of its line."""
    return re.split(r"\. |\n|(?<=[。！？｡।۔؟])", text.strip(), maxsplit=1)[0]


def is_unspaced(text: str) -> bool:
    """Return whether most letters of a text are of scripts without spaces between words."""
    return 2 * len(UNSPACED.findall(text)) > sum(map(str.isalpha, text)) > 0


def unit(texts: Iterable[str]) -> str:
    """Return what counts as a word in most of the texts: `words` or `characters`."""
    return _most(map(is_unspaced, texts), "characters", "words")


def terms(texts: Iterable[str]) -> str:
    """Return what most of the texts have to be told apart by, `words` or `characters`: signs and single letters are no words to
    scikit-learn, and a sentence of a script without spaces is one."""
    return _most((is_unspaced(text) or not TERM.search(text) for text in texts), "characters", "words")


def is_latin(texts: Sequence[str]) -> bool:
    """Return whether most letters are those that rouge-score knows, from a to z."""
    letters = [sign for text in texts for sign in text if sign.isalpha()]
    return 2 * sum(map(str.isascii, letters)) >= len(letters)


def _most(flags: Iterable[bool], yes: str, no: str) -> str:
    found = list(flags)
    return yes if 2 * sum(found) > len(found) else no
