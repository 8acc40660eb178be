"""Which encodings can read some bytes, and what they make of them: for a person to choose. Nothing is guessed."""

from __future__ import annotations

import codecs
import unicodedata
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CANDIDATES: Final = (
    *("utf-16-le", "utf-16-be", "cp1252", "cp1250", "cp1251", "koi8-r", "cp1253", "iso8859-15", "mac-roman"),
    *("shift_jis", "cp932", "euc_jp", "gb18030", "big5", "euc_kr", "cp437"),
)
_SHOWN: Final = 5
_ROOM: Final = 60
_WEIRD: Final = frozenset({"Cc", "Cn", "Co", "Cs"})


@dataclass(frozen=True, slots=True)
class Preview:
    """What an encoding makes of some bytes.

    Attributes:
        encoding: The codec.
        text: The first line that is not plain ASCII, cut around it.
    """

    encoding: str
    text: str


def readable_as(head: bytes) -> list[Preview]:
    """Return the encodings that can read all of the bytes, the likeliest first, at most five.

    Two encodings that read the line alike are one choice: the more common one stands for both.

    Args:
        head: The beginning of a file; it may end within a character.
    """
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    scored: list[tuple[float, int, Preview]] = []
    for order, encoding in enumerate((marked,) if marked else _CANDIDATES):
        try:
            text = codecs.getincrementaldecoder(encoding)("strict").decode(head)
        except UnicodeError:
            continue
        score = _strangeness(text)
        if score is not None:
            scored.append((score, order, Preview(encoding, _preview(text))))
    previews: dict[str, Preview] = {}
    for _, _, preview in sorted(scored, key=lambda one: one[:2]):
        previews.setdefault(preview.text, preview)
    return list(previews.values())[:_SHOWN]


def _strangeness(text: str) -> float | None:
    """Return how unlikely the text is: 0 for one in a single script; None for one that is no text at all."""
    foreign = [c for c in text.lstrip("\ufeff") if not c.isascii()]
    if any(c == "\0" for c in text) or any(unicodedata.category(c) in _WEIRD for c in foreign):
        return None
    if not foreign:
        return 0.0
    scripts = Counter(_script(c) for c in foreign if c.isalpha())
    odd = len(foreign) - scripts.total() + _badly_cased(text)
    kana = sum("\u3040" <= c <= "\u30ff" for c in foreign)
    # Words of Latin letters have few accents in them; what has little else was written in another script.
    accents = scripts["LATIN"] > sum(c.isalpha() and c.isascii() for c in text)
    return odd / len(foreign) + 0.5 * max(0, len(scripts) - 1) + 0.5 * accents - 0.5 * (kana * 5 >= len(foreign))


def _badly_cased(text: str) -> int:
    """Count capitals right after small letters, and letters of two scripts side by side."""
    count = 0
    for before, after in pairwise(text):
        if (before.isascii() and after.isascii()) or not (before.isalpha() and after.isalpha()):
            continue
        count += (before.islower() and after.isupper()) or _script(before) != _script(after)
    return count


def _script(letter: str) -> str:
    name = unicodedata.name(letter, "UNKNOWN")
    # Japanese mixes three.
    return "CJK" if name.startswith(("HIRAGANA", "KATAKANA", "CJK", "HALFWIDTH", "FULLWIDTH")) else name.split()[0]


def _preview(text: str) -> str:
    text = text.lstrip("\ufeff")
    at = next((n for n, c in enumerate(text) if not c.isascii()), 0)
    start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at), at - _ROOM // 2) + 1
    line = text[start : start + _ROOM].splitlines()[0] if text[start:] else ""
    return "".join(c if c.isprintable() else " " for c in line).strip()
