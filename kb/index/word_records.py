"""What the index of words holds of a document, and where it lies."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from tantivy import Document, Schema

FOLDER: Final = "words"
ANALYSER: Final = "words"
"""The name under which an index knows what divides its texts."""


class WordRecord(NamedTuple):
    """What the index holds of one document.

    Attributes:
        key: The document's id.
        seq: The number of its row in the catalog, never used again for another.
        mark: Tells versions of its text apart; below 2**64.
        text: The whole of it.
    """

    key: str
    seq: int
    mark: int
    text: str


def schema() -> Schema:
    """Return the fields of the index."""
    from tantivy import SchemaBuilder

    builder = SchemaBuilder()
    builder.add_text_field("key", tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("seq", indexed=True, fast=True)
    builder.add_unsigned_field("mark", fast=True)
    builder.add_text_field("text", tokenizer_name=ANALYSER)
    # True in every document: its frequency tells how many tantivy counts, former versions included.
    builder.add_boolean_field("any", indexed=True)
    return builder.build()


def as_document(record: WordRecord) -> Document:
    """Return a document as tantivy takes it."""
    import tantivy

    document = tantivy.Document()
    document.add_text("key", record.key)
    document.add_unsigned("seq", record.seq)
    document.add_unsigned("mark", record.mark)
    document.add_text("text", record.text)
    document.add_boolean("any", True)
    return document


def words_folder(storage: Path, collection_id: int, language: str) -> Path:
    """Return where a collection's index of words lies."""
    return storage / FOLDER / f"{collection_id}-{language}"


def remove_words(storage: Path, collection_id: int, *, but: str | None = None) -> None:
    """Delete what a collection has of indexes of words, all languages but one."""
    for folder in (storage / FOLDER).glob(f"{collection_id}-*"):
        if folder.name != f"{collection_id}-{but}":
            shutil.rmtree(folder)
