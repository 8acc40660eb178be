"""Layer 6: importing. Rows from files and data frames become documents, or rejects with reasons."""

from __future__ import annotations

from kb.ingest import cancelling
from kb.ingest.configured import check_imports, named_import, request_of
from kb.ingest.cost import estimate_cost
from kb.ingest.plan import Outcome, Plan, load_plan
from kb.ingest.preview import PreviewedChunk, PreviewedRow, preview_rows
from kb.ingest.progress import Progress, last_of
from kb.ingest.request import CONTENT_KEY, FieldMapping, ImportRequest, OnConflict, Policy, UnknownColumns
from kb.ingest.run import apply_plan, import_files, import_frame, plan_import, resume_import

__all__ = [
    "CONTENT_KEY",
    "FieldMapping",
    "ImportRequest",
    "OnConflict",
    "Outcome",
    "Plan",
    "Policy",
    "PreviewedChunk",
    "PreviewedRow",
    "Progress",
    "UnknownColumns",
    "apply_plan",
    "cancelling",
    "check_imports",
    "estimate_cost",
    "import_files",
    "import_frame",
    "last_of",
    "load_plan",
    "named_import",
    "plan_import",
    "preview_rows",
    "request_of",
    "resume_import",
]
