"""Token ids of several texts as one rectangle, and texts in an order that keeps the rectangles full."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray


def rectangle(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids and mask, each of shape (len(rows), longest row); padding is 0 in both.

    The padding id does not matter: masked positions have no influence on any vector.
    """
    import numpy as np

    width = max(map(len, rows))
    ids = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Yield the indexes of ``lengths`` in batches of similar length, longest first.

    Args:
        lengths: Tokens of each text.
        tokens: Most tokens of one batch, padding included; a longer text is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        count = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count
