"""A collection under another recipe: what its vectors would cost, and what its answers would be. Methods of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kb import catalog as cat
from kb.chunks import Chunking
from kb.declaration import fitting, make_fingerprint, make_recipe, redeclared, same_answers
from kb.embed import check_vectors
from kb.errors import ConflictError, KBError, NotFoundError, UsageError
from kb.evaluate import Gate, Side, compare_generations
from kb.judging import Judging
from kb.maintain import estimate_reembed
from kb.write import Filling, Target, current_user, plan_documents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kb.catalog import Catalog, Connection, StoredCollection, StoredGeneration
    from kb.embed import Encoder
    from kb.maintain import ReembedEstimate
    from kb.reembedding import ReembedRequest


@dataclass(frozen=True, slots=True)
class Wanted:
    """A collection as it would be, with another recipe, and its models."""

    collection: StoredCollection
    encoder: Encoder
    queries: Encoder


class Recipes(Judging):
    """A collection that can be looked at as another recipe would have it; nothing is stored."""

    def estimate_reembed(self, request: ReembedRequest, *, probe: bool = True) -> ReembedEstimate:
        """Return what ``reembed`` with the same request would cost; nothing is stored.

        Args:
            request: As for ``reembed``.
            probe: Whether to measure with a few texts how long the model takes.
        """
        catalog, stored = self._stored_place()
        generation = self._going_on(catalog, stored, request)
        if generation is None:
            wanted = self._wanted(stored, request)
            return self._estimated(catalog, stored, wanted.collection, lambda: wanted.encoder, None, probe=probe)
        target = self._filling(catalog, stored, generation).target
        return self._estimated(catalog, stored, target.collection, target.encoder, generation.target, probe=probe)

    def try_reembed(self, request: ReembedRequest, sample: int) -> Gate:
        """Compare the recipe that a request asks for with the one that serves, on some documents; nothing is stored.

        Args:
            request: As for ``reembed``.
            sample: How many documents; at least 1. They and their new vectors are in memory.

        Raises:
            UsageError: The sample is empty.
            EncoderError: The model failed.
        """
        if sample < 1:
            raise UsageError(f"a sample needs at least 1 document, not {sample}")
        catalog, stored = self._stored_place()
        wanted = self._wanted(stored, request)
        with catalog.read() as connection:
            every = cat.page_seqs(connection, stored.id, after=0, limit=-1)
            chosen = np.random.default_rng(0).permutation(every)[:sample].tolist()
            seqs = sorted(int(seq) for seq in chosen)
            target = self._target_of(catalog, wanted.collection, lambda: wanted.encoder)
            vectors = _in_memory(connection, target, seqs)
            tried = Side(wanted.collection.dimension, lambda: wanted.queries, vectors)
            return self._compared(connection, seqs, stored, tried)

    def _stored_place(self) -> tuple[Catalog, StoredCollection]:
        place = self._present()
        if place is None:
            raise NotFoundError(f"'{self.name}' has no documents yet", hint="import some first")
        return place

    def _going_on(self, catalog: Catalog, stored: StoredCollection, request: ReembedRequest) -> StoredGeneration | None:
        """Return the generation that is being built if a request is about it; None when there is none.

        Raises:
            ConflictError: Another one is being built than the request asks for.
        """
        with catalog.read() as connection:
            generation = cat.building(connection, stored.id)
        if generation is None or not request.names_a_recipe:
            return generation
        wanted = self._wanted(stored, request).collection
        if wanted.recipe != generation.recipe:
            raise ConflictError(
                f"another generation of '{self.name}' is being built: {generation.recipe.model}, "
                f"{generation.recipe.chunk_tokens} tokens a chunk",
                unchanged="nothing was done",
                hint=f"go on with it: kb reembed -c {self.name}; or delete it: kb reembed -c {self.name} --discard",
            )
        return generation

    def _wanted(self, stored: StoredCollection, request: ReembedRequest) -> Wanted:
        """Return the collection as a request would have it.

        Raises:
            ConflictError: It is like that already.
            UsageError, SchemaError: The chunks do not fit the model, or the template names what is no field.
        """
        declared = redeclared(
            stored,
            model=request.model,
            template=request.template,
            chunk_tokens=request.chunk_tokens,
            chunk_overlap=request.chunk_overlap,
            query_model=request.query_model,
        )
        encoder = self._base.encoder(self._declared_id(declared.model))
        if request.chunk_tokens is None:
            declared = fitting(declared, encoder.window)
        queries = encoder
        if declared.query_model:
            queries = self._base.encoder(self._declared_id(declared.query_model))
        recipe = make_recipe(self.name, declared, encoder, queries, self._known_models())
        wanted = replace(
            stored,
            schema=declared.schema,
            recipe=recipe,
            dimension=encoder.dimension,
            fingerprint=make_fingerprint(encoder, queries),
        )
        if recipe == stored.recipe and same_answers(stored, encoder, queries):
            raise ConflictError(
                f"'{self.name}' is made like that already: {recipe.model}, {recipe.chunk_tokens} tokens a chunk",
                unchanged="nothing was done",
                hint="name what is to be different: --model, --template or --chunks",
            )
        return Wanted(wanted, encoder, queries)

    def _known_models(self) -> list[StoredCollection]:
        """Return every collection, once for each of its generations: all the weights that the catalog has met."""
        catalog = self._base.catalog
        assert catalog is not None
        with catalog.read() as connection:
            collections = {one.id: one for one in cat.list_collections(connection)}
            others = [one for one in cat.all_generations(connection) if one.state is not cat.GenerationState.ACTIVE]
        return [*collections.values(), *(one.of(collections[one.collection_id]) for one in others)]

    def _target_of(self, catalog: Catalog, collection: StoredCollection, encoder: Callable[[], Encoder]) -> Target:
        chunking = Chunking(collection.recipe.chunk_tokens, collection.recipe.chunk_overlap)
        return Target(catalog, collection, chunking, encoder, lambda: None, current_user())

    def _filling(self, catalog: Catalog, stored: StoredCollection, generation: StoredGeneration) -> Filling:
        collection = generation.of(stored)
        target = self._target_of(catalog, collection, lambda: self._encoder(collection))
        return Filling(generation, target, self._base.indexes, stored)

    def _estimated(
        self,
        catalog: Catalog,
        stored: StoredCollection,
        collection: StoredCollection,
        encoder: Callable[[], Encoder],
        waiting: str | None,
        *,
        probe: bool,
    ) -> ReembedEstimate:
        target = self._target_of(catalog, collection, encoder)
        return estimate_reembed(target, stored, waiting=waiting, store_text=self._base.indexes.store_text, probe=probe)

    def _comparison(self, catalog: Catalog, filling: Filling) -> Callable[[], Gate]:
        """Return what compares a generation that is complete with the one that serves."""
        collection, number = filling.target.collection, filling.generation.id

        def vectors(connection: Connection, seqs: Sequence[int]) -> cat.ChunkVectors:
            return cat.other_vectors(connection, number, collection.dimension, seqs)

        def compare() -> Gate:
            with catalog.read() as connection:
                seqs = cat.page_seqs(connection, collection.id, after=0, limit=-1)
                side = Side(collection.dimension, lambda: self._query_encoder(collection), vectors)
                return self._compared(connection, seqs, filling.serving, side)

        return compare

    def _compared(self, connection: Connection, seqs: Sequence[int], stored: StoredCollection, side: Side) -> Gate:
        def vectors(connection: Connection, some: Sequence[int]) -> cat.ChunkVectors:
            return cat.chunk_vectors(connection, stored.id, stored.dimension, seqs=some)

        try:
            self._query_encoder(stored)
        except KBError as error:  # its weights are gone or have changed: that may be why there is a new one
            return Gate.without(str(error))
        serving = Side(stored.dimension, lambda: self._query_encoder(stored), vectors)
        return compare_generations(connection, seqs, (serving, side), self.judged_queries(), collection_id=stored.id)


def _in_memory(
    connection: Connection, target: Target, seqs: Sequence[int]
) -> Callable[[Connection, Sequence[int]], cat.ChunkVectors]:
    """Return the vectors of documents as a recipe would make them; those that the catalog has are not made again."""
    planned = plan_documents(target, list(cat.get_documents_by_seq(connection, seqs).values()))
    texts = {text_hash: text for one in planned for text_hash, text in one.texts.items()}
    known = cat.known_vectors(connection, target.collection.recipe.space, list(texts))
    stored = cat.get_vectors(connection, list(known.values()))
    made = {text_hash: stored[number] for text_hash, number in known.items()}
    missing = [text_hash for text_hash in texts if text_hash not in made]
    if missing:
        answer = target.encoder().encode_documents([texts[one] for one in missing])
        made |= zip(missing, check_vectors(answer, len(missing), target.collection.dimension), strict=True)
    by_seq = {one.stored.seq: [made[text_hash] for text_hash in one.texts] for one in planned}

    def vectors(_connection: Connection, some: Sequence[int]) -> cat.ChunkVectors:
        rows = [(seq, at, vector) for seq in some for at, vector in enumerate(by_seq[seq])]
        matrix = np.stack([vector for _, _, vector in rows])
        return cat.ChunkVectors(np.array([row[0] for row in rows]), np.array([row[1] for row in rows]), matrix)

    return vectors
