"""Layer 6: searching."""

from __future__ import annotations

from kb.search.cache import VectorCache
from kb.search.cut import Cut
from kb.search.query import Example, Explanation, Hit, Hits, Leg, Mode, Query, Rejected, Report, Strategy
from kb.search.relevance import not_calibrated
from kb.search.run import search
from kb.search.searchable import Searchable

__all__ = [
    "Cut",
    "Example",
    "Explanation",
    "Hit",
    "Hits",
    "Leg",
    "Mode",
    "Query",
    "Rejected",
    "Report",
    "Searchable",
    "Strategy",
    "VectorCache",
    "not_calibrated",
    "search",
]
