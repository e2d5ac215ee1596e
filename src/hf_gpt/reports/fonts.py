"""Letters on a picture: each in a font of this machine that has it, and one that none has as a box, without a warning."""

import logging
import os
from functools import cache
from typing import Any

from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, findSystemFonts, fontManager, get_font
from matplotlib.text import Text

from ..errors import visible


FIRST = "DejaVu Sans"
# Many fonts of East Asian letters come in one weight, which matplotlib says of each text.
logging.getLogger("matplotlib.font_manager").addFilter(lambda record: "Failed to find font weight" not in record.getMessage())
BOX = "□"
# Of a language's letters, fonts made for them before others that happen to have some.
PREFERRED = ("CJK SC", "WenQuanYi", "PingFang", "YaHei", "CJK", "Noto Sans")


@cache
def families() -> dict[str, str]:
    """Return the file of each font of the machine by its name, those that are preferred first."""
    known = {entry.fname for entry in fontManager.ttflist}
    # matplotlib looks for fonts once and keeps what it finds: one that was installed later is in no list.
    for path in set(findSystemFonts()) - known:
        try:
            fontManager.addfont(path)
        except (OSError, RuntimeError):
            # A font of bitmaps, or damaged.
            continue
    found = {entry.name: entry.fname for entry in fontManager.ttflist if os.path.isfile(entry.fname)}
    ranks = {name: next((rank for rank, part in enumerate(PREFERRED) if part in name), len(PREFERRED)) for name in found}
    return {name: found[name] for name in sorted(found, key=lambda name: (ranks[name], name))}


@cache
def has(path: str, letter: str) -> bool:
    return bool(get_font(path).get_char_index(ord(letter)))


@cache
def family_of(letter: str) -> str | None:
    """Return the name of a font that has a letter; `None` where the machine has none."""
    if not letter.isprintable() or has(findfont(FIRST), letter):
        return FIRST
    return next((name for name, path in families().items() if has(path, letter)), None)


def drawable(text: str) -> str:
    """Return the text with a box for each letter that no font has."""
    return "".join(letter if family_of(letter) else BOX for letter in text)


def families_for(*texts: str) -> list[str]:
    """Return names of fonts that have the letters of some texts between them, for matplotlib's `fontfamily`."""
    return list(dict.fromkeys([FIRST, *(family for letter in "".join(texts) if (family := family_of(letter)))]))


def make_readable(figure: Figure) -> None:
    """Give every text of a figure fonts for its letters."""
    for axes in figure.axes:
        # Before they are asked for, the labels of ticks have no text.
        axes.xaxis.get_majorticklabels()
        axes.yaxis.get_majorticklabels()
    found: list[Any] = figure.findobj(Text)
    for text in found:
        if (shown := visible(text.get_text())) != text.get_text():
            text.set_text(shown)
        if not text.get_text().isascii():
            text.set_text(drawable(text.get_text()))
            text.set_fontfamily(families_for(text.get_text()))
