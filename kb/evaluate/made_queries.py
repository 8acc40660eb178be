"""Queries that a collection's own texts make: some that it answers, some that it does not."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from kb.chunks import sentences

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

SHORTEST: Final = 20
LONGEST: Final = 400
"""Characters of a sentence that serves as a query."""

KEYWORDS: Final = 8
SHUFFLED: Final = 6
"""Words of a query made of words."""

_WORD: Final = re.compile(r"[^\W\d_][\w'’-]+")


class Passage(NamedTuple):
    """A chunk of a document: its row number, the chunk's number, its text."""

    seq: int
    ordinal: int
    text: str


class HeldOut(NamedTuple):
    """A part of a passage that serves as a query, and what is left to answer it.

    Attributes:
        passage: Where it was taken from.
        text: The part.
        rest: The passage without it.
    """

    passage: Passage
    text: str
    rest: str


def hold_out(passages: Iterable[Passage], rng: np.random.Generator) -> list[HeldOut]:
    """Take a sentence out of each passage, or its second half where it is but one; leave out those too short for it."""
    found = (_held_out(passage, rng) for passage in passages)
    return [one for one in found if one is not None]


def _held_out(passage: Passage, rng: np.random.Generator) -> HeldOut | None:
    text = passage.text
    spans = [(start, end) for start, end in sentences(text) if text[start:end].strip()]
    if len(spans) == 1:
        middle = text.find(" ", len(text) // 2)
        spans = [(middle, len(text))] if middle > 0 else []
    fitting = [
        HeldOut(passage, text[start:end].strip(), f"{text[:start].rstrip()} {text[end:].lstrip()}".strip())
        for start, end in spans
    ]
    fitting = [one for one in fitting if SHORTEST <= len(one.text) <= LONGEST and len(one.rest) >= SHORTEST]
    return fitting[rng.integers(len(fitting))] if fitting else None


class Vocabulary:
    """The words of some texts, and in how many of them each stands."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Count the words."""
        self._texts = len(texts)
        self._counts: Counter[str] = Counter()
        for text in texts:
            self._counts.update({word.lower() for word in _WORD.findall(text)})

    def keywords(self, text: str) -> str:
        """Return the rarest words of a text in their order; words that stand nowhere else come last."""
        words = list(dict.fromkeys(_WORD.findall(text)))
        rarest = sorted(words, key=lambda word: (self._counts[word.lower()] < 2, self._counts[word.lower()]))
        kept = set(rarest[:KEYWORDS])
        return " ".join(word for word in words if word in kept) or text

    def shuffled(self, count: int, rng: np.random.Generator) -> list[str]:
        """Return queries of words that nothing but chance brings together."""
        telling = sorted(word for word, n in self._counts.items() if 2 <= n <= self._texts / 4)
        if len(telling) < SHUFFLED:
            telling = sorted(self._counts)
        if not telling:
            return []
        size = min(SHUFFLED, len(telling))
        return [" ".join(rng.choice(telling, size, replace=False).tolist()) for _ in range(count)]
