"""Calibrating: from which cosine on a collection has an answer to a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kb import catalog as cat
from kb.embed import check_vectors
from kb.errors import ConflictError
from kb.evaluate.best_scores import Probe, best_documents
from kb.evaluate.bounds import BestScores, find_bounds
from kb.evaluate.known import KnownQuery, stored_known
from kb.evaluate.made_queries import HeldOut, Passage, Vocabulary, hold_out
from kb.evaluate.unrelated import UNRELATED, unrelated

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from kb.catalog import Calibration, Connection
    from kb.evaluate.bounds import Bounds
    from kb.write import Target

MADE: Final = 600
"""How many queries of a kind are made of the collection's own texts."""

MIN_DOCUMENTS: Final = 20
"""Queries made of fewer documents would say more about these than about the collection."""

MIN_JUDGED: Final = 20
"""So many judged queries of a kind are needed to go by them."""

_LOOKED_AT: Final = 3_000
_BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class CalibrationStep:
    """How far calibrating has come.

    Attributes:
        done: Queries embedded and documents compared.
        total: How many there are in all.
        calibration: The stored bounds; only in the last step.
        notes: What else to know about them; only in the last step.
    """

    done: int
    total: int
    calibration: Calibration | None = None
    notes: tuple[str, ...] = ()


class _Asked(NamedTuple):
    """One query: as it is known, and the part of a document that it was made of, if it was."""

    query: KnownQuery
    held_out: HeldOut | None = None


class _Side(NamedTuple):
    """The queries with an answer, or those without: all of them, the hardest ones, and whether they were judged."""

    queries: Sequence[_Asked]
    hard: Sequence[_Asked]
    judged: bool
    notes: tuple[str, ...] = ()


def calibrate(target: Target, known: Sequence[KnownQuery] = (), *, seed: int = 0) -> Generator[CalibrationStep]:
    """Find a collection's bounds and store them under its recipe.

    Queries that have an answer, and queries that have none, come from ``known`` and the stored judgements where these
    hold 20 or more of the kind; else they are made. A sentence held out of a document stands for a query that has an
    answer: it scores what the best of the other documents does, or this one without the sentence. Sentences about
    everyday life, in the language of the collection where kb has some, stand for queries that have none. The same seed
    gives the same bounds.

    Args:
        target: The collection.
        known: Queries of which it is known whether they have an answer.
        seed: Of what is drawn.

    Raises:
        ConflictError: The collection is too small, or its texts are too short to make queries of.
        EncoderError: The model failed; nothing was stored.
    """
    with target.catalog.read() as connection:
        documents = cat.count_documents(connection, target.collection.id)
        _check_size(target, documents)
        known = [*known, *stored_known(connection, target)]
        vocabulary, held_out = _made(connection, target, np.random.default_rng(seed))
        answered = _answered(target, known, vocabulary, held_out)
        unanswered = _unanswered(known, target.collection.language, vocabulary, np.random.default_rng(seed))
        change = cat.current_change(connection, target.collection.id)
        # Judged queries are the hard ones at the same time: each is asked once.
        asked = list(dict.fromkeys([*answered.queries, *answered.hard, *unanswered.queries, *unanswered.hard]))
        total = len(asked) + documents
        yield CalibrationStep(0, total)
        probes: list[Probe] = []
        for start in range(0, len(asked), _BATCH):
            probes += _probes(target, asked[start : start + _BATCH])
            yield CalibrationStep(len(probes), total)
        for found in best_documents(connection, target.collection, probes):
            yield CalibrationStep(len(asked) + found.seen, total)
    best = dict(zip(asked, found.scores.tolist(), strict=True))
    kinds = (answered.queries, answered.hard, unanswered.queries, unanswered.hard)
    bounds = find_bounds(BestScores(*(np.array([best[one] for one in kind]) for kind in kinds)), seed=seed)
    calibration = _calibration(target, bounds, answered, unanswered, documents=documents, change=change)
    with target.catalog.write() as connection:
        cat.save_calibration(connection, target.collection.id, calibration)
    yield CalibrationStep(total, total, calibration, (*answered.notes, *unanswered.notes))


def _check_size(target: Target, documents: int) -> None:
    if documents < MIN_DOCUMENTS:
        raise ConflictError(
            f"'{target.collection.name}' is too small to be calibrated: {documents} of {MIN_DOCUMENTS} documents",
            unchanged="nothing was stored",
            hint="import more; until then search with a bound of your own: --min-score",
        )


