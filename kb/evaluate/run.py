"""From judged queries and something that answers them to figures: how good the answers are, by mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kb.errors import UsageError
from kb.evaluate.metrics import Estimate, estimates, ndcg, recall, reciprocal_rank

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from kb.evaluate.cases import JudgedQuery

    Ask = Callable[[Sequence[JudgedQuery]], "Answers"]

DEPTH: Final = 10
"""How far down nDCG and MRR look."""

MAIN: Final = f"nDCG@{DEPTH}"
"""The measure that decides: by it modes and models are compared."""

MAX_RECALL_AT: Final = 1_000

_BATCH: Final = 32
"""So many queries are embedded together: enough to be fast, few enough for progress to be seen."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What several queries are answered with.

    Attributes:
        rankings: For each query, by mode, the ids that answer it, best first.
        notes: What else to know about them.
    """

    rankings: Sequence[Mapping[str, Sequence[str]]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModeFigures:
    """How good the answers of one mode are.

    Attributes:
        mode: The search mode.
        measures: By name (``nDCG@10``, ``recall@5``, ``MRR@10``) over the queries that have an answer; empty without
            such queries.
        empty: How many of the queries that have an answer got no hit at all.
        rightly_empty: How many of those without one got none.
        hits: How many hits there are among the first ten of all queries.
        right_hits: How many of these are relevant.
    """

    mode: str
    measures: Mapping[str, Estimate]
    empty: int
    rightly_empty: int
    hits: int
    right_hits: int

    @property
    def precision(self) -> float | None:
        """The share of the hits that is relevant; None without hits."""
        return round(self.right_hits / self.hits, 6) if self.hits else None


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one way of answering is than another on the same queries, by nDCG@10.

    Attributes:
        first, second: What is compared; positive figures speak for the first.
        estimate: The mean difference and its interval, by a paired bootstrap.
        better, equal, worse: Queries on which the first is so.
    """

    first: str
    second: str
    estimate: Estimate
    better: int
    equal: int
    worse: int


