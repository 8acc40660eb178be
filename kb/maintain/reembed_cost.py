"""What another generation of a collection would cost, before it is built."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.errors import LimitError
from kb.write import plan_documents

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kb.write import Target

SAMPLE: Final = 5_000
"""Of more documents than that, so many are looked at, and the figures are scaled."""

_PAGE: Final = 200
_PROBE: Final = 32
_ROW: Final = 120
"""Bytes of a chunk or a vector in the catalog beside the vector itself: its row and its entries in indexes."""

_RECORD: Final = 1_500
"""Bytes of a record in Chroma beside its vector and its text: metadata and links."""

_COPIES: Final = 3
"""How many times Chroma writes a vector or a text: its log, its graph or its text index, and the indexes of these."""

_LOG: Final = 80_000_000
"""Bytes that the write-ahead logs take at the most, before they are folded in."""


@dataclass(frozen=True, slots=True)
class ReembedEstimate:
    """What another generation would cost.

    Attributes:
        documents: How many it has still to take over.
        chunks: Into how many its recipe cuts them.
        texts: How many distinct ones have no vector yet.
        seconds: What embedding these takes, as measured with some of them; None where that was not measured.
        bytes_needed: What it takes on the disk while it stands beside the one that serves, rather too much.
        bytes_free: What there is.
        is_sampled: Whether the figures were scaled up from some of the documents.
    """

    documents: int
    chunks: int
    texts: int
    seconds: float | None
    bytes_needed: int
    bytes_free: int
    is_sampled: bool

    def check(self) -> None:
        """Make sure that there is room.

        Raises:
            LimitError: There is not.
        """
        if self.bytes_needed > self.bytes_free:
            raise LimitError(
                f"another generation needs about {_megabytes(self.bytes_needed)} of disk; "
                f"{_megabytes(self.bytes_free)} are free",
                unchanged="nothing was done; the generation that serves is untouched",
                hint="free space, or drop retired generations: kb gc",
            )


def estimate_reembed(
    target: Target, serving: cat.StoredCollection, *, waiting: str | None, store_text: bool, probe: bool
) -> ReembedEstimate:
    """Return what bringing another generation up to date would cost; stores nothing.

    Args:
        target: The collection as it would be.
        serving: The collection as it is.
        waiting: The queue of a generation that has been begun; None for one that has not.
        store_text: Whether the index keeps texts.
        probe: Whether to embed a few texts to measure how long that takes.

    Raises:
        EncoderError: The model failed.
    """
    with target.catalog.read() as connection:
        seqs = (
            cat.page_seqs(connection, serving.id, after=0, limit=-1)
            if waiting is None
            else cat.waiting_seqs(connection, serving.id, waiting)
        )
        some = seqs if len(seqs) <= SAMPLE else seqs[:: -(-len(seqs) // SAMPLE)]
        chunks, size, texts = _planned(connection, target, some)
        known = cat.known_vectors(connection, target.collection.recipe.space, list(texts))
    missing = [text for text_hash, text in texts.items() if text_hash not in known]
    scale = len(seqs) / max(1, len(some))
    number, made = round(chunks * scale), round(len(missing) * scale)
    seconds = _probed(target, missing, made) if probe else None
    differs = target.collection.recipe.template != serving.recipe.template
    needed = _bytes(target, number, made, round(size * scale), store_text=store_text, new_texts=differs)
    free = shutil.disk_usage(target.catalog.path.parent).free
    return ReembedEstimate(len(seqs), number, made, seconds, needed, free, len(some) < len(seqs))


def _planned(connection: cat.Connection, target: Target, seqs: Sequence[int]) -> tuple[int, int, Mapping[bytes, str]]:
    """Return how many chunks documents have, how many bytes of text, and what is embedded of them by hash."""
    chunks = size = 0
    texts: dict[bytes, str] = {}
    for start in range(0, len(seqs), _PAGE):
        documents = cat.get_documents_by_seq(connection, seqs[start : start + _PAGE])
        for one in plan_documents(target, list(documents.values())):
            chunks += len(one.chunks)
            size += len(one.text.encode())
            texts.update(one.texts)
    return chunks, size, texts


def _probed(target: Target, missing: Sequence[str], made: int) -> float:
    """Return how long so many texts take, from a few of them; the first call loads the model and does not count."""
    if not missing:
        return 0.0
    some = list(missing[:: -(-len(missing) // _PROBE)])
    target.encoder().encode_documents(some[:1])
    began = time.perf_counter()
    target.encoder().encode_documents(some)
    return round((time.perf_counter() - began) / len(some) * made, 1)


def _bytes(target: Target, chunks: int, texts: int, size: int, *, store_text: bool, new_texts: bool) -> int:
    vector = target.collection.dimension * 4
    catalog = texts * (vector + _ROW) + chunks * 2 * _ROW + (2 * size if new_texts else 0)
    index = chunks * (_COPIES * vector + _RECORD) + (_COPIES * size if store_text else 0)
    return catalog + index + min(_LOG, catalog + index)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
