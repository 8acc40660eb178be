"""Layer 6: importing. Rows from files and data frames become documents, or rejects with reasons."""

from __future__ import annotations

from kb.ingest import cancelling
from kb.ingest.progress import Progress, last_of
from kb.ingest.request import FieldMapping, ImportRequest, OnConflict, Policy, UnknownColumns
from kb.ingest.run import import_files, import_frame, resume_import

__all__ = [
    "FieldMapping",
    "ImportRequest",
    "OnConflict",
    "Policy",
    "Progress",
    "UnknownColumns",
    "cancelling",
    "import_files",
    "import_frame",
    "last_of",
    "resume_import",
]