def _calibration(
    target: Target, bounds: Bounds, answered: _Side, unanswered: _Side, *, documents: int, change: int
) -> Calibration:
    return cat.Calibration(
        target.collection.recipe.hash,
        bounds.strict,
        bounds.normal,
        bounds.loose,
        bounds.accuracy,
        bounds.precision,
        len(answered.queries),
        len(unanswered.queries),
        answered.judged,
        unanswered.judged,
        documents,
        change,
        cat.now(),
        target.who,
    )


def _made(connection: Connection, target: Target, rng: np.random.Generator) -> tuple[Vocabulary, list[HeldOut]]:
    """Look at documents in random order until enough of them have a sentence to hold out."""
    seqs = rng.permutation(cat.page_seqs(connection, target.collection.id, after=0, limit=-1)).tolist()
    texts: list[str] = []
    held_out: list[HeldOut] = []
    for start in range(0, min(len(seqs), _LOOKED_AT), MADE):
        some = seqs[start : start + MADE]
        stored = {one.seq: one.text for one in cat.texts_of(connection, some)}
        chunks = cat.get_chunks(connection, some)
        drawn = [chunks[seq][rng.integers(len(chunks[seq]))] for seq in some if chunks[seq]]
        passages = [Passage(c.document_seq, c.ordinal, stored[c.document_seq][c.start : c.end]) for c in drawn]
        texts += [passage.text for passage in passages]
        held_out += hold_out(passages, rng)
        if len(held_out) >= MADE:
            break
    return Vocabulary(texts), held_out[:MADE]


def _answered(
    target: Target, known: Sequence[KnownQuery], vocabulary: Vocabulary, held_out: Sequence[HeldOut]
) -> _Side:
    judged = [_Asked(query) for query in known if query.has_answer]
    if len(judged) >= MIN_JUDGED:
        return _Side(judged, judged, judged=True)
    if len(held_out) < MIN_DOCUMENTS:
        raise ConflictError(
            f"'{target.collection.name}' cannot be calibrated by itself: of {MIN_DOCUMENTS} documents that are needed,"
            f" {len(held_out)} are long enough to take a sentence out",
            unchanged="nothing was stored",
            hint=f"give {MIN_JUDGED} queries that have an answer: kb calibrate --queries FILE.jsonl",
        )
    sentences = [_Asked(KnownQuery(one.text, has_answer=True), one) for one in held_out]
    keywords = [_Asked(KnownQuery(vocabulary.keywords(one.text), has_answer=True), one) for one in held_out]
    return _Side(sentences, keywords, judged=False, notes=_too_few(len(judged), "with"))


def _unanswered(known: Sequence[KnownQuery], language: str, vocabulary: Vocabulary, rng: np.random.Generator) -> _Side:
    judged = [_Asked(query) for query in known if not query.has_answer]
    if len(judged) >= MIN_JUDGED:
        return _Side(judged, judged, judged=True)
    everyday = [_Asked(KnownQuery(text, has_answer=False)) for text in unrelated(language)]
    shuffled = [_Asked(KnownQuery(text, has_answer=False)) for text in vocabulary.shuffled(MADE, rng)]
    notes = _too_few(len(judged), "without")
    if language not in (*UNRELATED, "none"):
        notes += (f"kb has no sentences about everyday life in the language '{language}': English ones were taken",)
    return _Side(everyday, shuffled or everyday, judged=False, notes=notes)


def _too_few(judged: int, which: str) -> tuple[str, ...]:
    if not judged:
        return ()
    counted = f"{judged} judged " + ("query" if judged == 1 else "queries")
    return (f"{counted} {which} an answer not used: {MIN_JUDGED} are needed, so others were made",)


def _probes(target: Target, asked: Sequence[_Asked]) -> list[Probe]:
    """Embed queries, and what is left of the documents that they were made of."""
    encoder, dimension = target.encoder(), target.collection.dimension
    queries = check_vectors(encoder.encode_queries([one.query.text for one in asked]), len(asked), dimension)
    rests = list(dict.fromkeys(one.held_out.rest for one in asked if one.held_out is not None))
    vectors = dict(zip(rests, check_vectors(encoder.encode_documents(rests), len(rests), dimension), strict=True))
    probes = []
    for one, vector in zip(asked, queries, strict=True):
        if one.held_out is None:
            probes.append(Probe(vector, one.query.filter))
        else:
            passage = one.held_out.passage
            score = float(vector @ vectors[one.held_out.rest])
            probes.append(Probe(vector, held_out=(passage.seq, passage.ordinal), least=score))
    return probes
