"""Layer 6: curating what is in a collection."""

from __future__ import annotations

from kb.curate.edit import (
    Entry,
    HistoryEntry,
    count,
    delete,
    get,
    history,
    list_entries,
    matching_keys,
    restore,
    update,
)

__all__ = [
    "Entry",
    "HistoryEntry",
    "count",
    "delete",
    "get",
    "history",
    "list_entries",
    "matching_keys",
    "restore",
    "update",
]
