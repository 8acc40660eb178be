"""Trying models on a collection's own documents, each in a throw-away knowledge base in a temporary folder."""

from __future__ import annotations

import random
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kb.config import Settings
from kb.embed import open_encoder, resolve
from kb.errors import UsageError
from kb.evaluate import DEFAULT, evaluate_pairs
from kb.index import FOLDER
from kb.knowledge_base import KnowledgeBase
from kb.maintain import disk_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kb.collection import Collection
    from kb.embed import Encoder
    from kb.evaluate import Evaluation, JudgedQuery, Pair, PairEvaluation, Wanted

_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True)
class ModelTrial:
    """How one model fared.

    Attributes:
        model: Its id.
        dimension: The length of a vector.
        documents, chunks: How many there were.
        seconds: What storing them took, from text to both indexes; loading the model left out.
        model_bytes: The model on disk; None where it has no folder.
        vector_bytes: The vectors, as float32.
        index_bytes: The index of vectors on disk.
        answers: How good its answers are, or None without queries.
        pairs: How well it tells pairs apart, or None without pairs.
    """

    model: str
    dimension: int
    documents: int
    chunks: int
    seconds: float
    model_bytes: int | None
    vector_bytes: int
    index_bytes: int
    answers: Evaluation | None
    pairs: PairEvaluation | None

    @property
    def documents_per_second(self) -> float:
        """How fast documents are stored."""
        return round(self.documents / self.seconds, 1) if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What every model is put to.

    Attributes:
        queries: With known answers; may be empty.
        pairs: Labelled; may be empty.
        sample: The most documents; those that a query has as relevant are all among them. None for all documents.
        wanted: What is measured of the answers; its seed also decides the sample.
    """

    queries: Sequence[JudgedQuery] = ()
    pairs: Sequence[Pair] = ()
    sample: int | None = None
    wanted: Wanted = DEFAULT


def compare_models(
    base: KnowledgeBase,
    collection: str | None,
    models: Sequence[str],
    trial: Trial,
    *,
    encoders: Mapping[str, Encoder] | None = None,
) -> Iterator[ModelTrial]:
    """Yield how each model fares on the documents of a collection; the knowledge base itself is only read.

    Each trial is stored in a temporary folder, cut into chunks as the collection declares it, or shorter where the
    model reads less. The folder is gone before the trial is yielded, and also after an error or an interruption.

    Args:
        base: Where the collection is.
        collection: Its name; None when there is only one.
        models: Model ids, each once.
        trial: What they are put to.
        encoders: Models of your own by id; each is closed after its trial.

    Raises:
        UsageError: There are no documents, nothing to measure by, or a model is named twice.
        ModelNotFoundError: One of the models cannot be resolved; none has been tried yet.
    """
    own = encoders or {}
    documents = base.collection(collection)
    twice = next((model for at, model in enumerate(models) if model in models[:at]), None)
    if twice is not None:
        raise UsageError(f"the model '{twice}' is named twice", hint="name each model once")
    if trial.sample is not None and trial.sample < 1:
        raise UsageError(f"a sample needs at least 1 document, not {trial.sample}")
    if not (trial.queries or trial.pairs):
        raise UsageError("there is nothing to compare models by", hint="name a file of queries or of pairs")
    sizes = {model: None if model in own else _model_bytes(base.settings, model) for model in models}
    chosen = _chosen(documents, trial)
    for model in models:
        encoder = own[model] if model in own else open_encoder(model, base.settings.models)
        with _trial_of(base.settings, documents, model, encoder) as throwaway:
            tried = throwaway.collection(documents.name)
            encoder.encode_documents([documents.schema.text(documents.list(limit=1)[0])])  # loads it
            seconds = _fill(tried, documents, chosen)
            found = _figures(throwaway, tried, encoder, trial, seconds=seconds, model_bytes=sizes[model])
        yield found


def _chosen(documents: Collection, trial: Trial) -> frozenset[str]:
    keys = documents.keys()
    if not keys:
        raise UsageError(f"'{documents.name}' is empty; there is nothing to compare models on")
    if trial.sample is None or trial.sample >= len(keys):
        return frozenset(keys)
    named = {key for query in trial.queries for key, grade in query.relevant.items() if grade > 0}.intersection(keys)
    others = [key for key in keys if key not in named]
    more = max(0, trial.sample - len(named))
    return frozenset(named.union(random.Random(trial.wanted.seed).sample(others, more)))  # noqa: S311 - no secret


def _model_bytes(settings: Settings, model: str) -> int | None:
    chosen = settings.models.get(model)
    if chosen is not None and chosen.server is not None:
        return None
    path = resolve(model, settings.models).path
    return None if path is None else disk_bytes(path)


@contextmanager
def _trial_of(settings: Settings, documents: Collection, model: str, encoder: Encoder) -> Iterator[KnowledgeBase]:
    """Yield an empty knowledge base with the collection declared for another model; nothing of it stays."""
    declared = replace(documents.declaration, model=model, query_model=None)
    if (declared.chunk_tokens or 0) > encoder.window:
        declared = replace(declared, chunk_tokens=encoder.window)
    with tempfile.TemporaryDirectory(prefix="kb-trial-") as folder:
        root = Path(folder).resolve()
        made = Settings(root, root / ".kb", settings.store_text, {documents.name: declared}, settings.models)
        with KnowledgeBase(made, encoders={model: encoder}) as base:
            yield base


def _figures(
    base: KnowledgeBase, tried: Collection, encoder: Encoder, trial: Trial, *, seconds: float, model_bytes: int | None
) -> ModelTrial:
    figures = base.stats().collections[0]
    return ModelTrial(
        tried.model,
        figures.dimension,
        figures.documents,
        figures.chunks,
        round(seconds, 3),
        model_bytes,
        figures.chunks * figures.dimension * 4,
        disk_bytes(base.settings.storage / FOLDER),
        tried.evaluate(trial.queries, wanted=trial.wanted) if trial.queries else None,
        evaluate_pairs(encoder, trial.pairs) if trial.pairs else None,
    )


def _fill(tried: Collection, documents: Collection, chosen: frozenset[str]) -> float:
    """Copy the chosen documents; return the seconds that storing them took."""
    seconds, offset = 0.0, 0
    while page := documents.list(limit=_BATCH, offset=offset):
        offset += len(page)
        some = [document for document in page if document.id in chosen]
        began = time.perf_counter()
        tried.upsert(*some)
        seconds += time.perf_counter() - began
    return seconds
