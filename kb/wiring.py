"""How a collection's parts are wired together: catalog, model, index, and what writes and searches work on."""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from kb import __version__
from kb import catalog as cat
from kb.chunks import Chunking
from kb.declaration import (
    as_stored,
    check_model,
    check_query_model,
    make_chunking,
    make_fingerprint,
    make_recipe,
    query_model_of,
)
from kb.embed import canonical_id, open_reranker
from kb.errors import (
    DamagedError,
    LimitError,
    LockedError,
    MismatchError,
    NotFoundError,
    SupersededError,
    UnreachableError,
)
from kb.search import Searchable, VectorCache
from kb.write import Target, current_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kb.catalog import StoredCollection
    from kb.config import CollectionSettings
    from kb.embed import Encoder, Reranker
    from kb.filters import Filter
    from kb.knowledge_base import KnowledgeBase
    from kb.schema import Schema

_LOG = logging.getLogger("kb")

_Served: TypeAlias = tuple[str, str]
"""A generation by its name and the time of its collection: a rehearsal may have one of the same name."""


class Wiring:
    """The parts of one collection of an open knowledge base, opened as they are needed."""

    def __init__(
        self, base: KnowledgeBase, name: str, declared: CollectionSettings, stored: StoredCollection | None
    ) -> None:
        """Wire a collection; use ``KnowledgeBase.collection``."""
        self.name = name
        self._base = base
        self._declared = declared
        self._stored = stored
        self._searchable: Searchable | None = None
        self._checked: dict[_Served, Encoder] = {}
        self._checked_queries: dict[_Served, Encoder] = {}
        self._rerankers: dict[str, Reranker] = {}
        self._filters: dict[str, Filter] = {}

    @property
    def schema(self) -> Schema:
        """The fields, the key and the text template."""
        return self._declared.schema

    @property
    def model(self) -> str:
        """The model id."""
        return self._declared.model

    @property
    def declaration(self) -> CollectionSettings:
        """The schema, the model and how texts are cut."""
        return self._declared

    def target(self) -> Target:
        """Become the owner and return what writes work on; a new collection is stored.

        Raises:
            LockedError: Another process owns the knowledge base.
            ModelNotFoundError: The model of a new collection cannot be resolved.
        """
        catalog = self._base.own()
        with catalog.writing:
            place = self._present()
            if place is None:
                self._store(catalog)  # unless another process has just done so
                place = self._place()
                assert place is not None
        return self._target(*place)

    def prepare_queries(self) -> None:
        """Do now, while the model is in memory, what would delay the first search."""
        stored = self._stored
        if stored is not None and (stored.generation, stored.created) in self._checked:
            self._query_encoder(stored).prepare_queries()

    def _target(self, catalog: cat.Catalog, stored: StoredCollection) -> Target:
        recipe = stored.recipe
        return Target(
            catalog,
            stored,
            Chunking(recipe.chunk_tokens, recipe.chunk_overlap),
            lambda: self._encoder(stored),
            lambda: self._follow(stored),
            current_user(),
        )

    def _follow(self, stored: StoredCollection) -> None:
        try:
            self._base.follow(stored)
        except SupersededError:
            return  # what was written waits for the generation that serves now, which follows before it is asked
        # Whatever it is: the write is committed, and to say that it failed would be wrong.
        except (DamagedError, MismatchError, UnreachableError, LimitError, OSError) as error:
            _LOG.warning("%s; the write is in the catalog, and searches are exact until the index is mended", error)
        except LockedError as error:  # that one, or the next search, takes over this write as well
            _LOG.info("%s; the write is in the catalog", error)

    def _store(self, catalog: cat.Catalog) -> StoredCollection:
        encoder = self._base.encoder(self._declared.model)
        queries = self._base.encoder(query_model_of(self._declared) or self._declared.model)
        recipe = make_recipe(self.name, self._declared, encoder, queries, self._base.stored_collections())
        with catalog.write() as connection:
            # Another process may have stored it by now.
            return cat.find_collection(connection, self.name) or cat.add_collection(
                connection,
                self.name,
                self.schema,
                recipe,
                dimension=encoder.dimension,
                fingerprint=make_fingerprint(encoder, queries),
                language=self._declared.language,
            )

    def _encoder(self, stored: StoredCollection) -> Encoder:
        """Return the model after comparing it, once, with what the collection remembers of it."""
        served = stored.generation, stored.created
        if served not in self._checked:
            encoder = self._base.encoder(self._declared_id(stored.recipe.model))
            check_model(stored, encoder)
            self._checked[served] = encoder
        return self._checked[served]

    def _query_encoder(self, stored: StoredCollection) -> Encoder:
        """Return the model that embeds queries, compared likewise; a search loads no other."""
        if not stored.recipe.query_model:
            return self._encoder(stored)
        served = stored.generation, stored.created
        if served not in self._checked_queries:
            encoder = self._base.encoder(self._declared_id(stored.recipe.query_model))
            check_query_model(stored, encoder)
            self._checked_queries[served] = encoder
        return self._checked_queries[served]

    def _declared_id(self, model: str) -> str:
        """Return the id of a model as it is declared, so that no model is opened under two names."""
        given = (self._declared.model, self._declared.query_model or "")
        return next((one for one in given if one and canonical_id(one) == model), model)

    def _reranker(self, model: str) -> Reranker:
        if model not in self._rerankers:
            self._rerankers[model] = open_reranker(model, self._base.settings.models)
        return self._rerankers[model]

    def _searching(self, catalog: cat.Catalog, stored: StoredCollection) -> Searchable:
        known = None if self._searchable is None else self._searchable.collection
        # The number, too: a collection that was deleted and stored anew has a generation of the same name.
        if known is None or (known.id, known.generation) != (stored.id, stored.generation):
            self._searchable = Searchable(
                catalog,
                stored,
                VectorCache(stored.id, stored.dimension),
                lambda: self._query_encoder(stored),
                lambda connection, copied: self._base.words(stored, connection, from_catalog=copied),
                self._reranker,
                lambda: self._base.catch_up(stored),
                self._base.other_owner,
            )
        assert self._searchable is not None
        return self._searchable

    def _place(self) -> tuple[cat.Catalog, StoredCollection] | None:
        """Return where the documents are, or None while nobody has stored any; asked again until somebody has."""
        catalog = self._base.catalog
        if catalog is not None and self._stored is None:
            self._stored = self._base.stored_for(self.name, self._declared)
            if self._stored is not None:
                self._declared = as_stored(self._declared, self._stored)
        return None if catalog is None or self._stored is None else (catalog, self._stored)

    def _present(self) -> tuple[cat.Catalog, StoredCollection] | None:
        """Return where the documents are, as ``_place``, and what serves them at this moment."""
        place = self._place()
        if place is None:
            return None
        catalog, stored = place
        with catalog.read() as connection:
            is_current = cat.serving(connection, stored.id) == stored.generation
        if is_current:
            return place
        self._stored = None
        return self._place()

    def _existing(self, key: str) -> tuple[cat.Catalog, StoredCollection]:
        """Return where a document must be, if it is anywhere."""
        place = self._place()
        if place is None:
            raise NotFoundError(f"there is no document '{key}' in '{self.name}'", hint="the collection is empty")
        return place

    def _previewing(self) -> tuple[Encoder, Chunking]:
        """Return the model, not compared with anything and so not loaded, and how texts are cut for it."""
        encoder = self._base.encoder(self._declared.model)
        place = self._place()
        if place is None:
            return encoder, make_chunking(self.name, self._declared, encoder)
        recipe = place[1].recipe
        return encoder, Chunking(recipe.chunk_tokens, recipe.chunk_overlap)

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
