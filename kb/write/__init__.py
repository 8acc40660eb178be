"""Layer 5: how documents change, and how the index follows. Nothing else writes either."""

from __future__ import annotations

from kb.write.documents import Action, Put, add, put, remove
from kb.write.drain import drain, records_of
from kb.write.sample import refresh_sample, sample_of
from kb.write.target import Target, current_user

__all__ = [
    "Action",
    "Put",
    "Target",
    "add",
    "current_user",
    "drain",
    "put",
    "records_of",
    "refresh_sample",
    "remove",
    "sample_of",
]
