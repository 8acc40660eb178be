"""Layer 6: looking after a knowledge base."""

from __future__ import annotations

from kb.maintain.doctor import examine
from kb.maintain.finding import Examination, Fact, Finding, Severity
from kb.maintain.problem import Problem
from kb.maintain.stats import CollectionStats, Stats, collection_stats, disk_bytes
from kb.maintain.verify import verify

__all__ = [
    "CollectionStats",
    "Examination",
    "Fact",
    "Finding",
    "Problem",
    "Severity",
    "Stats",
    "collection_stats",
    "disk_bytes",
    "examine",
    "verify",
]
