"""Calibrations: from which cosine on a collection has an answer, as it was found for one recipe."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, insert, select

from kb.catalog.tables import calibrations, documents, judgements

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Relevance(StrEnum):
    """How sure a hit must be to be one."""

    STRICT = "strict"  # of the queries that are answered, 90 % have an answer, also where most have none
    NORMAL = "normal"  # the fewest errors: the shares of answers missed and of answers made up, added
    LOOSE = "loose"  # of the queries that have an answer, 95 % are answered


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The bounds of one collection under one recipe.

    Attributes:
        recipe_hash: The recipe.
        strict, normal, loose: The lowest cosine of a hit; strict is never below normal, loose never above it.
        accuracy: The balanced accuracy of answer / no answer at ``normal``, in [0, 1].
        precision: The precision at ``strict``, in [0, 1]: below 0.9 where no bound reaches that.
        answered, unanswered: How many queries of each kind the bounds come from.
        answered_judged, unanswered_judged: Whether they were judged; else they were made from the collection.
        documents: How many documents the collection had.
        change: The number of its last write.
        at: When, in UTC, ISO 8601.
        who: Who had it done.
    """

    recipe_hash: str
    strict: Interval
    normal: Interval
    loose: Interval
    accuracy: Interval
    precision: float
    answered: int
    unanswered: int
    answered_judged: bool
    unanswered_judged: bool
    documents: int
    change: int
    at: str
    who: str

    def bound(self, relevance: Relevance) -> float:
        """Return the lowest cosine of a hit."""
        levels = {Relevance.STRICT: self.strict, Relevance.NORMAL: self.normal, Relevance.LOOSE: self.loose}
        return levels[relevance].value


class JudgedText(NamedTuple):
    """A query that somebody has judged documents for.

    Attributes:
        text: The query.
        answers: How many of the documents said to answer it still exist.
        gone: How many no longer do.
        wrong: Ids of the documents said not to answer it.
    """

    text: str
    answers: int
    gone: int
    wrong: frozenset[str]


def save_calibration(connection: Connection, collection_id: int, calibration: Calibration) -> None:
    """Store a calibration in place of the one before for its recipe."""
    own = calibrations.c.collection_id == collection_id, calibrations.c.recipe_hash == calibration.recipe_hash
    connection.execute(delete(calibrations).where(*own))
    connection.execute(
        insert(calibrations).values(
            collection_id=collection_id,
            recipe_hash=calibration.recipe_hash,
            strict=calibration.strict.value,
            normal=calibration.normal.value,
            loose=calibration.loose.value,
            details=json.dumps(asdict(calibration), sort_keys=True),
            at=calibration.at,
            who=calibration.who,
        )
    )


def find_calibrations(connection: Connection, collection_id: int) -> list[Calibration]:
    """Return the calibrations of a collection, the newest first; one of each recipe it was calibrated for."""
    query = select(calibrations.c.details).where(calibrations.c.collection_id == collection_id)
    found = [_calibration(text) for text in connection.execute(query).scalars()]
    return sorted(found, key=lambda one: one.at, reverse=True)


def judged_texts(connection: Connection, collection_id: int) -> list[JudgedText]:
    """Return the queries that documents have been judged for, in the order of their texts."""
    exists = (documents.c.collection_id == judgements.c.collection_id) & (documents.c.key == judgements.c.key)
    query = (
        select(judgements.c.query, judgements.c.key, judgements.c.relevant, documents.c.seq)
        .select_from(judgements.outerjoin(documents, exists))
        .where(judgements.c.collection_id == collection_id)
        .order_by(judgements.c.query)
    )
    answers: dict[str, list[bool]] = {}
    wrong: dict[str, set[str]] = {}
    for text, key, relevant, seq in connection.execute(query):
        present = answers.setdefault(text, [])
        if relevant:
            present.append(seq is not None)
        else:
            wrong.setdefault(text, set()).add(key)
    return [
        JudgedText(text, sum(present), len(present) - sum(present), frozenset(wrong.get(text, ())))
        for text, present in answers.items()
    ]


def _calibration(text: str) -> Calibration:
    values = json.loads(text)
    for name in ("strict", "normal", "loose", "accuracy"):
        values[name] = Interval(**values[name])
    return Calibration(**values)
