"""The vector index: one Chroma ``PersistentClient`` and one ordinary Chroma collection per generation.

Only this module and those that connect it talk to chromadb. It never lets chromadb embed, never trusts its counts, and
keeps its calls below the sizes at which chromadb raises.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kb.errors import DamagedError, MismatchError
from kb.index.chroma_files import DATABASE, is_passing
from kb.index.connect import OWN, away, open_folder, open_server
from kb.index.records import Candidate, Record, candidate
from kb.index.seal import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from kb.index.connect import Address, Limits

SYNC_VARIABLE: Final = "KB_SYNC_THRESHOLD"
"""Of the environment: after how many records a new collection writes its graph; for tests of what happens then."""

BASE: Final = "kb:base"
"""What a collection on a server of several knowledge bases says whose it is."""

_HNSW: Final[dict[str, str | int]] = {
    "space": "cosine",
    "ef_construction": 100,
    "ef_search": 100,
    "max_neighbors": 16,
    "sync_threshold": 5_000,
}

_UNCHANGED: Final = "the catalog, which holds every document and vector, is untouched"


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn whatever chromadb raises into an error that says what to do; a panic of its core is no ``Exception``."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if (gone := away(error)) is not None:
            raise gone from None
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
        is_shared: Whether a server has it open, to which other processes write as well.
        limits: What it takes and gives in one call.
    """

    is_shared = False

    def __init__(self, collection: Any, limits: Limits = OWN) -> None:
        """Wrap a chromadb collection; use ``VectorIndex.generation``."""
        self._collection = collection
        self.limits = limits
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

    def fitted(self, records: Sequence[Record]) -> list[Record]:
        """Return records as this index holds them: a text that is too long for it is left out."""
        most = self.limits.text_bytes
        if most is None:
            return list(records)
        return [replace(r, text=None) if r.text is not None and len(r.text.encode()) > most else r for r in records]

    def objection(self, record: Record) -> str | None:
        """Return why this index cannot hold a record, or None."""
        most = self.limits.id_bytes
        if most is not None and len(record.id.encode()) > most:
            return f"its id is longer than the {most} bytes that the index takes"
        return None

    def upsert(self, records: Sequence[Record]) -> None:
        """Write any number of records, replacing those of the same id; all of them have a text, or none has."""
        for start in range(0, len(records), self.limits.records):
            some = records[start : start + self.limits.records]
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
        most = self.limits.id_bytes
        possible = [one for one in ids if most is None or len(one.encode()) <= most]
        for start in range(0, len(possible), self.limits.records):
            with self._asking("written"):
                self._collection.delete(ids=possible[start : start + self.limits.records])

    def query(self, vector: np.ndarray, n: int, where: Mapping[str, object] | None = None) -> list[Candidate]:
        """Return the nearest records, at most ``n`` or ``limits.results``, nearest first; approximate."""
        with self._asking("asked"):
            answer = self._collection.query(
                query_embeddings=vector.reshape(1, -1),
                n_results=min(n, self.limits.results),
                where=where,
                include=["distances"],
            )
        return [
            candidate(record, 1 - distance)
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
                page = self._collection.get(limit=self._page, offset=len(found), include=[])["ids"]
            found.update(page)
            if len(page) < self._page:
                return found

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the vectors, each of shape (dimension,), float32, of those of the records that exist, by id."""
        found: dict[str, np.ndarray] = {}
        for start in range(0, len(ids), self._page):
            with self._asking("read"):
                page = self._collection.get(ids=list(ids[start : start + self._page]), include=["embeddings"])
            matrix = np.asarray(page["embeddings"], dtype=np.float32)
            found.update(zip(page["ids"], matrix, strict=True))
        return found

    def get(self, ids: Sequence[str]) -> dict[str, Record]:
        """Return those of the records that exist, by id."""
        found: dict[str, Record] = {}
        for start in range(0, len(ids), self._page):
            with self._asking("read"):
                page = self._collection.get(
                    ids=list(ids[start : start + self._page]), include=["embeddings", "documents", "metadatas"]
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

    @property
    def _page(self) -> int:
        return min(self.limits.records, self.limits.results)


class VectorIndex:
    """The open index of a knowledge base; the caller holds its lock, or shares a server with others.

    Attributes:
        limits: What it takes and gives in one call.
    """

    def __init__(self, storage: Path, server: Address | None = None) -> None:
        """Open Chroma.

        Args:
            storage: The folder of the knowledge base. Chroma always writes, into the folder ``chroma`` below it.
            server: Where a server is asked instead.

        Raises:
            DamagedError: Chroma cannot open what is there.
            UnreachableError: The server does not answer, or refuses.
        """
        self.limits: Limits = OWN if server is None else server.limits
        self._path = storage / FOLDER if server is None else None
        if server is not None:
            self._client: Any = open_server(server)
            return
        path = storage / FOLDER
        path.mkdir(mode=0o700, exist_ok=True)
        with _translated("opened"):
            self._client = open_folder(path)

    def generation(self, name: str, *, created_by: Mapping[str, str], anew: bool = False) -> tuple[Generation, bool]:
        """Return a generation and whether this call made it: with cosine distance, without an embedding function.

        Args:
            name: Of the Chroma collection.
            created_by: Text metadata for a new one: what made it.
            anew: Whether one that is there is replaced by an empty one.

        Raises:
            MismatchError: As ``existing``.
        """
        found = self.existing(name, base=created_by.get(BASE))
        if found is not None and not anew:
            return found, False
        if found is not None:
            self.drop(name)
        with _translated("made"):
            made = self._client.create_collection(
                name, configuration={"hnsw": _hnsw()}, metadata=dict(created_by), embedding_function=None
            )
        return Generation(made, self.limits), True

    def existing(self, name: str, *, base: str | None = None) -> Generation | None:
        """Return a generation, or None when there is none; nothing is made.

        Args:
            name: Of the Chroma collection.
            base: Which knowledge base must have made it; None where there is no other.

        Raises:
            MismatchError: A collection of that name exists with another distance or with an embedding function, or it
                is another knowledge base's.
        """
        collection = self._find(name)
        if collection is None:
            return None
        if base is not None and (collection.metadata or {}).get(BASE) != base:
            raise MismatchError(
                f"the Chroma collection '{name}' on the server was made by another knowledge base or program",
                unchanged="nothing was read from it or written to it",
                hint='name a database of its own: database = "…" under [index]',
            )
        stored = collection.configuration_json
        function = (stored.get("embedding_function") or {}).get("type", "legacy")
        space = (stored.get("hnsw") or stored.get("spann") or {}).get("space")
        if space != "cosine" or function != "legacy":
            raise MismatchError(
                f"the Chroma collection '{name}' has distance '{space}' and embedding function '{function}'",
                unchanged="nothing was read from it",
                hint="it was not made by kb: kb rebuild puts it aside and builds another from the catalog",
            )
        return Generation(collection, self.limits)

    def _find(self, name: str) -> Any:
        """Return the Chroma collection of that name, or None."""
        from chromadb.errors import NotFoundError

        with _translated("opened"):
            try:
                return self._client.get_collection(name, embedding_function=None)
            except NotFoundError:
                return None

    def names(self) -> list[str]:
        """Return the names of all Chroma collections, sorted."""
        with _translated("read"):
            return sorted(collection.name for collection in self._client.list_collections())

    def drop(self, name: str) -> None:
        """Delete a Chroma collection with everything that it holds; harmless when there is none of that name.

        Its records go first: Chroma leaves the metadata of a deleted collection's lists to the next one. Then the
        collection, then its folder, which Chroma leaves behind; that of a server stays until ``Ownership.sweep``.
        """
        collection = self._find(name)
        if collection is None:
            return
        page = min(self.limits.records, self.limits.results)
        with _translated("deleted"):
            while ids := collection.get(limit=page, include=[])["ids"]:
                collection.delete(ids=ids)
            folders = [] if self._path is None else self._folders(self._path, str(collection.id))
            self._client.delete_collection(name)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _folders(self, path: Path, collection_id: str) -> list[Path]:
        """Return the folders that a Chroma collection keeps its graph in; only its database knows."""
        database = sqlite3.connect(f"{(path / DATABASE).as_uri()}?mode=ro", uri=True)
        try:
            rows = database.execute(
                "SELECT id FROM segments WHERE collection = ? AND scope = 'VECTOR'", (collection_id,)
            ).fetchall()
        finally:
            database.close()
        return [path / str(folder) for (folder,) in rows]

    def close(self) -> None:
        """Close Chroma so that the folder can be opened again by this process."""
        with _translated("closed"):
            self._client.close()
