"""From text to words: the analyser that documents and queries share, and what of a user's text is a phrase."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from tantivy import TextAnalyzer

MAX_WORD_BYTES: Final = 40
"""A word of so many bytes or more in UTF-8 is left out: no word of a language is that long, encoded data is."""

_QUOTED: Final = re.compile('"([^"]*)"|“([^”]*)”')


@dataclass(frozen=True, slots=True)
class WordQuery:
    """What to look for, as the index spells words.

    Attributes:
        words: All of them, those of the phrases too, each once.
        counts: How often each of them stands in the query; it counts so many times.
        phrases: What stood in quotes and holds a word.
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]
    phrases: tuple[tuple[str, ...], ...] = ()


def analyser(language: str) -> TextAnalyzer:
    """Return what divides a text into words.

    Letters and digits are words, in lower case, reduced to their stem, without accents.

    Args:
        language: Whose stems; ``none`` for words as they are.
    """
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    builder = TextAnalyzerBuilder(Tokenizer.simple())
    builder = builder.filter(Filter.remove_long(MAX_WORD_BYTES)).filter(Filter.lowercase())
    if language != "none":
        builder = builder.filter(Filter.stemmer(language))
    return builder.filter(Filter.ascii_fold()).build()


def parse(analyser: TextAnalyzer, text: str) -> WordQuery:
    """Return what a user's text asks for: its words, and what stands in double quotes as phrases.

    An unclosed quote is a plain character, and nothing else is syntax.
    """
    text = encodable(text)
    phrases: list[tuple[str, ...]] = []
    for found in _QUOTED.finditer(text):
        phrases += _runs(analyser, found[1] or found[2] or "")
    # A quote is no letter: the words of the whole text are those inside and outside of the phrases, in its order.
    counts = Counter(analyser.analyze(text))
    return WordQuery(tuple(counts), tuple(counts.values()), tuple(dict.fromkeys(phrases)))


def surface(analyser: TextAnalyzer, words: Collection[str], text: str) -> tuple[str, ...]:
    """Return which of the words a text holds, as they stand in it, each spelling once."""
    text = encodable(text)
    found = (
        text[token.char_offset_from : token.char_offset_to]
        for token in analyser.pre_tokenize(text).tokens
        if token.text in words
    )
    return tuple(dict.fromkeys(found))


def encodable(text: str) -> str:
    """Return the text with a ``?`` for what UTF-8 has no bytes for: half characters, as a terminal may pass them on."""
    return text.encode(errors="replace").decode()


def _runs(analyser: TextAnalyzer, phrase: str) -> list[tuple[str, ...]]:
    """Return the words of a phrase; one that the index leaves out divides it, for nothing can be adjacent across it."""
    runs: list[list[str]] = []
    expected = -1
    for token in analyser.pre_tokenize(phrase).tokens:
        if token.position != expected:
            runs.append([])
        runs[-1].append(token.text)
        expected = token.position + 1
    return [tuple(run) for run in runs]
