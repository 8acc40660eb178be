"""Layer 5: how documents change, and how the index follows. Nothing else writes either."""

from __future__ import annotations

from kb.write.compare import record_differences
from kb.write.deciding import decided
from kb.write.documents import Action, Put, add, put, remove
from kb.write.drain import drain, records_of, vectors_of
from kb.write.generation import Filled, Filling, PlannedDocument, fill_generation, plan_documents
from kb.write.indexes import MOST_WAITING, Indexes
from kb.write.inspection import inspect
from kb.write.renewal import begin_anew, fill_steps
from kb.write.sample import refresh_sample, sample_of
from kb.write.target import Target, current_user
from kb.write.word_drain import drain_words, mark_of

__all__ = [
    "MOST_WAITING",
    "Action",
    "Filled",
    "Filling",
    "Indexes",
    "PlannedDocument",
    "Put",
    "Target",
    "add",
    "begin_anew",
    "current_user",
    "decided",
    "drain",
    "drain_words",
    "fill_generation",
    "fill_steps",
    "inspect",
    "mark_of",
    "plan_documents",
    "put",
    "record_differences",
    "records_of",
    "refresh_sample",
    "remove",
    "sample_of",
    "vectors_of",
]
