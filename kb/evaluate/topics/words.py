"""The words that are typical for a topic: frequent in its documents, and rare in all others.

A class-based tf-idf without a list of stop words: a word weighs its share of the topic's documents, times the logarithm
of how many times larger that is than its share of the other documents. What is everywhere weighs nothing, and a
frequent word that is at home in half of the topics is left out even where it is more so in one: "was" of the dead.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORD: Final = re.compile(r"[^\W\d_](?:\w|[-'’](?=\w))+")
_POSSESSIVE: Final = ("'s", "’s")
COMMON: Final = 0.05
"""A word may be a stop word when so large a share of all documents has it, …"""

EVEN: Final = 0.2
"""… and is one when half of the topics have it in a share of at least this part of the largest share."""

_SHORT: Final = 4
"""Where there is nothing to compare with, shorter words say little."""


def stem(word: str) -> str:
    """Return what a word has in common with its other cases and, by simple English rules, its plural."""
    word = word.casefold()
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


class WordCounts:
    """In how many documents of each topic each word stands."""

    def __init__(self, topics: int) -> None:
        """Start with no documents."""
        self._sizes = [0] * topics
        self._documents: list[Counter[str]] = [Counter() for _ in range(topics)]
        self._occurrences: list[Counter[str]] = [Counter() for _ in range(topics)]
        self._total: Counter[str] = Counter()
        self._forms: dict[str, Counter[str]] = {}
        self._stop_words: set[str] | None = None

    def add(self, topic: int, text: str) -> None:
        """Count the words of one document of a topic."""
        forms = Counter(_plain(word) for word in _WORD.findall(text))
        occurrences: Counter[str] = Counter()
        for form, count in forms.items():
            word = stem(form)
            occurrences[word] += count
            self._forms.setdefault(word, Counter())[form] += count
        self._sizes[topic] += 1
        self._stop_words = None
        self._documents[topic].update(occurrences.keys())
        self._occurrences[topic].update(occurrences)
        self._total.update(occurrences.keys())

    def typical(self, topic: int, count: int) -> tuple[str, ...]:
        """Return the most typical words of a topic, in the spelling that is the most frequent."""
        weights = self._alone(topic) if len(self._sizes) == 1 else self._against_the_rest(topic)
        occurrences = self._occurrences[topic]
        best = sorted(weights, key=lambda word: (-weights[word], -occurrences[word], -len(word), word))[:count]
        return tuple(self._shown(word) for word in best)

    def _against_the_rest(self, topic: int) -> dict[str, float]:
        size = self._sizes[topic]
        others = sum(self._sizes) - size
        common = self._common()
        weights = {}
        for word, documents in self._documents[topic].items():
            share = documents / size
            # Half a document more: a word that is nowhere else is not infinitely typical.
            elsewhere = (self._total[word] - documents + 0.5) / (others + 1)
            if share > elsewhere and word not in common:
                weights[word] = round(share * math.log(share / elsewhere), 9)
        return weights

    def _common(self) -> set[str]:
        """Return the words that are at home in half of the topics or more, and not in one alone."""
        if self._stop_words is None:
            read = [number for number, size in enumerate(self._sizes) if size]
            fewest = COMMON * sum(self._sizes)
            self._stop_words = set()
            for word, documents in self._total.items():
                if documents < fewest:
                    continue
                shares = [self._documents[number][word] / self._sizes[number] for number in read]
                if sum(share >= EVEN * max(shares) for share in shares) >= max(2, len(shares) / 2):
                    self._stop_words.add(word)
        return self._stop_words

    def _alone(self, topic: int) -> dict[str, float]:
        size = self._sizes[topic]
        return {
            word: round(occurrences * math.log((1 + size) / self._total[word]), 9)
            for word, occurrences in self._occurrences[topic].items()
            if len(word) >= _SHORT
        }

    def _shown(self, word: str) -> str:
        forms = self._forms[word]
        return max(forms, key=lambda form: (forms[form], form.islower(), form))


def _plain(word: str) -> str:
    return word[:-2] if word.endswith(_POSSESSIVE) else word


def count_words(documents: Iterable[tuple[int, str]], topics: int) -> WordCounts:
    """Count the words of documents, each with the number of its topic from 0."""
    counts = WordCounts(topics)
    for topic, text in documents:
        counts.add(topic, text)
    return counts
