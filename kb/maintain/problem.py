"""What ``verify`` finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One difference that ``verify`` found.

    Attributes:
        code: Stable: ``integrity``, ``hash``, ``chunks``, ``vector``, ``queue``, ``index``, ``refused``, ``missing``,
            ``surplus``, ``record``, ``recall`` or ``unreadable``.
        collection: The collection, or "" for the whole catalog.
        id: The document, record or table, or "".
        message: What differs.
    """

    code: str
    collection: str
    id: str
    message: str
