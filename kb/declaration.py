"""What a declaration means for a collection: its recipe, and whether what is stored still fits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kb import config
from kb.chunks import Chunking
from kb.config import CollectionSettings
from kb.embed import FINGERPRINT_SENTENCES, canonical_id, least_agreement, same_fingerprint
from kb.errors import LimitError, ModelMismatchError, UsageError
from kb.index import OWN_KEYS, limits_of
from kb.model_config import model_id
from kb.schema import Recipe, Schema, differences, schema_of, with_template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.catalog import StoredCollection, StoredGeneration
    from kb.embed import Encoder
    from kb.index_config import IndexSettings
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
    query_model: str | None,
    language: str | None,
) -> CollectionSettings:
    """Return the declaration that a class makes, completed by what is configured or stored."""
    config.check_collection_name(name)
    if language is not None:
        config.check_language(language, f"the collection '{name}':")
    known: Schema | None = declared.schema if declared else stored.schema if stored else None
    if model is not None:
        model = model_id(model, f"the collection '{name}': model")
    if query_model is not None:
        query_model = model_id(query_model, f"the collection '{name}': query_model")
    template = document_class.text_template or (known.template.source if known else None)
    schema = schema_of(document_class, key=known.key if known else "id", text=template)
    if declared is not None:
        return replace(
            declared,
            schema=schema,
            model=model or declared.model,
            query_model=query_model or declared.query_model,
            language=language or declared.language,
        )
    recipe = stored.recipe if stored else None
    return CollectionSettings(
        schema,
        model or (recipe.model if recipe else config.DEFAULT_MODEL),
        language=language or (stored.language if stored else config.DEFAULT_LANGUAGE),
        query_model=query_model or (recipe.query_model if recipe else None) or None,
    )


def declaration_of(stored: StoredCollection) -> CollectionSettings:
    """Return the declaration of a collection that nothing declares any more."""
    recipe = stored.recipe
    return CollectionSettings(
        stored.schema,
        recipe.model,
        recipe.chunk_tokens,
        recipe.chunk_overlap,
        stored.language,
        recipe.query_model or None,
    )


def make_recipe(
    name: str,
    declared: CollectionSettings,
    encoder: Encoder,
    query_encoder: Encoder,
    stored: Sequence[StoredCollection],
) -> Recipe:
    """Return the recipe of a new collection.

    Args:
        name: Of the collection.
        declared: Its declaration.
        encoder: Its model.
        query_encoder: The model that embeds queries; mostly the same.
        stored: All other collections: vectors are shared with those that were made by the same weights, not by others
            of the same name.

    Raises:
        UsageError: Its chunks would be longer than what the model reads, or its two models have no common space.
    """
    chunking = make_chunking(name, declared, encoder)
    if query_encoder.dimension != encoder.dimension:
        raise UsageError(
            f"the query model '{query_encoder.model}' has {query_encoder.dimension} dimensions, "
            f"the model '{encoder.model}' of '{name}' has {encoder.dimension}",
            unchanged="nothing was stored",
            hint="name a query model that was made for the other one, or take query_model out",
        )
    return Recipe(
        template=declared.schema.template.source,
        chunk_tokens=chunking.tokens,
        chunk_overlap=chunking.overlap,
        model=encoder.model,
        document_prompt=encoder.document_prompt,
        query_prompt=query_encoder.query_prompt,
        query_model="" if query_encoder is encoder else query_encoder.model,
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


def make_fingerprint(encoder: Encoder, query_encoder: Encoder) -> bytes:
    """Return what a new collection remembers of its models, for ``check_model`` and ``check_query_model``."""
    own = encoder.fingerprint().tobytes()
    return own if query_encoder is encoder else own + query_encoder.fingerprint().tobytes()


def _weights(encoder: Encoder, stored: Sequence[StoredCollection]) -> int:
    same_id = [other for other in stored if other.recipe.model == encoder.model]
    for other in same_id:
        if _agreement(other, encoder) >= least_agreement(encoder):
            return other.recipe.weights
    return max((other.recipe.weights + 1 for other in same_id), default=0)


def _agreement(stored: StoredCollection, encoder: Encoder, *, queries: bool = False) -> float:
    """Return how far the model's answers agree with those that a collection remembers: 1 when they are the same."""
    import numpy as np

    if encoder.dimension != stored.dimension:
        return -1.0
    remembered = np.frombuffer(stored.fingerprint, dtype="<f4").reshape(-1, stored.dimension)
    own = len(FINGERPRINT_SENTENCES)
    return same_fingerprint(encoder.fingerprint(), remembered[own:] if queries else remembered[:own])


