"""Filters: typed conditions over fields, the language they are written in, and what they mean.

One filter object has three readings that agree: ``matches`` here, SQL in the catalog and ``where`` in the index.
"""

from __future__ import annotations

from kb.filters.builder import FieldRef, field
from kb.filters.check import check, find_field
from kb.filters.language import parse
from kb.filters.matches import holds, matches
from kb.filters.model import (
    And,
    Between,
    Comparison,
    Contains,
    Filter,
    Has,
    In,
    IsNull,
    Leaf,
    Not,
    Op,
    Or,
    StartsWith,
)

__all__ = [
    "And",
    "Between",
    "Comparison",
    "Contains",
    "FieldRef",
    "Filter",
    "Has",
    "In",
    "IsNull",
    "Leaf",
    "Not",
    "Op",
    "Or",
    "StartsWith",
    "check",
    "field",
    "find_field",
    "holds",
    "matches",
    "parse",
]
