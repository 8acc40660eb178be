"""The built-in model ``hashing-256``: no weights, no download, the same vectors everywhere.

It is lexical, not semantic: texts are close when they share words and word pairs. It is there for tests and for
trying out a pipeline; "car" and "automobile" have nothing in common for it.
"""

from __future__ import annotations

import re
import zlib
from itertools import chain
from typing import TYPE_CHECKING

from kb.embed.encoder import FINGERPRINT_SENTENCES, check_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from kb.embed.encoder import Vectors

_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_DIMENSION = 256
_WINDOW = 256
_PAIR_WEIGHT = 0.5
_SLAB = 8192
_MAX_REMEMBERED_WORDS = 200_000


class HashingEncoder:
    r"""Signed feature hashing of words and of pairs of neighbouring words into 256 dimensions.

    A word is ``\w+``, compared without case; a token, as ``token_spans`` counts them, is a word or one other sign.
    A text without any word gets a fixed unit vector. There are no prompts and no special tokens. Texts over the
    window are not cut: the window only tells the chunker how long a chunk may be.
    """

    model = "hashing-256"
    dimension = _DIMENSION
    window = _WINDOW
    reserved = 0
    document_prompt = ""
    query_prompt = ""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return the (start, end) character offsets of the words and signs of ``text``."""
        return [match.span() for match in _TOKEN.finditer(text)]

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed texts; shape (len(texts), 256), float32, rows of length 1 in the order given."""
        import numpy as np

        out = np.empty((len(texts), _DIMENSION), dtype=np.float32)
        for start in range(0, len(texts), _SLAB):
            slab = texts[start : start + _SLAB]
            out[start : start + len(slab)] = self._encode(slab)
        return out

    def encode_query(self, text: str) -> Vectors:
        """Embed one search text, exactly as a document; shape (256,), float32, length 1."""
        vector: Vectors = self._encode([text])[0]
        return vector

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Embed search texts, exactly as documents; shape (len(texts), 256)."""
        return self.encode_documents(texts)

    def query_tokens(self, text: str) -> int:
        """Count the words and signs of ``text``."""
        return len(_TOKEN.findall(text))

    def prepare_queries(self) -> None:
        """Do nothing: queries need no preparation."""

    def fingerprint(self) -> Vectors:
        """Embed the three fixed sentences; shape (3, 256)."""
        return self._encode(FINGERPRINT_SENTENCES)

    def close(self) -> None:
        """Do nothing: no memory is held that matters."""

    def _encode(self, texts: Sequence[str]) -> Vectors:
        import numpy as np

        words = [_WORD.findall(text.lower()) for text in texts]
        counts = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
        hashes = np.fromiter(map(self._hash, chain.from_iterable(words)), dtype=np.uint64, count=int(counts.sum()))
        rows = np.repeat(np.arange(len(texts)), counts)
        paired = rows[1:] == rows[:-1]
        pairs = (hashes[:-1] * np.uint64(0x9E3779B97F4A7C15) + hashes[1:])[paired]
        sums = _signed_sums(rows, hashes, len(texts)) + _PAIR_WEIGHT * _signed_sums(rows[1:][paired], pairs, len(texts))
        # No words, or words whose signs cancel out exactly.
        sums[~sums.any(axis=1), 0] = 1.0
        return check_vectors(sums, len(texts), _DIMENSION)

    def _hash(self, word: str) -> int:
        value = self._known.get(word)
        if value is None:
            if len(self._known) >= _MAX_REMEMBERED_WORDS:
                self._known.clear()
            # "surrogatepass": a lone surrogate is a valid str, and must not crash a model.
            value = self._known[word] = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        return value


def _signed_sums(rows: NDArray[np.int64], hashes: NDArray[np.uint64], count: int) -> NDArray[np.float64]:
    """Add +1 or -1 per feature into the cell that its hash selects; shape (count, 256)."""
    import numpy as np

    # The splitmix64 finaliser: crc32 alone is linear, so that related words would land in related cells.
    mixed = hashes + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    cells = rows * _DIMENSION + (mixed & np.uint64(_DIMENSION - 1)).astype(np.int64)
    signs = 1.0 - 2.0 * ((mixed >> np.uint64(32)) & np.uint64(1)).astype(np.float64)
    sums = np.zeros(count * _DIMENSION, dtype=np.float64)
    sums += np.bincount(cells, weights=signs, minlength=len(sums))
    return sums.reshape(count, _DIMENSION)