def same_answers(stored: StoredCollection, encoder: Encoder, queries: Encoder) -> bool:
    """Whether models are those that a collection remembers, and are used in the same way."""
    least = min(least_agreement(encoder), least_agreement(queries))
    if _agreement(stored, encoder) < least:
        return False
    return not stored.recipe.query_model or _agreement(stored, queries, queries=True) >= least


def changed_recipe(stored: StoredCollection, declared: CollectionSettings) -> Recipe:
    """Return the stored recipe with what the declaration says otherwise."""
    recipe, overlap = stored.recipe, declared.chunk_overlap
    return replace(
        recipe,
        template=declared.schema.template.source,
        model=_stored_id(recipe.model, canonical_id(declared.model)),
        query_model=_stored_id(recipe.query_model, query_model_of(declared) or ""),
        chunk_tokens=declared.chunk_tokens or recipe.chunk_tokens,
        chunk_overlap=recipe.chunk_overlap if overlap is None else overlap,
    )


def redeclared(
    stored: StoredCollection,
    *,
    model: str | None,
    template: str | None,
    chunk_tokens: int | None,
    chunk_overlap: int | None,
    query_model: str | None,
) -> CollectionSettings:
    """Return the declaration of a stored collection with some parts of its recipe replaced; None keeps one.

    A model for queries is kept with the model that it was made for only; an empty one is none.
    """
    kept = declaration_of(stored)
    model = kept.model if model is None else canonical_id(model)
    if query_model is None and model == kept.model:
        query_model = kept.query_model
    return replace(
        kept,
        schema=kept.schema if template is None else with_template(kept.schema, template),
        model=model,
        query_model=query_model or None,
        chunk_tokens=kept.chunk_tokens if chunk_tokens is None else chunk_tokens,
        chunk_overlap=kept.chunk_overlap if chunk_overlap is None and chunk_tokens is None else chunk_overlap,
    )


