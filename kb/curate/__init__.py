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
from kb.curate.exporting import export, to_frame

__all__ = [
    "DeletedEntry",
    "Entry",
    "HistoryEntry",
    "count",
    "delete",
    "deleted",
    "export",
    "get",
    "history",
    "list_entries",
    "matching_keys",
    "restore",
    "to_frame",
    "update",
]
