"""The vector index: one Chroma ``PersistentClient`` and one ordinary Chroma collection per generation.

Only this module talks to chromadb. It never lets chromadb embed, never trusts its counts, and keeps its calls below
the sizes at which chromadb raises.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from kb.errors import DamagedError, MismatchError
from kb.index.chroma_files import is_passing
from kb.index.seal import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

SYNC_VARIABLE: Final = "KB_SYNC_THRESHOLD"
"""Of the environment: after how many records a new collection writes its graph; for tests of what happens then."""

_DATABASE: Final = "chroma.sqlite3"
MAX_BATCH: Final = 5_000
MAX_RESULTS: Final = 10_000
JITTER: Final = 1e-3
_HNSW: Final[dict[str, str | int]] = {
    "space": "cosine",
    "ef_construction": 100,
    "ef_search": 100,
    "max_neighbors": 16,
    "sync_threshold": 5_000,
}

_UNCHANGED: Final = "the catalog, which holds every document and vector, is untouched"

MetadataValue: TypeAlias = str | int | float | bool | list[str] | list[int] | list[float] | list[bool]


@dataclass(frozen=True, slots=True)
class Record:
    """What Chroma holds of one chunk.

    Attributes:
        id: The document's id, ``#`` and the chunk's number.
        vector: Unit length, shape (dimension,), float32.
        text: The chunk's text, or None where the index keeps no text.
        metadata: The typed fields by name. None takes a value away that an older version may have: Chroma merges
            metadata when it replaces a record.
    """

    id: str
    vector: np.ndarray
    text: str | None
    metadata: Mapping[str, MetadataValue | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One record that Chroma proposes.

    Attributes:
        document: The document's id.
        chunk: The chunk's number.
        score: Its cosine by the index's own copy of the vector: good enough to know how far the proposals reach.
    """

    document: str
    chunk: int
    score: float


def record_id(key: str, chunk: int) -> str:
    """Return the id of a chunk's record; the last ``#`` divides it, whatever the document's id holds."""
    return f"{key}#{chunk}"


def jittered(vector: np.ndarray, record: str) -> np.ndarray:
    """Return the vector moved by 0.001 in a direction that depends on the record alone, unit length again.

    Many records with one and the same vector make HNSW lose others. Scores never come from these copies.
    """
    seed = int.from_bytes(hashlib.blake2b(record.encode(), digest_size=8).digest(), "little")
    noise = np.random.default_rng(seed).standard_normal(vector.shape).astype(np.float32)
    moved = vector + noise * np.float32(JITTER / np.linalg.norm(noise))
    return np.asarray(moved / np.linalg.norm(moved), dtype=np.float32)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn whatever chromadb raises into an error that says what to do; a panic of its core is no ``Exception``."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise DamagedError(
            f"the vector index cannot be {what}: {type(error).__name__}: {error}",
            unchanged=_UNCHANGED,
            hint="kb rebuild builds it again from the catalog",
        ) from error


