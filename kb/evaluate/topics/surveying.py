"""Surveying a collection: its documents' vectors into topics, and the documents' words and titles into their names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from kb import catalog as cat
from kb.errors import UsageError
from kb.evaluate.threads import single_thread
from kb.evaluate.topics.found import Map, Point, Topic, Topics, TypicalDocument, no_topics
from kb.evaluate.topics.grouping import SEED, group
from kb.evaluate.topics.projection import MOST_POINTS, project
from kb.evaluate.topics.words import count_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from kb.catalog import StoredDocument
    from kb.filters import Filter

READ: Final = 20_000
"""Of so many documents, evenly chosen, the words are counted."""

_PAGE: Final = 500
_TITLE: Final = 160
_EVERYTHING: Final = 2**62


@dataclass(frozen=True, slots=True)
class Source:
    """Where the documents are: the catalog, the stored collection, and a checked filter or None."""

    catalog: cat.Catalog
    collection: cat.StoredCollection
    filter: Filter | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for.

    Attributes:
        topics: How many; None to choose.
        words: How many for each topic; 1 to 100.
        documents: How many for each topic; 0 to 100.
        map: Whether documents get a place in two dimensions.
    """

    topics: int | None = None
    words: int = 8
    documents: int = 3
    map: bool = False

    def check(self) -> None:
        """Raise UsageError when a number is out of range."""
        for name, value, least, most in (
            ("topics", 1 if self.topics is None else self.topics, 1, 1_000),
            ("words", self.words, 1, 100),
            ("documents", self.documents, 0, 100),
        ):
            if not least <= value <= most:
                what = f"{name} is {value}; it must be from {least} to {most:,}"
                raise UsageError(what, unchanged="nothing was divided")


@dataclass(frozen=True, slots=True)
class _Documents:
    """The documents by id: row numbers, ids, and the normalised mean of the vectors of each one's chunks."""

    seqs: np.ndarray
    keys: list[str]
    vectors: np.ndarray


def survey(source: Source, wanted: Wanted) -> Topics:
    """Divide documents into topics and name them; the same documents always give the same answer.

    Raises:
        UsageError: A number is out of range, or more topics are asked for than there are different documents.
    """
    wanted.check()
    with source.catalog.read() as connection, single_thread():  # sums of several differ in their last bits
        found = _load(connection, source)
        if not found.keys:
            note = "there are no documents" if source.filter is None else "no document satisfies the filter"
            return no_topics(source.collection.name, note, map=wanted.map)
        grouping = group(found.vectors, wanted.topics)
        topics, notes = _named(connection, found, grouping.labels, wanted)
        made = _map(connection, found, grouping.labels) if wanted.map else None
    if made is not None and len(made.points) < len(found.keys):
        notes.append(f"the map shows {len(made.points):,} of {len(found.keys):,} documents, chosen at random")
    return Topics(
        collection=source.collection.name,
        documents=len(found.keys),
        topics=tuple(topics),
        algorithm=grouping.algorithm,
        attempts=grouping.attempts,
        map=made,
        notes=(*grouping.notes, *notes),
    )


def _load(connection: Connection, source: Source) -> _Documents:
    stored = source.collection
    seqs = None
    if source.filter is not None:
        condition = cat.compile_condition(stored.id, source.filter, stored.schema)
        seqs = sorted(cat.matching_seqs(connection, condition, limit=_EVERYTHING))
    chunks = cat.chunk_vectors(connection, stored.id, stored.dimension, seqs=seqs)
    if not len(chunks.seqs):
        return _Documents(chunks.seqs, [], chunks.matrix)
    starts = np.flatnonzero(np.diff(chunks.seqs, prepend=-1))
    sums = np.add.reduceat(chunks.matrix, starts, axis=0, dtype=np.float64)
    vectors = (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    found = chunks.seqs[starts]
    keys = cat.keys_of(connection, found.tolist())
    names = [keys[seq] for seq in found.tolist()]
    # By id: the answer must not depend on the order in which the documents came in.
    order = sorted(range(len(names)), key=names.__getitem__)
    return _Documents(found[order], [names[row] for row in order], vectors[order])


def _named(
    connection: Connection, found: _Documents, labels: np.ndarray, wanted: Wanted
) -> tuple[list[Topic], list[str]]:
    """Return the topics with their words and documents, and notes."""
    total, count = len(labels), int(labels.max()) + 1
    rows = np.arange(total) if total <= READ else _sample(total, READ)
    words = count_words(
        ((int(labels[row]), document.text) for row, document in _read(connection, found, rows.tolist())), count
    )
    topics = []
    for number in range(count):
        members = np.flatnonzero(labels == number)
        centre = found.vectors[members].mean(axis=0, dtype=np.float64)
        centre /= max(float(np.linalg.norm(centre)), 1e-12)
        scores = np.clip(np.round(np.einsum("ij,j->i", found.vectors[members].astype(np.float64), centre), 6), -1, 1)
        nearest = np.argsort(-scores, kind="stable")[: wanted.documents]
        titles = dict(_read(connection, found, members[nearest].tolist()))
        typical = [
            TypicalDocument(found.keys[members[at]], _title(titles[int(members[at])]), float(scores[at]))
            for at in nearest.tolist()
        ]
        topics.append(
            Topic(
                number + 1,
                words.typical(number, wanted.words),
                tuple(typical),
                len(members),
                round(len(members) / total, 4),
                round(float(scores.mean()), 4),
            )
        )
    notes = [f"words were counted in {READ:,} of {total:,} documents, chosen at random"] if total > READ else []
    return topics, notes


def _map(connection: Connection, found: _Documents, labels: np.ndarray) -> Map:
    total = len(labels)
    rows = np.arange(total) if total <= MOST_POINTS else _sample(total, MOST_POINTS)
    places, method = project(found.vectors[rows])
    points = [
        Point(found.keys[row], _title(document), int(labels[row]) + 1, round(float(x), 4), round(float(y), 4))
        for (row, document), (x, y) in zip(_read(connection, found, rows.tolist()), places, strict=True)
    ]
    return Map(method, tuple(points))


def _sample(total: int, count: int) -> np.ndarray:
    return np.sort(np.random.default_rng(SEED).choice(total, size=count, replace=False))


def _read(connection: Connection, found: _Documents, rows: Sequence[int]) -> Iterator[tuple[int, StoredDocument]]:
    """Yield documents with their rows, a few in memory at a time."""
    for start in range(0, len(rows), _PAGE):
        some = rows[start : start + _PAGE]
        documents = cat.get_documents_by_seq(connection, [int(found.seqs[row]) for row in some])
        for row in some:
            yield row, documents[int(found.seqs[row])]


def _title(document: StoredDocument) -> str:
    """Return the field ``title`` of a document, else the first line of its text."""
    title = json.loads(document.fields).get("title")
    lines = (title if isinstance(title, str) and title.strip() else document.text).strip().splitlines()
    line = " ".join(lines[0].split()) if lines else ""
    return line if len(line) <= _TITLE else line[: _TITLE - 1].rstrip() + "…"
