"""Text into chunks that partition it and fit a model's window.

``"".join(chunk.text for chunk in split(…))`` is the text again, always. Overlap exists only in what the model reads
(``embed_text``), never in what is stored. Knows no model: the caller passes the tokeniser's view of a text in.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from kb.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PARAGRAPH = re.compile(r"(?:\n[^\S\n]*\n|[\f\u2029])\s*+")
# A full stop counts only where no small letter follows: "e.g. this" is not two sentences.
_SENTENCE = re.compile(r"[.!?…][\"'”’»)\]]*+\s++(?![a-z])|[。！？｡][”’」』）]*+\s*+|\n\s*+")
# No language has tokens this long: beyond it stands one unknown token for what a tokeniser gave up on.
_MAX_CHARACTERS_PER_TOKEN = 64
_SPACE = re.compile(r"\s*+")
_MIN_TOKENS = 16
_LONGEST_CLUSTER = 32
_ZERO_WIDTH_JOINER = "\u200d"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A slice of a document's text.

    Attributes:
        ordinal: Position among the document's chunks, from 0.
        start: Offset of its first character in the text.
        end: Offset after its last character; ``text[start:end]`` is ``Chunk.text``.
        text: The slice itself.
        embed_text: What the model reads: the end of the chunk before, then this chunk.
    """

    ordinal: int
    start: int
    end: int
    text: str
    embed_text: str


@dataclass(frozen=True)
class Chunking:
    """How texts are cut; part of a recipe.

    Attributes:
        tokens: Most tokens of one ``embed_text``, special tokens and document prompt included; at least 16.
        overlap: Most tokens repeated from the chunk before; from 0 to half of ``tokens``.

    Raises:
        SchemaError: A number is out of range.
    """

    tokens: int = 256
    overlap: int = 32

    def __post_init__(self) -> None:
        if self.tokens < _MIN_TOKENS:
            raise SchemaError(f"chunk tokens = {self.tokens} is too few", hint=f"use {_MIN_TOKENS} or more")
        if not 0 <= self.overlap <= self.tokens // 2:
            what = f"chunk overlap = {self.overlap} is out of range"
            raise SchemaError(what, hint=f"use 0 to {self.tokens // 2}, at most half of tokens = {self.tokens}")


def sentences(text: str) -> list[tuple[int, int]]:
    """Return where each sentence of a text begins and ends; together they partition it."""
    borders = sorted({0, len(text), *(m.end() for p in (_SENTENCE, _PARAGRAPH) for m in p.finditer(text))})
    return list(pairwise(borders))


def split(
    text: str, chunking: Chunking, *, spans: Callable[[str], Sequence[tuple[int, int]]], reserved: int
) -> list[Chunk]:
    """Cut ``text`` into chunks.

    A chunk ends on a paragraph border when it is at least half full there, else on a sentence border, else at white
    space, else between two tokens. White space stays with the chunk before it.

    Args:
        text: Any text; the empty one has no chunks.
        chunking: The sizes.
        spans: Gives the (start, end) character offsets of the tokens of a text, in order, without special tokens.
            It may leave characters out, and may give several tokens for one character.
        reserved: Tokens that special tokens and the document prompt add to every ``embed_text``.

    Returns:
        The chunks in order. A text that fits is one chunk whose ``embed_text`` is the text.

    Raises:
        SchemaError: ``reserved`` and the overlap leave no room for text.
    """
    if not text:
        return []
    budget = chunking.tokens - reserved
    if budget - chunking.overlap < 1:
        what = f"chunks of {chunking.tokens} tokens have no room for text: {reserved} are reserved for the model"
        raise SchemaError(f"{what}, {chunking.overlap} for overlap", hint="raise the chunk tokens")
    # One token for one ASCII character is the worst that any tokeniser does, plus one for the word marker that some
    # put in front. Other characters may decompose into more tokens than they have bytes.
    if text.isascii() and len(text) < budget:
        return [Chunk(0, 0, len(text), text, text)]
    return _Splitter(text, budget, chunking.overlap, spans).run()


