"""``kb inspect``: what a file holds, and a collection that fits it. Reads; never imports and never writes."""

from __future__ import annotations

from kb.ingest.inspect.inspection import (
    Almost,
    Example,
    Finding,
    InspectedColumn,
    Inspection,
    InspectProgress,
    KeyCandidate,
    Repeat,
    TextCandidate,
    Topic,
    Window,
)
from kb.ingest.inspect.proposal import Proposal, ProposedField, ProposedImport
from kb.ingest.inspect.run import as_pattern, collection_name, inspect, inspect_steps

__all__ = [
    "Almost",
    "Example",
    "Finding",
    "InspectProgress",
    "InspectedColumn",
    "Inspection",
    "KeyCandidate",
    "Proposal",
    "ProposedField",
    "ProposedImport",
    "Repeat",
    "TextCandidate",
    "Topic",
    "Window",
    "as_pattern",
    "collection_name",
    "inspect",
    "inspect_steps",
]
