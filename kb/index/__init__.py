"""The index: what makes the catalog searchable. Derived, always rebuildable; the sole user of chromadb and tantivy."""

from __future__ import annotations

from kb.index.chroma import BASE, Generation, VectorIndex
from kb.index.chroma_files import DATABASE, damage_of, is_passing
from kb.index.connect import OWN_KEYS, limits_of, reach
from kb.index.filter_where import to_where
from kb.index.leftovers import operations, orphan_segments, orphan_words, stray_generations, why_unreadable
from kb.index.lock import LOCK_FILE, Owner, is_held, read_owner
from kb.index.opening import Verdict
from kb.index.ownership import Ownership
from kb.index.quarantine import QUARANTINE, quarantine
from kb.index.records import JITTER, Candidate, MetadataValue, Record, jittered, record_id
from kb.index.seal import FOLDER
from kb.index.server import Served
from kb.index.sharing import read_note
from kb.index.values import field_value, index_value
from kb.index.word_files import is_known, seal_words, word_damage
from kb.index.word_query import WordQuery
from kb.index.word_records import FOLDER as WORDS_FOLDER
from kb.index.word_records import WordRecord, remove_words, words_folder
from kb.index.words import OpenWords, WordIndex, WordMatches

__all__ = [
    "BASE",
    "DATABASE",
    "FOLDER",
    "JITTER",
    "LOCK_FILE",
    "OWN_KEYS",
    "QUARANTINE",
    "WORDS_FOLDER",
    "Candidate",
    "Generation",
    "MetadataValue",
    "OpenWords",
    "Owner",
    "Ownership",
    "Record",
    "Served",
    "VectorIndex",
    "Verdict",
    "WordIndex",
    "WordMatches",
    "WordQuery",
    "WordRecord",
    "damage_of",
    "field_value",
    "index_value",
    "is_held",
    "is_known",
    "is_passing",
    "jittered",
    "limits_of",
    "operations",
    "orphan_segments",
    "orphan_words",
    "quarantine",
    "reach",
    "read_note",
    "read_owner",
    "record_id",
    "remove_words",
    "seal_words",
    "stray_generations",
    "to_where",
    "why_unreadable",
    "word_damage",
    "words_folder",
]
