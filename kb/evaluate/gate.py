"""What would change if another generation served: both are asked the same queries, exactly."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from kb import catalog as cat
from kb.embed import check_vectors
from kb.evaluate.made_queries import LONGEST, Passage, hold_out
from kb.evaluate.metrics import ndcg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from kb.embed import Encoder
    from kb.evaluate.cases import JudgedQuery

DEPTH: Final = 10
MADE: Final = 100
"""How many queries are made where none is judged."""

_SCORES: Final = 20_000_000
"""How many scores of one generation are in memory at once."""

_PAGE: Final = 2_000


@dataclass(frozen=True, slots=True)
class Gate:
    """How the answers of a generation differ from those of the one that serves.

    Attributes:
        queries: How many were asked; 0 when the two could not be compared.
        judged: Whether they were judged; else they were made of the documents.
        documents: How many were compared.
        overlap: The share of the first ten that both have, in [0, 1].
        rank_change: How many places documents have risen on average: those that answer a query where it is judged,
            else the ten that served. Below 0: fallen.
        ndcg_before: nDCG@10 of the generation that serves, over judged queries; None without.
        ndcg_after: That of the other one.
        reason: Why the two could not be compared; empty when they were.
        at: When, in UTC.
    """

    queries: int
    judged: bool
    documents: int
    overlap: float
    rank_change: float
    ndcg_before: float | None
    ndcg_after: float | None
    reason: str
    at: str

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Gate:
        """Return what ``to_json`` wrote."""
        return cls(**json.loads(text))

    @classmethod
    def without(cls, reason: str) -> Gate:
        """Return that the two could not be compared."""
        return cls(0, False, 0, 0.0, 0.0, None, None, reason, cat.now())


@dataclass(frozen=True, slots=True)
class Side:
    """One generation that is asked.

    Attributes:
        dimension: The length of its vectors.
        encoder: Returns what embeds its queries.
        vectors: Returns the vectors of documents by row number, in a snapshot.
    """

    dimension: int
    encoder: Callable[[], Encoder]
    vectors: Callable[[cat.Connection, Sequence[int]], cat.ChunkVectors]


class _Asked(NamedTuple):
    """A query, and by row number how relevant documents are where that is known."""

    text: str
    grades: dict[str, int]


def compare_generations(
    connection: cat.Connection,
    seqs: Sequence[int],
    sides: tuple[Side, Side],
    judged: Sequence[JudgedQuery],
    *,
    collection_id: int,
) -> Gate:
    """Ask two generations the same queries and compare their answers.

    Args:
        connection: In a snapshot.
        seqs: Row numbers of the documents to compare, in order; both have all of them.
        sides: The one that serves, and the other one.
        judged: Judged queries; where none has an answer among the documents, others are made of these.
        collection_id: The collection.

    Raises:
        EncoderError: A model failed.
    """
    if not seqs:
        return Gate.without("there are no documents")
    most = max(DEPTH, min(MADE, _SCORES // len(seqs)))
    asked = _judged(connection, collection_id, seqs, judged)[:most]
    is_judged = bool(asked)
    asked = asked or _made(connection, seqs, most)
    before, after = (_scores(connection, side, seqs, [one.text for one in asked]) for side in sides)
    best = [(_best(before[:, at]), _best(after[:, at])) for at in range(len(asked))]
    overlaps = [len(set(a.tolist()) & set(b.tolist())) / len(a) for a, b in best]
    rises: list[float] = []
    row_of = {str(seq): row for row, seq in enumerate(seqs)}
    for at, one in enumerate(asked):
        rows = [row_of[key] for key, grade in one.grades.items() if grade > 0] if is_judged else best[at][0].tolist()
        rises += [_rank(before[:, at], row) - _rank(after[:, at], row) for row in rows]
    gains = [
        [
            ndcg([str(seqs[row]) for row in found.tolist()], one.grades, DEPTH)
            for one, found in zip(asked, some, strict=True)
        ]
        for some in zip(*best, strict=True)
    ]
    means = [round(sum(gain) / len(gain), 4) for gain in gains]
    return Gate(
        len(asked),
        is_judged,
        len(seqs),
        round(sum(overlaps) / len(overlaps), 4),
        round(sum(rises) / len(rises), 2),
        means[0] if is_judged else None,
        means[1] if is_judged else None,
        "",
        cat.now(),
    )


def _judged(
    connection: cat.Connection, collection_id: int, seqs: Sequence[int], judged: Sequence[JudgedQuery]
) -> list[_Asked]:
    keys = sorted({key for query in judged for key in query.relevant})
    states = cat.stored_states(connection, collection_id, keys)
    present = set(seqs)
    found = []
    for query in judged:
        grades = {str(states[k].seq): g for k, g in query.relevant.items() if k in states and states[k].seq in present}
        if any(grade > 0 for grade in grades.values()):
            found.append(_Asked(query.text, grades))
    return found


def _made(connection: cat.Connection, seqs: Sequence[int], most: int) -> list[_Asked]:
    """Return sentences of some documents, or their beginnings where they are too short for that."""
    import numpy as np

    rng = np.random.default_rng(0)
    some = sorted(rng.choice(np.asarray(seqs), size=min(len(seqs), most), replace=False).tolist())
    passages = [Passage(one.seq, 0, one.text) for one in cat.texts_of(connection, some)]
    texts = [one.text for one in hold_out(passages, rng)] or [one.text[:LONGEST] for one in passages]
    return [_Asked(text, {}) for text in texts]


def _scores(connection: cat.Connection, side: Side, seqs: Sequence[int], texts: Sequence[str]) -> np.ndarray:
    """Return the cosine of every document's best chunk with every query; shape (documents, queries)."""
    import numpy as np

    queries = check_vectors(side.encoder().encode_queries(list(texts)), len(texts), side.dimension)
    found = np.full((len(seqs), len(texts)), -2.0, dtype=np.float32)
    for start in range(0, len(seqs), _PAGE):
        page = np.asarray(seqs[start : start + _PAGE])
        vectors = side.vectors(connection, page.tolist())
        if not len(vectors.seqs):
            continue
        first = np.flatnonzero(np.r_[True, np.diff(vectors.seqs) != 0])
        best = np.maximum.reduceat(vectors.matrix @ queries.T, first, axis=0)
        found[start + np.searchsorted(page, vectors.seqs[first])] = best
    return found.round(6)


def _best(scores: np.ndarray) -> np.ndarray:
    """Return the rows of the ten best scores, best first; ties in the order of the documents."""
    import numpy as np

    rows = np.argsort(-scores, kind="stable")[:DEPTH]
    return np.asarray(rows)


def _rank(scores: np.ndarray, row: int) -> int:
    import numpy as np

    return 1 + int(np.count_nonzero(scores > scores[row]))
