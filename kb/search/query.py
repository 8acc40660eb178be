"""The nouns of searching: what is asked, what is found, and why the answer has the length it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, overload

from kb.errors import QueryError
from kb.search.cut import WINDOW, Cut

if TYPE_CHECKING:
    import pandas as pd

    from kb.catalog import Facet, Relevance
    from kb.filters import Filter
    from kb.schema import Document, Value

MAX_LIMIT: Final = 1_000
MAX_QUERY_CHARACTERS: Final = 2_000

POOL: Final = 5
"""Out of so many times the hits of a page, diversity and rerankers choose; then out of the next so many."""
MIN_POOL: Final = 50


class Mode(StrEnum):
    """What an answer is ordered by."""

    SEMANTIC = "semantic"  # the cosine alone
    KEYWORD = "keyword"  # BM25 over the words of the query
    HYBRID = "hybrid"  # both, fused


class Strategy(StrEnum):
    """How the candidates of an answer were found."""

    EXACT = "exact"  # every matching vector was compared
    CHROMA = "chroma"  # Chroma proposed them; a filter was applied to what it proposed
    CHROMA_WHERE = "chroma where"  # Chroma filtered and proposed
    WORDS = "words"  # the index of words named them


@dataclass(frozen=True, slots=True)
class Example:
    """Documents that say what to look for.

    Attributes:
        like: Ids of documents that hits are to resemble.
        unlike: Ids of documents that they are not to resemble.
    """

    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether any document is named."""
        return bool(self.like or self.unlike)


