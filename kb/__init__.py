"""A knowledge base you can trust, on ChromaDB.

::

    import kb

    with kb.open("path") as base:
        articles = base.collection("articles")
        articles.import_file("articles.csv")
        hits = articles.search("how do transformers work", where='category = "nlp"', min_score=0.3)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kb.collection import Collection
    from kb.errors import KBError
    from kb.filters import field
    from kb.ingest import FieldMapping, ImportRequest, Policy
    from kb.ingest.inspect import inspect
    from kb.knowledge_base import KnowledgeBase
    from kb.opening import open_base as open
    from kb.reembedding import ReembedRequest
    from kb.schema import Document, Text
    from kb.sources import Reading

__all__ = [
    "Collection",
    "Document",
    "FieldMapping",
    "ImportRequest",
    "KBError",
    "KnowledgeBase",
    "Policy",
    "Reading",
    "ReembedRequest",
    "Text",
    "__version__",
    "field",
    "inspect",
    "open",
]

# Resolved at first use, so that the command line starts without importing what a command does not need.
_HOMES = {
    "Collection": ("kb.collection", "Collection"),
    "Document": ("kb.schema", "Document"),
    "FieldMapping": ("kb.ingest", "FieldMapping"),
    "ImportRequest": ("kb.ingest", "ImportRequest"),
    "KBError": ("kb.errors", "KBError"),
    "KnowledgeBase": ("kb.knowledge_base", "KnowledgeBase"),
    "Policy": ("kb.ingest", "Policy"),
    "Reading": ("kb.sources", "Reading"),
    "ReembedRequest": ("kb.reembedding", "ReembedRequest"),
    "Text": ("kb.schema", "Text"),
    "field": ("kb.filters", "field"),
    "inspect": ("kb.ingest.inspect", "inspect"),
    "open": ("kb.opening", "open_base"),
}


def __getattr__(name: str) -> object:
    """Return a public name, importing its module now."""
    if name not in _HOMES:
        raise AttributeError(f"module 'kb' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
