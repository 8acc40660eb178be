"""Writes that are decided before their transaction, although other processes write as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from kb import catalog as cat
from kb.failpoints import failpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from kb.write.target import Target

R = TypeVar("R")

TRIES: Final = 3
"""How often a write is decided outside of its transaction, before it keeps the others waiting."""


class MovedOnError(Exception):
    """Raised when a collection has changed since a write was decided; never leaves ``kb.write``."""


def decided(target: Target, attempt: Callable[[], R]) -> R:
    """Return what a write returns that looks at the stored state first, and commits later.

    Where another process has written to the collection in between, the attempt is made again; what it has embedded is
    kept. The last attempt is made inside the transaction, where nobody else can write. The indexes follow.

    Args:
        target: The collection.
        attempt: Reads, decides and writes with ``put`` and ``remove``; part of a larger attempt, it is only called.
    """
    catalog = target.catalog
    with catalog.writing:
        if catalog.is_writing or catalog.seen is not None:
            return attempt()
        before = _change(target)
        try:
            outcome = _settled(target, attempt)
        finally:
            catalog.seen = None
        has_changed = _change(target) != before
    if has_changed:
        failpoint("after_commit")
        target.follow()
    return outcome


def _settled(target: Target, attempt: Callable[[], R]) -> R:
    catalog = target.catalog
    made: dict[bytes, np.ndarray] = {}
    for _ in range(TRIES):
        catalog.seen = cat.Seen(target.collection.id, _change(target), made)
        try:
            return attempt()
        except MovedOnError:
            continue
    with catalog.write():
        catalog.seen = cat.Seen(target.collection.id, None, made)
        return attempt()


def _change(target: Target) -> int:
    with target.catalog.read() as connection:
        return cat.current_change(connection, target.collection.id)


def check_unmoved(connection: cat.Connection, target: Target) -> None:
    """Make sure, at the beginning of the transaction, that what a write was decided on still holds.

    Raises:
        MovedOnError: It does not; the attempt is made again.
    """
    seen = target.catalog.seen
    if seen is None or seen.collection_id != target.collection.id or seen.change is None:
        return
    if cat.current_change(connection, target.collection.id) != seen.change:
        raise MovedOnError
    seen.change = None  # from here on it is this transaction that changes it
