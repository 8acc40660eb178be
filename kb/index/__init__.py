"""The index: what makes the catalog searchable. Derived, always rebuildable; the sole user of chromadb."""

from __future__ import annotations

from kb.index.chroma import FOLDER, JITTER, Candidate, Generation, MetadataValue, Record, jittered, record_id
from kb.index.filter_where import to_where
from kb.index.lock import Owner
from kb.index.ownership import Ownership
from kb.index.values import index_value

__all__ = [
    "FOLDER",
    "JITTER",
    "Candidate",
    "Generation",
    "MetadataValue",
    "Owner",
    "Ownership",
    "Record",
    "index_value",
    "jittered",
    "record_id",
    "to_where",
]
