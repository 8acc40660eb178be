"""Layer 6: searching."""

from __future__ import annotations

from kb.search.cache import VectorCache
from kb.search.query import Hit, Hits, Query, Rejected, Report, Strategy
from kb.search.run import Searchable, search

__all__ = ["Hit", "Hits", "Query", "Rejected", "Report", "Searchable", "Strategy", "VectorCache", "search"]
