"""``Collection``: one collection of an open knowledge base, as methods of one line each where that is possible."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kb import __version__, curate, ingest
from kb import catalog as cat
from kb.chunks import Chunking
from kb.declaration import check_model, make_recipe
from kb.errors import DamagedError, MismatchError, NotFoundError, UsageError
from kb.filters import check, parse
from kb.ingest import ImportRequest, Progress, UnknownColumns, last_of
from kb.schema import Document, lookup_id
from kb.search import Hits, Query, Report, Searchable, Strategy, VectorCache, search
from kb.write import Put, Target, add, current_user, put

if TYPE_CHECKING:
    import pandas as pd

    from kb.catalog import Job, StoredCollection
    from kb.config import CollectionSettings
    from kb.curate import DeletedEntry, Entry, HistoryEntry
    from kb.embed import Encoder
    from kb.filters import Filter
    from kb.knowledge_base import KnowledgeBase
    from kb.schema import Schema, Value

_LOG = logging.getLogger("kb")

OnProgress = Callable[[Progress], None]

MAX_FILTERS: Final = 256
"""How many filter texts are kept parsed: reading one takes as long as a search."""


class Collection:
    """One collection of an open knowledge base."""

    def __init__(
        self, base: KnowledgeBase, name: str, declared: CollectionSettings, stored: StoredCollection | None
    ) -> None:
        """Wire a collection; use ``KnowledgeBase.collection``."""
        self.name = name
        self._base = base
        self._declared = declared
        self._stored = stored
        self._searchable: Searchable | None = None
        self._checked: Encoder | None = None
        self._filters: dict[str, Filter] = {}

    @property
    def schema(self) -> Schema:
        """The fields, the key and the text template."""
        return self._declared.schema

    @property
    def model(self) -> str:
        """The model id."""
        return self._declared.model

    def import_file(
        self,
        *files: str | os.PathLike[str],
        input: str | None = None,
        encoding: str | None = None,
        mapping: Mapping[str, str] | None = None,
        split: Mapping[str, str] | None = None,
        unknown_columns: UnknownColumns | str = UnknownColumns.ERROR,
        fail_empty: bool = False,
        dry_run: bool = False,
        progress: OnProgress | None = None,
    ) -> Job:
        """Import CSV, TSV, JSON or JSON Lines files as one job and return it.

        Args:
            files: Paths; ``-`` is standard input.
            input: ``csv``, ``tsv``, ``json`` or ``jsonl``; None to go by the file's name.
            encoding: Of CSV and TSV; None for UTF-8.
            mapping: By input column, the field (or ``id``) that it fills.
            split: By list field, what separates the items in one cell.
            unknown_columns: ``error`` or ``ignore``.
            fail_empty: Whether no rows at all is an error.
            dry_run: Do everything but embed and write.
            progress: Called after every commit.

        Raises:
            SourceError, EncoderError: A file cannot be read, or the model failed; rows committed before stay.
            LockedError: Another process owns the knowledge base.
        """
        if not files:
            raise UsageError("no file to import is named")
        request = ImportRequest(
            files=tuple(os.fspath(file) for file in files),
            input=input,
            encoding=encoding,
            mapping=dict(mapping or {}),
            split=dict(split or {}),
            unknown_columns=UnknownColumns(unknown_columns),
            fail_empty=fail_empty,
        )
        return last_of(self.import_steps(request, dry_run=dry_run), progress)

    def import_frame(
        self,
        frame: pd.DataFrame,
        *,
        mapping: Mapping[str, str] | None = None,
        unknown_columns: UnknownColumns | str = UnknownColumns.ERROR,
        dry_run: bool = False,
        progress: OnProgress | None = None,
    ) -> Job:
        """Import a data frame, one document a row; as ``import_file``. Its index is not read."""
        request = ImportRequest(files=(), mapping=dict(mapping or {}), unknown_columns=UnknownColumns(unknown_columns))
        with self._importing(dry_run=dry_run) as (target, folder):
            return last_of(
                ingest.import_frame(target, frame, request, rejects_folder=folder, dry_run=dry_run), progress
            )

    def import_steps(self, request: ImportRequest, *, dry_run: bool = False) -> Iterator[Progress]:
        """Import files step by step; as ``import_file``."""
        with self._importing(dry_run=dry_run) as (target, folder):
            yield from ingest.import_files(target, request, rejects_folder=folder, dry_run=dry_run)

    def add(self, *documents: Document) -> Put:
        """Add documents that must not exist yet, all or none.

        Raises:
            ConflictError: One of them exists.
            DocumentError: One of them does not fit the schema.
        """
        return add(self.target(), [self.schema.check(document) for document in documents])

    def upsert(self, *documents: Document) -> Put:
        """Add documents, or replace those that exist, all or none.

        Raises:
            DocumentError: One of them does not fit the schema.
        """
        return put(self.target(), [self.schema.check(document) for document in documents])

    def update(self, key: str, /, **changes: Value) -> Put:
        """Change some fields of a document; None takes a value away. Only changed text is embedded.

        Raises:
            NotFoundError: There is no such document.
            DocumentError: The changed document does not fit the schema; nothing was changed.
        """
        return self.change(key, changes, textual=False)

    def change(
        self, key: str, changes: Mapping[str, object], *, textual: bool, separators: Mapping[str, str] | None = None
    ) -> Put:
        """Change fields given by name; as ``update``, with values as text when ``textual``."""
        self._existing(key)
        return curate.update(self.target(), lookup_id(key), changes, textual=textual, separators=separators or {})

    def delete(self, *keys: str) -> list[str]:
        """Delete documents and return the ids of those that existed, in the order given. They can be restored."""
        return curate.delete(self.target(), [lookup_id(key) for key in keys]) if self._place() else []

    def deleted(self) -> Sequence[DeletedEntry]:
        """Return the documents that are deleted and can be restored, the last one first."""
        place = self._place()
        return curate.deleted(*place) if place else []

    def restore(self, *keys: str, revision: int | None = None) -> Put:
        """Bring deleted documents back, or set one back to what it was after a revision.

        Raises:
            NotFoundError: An id never existed, or has no such revision.
            ConflictError: A document is not deleted, and no revision is named.
        """
        for key in keys:
            self._existing(key)
        return curate.restore(self.target(), [lookup_id(key) for key in keys], revision=revision)

    def get(self, key: str) -> Document:
        """Return a document.

        Raises:
            NotFoundError: There is none of that id.
        """
        return self.entry(key).document

    def entry(self, key: str) -> Entry:
        """Return a document with its text, revision and time; as ``get``."""
        return curate.get(*self._existing(key), lookup_id(key))

    def entries(
        self,
        where: Filter | str | None = None,
        *,
        sort: str | None = None,
        descending: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Entry]:
        """Return documents with their text, revision and time; as ``list``."""
        checked = self.filter(where)
        if sort is not None and sort not in ("id", "updated"):
            self.schema.field(sort)
        place = self._place()
        if place is None:
            return []
        return curate.list_entries(*place, checked, sort=sort, descending=descending, limit=limit, offset=offset)

    def list(
        self,
        where: Filter | str | None = None,
        *,
        sort: str | None = None,
        descending: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> Sequence[Document]:
        """Return documents.

        Args:
            where: A filter, as text or as an object.
            sort: A field, ``id`` or ``updated``; None for the id. Ties by id; missing values last.
            descending: From the largest value down.
            limit: The most documents; None for all.
            offset: How many of the sorted documents to skip.
        """
        found = self.entries(where, sort=sort, descending=descending, limit=limit, offset=offset)
        return [entry.document for entry in found]

    def keys(self, where: Filter | str | None = None) -> Sequence[str]:
        """Return the ids of the documents that satisfy a filter, sorted."""
        checked, place = self.filter(where), self._place()
        return curate.matching_keys(*place, checked) if place else []

    def count(self, where: Filter | str | None = None) -> int:
        """Return how many documents satisfy a filter."""
        checked, place = self.filter(where), self._place()
        return curate.count(*place, checked) if place else 0

    def history(self, key: str) -> Sequence[HistoryEntry]:
        """Return a document's revisions, oldest first; also those of a deleted one.

        Raises:
            NotFoundError: There never was such a document.
        """
        return curate.history(*self._existing(key), lookup_id(key))

    def search(
        self,
        text: str,
        *,
        where: Filter | str | None = None,
        limit: int = 10,
        min_score: float | None = None,
    ) -> Hits:
        """Return the documents nearest in meaning, best first, with the reason for their number in ``report``.

        Args:
            text: What to look for.
            where: A filter, as text or as an object.
            limit: The most hits; 1 to 1,000.
            min_score: The lowest cosine similarity of a hit, in [-1, 1].

        Raises:
            QueryError, FilterError: The text is blank, a number out of range, or the filter does not fit the schema.
            ModelMismatchError: The model is not the one that made the vectors.
        """
        query = Query(text, self.filter(where), limit, min_score)
        place = self._place()
        if place is None:
            report = Report(0, limit, 0, 0, min_score, None, Strategy.EXACT, 0.0)
            return Hits(text, self.name, self.model, (), report)
        return search(self._searching(*place), query)

    def filter(self, where: Filter | str | None) -> Filter | None:
        """Return a filter that has been checked against the schema, from its text or an object.

        Raises:
            FilterError: It is malformed or does not fit the schema.
        """
        if not isinstance(where, str):
            return None if where is None else check(where, self.schema)
        if where not in self._filters:
            if len(self._filters) >= MAX_FILTERS:
                self._filters.clear()
            self._filters[where] = check(parse(where), self.schema)
        return self._filters[where]

    def target(self) -> Target:
        """Become the owner and return what writes work on; a new collection is stored.

        Raises:
            LockedError: Another process owns the knowledge base.
            ModelNotFoundError: The model of a new collection cannot be resolved.
        """
        catalog = self._base.own()
        with catalog.writing:
            place = self._place()
            if place is None:
                self._stored = self._store(catalog)
                place = catalog, self._stored
        return self._target(*place)

    def prepare_queries(self) -> None:
        """Do now, while the model is in memory, what would delay the first search."""
        if self._checked is not None:
            self._checked.prepare_queries()

    def _target(self, catalog: cat.Catalog, stored: StoredCollection) -> Target:
        recipe = stored.recipe
        return Target(
            catalog,
            stored,
            Chunking(recipe.chunk_tokens, recipe.chunk_overlap),
            self._encoder,
            lambda: self._follow(stored),
            current_user(),
        )

    def _follow(self, stored: StoredCollection) -> None:
        try:
            self._base.follow(stored)
        except (DamagedError, MismatchError) as error:
            _LOG.warning("%s; the write is in the catalog, and searches are exact until the index is mended", error)

    def _store(self, catalog: cat.Catalog) -> StoredCollection:
        encoder = self._base.encoder(self._declared.model)
        recipe = make_recipe(self.name, self._declared, encoder, self._base.stored_collections())
        with catalog.write() as connection:
            return cat.add_collection(
                connection,
                self.name,
                self.schema,
                recipe,
                dimension=encoder.dimension,
                fingerprint=encoder.fingerprint().tobytes(),
            )

    def _encoder(self) -> Encoder:
        """Return the model after comparing it, once, with what the collection remembers of it."""
        if self._checked is None:
            encoder = self._base.encoder(self._declared.model)
            if self._stored is not None:
                check_model(self._stored, encoder)
            self._checked = encoder
        return self._checked

    def _searching(self, catalog: cat.Catalog, stored: StoredCollection) -> Searchable:
        if self._searchable is None:
            self._searchable = Searchable(
                catalog,
                stored,
                VectorCache(stored.id, stored.dimension),
                self._encoder,
                lambda: self._base.index(stored),
                lambda: self._base.follow(stored),
                self._base.other_owner,
            )
        return self._searchable

    def _place(self) -> tuple[cat.Catalog, StoredCollection] | None:
        """Return where the documents are, or None while nobody has stored any; asked again until somebody has."""
        catalog = self._base.catalog
        if catalog is not None and self._stored is None:
            self._stored = self._base.stored_for(self.name, self._declared)
        return None if catalog is None or self._stored is None else (catalog, self._stored)

    def _existing(self, key: str) -> tuple[cat.Catalog, StoredCollection]:
        """Return where a document must be, if it is anywhere."""
        place = self._place()
        if place is None:
            raise NotFoundError(f"there is no document '{key}' in '{self.name}'", hint="the collection is empty")
        return place

    @contextmanager
    def _importing(self, *, dry_run: bool) -> Iterator[tuple[Target, Path]]:
        """Yield what an import works on and where its rejects go.

        A dry run gets the real catalog without the lock, or an empty one where there is none; it writes to neither.
        """
        if not dry_run:
            yield self.target(), self._base.rejects_folder()
            self.prepare_queries()
            return
        place = self._place()
        if place is not None:
            yield self._target(*place), Path()
            return
        with tempfile.TemporaryDirectory(prefix="kb-") as folder:
            catalog = cat.open_catalog(Path(folder) / cat.FILE_NAME, version=__version__)
            try:
                yield self._target(catalog, self._store(catalog)), Path()
            finally:
                catalog.close()
