"""What a declaration means for a collection: its recipe, and whether what is stored still fits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kb import config
from kb.chunks import Chunking
from kb.config import CollectionSettings
from kb.embed import FINGERPRINT_AGREEMENT, same_fingerprint
from kb.errors import ModelMismatchError, UsageError
from kb.schema import Recipe, Schema, differences, schema_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.catalog import StoredCollection
    from kb.embed import Encoder
    from kb.schema import Document

DEFAULT_CHUNK_TOKENS: Final = 256
DEFAULT_CHUNK_OVERLAP: Final = 32


def declare(
    name: str,
    document_class: type[Document],
    declared: CollectionSettings | None,
    stored: StoredCollection | None,
    *,
    model: str | None,
    language: str | None,
) -> CollectionSettings:
    """Return the declaration that a class makes, completed by what is configured or stored."""
    config.check_collection_name(name)
    if language is not None:
        config.check_language(language, f"the collection '{name}':")
    known: Schema | None = declared.schema if declared else stored.schema if stored else None
    template = document_class.text_template or (known.template.source if known else None)
    schema = schema_of(document_class, key=known.key if known else "id", text=template)
    if declared is not None:
        return replace(declared, schema=schema, model=model or declared.model, language=language or declared.language)
    if stored is None:
        return CollectionSettings(schema, model or config.DEFAULT_MODEL, language=language or config.DEFAULT_LANGUAGE)
    return CollectionSettings(schema, model or stored.recipe.model, language=language or stored.language)


def make_recipe(
    name: str, declared: CollectionSettings, encoder: Encoder, stored: Sequence[StoredCollection]
) -> Recipe:
    """Return the recipe of a new collection.

    Args:
        name: Of the collection.
        declared: Its declaration.
        encoder: Its model.
        stored: All other collections: vectors are shared with those that were made by the same weights, not by others
            of the same name.

    Raises:
        UsageError: Its chunks would be longer than what the model reads.
    """
    chunking = make_chunking(name, declared, encoder)
    return Recipe(
        template=declared.schema.template.source,
        chunk_tokens=chunking.tokens,
        chunk_overlap=chunking.overlap,
        model=encoder.model,
        document_prompt=encoder.document_prompt,
        query_prompt=encoder.query_prompt,
        weights=_weights(encoder, stored),
    )


def make_chunking(name: str, declared: CollectionSettings, encoder: Encoder) -> Chunking:
    """Return how the texts of a new collection are cut; loads no model.

    Raises:
        UsageError: The chunks would be longer than what the model reads.
    """
    tokens = declared.chunk_tokens or min(DEFAULT_CHUNK_TOKENS, encoder.window)
    _check_window(name, tokens, encoder)
    overlap = declared.chunk_overlap
    return Chunking(tokens, min(DEFAULT_CHUNK_OVERLAP, tokens // 4) if overlap is None else overlap)


def _check_window(name: str, tokens: int, encoder: Encoder) -> None:
    if tokens > encoder.window:
        raise UsageError(
            f"chunk_tokens is {tokens}, but {encoder.model} reads at most {encoder.window}",
            unchanged="nothing was stored",
            hint=f"set chunk_tokens = {encoder.window} or less in [collections.{name}]",
        )


def _weights(encoder: Encoder, stored: Sequence[StoredCollection]) -> int:
    same_id = [other for other in stored if other.recipe.model == encoder.model]
    for other in same_id:
        if _agreement(other, encoder) >= FINGERPRINT_AGREEMENT:
            return other.recipe.weights
    return max((other.recipe.weights + 1 for other in same_id), default=0)


def _agreement(stored: StoredCollection, encoder: Encoder) -> float:
    """Return how far the model's answers agree with those that a collection remembers: 1 when they are the same."""
    import numpy as np

    if encoder.dimension != stored.dimension:
        return -1.0
    remembered = np.frombuffer(stored.fingerprint, dtype="<f4").reshape(-1, stored.dimension)
    return same_fingerprint(encoder.fingerprint(), remembered)


def changed_recipe(stored: StoredCollection, declared: CollectionSettings) -> Recipe:
    """Return the stored recipe with what the declaration says otherwise."""
    recipe, overlap = stored.recipe, declared.chunk_overlap
    return replace(
        recipe,
        template=declared.schema.template.source,
        model=declared.model,
        chunk_tokens=declared.chunk_tokens or recipe.chunk_tokens,
        chunk_overlap=recipe.chunk_overlap if overlap is None else overlap,
    )


def mismatches(stored: StoredCollection, declared: CollectionSettings, recipe: Recipe) -> list[str]:
    """Return what keeps the stored documents and vectors from fitting a declaration with that recipe."""
    found = differences(stored.schema, declared.schema)
    for name, label in (("model", "the model"), ("chunk_tokens", "chunk_tokens"), ("chunk_overlap", "chunk_overlap")):
        before, after = getattr(stored.recipe, name), getattr(recipe, name)
        if before != after:
            found.append(f"{label} was {before} and is {after}")
    return found


def check_model(stored: StoredCollection, encoder: Encoder) -> None:
    """Make sure that a model is the one that made a collection's vectors, and is used in the same way.

    Raises:
        ModelMismatchError: It is not, also when it has the same dimension; or its prompts have changed.
        UsageError: The collection's chunks would be longer than what the model reads.
    """
    recipe = stored.recipe
    _check_window(stored.name, recipe.chunk_tokens, encoder)
    if (encoder.document_prompt, encoder.query_prompt) != (recipe.document_prompt, recipe.query_prompt):
        raise ModelMismatchError(
            f"the prompts of the model '{encoder.model}' are not those that made the vectors of '{stored.name}': "
            f"{recipe.document_prompt!r} and {recipe.query_prompt!r} before, "
            f"{encoder.document_prompt!r} and {encoder.query_prompt!r} now",
            unchanged="nothing was searched or written",
            hint=f'put the former prompts back in [models."{encoder.model}"], or import into a new collection',
        )
    agreement = _agreement(stored, encoder)
    if agreement >= FINGERPRINT_AGREEMENT:
        return
    if encoder.dimension == stored.dimension:
        difference = f"its answers to three fixed sentences agree to {agreement:.3f} only"
    else:
        difference = f"its vectors have {encoder.dimension} dimensions, the stored ones {stored.dimension}"
    raise ModelMismatchError(
        f"the model '{encoder.model}' is not the one that made the vectors of '{stored.name}': {difference}",
        unchanged="nothing was searched or written",
        hint="put the former weights back, or import into a new collection that names the new model",
    )