def fitting(declared: CollectionSettings, window: int) -> CollectionSettings:
    """Return a declaration whose chunks are no longer than what a model reads."""
    if (declared.chunk_tokens or 0) <= window:
        return declared
    overlap = declared.chunk_overlap
    return replace(declared, chunk_tokens=window, chunk_overlap=None if overlap is None else min(overlap, window // 2))


def as_stored(declared: CollectionSettings, stored: StoredCollection) -> CollectionSettings:
    """Return a declaration with the recipe that serves in place of its own."""
    recipe = stored.recipe
    if recipe == changed_recipe(stored, declared):
        return declared
    return replace(
        declared,
        schema=with_template(declared.schema, recipe.template),
        model=recipe.model,
        query_model=recipe.query_model or None,
        chunk_tokens=recipe.chunk_tokens,
        chunk_overlap=recipe.chunk_overlap,
    )


def is_former(stored: StoredCollection, former: Sequence[StoredGeneration], declared: CollectionSettings) -> bool:
    """Whether a declaration is that of a generation which has served: it may be older than the promotion."""
    forms = [one.of(stored) for one in former]
    return any(not mismatches(form, declared, changed_recipe(form, declared)) for form in forms)


def _stored_id(stored: str, declared: str) -> str:
    """Return the declared id of a model, or the stored one where that is another spelling of the same path."""
    return stored if model_id(stored, "the catalog: model") == declared else declared


def query_model_of(declared: CollectionSettings) -> str | None:
    """Return the id of the model that embeds queries; None where the one of the documents does."""
    if declared.query_model is None or canonical_id(declared.query_model) == canonical_id(declared.model):
        return None
    return canonical_id(declared.query_model)


def same_models(a: Recipe, b: Recipe) -> bool:
    """Whether two recipes name the same models."""
    return (a.model, a.query_model) == (b.model, b.query_model)


def mismatches(stored: StoredCollection, declared: CollectionSettings, recipe: Recipe) -> list[str]:
    """Return what keeps the stored documents and vectors from fitting a declaration with that recipe."""
    found = differences(stored.schema, declared.schema)
    for name, label in (
        ("model", "the model"),
        ("query_model", "the query model"),
        ("chunk_tokens", "chunk_tokens"),
        ("chunk_overlap", "chunk_overlap"),
    ):
        before, after = getattr(stored.recipe, name), getattr(recipe, name)
        if before != after:
            found.append(f"{label} was {_told(before)} and is {_told(after)}")
    return found


def _told(value: str | int) -> str:
    return "the same as the model" if value == "" else str(value)


def check_model(stored: StoredCollection, encoder: Encoder) -> None:
    """Make sure that a model is the one that made a collection's vectors, and is used in the same way.

    Raises:
        ModelMismatchError: It is not, also when it has the same dimension; or its prompt has changed.
        UsageError: The collection's chunks would be longer than what the model reads.
    """
    _check_window(stored.name, stored.recipe.chunk_tokens, encoder)
    _check_prompt(stored, encoder, stored.recipe.document_prompt, encoder.document_prompt, "document_prompt")
    if not stored.recipe.query_model:
        _check_prompt(stored, encoder, stored.recipe.query_prompt, encoder.query_prompt, "query_prompt")
    _check_answers(stored, encoder, _agreement(stored, encoder), "made the vectors of")


def check_query_model(stored: StoredCollection, encoder: Encoder) -> None:
    """Make sure that a model is the one that embeds the queries of a collection, used in the same way.

    Raises:
        ModelMismatchError: It is not, or its prompt has changed.
    """
    _check_prompt(stored, encoder, stored.recipe.query_prompt, encoder.query_prompt, "query_prompt")
    _check_answers(stored, encoder, _agreement(stored, encoder, queries=True), "embeds the queries of")


def _check_prompt(stored: StoredCollection, encoder: Encoder, before: str, now: str, key: str) -> None:
    if now != before:
        raise ModelMismatchError(
            f"the {key} of the model '{encoder.model}' is not the one that '{stored.name}' was stored with: "
            f"{before!r} before, {now!r} now",
            unchanged="nothing was searched or written",
            hint=f'put {key} = "{before}" back in [models."{encoder.model}"], '
            f"or make all vectors anew as it is: kb reembed -c {stored.name}",
        )


def _check_answers(stored: StoredCollection, encoder: Encoder, agreement: float, does: str) -> None:
    if agreement >= least_agreement(encoder):
        return
    if encoder.dimension == stored.dimension:
        difference = f"its answers to three fixed sentences agree to {agreement:.3f} only"
    else:
        difference = f"its vectors have {encoder.dimension} dimensions, the stored ones {stored.dimension}"
    raise ModelMismatchError(
        f"the model '{encoder.model}' is not the one that {does} '{stored.name}': {difference}",
        unchanged="nothing was searched or written",
        hint="put the former weights back, or make all vectors anew, beside those that serve: "
        f"kb reembed -c {stored.name}",
    )


def check_limits(name: str, declared: CollectionSettings, index: IndexSettings) -> None:
    """Refuse a collection that the configured index cannot hold.

    Raises:
        LimitError: It has more fields that can be filtered by than a record of Chroma Cloud takes.
    """
    most = limits_of(index).metadata_keys
    fields = sum(field.is_metadata for field in declared.schema.fields.values())
    if most is not None and fields > most - OWN_KEYS:
        raise LimitError(
            f"'{name}' has {fields} fields that can be filtered by; Chroma Cloud takes {most - OWN_KEYS}",
            unchanged="nothing was stored",
            hint='declare those that no filter needs as "text", or use another mode of [index]',
        )
