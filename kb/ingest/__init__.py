"""Layer 6: importing. Rows from files and data frames become documents, or rejects with reasons."""

from __future__ import annotations

from kb.ingest.plan import Outcome, Plan, load_plan
from kb.ingest.progress import Progress, last_of
from kb.ingest.request import FieldMapping, ImportRequest, OnConflict, Policy, UnknownColumns
from kb.ingest.run import apply_plan, import_files, import_frame, plan_import, resume_import

__all__ = [
    "FieldMapping",
    "ImportRequest",
    "OnConflict",
    "Outcome",
    "Plan",
    "Policy",
    "Progress",
    "UnknownColumns",
    "apply_plan",
    "import_files",
    "import_frame",
    "last_of",
    "load_plan",
    "plan_import",
    "resume_import",
]
