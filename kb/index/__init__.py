"""The index: what makes the catalog searchable. Derived, always rebuildable; the sole user of chromadb and tantivy."""

from __future__ import annotations

from kb.index.chroma import (
    FOLDER,
    JITTER,
    Candidate,
    Generation,
    MetadataValue,
    Record,
    VectorIndex,
    jittered,
    record_id,
)
from kb.index.filter_where import to_where
from kb.index.lock import Owner
from kb.index.ownership import Ownership
from kb.index.values import field_value, index_value
from kb.index.word_query import WordQuery
from kb.index.word_records import FOLDER as WORDS_FOLDER
from kb.index.word_records import WordRecord, remove_words, words_folder
from kb.index.words import OpenWords, WordIndex, WordMatches

__all__ = [
    "FOLDER",
    "JITTER",
    "WORDS_FOLDER",
    "Candidate",
    "Generation",
    "MetadataValue",
    "OpenWords",
    "Owner",
    "Ownership",
    "Record",
    "VectorIndex",
    "WordIndex",
    "WordMatches",
    "WordQuery",
    "WordRecord",
    "field_value",
    "index_value",
    "jittered",
    "record_id",
    "remove_words",
    "to_where",
    "words_folder",
]
