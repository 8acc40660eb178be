"""Fills a generation that does not serve, from the documents as they are: it follows the catalog through its queue."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from kb import catalog as cat
from kb.chunks import split
from kb.failpoints import failpoint
from kb.index import record_id
from kb.schema import content_hash
from kb.write.drain import take_over, write_late

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kb.chunks import Chunk
    from kb.write.indexes import Indexes
    from kb.write.target import Target

BATCH: Final = 200
"""How many documents, each of 1 MB at the most, are in memory at once."""

CALL: Final = 512
"""How many texts are embedded at once; they are kept at once, too."""


@dataclass(frozen=True, slots=True)
class Filling:
    """A generation that takes over what the catalog has.

    Attributes:
        generation: The generation.
        target: The collection as it would be if the generation served, and the generation's model.
        indexes: Of the knowledge base.
        serving: The collection as it is.
    """

    generation: cat.StoredGeneration
    target: Target
    indexes: Indexes
    serving: cat.StoredCollection


class Filled(NamedTuple):
    """What one step has done: documents that the generation has now, and texts that were embedded."""

    documents: int
    embedded: int


class PlannedDocument(NamedTuple):
    """A document as another recipe has it.

    Attributes:
        stored: As it is in the catalog.
        text: As the recipe's template renders it.
        chunks: As the recipe cuts it.
    """

    stored: cat.StoredDocument
    text: str
    chunks: tuple[Chunk, ...]

    @property
    def texts(self) -> dict[bytes, str]:
        """What is embedded of it, by hash."""
        return {content_hash(chunk.embed_text): chunk.embed_text for chunk in self.chunks}


def plan_documents(target: Target, documents: Sequence[cat.StoredDocument]) -> list[PlannedDocument]:
    """Return documents as the recipe of a target would have them; embeds nothing.

    Args:
        target: The collection as it would be.
        documents: As they are stored.
    """
    encoder, schema = target.encoder(), target.collection.schema
    planned = []
    for one in documents:
        text = schema.text(schema.load(one.key, one.fields))
        chunks = split(text, target.chunking, spans=encoder.token_spans, reserved=encoder.reserved)
        planned.append(PlannedDocument(one, text, tuple(chunks)))
    return planned


def fill_generation(filling: Filling, *, max_rate: float | None = None) -> Iterator[Filled]:
    """Bring a generation up to date, yielding after each step what it has done.

    Documents are rendered, cut and embedded while others may write; what has changed meanwhile is left to its newer
    entry in the queue. Vectors are kept as soon as they are made, so that a kill costs one call of the model.

    Args:
        filling: The generation.
        max_rate: The most texts to embed in a second; None for as many as possible.

    Raises:
        EncoderError: The model failed; what was taken over stays.
        ModelMismatchError: The model is not the one that the generation was begun with.
        DamagedError: The index takes nothing at all; the queue is as it was.
    """
    target, generation = filling.target, filling.generation
    index = filling.indexes.other_vectors(filling.serving, generation)  # a new one has everything still to take over
    write_late(target.catalog, target.collection, index, generation.target)
    while True:
        with target.catalog.read() as connection:
            part = cat.oldest(connection, generation.collection_id, generation.target, BATCH)
            if part is None:
                return
            keys = [document.key for document in part.documents]
            documents = list(cat.get_documents(connection, generation.collection_id, keys).values())
        planned = plan_documents(target, documents)
        texts = {text_hash: text for one in planned for text_hash, text in one.texts.items()}
        for number in _embed(target, texts, max_rate):
            yield Filled(0, number)
        if _take_over(filling, part, planned):
            yield Filled(len(part.documents), 0)


def _embed(target: Target, texts: Mapping[bytes, str], max_rate: float | None) -> Iterator[int]:
    """Make and keep the vectors of those texts that have none, yielding how many were made."""
    from kb.embed import check_vectors

    with target.catalog.read() as connection:
        known = cat.known_vectors(connection, target.collection.recipe.space, list(texts))
    missing = [text_hash for text_hash in texts if text_hash not in known]
    size = CALL if max_rate is None else max(1, min(CALL, int(max_rate)))
    for start in range(0, len(missing), size):
        some = missing[start : start + size]
        began = time.monotonic()
        answer = target.encoder().encode_documents([texts[one] for one in some])
        matrix = check_vectors(answer, len(some), target.collection.dimension)
        with target.catalog.write() as connection:
            known = cat.known_vectors(connection, target.collection.recipe.space, some)
            rows = [row for row, one in enumerate(some) if one not in known]
            cat.insert_vectors(connection, target.collection.recipe.space, [some[row] for row in rows], matrix[rows])
        if max_rate is not None:
            time.sleep(max(0.0, len(some) / max_rate - (time.monotonic() - began)))
        yield len(some)


def _take_over(filling: Filling, part: cat.QueuePart, planned: Sequence[PlannedDocument]) -> bool:
    """Write documents to the catalog as the generation has them, then to its index, then take them off the queue.

    Returns:
        False where vectors of theirs were collected as garbage since they were made: then nothing was done.
    """
    catalog, generation = filling.target.catalog, filling.generation
    with filling.indexes.exclusive():
        with catalog.write() as connection:
            changed = _changed(connection, generation.collection_id, planned)
            fresh = [one for one in planned if one.stored.key not in changed]
            if not _write(connection, filling, fresh):
                return False
            collection = generation.of(cat.with_present_fields(connection, filling.serving))
        failpoint("gen_building")
        index = filling.indexes.other_vectors(filling.serving, generation)
        # Nobody else knows any more how many records it had of these.
        index.delete([record_id(d.key, n) for d in part.documents if d.key in changed for n in range(d.chunks_before)])
        documents = [document for document in part.documents if document.key not in changed]
        refused = take_over(
            catalog, collection, index, documents, store_text=filling.indexes.store_text, other=generation.id
        )
        with catalog.write() as connection:
            cat.forget(connection, generation.collection_id, generation.target, part)
            cat.refuse(connection, generation.collection_id, generation.target, refused)
    return True


def _changed(connection: cat.Connection, collection_id: int, planned: Sequence[PlannedDocument]) -> set[str]:
    """Return those of the documents that have been written or deleted since they were looked at."""
    now = cat.get_documents(connection, collection_id, [one.stored.key for one in planned])
    return {
        one.stored.key
        for one in planned
        if one.stored.key not in now
        or (now[one.stored.key].seq, now[one.stored.key].revision) != (one.stored.seq, one.stored.revision)
    }


def _write(connection: cat.Connection, filling: Filling, planned: Sequence[PlannedDocument]) -> bool:
    """Write documents as the generation has them; return whether all their vectors are there."""
    recipe = filling.target.collection.recipe
    hashes = {text_hash for one in planned for text_hash in one.texts}
    numbers = cat.known_vectors(connection, recipe.space, list(hashes))
    if len(numbers) < len(hashes):
        return False
    chunks = [
        cat.StoredChunk(one.stored.seq, k.ordinal, k.start, k.end, numbers[content_hash(k.embed_text)])
        for one in planned
        for k in one.chunks
    ]
    differs = recipe.template != filling.serving.recipe.template
    texts = [(one.stored.seq, one.text, content_hash(one.text)) for one in planned] if differs else []
    cat.replace_other(connection, filling.generation.id, [one.stored.seq for one in planned], chunks, texts)
    return True