@dataclass(frozen=True, slots=True)
class QueryScores:
    """How one query fared.

    Attributes:
        query: What was asked, with its right answer.
        scores: By mode, the measures by name.
        ranks: By mode, the rank of the first relevant document, or None.
    """

    query: JudgedQuery
    scores: Mapping[str, Mapping[str, float]]
    ranks: Mapping[str, int | None]

    @property
    def difference(self) -> float:
        """The nDCG@10 of the last mode minus that of the first; with one mode, its nDCG@10."""
        values = [measures[MAIN] for measures in self.scores.values()]
        return round(values[-1] - values[0] if len(values) > 1 else values[0], 6)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good the answers of a collection are.

    Attributes:
        collection, model: What answered.
        answerable, unanswerable: How many queries have a relevant document, and how many have none.
        modes: One entry a mode, in the order asked for.
        differences: Of every two modes, the later minus the earlier one.
        per_query: Of those that have an answer; those first that gained least, see ``QueryScores.difference``.
        missing: Relevant documents that the collection does not have; they count as not found.
        notes: What the searches had to say, each once.
    """

    collection: str
    model: str
    answerable: int
    unanswerable: int
    modes: tuple[ModeFigures, ...]
    differences: tuple[Difference, ...]
    per_query: tuple[QueryScores, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EvaluationStep:
    """How far an evaluation has come.

    Attributes:
        done: Queries asked.
        total: How many there are.
        evaluation: What was found; only in the last step.
    """

    done: int
    total: int
    evaluation: Evaluation | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is measured.

    Attributes:
        modes: Search modes, each once.
        recall_at: How far down recall looks; each from 1 to 1,000.
        seed: Decides the draws of the intervals.
    """

    modes: tuple[str, ...] = ("semantic", "keyword", "hybrid")
    recall_at: tuple[int, ...] = (1, 5, 10)
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: A number is out of range, or a mode is named twice.
        """
        for k in self.recall_at:
            if not 1 <= k <= MAX_RECALL_AT:
                raise UsageError(f"recall@k needs a k from 1 to {MAX_RECALL_AT:,}, not {k}")
        if len(set(self.modes)) < len(self.modes) or not self.modes:
            raise UsageError("name each mode once")
        if self.seed < 0:
            raise UsageError(f"the seed must be 0 or more, not {self.seed}")

    @property
    def depth(self) -> int:
        """How many hits an answer must have."""
        return max(DEPTH, *self.recall_at)


DEFAULT: Final = Wanted()


def measure(ranking: Sequence[str], grades: Mapping[str, int], recall_at: Sequence[int]) -> dict[str, float]:
    """Return the measures of one ranking by name."""
    return {
        MAIN: ndcg(ranking, grades, DEPTH),
        **{f"recall@{k}": recall(ranking, grades, k) for k in sorted(set(recall_at))},
        f"MRR@{DEPTH}": reciprocal_rank(ranking, grades, DEPTH),
    }


def evaluate(
    ask: Ask, queries: Sequence[JudgedQuery], wanted: Wanted, *, collection: str, model: str, missing: Sequence[str]
) -> Generator[EvaluationStep]:
    """Ask every query in every mode and measure the answers.

    Args:
        ask: Answers queries in the modes wanted, with ``wanted.depth`` ids where there are so many.
        queries: At least one.
        wanted: What to measure.
        collection: Its name, for the result.
        model: Its model, for the result.
        missing: For the result.

    Raises:
        UsageError: There are no queries.
    """
    if not queries:
        raise UsageError("there are no queries to evaluate")
    total = len(queries)
    yield EvaluationStep(0, total)
    rankings: list[Mapping[str, Sequence[str]]] = []
    notes: dict[str, None] = {}
    for start in range(0, total, _BATCH):
        found = ask(queries[start : start + _BATCH])
        rankings += found.rankings
        notes |= dict.fromkeys(found.notes)
        if len(rankings) < total:
            yield EvaluationStep(len(rankings), total)
    asked = list(zip(queries, rankings, strict=True))
    scored = [_scores(query, by, wanted) for query, by in asked if query.has_answer]
    figures = tuple(_figures(mode, found, asked) for mode, found in _estimated(scored, wanted).items())
    differences = [
        difference(later, earlier, by_mode(scored, later), by_mode(scored, earlier), seed=wanted.seed)
        for at, later in enumerate(wanted.modes)
        for earlier in wanted.modes[:at]
        if scored
    ]
    evaluation = Evaluation(
        collection,
        model,
        len(scored),
        total - len(scored),
        figures,
        tuple(differences),
        tuple(sorted(scored, key=lambda one: one.difference)),
        tuple(missing),
        tuple(notes),
    )
    yield EvaluationStep(total, total, evaluation)


def _scores(query: JudgedQuery, rankings: Mapping[str, Sequence[str]], wanted: Wanted) -> QueryScores:
    return QueryScores(
        query,
        {mode: measure(rankings[mode], query.relevant, wanted.recall_at) for mode in wanted.modes},
        {mode: _first_rank(rankings[mode], query.relevant) for mode in wanted.modes},
    )


def _figures(
    mode: str, measures: Mapping[str, Estimate], asked: Sequence[tuple[JudgedQuery, Mapping[str, Sequence[str]]]]
) -> ModeFigures:
    first = [(query, by[mode][:DEPTH]) for query, by in asked]
    return ModeFigures(
        mode,
        measures,
        empty=sum(query.has_answer and not hits for query, hits in first),
        rightly_empty=sum(not query.has_answer and not hits for query, hits in first),
        hits=sum(len(hits) for _, hits in first),
        right_hits=sum(query.relevant.get(key, 0) > 0 for query, hits in first for key in hits),
    )


def by_mode(scored: Sequence[QueryScores], mode: str) -> list[float]:
    """Return the nDCG@10 of every query in a mode."""
    return [one.scores[mode][MAIN] for one in scored]


def difference(
    first: str, second: str, of_first: Sequence[float], of_second: Sequence[float], *, seed: int
) -> Difference:
    """Compare two ways of answering the same queries.

    Args:
        first: What the one is called.
        second: What the other is called.
        of_first: The measure of each query.
        of_second: The same of the other, in the same order.
        seed: Decides the draws of the interval.
    """
    import numpy as np

    each = np.asarray(of_first, dtype=np.float64) - np.asarray(of_second, dtype=np.float64)
    each[np.abs(each) < 1e-9] = 0.0  # the same hits in the same places
    (estimate,) = estimates(each.reshape(-1, 1), seed=seed)
    better, worse = int((each > 0).sum()), int((each < 0).sum())
    return Difference(first, second, estimate, better, len(each) - better - worse, worse)


def _estimated(scored: Sequence[QueryScores], wanted: Wanted) -> dict[str, dict[str, Estimate]]:
    import numpy as np

    if not scored:
        return {mode: {} for mode in wanted.modes}
    names = list(scored[0].scores[wanted.modes[0]])
    values = np.array([[one.scores[mode][name] for mode in wanted.modes for name in names] for one in scored])
    found = iter(estimates(values, seed=wanted.seed))
    return {mode: {name: next(found) for name in names} for mode in wanted.modes}


def _first_rank(ranking: Sequence[str], grades: Mapping[str, int]) -> int | None:
    return next((rank for rank, key in enumerate(ranking, 1) if grades.get(key, 0) > 0), None)