class _Splitter:
    """One text being cut; ``budget`` counts tokens of text, without the reserved ones."""

    def __init__(self, text: str, budget: int, overlap: int, spans: Callable[[str], Sequence[tuple[int, int]]]) -> None:
        self.text = text
        self.budget = budget
        self.overlap = overlap
        self.spans = spans
        tokens = spans(text)
        self.starts = [start for start, _ in tokens]
        self.ends = [end for _, end in tokens]

    def run(self) -> list[Chunk]:
        chunks: list[Chunk] = []
        start = 0
        while start < len(self.text):
            end, embed_from, embed_to = self._next(start, chunks[-1].start if chunks else None)
            piece = self.text[start:end]
            embed_text = piece if (embed_from, embed_to) == (start, end) else self.text[embed_from:embed_to]
            chunks.append(Chunk(len(chunks), start, end, piece, embed_text))
            start = end
        return chunks

    def _next(self, start: int, before: int | None) -> tuple[int, int, int]:
        """Return where the chunk from ``start`` ends, and the slice of the text that the model reads for it."""
        first = bisect_right(self.ends, start)
        capacity = self.budget if before is None else self.budget - self.overlap
        if self._rest_fits(start, first):
            capacity = self.budget
        while True:
            end = self._end(start, first, capacity)
            embed = self._with_overlap(start, end, before)
            if embed is not None:
                return end, *embed
            # The slice has more tokens on its own than inside the whole text.
            if capacity == 1:
                what = f"the characters at offset {start} alone are more tokens than a chunk may have"
                raise SchemaError(what, hint="raise the chunk tokens")
            capacity -= max(1, capacity // 8)

    def _rest_fits(self, start: int, first: int) -> bool:
        short = len(self.text) - start <= self.budget * _MAX_CHARACTERS_PER_TOKEN
        return short and len(self.starts) - first <= self.budget

    def _end(self, start: int, first: int, capacity: int) -> int:
        """Return the best place to end a chunk of at most ``capacity`` tokens; always after ``start``."""
        limit = self._after_space(start) + capacity * _MAX_CHARACTERS_PER_TOKEN
        if first + capacity < len(self.starts):
            limit = min(limit, max(self.starts[first + capacity], start + 1))
        limit = self._after_space(min(limit, len(self.text)))
        if limit == len(self.text):
            return limit
        half = max(start, self._offset(first + capacity // 2, limit))
        quarter = max(start, self._offset(first + capacity // 4, limit))
        for border, least in ((_PARAGRAPH, half), (_SENTENCE, quarter)):
            ends = [match.end() for match in border.finditer(self.text, start, limit) if match.end() > least]
            if ends:
                return ends[-1]
        return self._after_last_space(start, limit) or self._between_clusters(start, limit)

    def _offset(self, token: int, limit: int) -> int:
        return min(self.starts[token], limit) if token < len(self.starts) else limit

    def _after_space(self, position: int) -> int:
        match = _SPACE.match(self.text, position)
        return match.end() if match else position

    def _after_last_space(self, start: int, limit: int) -> int | None:
        position = limit
        while position > start and not self.text[position - 1].isspace():
            position -= 1
        # Only leading white space is no place to cut: the chunk would have no text.
        return position if self.text[start:position].strip() else None

    def _between_clusters(self, start: int, limit: int) -> int:
        """Move a hard cut back so that it does not part a letter from its accents, or an emoji sequence."""
        for position in range(limit, max(start, limit - _LONGEST_CLUSTER), -1):
            joined = self.text[position] == _ZERO_WIDTH_JOINER or self.text[position - 1] == _ZERO_WIDTH_JOINER
            if not joined and not unicodedata.category(self.text[position]).startswith("M"):
                return position
        return limit

    def _with_overlap(self, start: int, end: int, before: int | None) -> tuple[int, int] | None:
        """Return the slice to embed for the chunk [start, end), or None when even the chunk alone is too long."""
        alone = bisect_left(self.starts, end) - bisect_right(self.ends, start)
        wanted = min(self.overlap, self.budget - alone)
        while before is not None and wanted > 0:
            embed_from = self._tail(start, before, wanted)
            if embed_from == start:
                break
            excess = self._count(embed_from, end) - self.budget
            if excess <= 0:
                return embed_from, end
            wanted = min(wanted // 2, wanted - excess)
        if self._count(start, end) <= self.budget:
            return start, end
        stripped = start + len(self.text[start:end].rstrip())
        return (start, stripped) if self._count(start, stripped) <= self.budget else None

    def _count(self, start: int, end: int) -> int:
        if end - start == len(self.text):
            return len(self.starts)
        return len(self.spans(self.text[start:end]))

    def _tail(self, start: int, before: int, tokens: int) -> int:
        """Return the first word border at most ``tokens`` tokens before ``start``, within the chunk before."""
        first = bisect_left(self.starts, start)
        position = self.starts[first - tokens] if first >= tokens else before
        position = max(position, before, start - tokens * _MAX_CHARACTERS_PER_TOKEN)
        while position < start and not (position == before or _is_word_border(self.text, position)):
            position += 1
        return self._after_space(position) if position < start else start


def _is_word_border(text: str, position: int) -> bool:
    left, right = text[position - 1], text[position]
    if right.isspace():
        return False
    # From U+2E80 on come the scripts that are written without spaces.
    return left.isspace() or (right.isalnum() and not left.isalnum()) or right >= "\u2e80"
