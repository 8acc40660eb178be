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
from kb.curate.facets import Facets, check_limit, count_facets
from kb.curate.undo import KIND as UNDO
from kb.curate.undo import UndoPlan, UndoRequest, plan_undo, undo

__all__ = [
    "UNDO",
    "DeletedEntry",
    "Entry",
    "Facets",
    "HistoryEntry",
    "UndoPlan",
    "UndoRequest",
    "check_limit",
    "count",
    "count_facets",
    "delete",
    "deleted",
    "export",
    "get",
    "history",
    "list_entries",
    "matching_keys",
    "plan_undo",
    "restore",
    "to_frame",
    "undo",
    "update",
]
