"""Layer 6: importing. Rows from files and data frames become documents, or rejects with reasons."""

from __future__ import annotations

from kb.ingest.configured import check_imports, named_import, request_of
from kb.ingest.preview import PreviewedChunk, PreviewedRow, preview_rows
from kb.ingest.progress import Progress, last_of
from kb.ingest.request import CONTENT_KEY, FieldMapping, ImportRequest, OnConflict, Policy, UnknownColumns
from kb.ingest.run import import_files, import_frame, resume_import

__all__ = [
    "CONTENT_KEY",
    "FieldMapping",
    "ImportRequest",
    "OnConflict",
    "Policy",
    "PreviewedChunk",
    "PreviewedRow",
    "Progress",
    "UnknownColumns",
    "check_imports",
    "import_files",
    "import_frame",
    "last_of",
    "named_import",
    "preview_rows",
    "request_of",
    "resume_import",
]
