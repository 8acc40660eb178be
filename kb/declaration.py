"""What a declaration means for a collection: its recipe, and whether what is stored still fits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kb import config
from kb.config import CollectionSettings
from kb.errors import ModelMismatchError, UsageError
from kb.schema import Recipe, Schema, differences, schema_of

if TYPE_CHECKING:
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
    model: str | None,
) -> CollectionSettings:
    """Return the declaration that a class makes, completed by what is configured or stored."""
    config.check_collection_name(name)
    known: Schema | None = declared.schema if declared else stored.schema if stored else None
    template = document_class.text_template or (known.template.source if known else None)
    schema = schema_of(document_class, key=known.key if known else "id", text=template)
    if declared is not None:
        return replace(declared, schema=schema, model=model or declared.model)
    return CollectionSettings(schema, model or (stored.recipe.model if stored else config.DEFAULT_MODEL))


def make_recipe(name: str, declared: CollectionSettings, encoder: Encoder) -> Recipe:
    """Return the recipe of a new collection.

    Raises:
        UsageError: Its chunks would be longer than what the model reads.
    """
    tokens = declared.chunk_tokens or min(DEFAULT_CHUNK_TOKENS, encoder.window)
    if tokens > encoder.window:
        raise UsageError(
            f"chunk_tokens is {tokens}, but {encoder.model} reads at most {encoder.window}",
            unchanged="nothing was stored",
            hint=f"set chunk_tokens = {encoder.window} or less in [collections.{name}]",
        )
    overlap = declared.chunk_overlap
    return Recipe(
        template=declared.schema.template.source,
        chunk_tokens=tokens,
        chunk_overlap=min(DEFAULT_CHUNK_OVERLAP, tokens // 4) if overlap is None else overlap,
        model=encoder.model,
        document_prompt=encoder.document_prompt,
        query_prompt=encoder.query_prompt,
    )


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


def check_fingerprint(stored: StoredCollection, encoder: Encoder) -> None:
    """Make sure that a model is the one that made a collection's vectors.

    Raises:
        ModelMismatchError: It is not; also when it has the same dimension.
    """
    import numpy as np

    from kb.embed import FINGERPRINT_AGREEMENT, same_fingerprint

    if encoder.dimension == stored.dimension:
        remembered = np.frombuffer(stored.fingerprint, dtype="<f4").reshape(-1, stored.dimension)
        agreement = same_fingerprint(encoder.fingerprint(), remembered)
        if agreement >= FINGERPRINT_AGREEMENT:
            return
        difference = f"its answers to three fixed sentences agree to {agreement:.3f} only"
    else:
        difference = f"its vectors have {encoder.dimension} dimensions, the stored ones {stored.dimension}"
    raise ModelMismatchError(
        f"the model '{encoder.model}' is not the one that made the vectors of '{stored.name}': {difference}",
        unchanged="nothing was searched or written",
        hint="put the former weights back, or import into a new collection that names the new model",
    )