def _hnsw() -> dict[str, str | int]:
    threshold = int(os.environ.get(SYNC_VARIABLE, "0"))
    small = {"sync_threshold": threshold, "batch_size": max(2, threshold // 2)} if threshold else {}
    return {**_HNSW, **small}


class Generation:
    """One physical Chroma collection. What chromadb fails at is a ``DamagedError``.

    Attributes:
        has_failed: Whether chromadb has raised: then the index is looked at before it is opened again.
    """

    def __init__(self, collection: Any) -> None:
        """Wrap a chromadb collection; use ``VectorIndex.generation``."""
        self._collection = collection
        self.has_failed = False
        self._obstacle: str | None = None

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        if self._obstacle is not None:
            # After such an error chromadb keeps a transaction open, and its next write waits for it without end.
            raise DamagedError(
                f"the vector index is not {what}: {self._obstacle}",
                unchanged=_UNCHANGED,
                hint="free the way, and open the knowledge base anew",
            )
        try:
            with _translated(what):
                yield
        except DamagedError as error:
            self.has_failed = True
            # What went wrong while it took over its own log, it does not tell.
            if is_passing(error) or "Error in compaction" in str(error):
                self._obstacle = str(error)
            raise

    @property
    def collection(self) -> str | None:
        """The collection of ours that it was made for, or None if it does not say."""
        name = (self._collection.metadata or {}).get("kb:collection")
        return name if isinstance(name, str) else None

    def upsert(self, records: Sequence[Record]) -> None:
        """Write any number of records, replacing those of the same id."""
        for start in range(0, len(records), MAX_BATCH):
            some = records[start : start + MAX_BATCH]
            with self._asking("written"):
                self._collection.upsert(
                    ids=[r.id for r in some],
                    embeddings=np.stack([r.vector for r in some]),
                    documents=None if some[0].text is None else [r.text for r in some],
                    metadatas=[dict(r.metadata) for r in some],
                )

    def takes_records(self) -> bool:
        """Return whether the index still takes anything: one of its own records, as it is; True when it has none."""
        try:
            with self._asking("read"):
                page = self._collection.get(limit=1, include=[])
            self.upsert(list(self.get(page["ids"]).values()))
        except DamagedError:
            return False
        return True

    def delete(self, ids: Sequence[str]) -> None:
        """Delete records; ids that do not exist are passed over, as Chroma does."""
        for start in range(0, len(ids), MAX_BATCH):
            with self._asking("written"):
                self._collection.delete(ids=list(ids[start : start + MAX_BATCH]))

    def query(self, vector: np.ndarray, n: int, where: Mapping[str, object] | None = None) -> list[Candidate]:
        """Return the nearest records, at most ``n`` (10,000 at most), nearest first; approximate."""
        with self._asking("asked"):
            answer = self._collection.query(
                query_embeddings=vector.reshape(1, -1),
                n_results=min(n, MAX_RESULTS),
                where=where,
                include=["distances"],
            )
        return [
            _candidate(record, 1 - distance)
            for record, distance in zip(answer["ids"][0], answer["distances"][0], strict=True)
        ]

    def nearest(self, vector: np.ndarray, n: int) -> list[np.ndarray]:
        """Return the vectors of the nearest records as the index holds them, nearest first; to measure its recall."""
        with self._asking("asked"):
            answer = self._collection.query(query_embeddings=vector.reshape(1, -1), n_results=n, include=["embeddings"])
        return [np.asarray(found, dtype=np.float32) for found in answer["embeddings"][0]]

    def count(self) -> int:
        """Return how many records Chroma says it has; what is searchable may be less."""
        with self._asking("counted"):
            return int(self._collection.count())

    def ids(self) -> set[str]:
        """Return the ids of all records."""
        found: set[str] = set()
        while True:
            with self._asking("read"):
                page = self._collection.get(limit=MAX_BATCH, offset=len(found), include=[])["ids"]
            found.update(page)
            if len(page) < MAX_BATCH:
                return found

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the vectors, each of shape (dimension,), float32, of those of the records that exist, by id."""
        found: dict[str, np.ndarray] = {}
        for start in range(0, len(ids), MAX_BATCH):
            with self._asking("read"):
                page = self._collection.get(ids=list(ids[start : start + MAX_BATCH]), include=["embeddings"])
            matrix = np.asarray(page["embeddings"], dtype=np.float32)
            found.update(zip(page["ids"], matrix, strict=True))
        return found

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """Return those of the records that exist, by id."""
        found: dict[str, Record] = {}
        for start in range(0, len(ids), MAX_BATCH):
            with self._asking("read"):
                page = self._collection.get(
                    ids=list(ids[start : start + MAX_BATCH]), include=["embeddings", "documents", "metadatas"]
                )
            texts = page["documents"] or [None] * len(page["ids"])
            for number, record in enumerate(page["ids"]):
                found[record] = Record(
                    record,
                    np.asarray(page["embeddings"][number], dtype=np.float32),
                    texts[number],
                    page["metadatas"][number] or {},
                )
        return found


def _candidate(record: str, score: float) -> Candidate:
    key, _, chunk = record.rpartition("#")
    return Candidate(key, int(chunk), score)


class VectorIndex:
    """The open index of a knowledge base; the caller holds its lock."""

    def __init__(self, storage: Path) -> None:
        """Open Chroma, which always writes, in the folder ``chroma`` below ``storage``.

        Raises:
            DamagedError: Chroma cannot open what is there.
        """
        os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")
        import chromadb
        from chromadb.config import Settings

        path = storage / FOLDER
        path.mkdir(mode=0o700, exist_ok=True)
        self._path = path
        with _translated("opened"):
            self._client: Any = chromadb.PersistentClient(str(path), Settings(anonymized_telemetry=False))

    def generation(self, name: str, *, created_by: Mapping[str, str]) -> tuple[Generation, bool]:
        """Return a generation and whether this call made it: with cosine distance, without an embedding function.

        Args:
            name: Of the Chroma collection.
            created_by: Text metadata for a new one: what made it.

        Raises:
            MismatchError: A collection of that name exists with another distance or with an embedding function.
        """
        with _translated("opened"):
            if name not in self.names():
                made = self._client.create_collection(
                    name, configuration={"hnsw": _hnsw()}, metadata=dict(created_by), embedding_function=None
                )
                return Generation(made), True
            collection = self._client.get_collection(name, embedding_function=None)
        stored = collection.configuration_json
        function = (stored.get("embedding_function") or {}).get("type", "legacy")
        space = (stored.get("hnsw") or {}).get("space")
        if space != "cosine" or function != "legacy":
            raise MismatchError(
                f"the Chroma collection '{name}' has distance '{space}' and embedding function '{function}'",
                unchanged="nothing was read from it",
                hint="it was not made by kb: kb rebuild puts it aside and builds another from the catalog",
            )
        return Generation(collection), False

    def existing(self, name: str) -> Generation | None:
        """Return a generation that is there, or None; nothing is made and nothing is checked."""
        with _translated("opened"):
            if name not in {collection.name for collection in self._client.list_collections()}:
                return None
            return Generation(self._client.get_collection(name, embedding_function=None))

    def names(self) -> list[str]:
        """Return the names of all Chroma collections, sorted."""
        with _translated("read"):
            return sorted(collection.name for collection in self._client.list_collections())

    def drop(self, name: str) -> None:
        """Delete a Chroma collection with everything that it holds; harmless when there is none of that name.

        Its records go first: Chroma leaves the metadata of a deleted collection's lists to the next one. Then the
        collection, then its folder, which Chroma leaves behind.
        """
        if name not in self.names():
            return
        with _translated("deleted"):
            collection = self._client.get_collection(name, embedding_function=None)
            while page := collection.get(limit=MAX_BATCH, include=[])["ids"]:
                collection.delete(ids=page)
            folders = self._folders(str(collection.id))
            self._client.delete_collection(name)
        for folder in folders:
            shutil.rmtree(self._path / folder, ignore_errors=True)

    def _folders(self, collection_id: str) -> list[str]:
        """Return the names of the folders that a Chroma collection keeps its graph in; only its database knows."""
        database = sqlite3.connect(f"{(self._path / _DATABASE).as_uri()}?mode=ro", uri=True)
        try:
            rows = database.execute(
                "SELECT id FROM segments WHERE collection = ? AND scope = 'VECTOR'", (collection_id,)
            ).fetchall()
        finally:
            database.close()
        return [str(folder) for (folder,) in rows]

    def close(self) -> None:
        """Close Chroma so that the folder can be opened again by this process."""
        with _translated("closed"):
            self._client.close()
