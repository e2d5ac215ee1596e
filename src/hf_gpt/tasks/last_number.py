"""The number that a text ends in, as people and models write numbers."""

import re
from decimal import Decimal
from fractions import Fraction


# What GSM8K writes before the answer (Cobbe et al. 2021).
MARK = "####"
# The power of a unit or of a letter is of no number.
_POWER = re.compile(r"(?<=[^\W\d])(?:\^\{?-?\d+\}?|\*\*\d+)")
_FRACTION_OF_LATEX = re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}")
# Thousands are apart by commas, points above, low lines or spaces.
_WHOLE = r"\d{1,3}(?:[ ,'’_\u00a0\u2009\u202f]\d{3})+(?!\d)|\d+"
_CURRENCIES = "$€£¥₹₩₽¢₺₫₪₦₱฿"
# A sign that follows a word or a bracket takes something away.
_NUMBER = re.compile(
    rf"""(?P<sign>(?<![\w)\]])[-+−–])? (?:[{_CURRENCIES}]\s?)? (?P<inner>(?<![\w)\]])[-+−–])?
    (?: (?:(?P<and>\d+)[ \u00a0])? (?P<upper>\d+)[ ]?[/⁄][ ]?(?P<lower>\d+)
      | (?P<decimal>(?:{_WHOLE})(?:\.\d+)?|(?<!\.)\.\d+) (?P<exponent>[eE][-+−]?\d{{1,3}})? )
    (?!\d|[.,'’_:/⁄]\d|[eE][-+−]?\d|[\^⁰-⁹¹²³¼-¾⅐-⅞]|\*\*\d)
    | \d(?:\^[-+−]?|\*\*(?=\d)|[\w.,'’:/⁄{{}}¼-¾⅐-⅞])*""",
    re.VERBOSE,
)


def last_number(text: str) -> Fraction | None:
    """Return the last number of a text, exactly; `None` where it has none, or its last digits are of none: a date, a version, a power.

    A sign of a currency and one of percent say nothing of the number. A point is decimal, and so `1.000` is one.
    """
    numbers = list(_NUMBER.finditer(_said(text)))
    return _value(numbers[-1]) if numbers else None


def is_number(text: str) -> bool:
    """Return whether a text, or what it marks as its answer, is a number and no more."""
    found = _NUMBER.fullmatch(_said(text).strip().rstrip(f".% {_CURRENCIES}"))
    return found is not None and _value(found) is not None


def _said(text: str) -> str:
    return _POWER.sub("", _FRACTION_OF_LATEX.sub(r"\1/\2", text.rpartition(MARK)[2]))


def _value(found: re.Match[str]) -> Fraction | None:
    sign = -1 if {found["sign"], found["inner"]} & {"-", "−", "–"} else 1
    if found["decimal"] is not None:
        digits = re.sub(r"[^\d.]", "", found["decimal"])
        return sign * Fraction(Decimal(digits + (found["exponent"] or "").replace("−", "-")))
    if found["lower"] is None or not Decimal(found["lower"]):
        return None
    upper, lower, beside = (Fraction(Decimal(found[name] or 0)) for name in ("upper", "lower", "and"))
    return sign * (beside + upper / lower)
