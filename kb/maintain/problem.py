"""What ``verify`` finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One difference that ``verify`` found.

    Attributes:
        code: Stable: ``integrity``, ``hash``, ``chunks``, ``vector``, ``model``, ``queue``, ``index``, ``refused``,
            ``count``, ``missing``, ``surplus``, ``record``, ``recall`` or ``unreadable``.
        collection: The collection, or "" for the whole catalog.
        id: The document, record or table, or "".
        message: What differs.
        command: What mends it.
    """

    code: str
    collection: str
    id: str
    message: str
    command: str


def in_catalog(code: str, collection: str, id: str, message: str) -> Problem:
    """Return a difference within the catalog, for which there is nothing but a backup."""
    return Problem(code, collection, id, message, "kb backup restore")


def in_index(code: str, collection: str, id: str, message: str) -> Problem:
    """Return a difference between an index and the catalog, which has all that it takes to build it again."""
    return Problem(code, collection, id, message, f"kb rebuild -c {collection}")