@dataclass(frozen=True, slots=True)
class Query:
    """A search request.

    Attributes:
        text: What to look for; at most 2,000 characters are used. May be empty where documents are named as examples.
        filter: A checked filter, or None for the whole collection.
        limit: The most hits; 1 to 1,000.
        mode: What the answer is ordered by.
        cut: Which documents are left out.
        offset: How many of the best hits to skip, to show the next page; offset and limit are 1,000 at most together.
        explain: Whether each hit says how its place came about.
        example: Documents that hits are to resemble, or not; they are left out themselves.
        diverse: How much a hit's distance from those above it counts against its own place, in [0, 1]; None for not.
        highlight: Whether each hit names its best sentence.
        rerank: The cross-encoder that orders the best candidates again, or None.
        facets: Fields whose values are counted over all documents that no bound keeps out.
    """

    text: str
    filter: Filter | None = None
    limit: int = 10
    mode: Mode = Mode.HYBRID
    cut: Cut = field(default_factory=Cut)
    offset: int = 0
    explain: bool = False
    example: Example = field(default_factory=Example)
    diverse: float | None = None
    highlight: bool = False
    rerank: str | None = None
    facets: tuple[str, ...] = ()

    @property
    def reach(self) -> int:
        """How many of the best documents the page reaches down to."""
        return self.offset + self.limit

    @property
    def pool(self) -> int:
        """Of how many candidates at a time a second look makes its order: the same on every page of this length."""
        return max(MIN_POOL, POOL * self.limit)

    @property
    def depth(self) -> int:
        """How many of the best documents must be known to fill the page: whole windows and pools of them."""
        depth = -(-self.reach // WINDOW) * WINDOW if self.cut.autocut else self.reach
        if self.diverse is not None or self.rerank is not None:
            return -(-depth // self.pool) * self.pool
        return depth

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            QueryError: The text is blank or cannot be encoded, or a number is out of range.
        """
        if not isinstance(self.text, str):
            raise QueryError(f"the query must be text, not {self.text!r}")
        for name, number in (("limit", self.limit), ("offset", self.offset)):
            if isinstance(number, bool) or not isinstance(number, int):
                hint = f"a number from elsewhere becomes one by int(…): {name}=10"
                raise QueryError(f"{name} must be a whole number, not {number!r}", hint=hint)
        if not self.text.strip() and not self.example.like:
            raise QueryError("the query is empty", hint="say what to look for; kb list shows documents without a query")
        if self.diverse is not None and not 0.0 <= self.diverse <= 1.0:
            raise QueryError(
                f"diverse must be from 0 to 1, not {self.diverse:g}",
                hint="0 keeps the order by relevance, 1 looks at the differences alone",
            )
        if self.rerank is not None and not self.text.strip():
            raise QueryError("a reranker needs the text of a query")
        try:
            self.text.encode()
        except UnicodeEncodeError as error:
            raise QueryError(f"the query is not valid Unicode at character {error.start}") from None
        if not 1 <= self.limit <= MAX_LIMIT:
            raise QueryError(f"limit must be from 1 to {MAX_LIMIT:,}, not {self.limit}")
        if not 0 <= self.offset <= MAX_LIMIT - self.limit:
            raise QueryError(
                f"offset must be from 0 to {MAX_LIMIT - self.limit:,}, not {self.offset}",
                hint=f"a search orders the best {MAX_LIMIT:,} documents; kb list shows all",
            )


@dataclass(frozen=True, slots=True)
class Leg:
    """One of the two scores that a place in a hybrid answer comes from.

    Attributes:
        score: The raw score: the cosine, or BM25; 0 where no word matches.
        rank: The document's place by this score alone, from 1; None where it has none.
        mean, deviation: What the score is measured by.
        standard: How many deviations the score is above the mean.
        weight: How much of it counts.
    """

    score: float
    rank: int | None
    mean: float
    deviation: float
    standard: float
    weight: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a hit's place came about.

    Attributes:
        semantic, keyword: The legs; None where the mode does not ask it.
        words: The words of the query that the document holds, as they stand there.
        reranked: The reranker's score, by which it is ordered then; None without a reranker.
    """

    semantic: Leg | None
    keyword: Leg | None
    words: tuple[str, ...]
    reranked: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One document found.

    Attributes:
        id: The document's key.
        score: Cosine similarity of the query and the best chunk, in [-1, 1]; higher is better. The same in every mode.
        text: The best chunk.
        chunk: The number of the best chunk, from 0.
        document: The whole typed document.
        rank_score: What the answer is ordered by: the cosine, BM25, the fused score, or the reranker's; comparable
            within one answer.
        explanation: How its place came about, where it was asked for.
        highlight: The sentence of the best chunk that is nearest to the query, where it was asked for.
    """

    id: str
    score: float
    text: str
    chunk: int
    document: Document
    rank_score: float
    explanation: Explanation | None = None
    highlight: str | None = None

    @property
    def fields(self) -> dict[str, Value]:
        """The document's typed fields by name, missing ones as None."""
        return {name: value for name, value in self.document.__dict__.items() if name != "id"}


@dataclass(frozen=True, slots=True)
class Rejected:
    """A document that the threshold kept out."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Report:
    """Why an answer has the length it has.

    Attributes:
        returned: Hits in the answer.
        limit: The most that were asked for.
        candidates: Documents that satisfy the filter and were compared; in keyword mode also hold a word.
        passed: How many of them no bound keeps out: what there is to page through.
        below_min_score: Those whose score is below ``min_score``.
        min_score: The bound that applied, or None; ``within`` may have raised it.
        best_rejected: The best document below the bound, or None.
        strategy: How the candidates were found.
        milliseconds: The whole search, with the embedding of the query.
        mode: What the answer is ordered by.
        above_max_score: Those whose score is above ``max_score``.
        after_jump: Hits that ``autocut`` left out of the page.
        degraded: Why only the catalog was asked (another process owns the index, or it is damaged), or None. The
            answer is exact all the same.
        notes: Other things to know, e.g. that the query was cut.
        relevance: Which calibrated bound ``min_score`` is, or None when it was given as a number.
    """

    returned: int
    limit: int
    candidates: int
    passed: int
    below_min_score: int
    min_score: float | None
    best_rejected: Rejected | None
    strategy: Strategy
    milliseconds: float
    mode: Mode = Mode.SEMANTIC
    above_max_score: int = 0
    after_jump: int = 0
    degraded: str | None = None
    notes: tuple[str, ...] = ()
    relevance: Relevance | None = None

    def __str__(self) -> str:
        """Return the report on one line."""
        candidates = f"{self.candidates:,} candidate" + ("" if self.candidates == 1 else "s")
        parts = [f"returned {self.returned} of {self.limit}", candidates]
        if self.above_max_score:
            parts.append(f"{self.above_max_score:,} near-cop{'y' if self.above_max_score == 1 else 'ies'} left out")
        if self.min_score is not None:
            which = "" if self.relevance is None else f" ({self.relevance})"
            parts.append(f"{self.below_min_score:,} below {_rounded(self.min_score)}{which}")
        if self.best_rejected is not None and self.min_score is not None:
            parts.append(f"best rejected {_below(self.best_rejected.score, self.min_score)}")
        if self.after_jump:
            parts.append(f"{self.after_jump} after the largest jump")
        parts.append(f"{self.mode}, {self.strategy}, {self.milliseconds:.0f} ms")
        return " · ".join(parts)


def _rounded(bound: float) -> str:
    """Return a bound as it was given, or with three digits when it was computed."""
    return f"{bound:g}" if len(f"{bound:g}") <= 5 else f"{bound:.3f}"


def _below(score: float, bound: float) -> str:
    """Return a score with as few digits, two at least, as leave it below the bound."""
    shown = (f"{score:.{digits}f}" for digits in range(2, 7))
    return next((text for text in shown if float(text) < bound), f"{score:.6f}")


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """The answer to a query: hits, best first, equal scores by id; the report; and what was counted."""

    query: str
    collection: str
    model: str
    hits: tuple[Hit, ...]
    report: Report = field(repr=False)
    facets: tuple[Facet, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        """Return the number of hits."""
        return len(self.hits)

    @overload
    def __getitem__(self, index: int) -> Hit: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...

    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        """Return a hit, or several."""
        return self.hits[index]

    def __iter__(self) -> Iterator[Hit]:
        """Iterate over the hits, best first."""
        return iter(self.hits)

    def to_frame(self) -> pd.DataFrame:
        """Return a data frame with one row a hit: ``id``, ``score``, ``rank_score``, ``text``, ``chunk``, fields."""
        from kb.sources import to_frame

        columns = ["id", "score", "rank_score", "text", "chunk"]
        if any(hit.highlight is not None for hit in self.hits):
            columns.append("highlight")
        # A field may share a name with a column of the hit; the field then gets a prefix instead of replacing it.
        rows = [
            {
                **{c: getattr(hit, c) for c in columns},
                **{(f"field_{n}" if n in columns else n): v for n, v in hit.fields.items()},
            }
            for hit in self.hits
        ]
        return to_frame(rows, columns)
