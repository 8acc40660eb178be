"""Whether a record of the vector index is what it should be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from kb.index import jittered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kb.index import Record

ROUNDING: Final = 1e-6
"""Chroma normalises what it is given: the last bit of a number may change."""


def record_differences(expected: Record, vector: np.ndarray, found: Record) -> Iterator[str]:
    """Yield in what a record differs.

    Args:
        expected: Made from the catalog.
        vector: The catalog's, as it is: whether a record is the first of its vector, or a copy that is moved a little,
            changes with the documents.
        found: The one of that id in the index.
    """
    same = found.vector.shape == vector.shape and any(
        np.allclose(found.vector, one, rtol=0, atol=ROUNDING) for one in (vector, jittered(vector, found.id))
    )
    if not same:
        yield "its vector differs from the catalog's"
    if found.text != expected.text:
        yield "its text differs from the catalog's"
    names = sorted({*expected.metadata, *found.metadata})
    changed = [name for name in names if not _same_value(expected.metadata.get(name), found.metadata.get(name))]
    if changed:
        yield f"its metadata differs: {', '.join(changed)}"


def _same_value(expected: object, found: object) -> bool:
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(_same_value, expected, found))
    if isinstance(expected, float) and isinstance(found, float):
        # chromadb 1.5 gives floats back up to one unit in the last place off.
        return math.isclose(expected, found, rel_tol=1e-12)
    return type(expected) is type(found) and expected == found
