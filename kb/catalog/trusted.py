"""What is read is compared with what was written: SQLite keeps no checksum of its pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kb.catalog.failures import ADVICE
from kb.errors import CatalogDamagedError
from kb.schema import content_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOLERANCE: Final = 2e-3
"""Of the squared length of a vector; twice that of the length itself."""


def is_sound(fields: str, text: str, fields_hash: bytes, text_hash: bytes) -> bool:
    """Return whether a document's content has the fingerprints that were stored with it."""
    return content_hash(fields) == fields_hash and content_hash(text) == text_hash


def check_fields(key: str, fields: str, fields_hash: bytes) -> None:
    """Raise CatalogDamagedError when a document's fields are not what was stored."""
    if content_hash(fields) != fields_hash:
        raise _damaged(f"the content of the document '{key}'")


def check_content(key: str, fields: str, text: str, fields_hash: bytes, text_hash: bytes) -> None:
    """Raise CatalogDamagedError when a document's fields or text are not what was stored."""
    check_fields(key, fields, fields_hash)
    if content_hash(text) != text_hash:
        raise _damaged(f"the text of the document '{key}'")


def to_matrix(blobs: Sequence[bytes], dimension: int) -> np.ndarray:
    """Return stored vectors as the rows of a matrix of float32.

    Raises:
        CatalogDamagedError: One has not the length that all have.
    """
    joined = b"".join(blobs)
    if len(joined) != 4 * dimension * len(blobs) or any(len(blob) != 4 * dimension for blob in blobs):
        raise _damaged("a vector")
    matrix = np.frombuffer(joined, dtype="<f4").reshape(len(blobs), dimension)
    with np.errstate(all="ignore"):
        squares = np.einsum("ij,ij->i", matrix, matrix)
    if not bool((np.abs(squares - 1) <= _TOLERANCE).all()):  # also false for what is no number
        raise _damaged("a vector")
    return matrix


def _damaged(what: str) -> CatalogDamagedError:
    return CatalogDamagedError(f"{what} is not what was stored", hint=ADVICE)
