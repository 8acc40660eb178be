"""Layer 6: curating what is in a collection."""

from __future__ import annotations

from kb.curate.edit import (
    DeletedEntry,
    Entry,
    HistoryEntry,
    count,
    delete,
    deleted,
    get,
    history,
    list_entries,
    matching_keys,
    restore,
    update,
)

__all__ = [
    "DeletedEntry",
    "Entry",
    "HistoryEntry",
    "count",
    "delete",
    "deleted",
    "get",
    "history",
    "list_entries",
    "matching_keys",
    "restore",
    "update",
]
