"""The records of the vector index, one per chunk: what they hold, what they are called, what is proposed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

JITTER: Final = 1e-3

MetadataValue: TypeAlias = str | int | float | bool | list[str] | list[int] | list[float] | list[bool]


@dataclass(frozen=True, slots=True)
class Record:
    """What Chroma holds of one chunk.

    Attributes:
        id: The document's id, ``#`` and the chunk's number.
        vector: Unit length, shape (dimension,), float32.
        text: The chunk's text, or None where the index keeps no text.
        metadata: The typed fields by name. None takes a value away that an older version may have: Chroma merges
            metadata when it replaces a record.
    """

    id: str
    vector: np.ndarray
    text: str | None
    metadata: Mapping[str, MetadataValue | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One record that Chroma proposes.

    Attributes:
        document: The document's id.
        chunk: The chunk's number.
        score: Its cosine by the index's own copy of the vector: good enough to know how far the proposals reach.
    """

    document: str
    chunk: int
    score: float


def record_id(key: str, chunk: int) -> str:
    """Return the id of a chunk's record; the last ``#`` divides it, whatever the document's id holds."""
    return f"{key}#{chunk}"


def jittered(vector: np.ndarray, record: str) -> np.ndarray:
    """Return the vector moved by 0.001 in a direction that depends on the record alone, unit length again.

    Many records with one and the same vector make HNSW lose others. Scores never come from these copies.
    """
    seed = int.from_bytes(hashlib.blake2b(record.encode(), digest_size=8).digest(), "little")
    noise = np.random.default_rng(seed).standard_normal(vector.shape).astype(np.float32)
    moved = vector + noise * np.float32(JITTER / np.linalg.norm(noise))
    return np.asarray(moved / np.linalg.norm(moved), dtype=np.float32)


def candidate(record: str, score: float) -> Candidate:
    """Return a proposal by the id of its record."""
    key, _, chunk = record.rpartition("#")
    return Candidate(key, int(chunk), score)
