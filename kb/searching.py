"""How a collection is searched: its methods that ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kb.catalog import Facet, Relevance, facet_fields
from kb.errors import QueryError, SupersededError, nearest
from kb.filters import check, parse
from kb.search import Cut, Example, Hits, Mode, Query, Report, Strategy, not_calibrated, search
from kb.wiring import Wiring

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.filters import Filter

MAX_FILTERS: Final = 256
"""How many filter texts are kept parsed: reading one takes as long as a search."""

_TRIES: Final = 5


class Searching(Wiring):
    """The searches of one collection."""

    def search(
        self,
        text: str = "",
        *,
        where: Filter | str | None = None,
        limit: int = 10,
        mode: Mode | str = Mode.HYBRID,
        min_score: float | None = None,
        max_score: float | None = None,
        within: float | None = None,
        autocut: bool = False,
        relevance: Relevance | str | None = None,
        offset: int = 0,
        like: Sequence[str] = (),
        unlike: Sequence[str] = (),
        diverse: float | None = None,
        rerank: str | None = None,
        highlight: bool = False,
        explain: bool = False,
        facets: Sequence[str] = (),
    ) -> Hits:
        """Return the documents that answer a query, best first, with the reason for their number in ``report``.

        Args:
            text: What to look for; in ``keyword`` and ``hybrid`` mode, words in double quotes are a phrase. May be left
                out where ``like`` names documents.
            where: A filter, as text or as an object.
            limit: The most hits; 1 to 1,000.
            mode: ``semantic``: by meaning alone; ``keyword``: by words alone; ``hybrid``: by both.
            min_score: The lowest cosine similarity of a hit, in [-1, 1]; in hybrid mode a document that holds all
                words of a quoted phrase passes too.
            max_score: The highest: leaves out near-copies of the query.
            within: The lowest cosine as a share of the best one's, in (0, 1].
            autocut: Stop at the largest jump of what the answer is ordered by.
            relevance: ``strict``, ``normal`` or ``loose``: the ``min_score`` that ``calibrate`` has found for it.
            offset: How many of the best hits to skip; offset and limit are 1,000 at most together.
            like: Ids of documents that hits are to resemble; they are left out themselves.
            unlike: Ids of documents that hits are not to resemble.
            diverse: How much a hit's likeness to those above it counts against its place, in [0, 1].
            rerank: A cross-encoder that orders the best candidates again.
            highlight: Let each hit name its best sentence.
            explain: Let each hit say how its place came about.
            facets: Fields whose values are counted, over all documents that no bound keeps out: ``hits.facets``.

        Raises:
            SchemaError: A facet is no field, or is prose.
            QueryError, FilterError: The text is blank, a number out of range, the filter does not fit the schema, or
                the collection has not been calibrated.
            NotFoundError: An example does not exist.
            ModelMismatchError: The model is not the one that made the vectors.
        """
        cut = Cut(min_score, max_score, within, autocut, _relevance(relevance))
        example = Example(tuple(like), tuple(unlike))
        return self.ask(
            Query(
                text,
                self.filter(where),
                limit,
                _mode(mode),
                cut,
                offset,
                explain,
                example,
                diverse,
                highlight,
                rerank,
                _facets(facets),
            )
        )

    def similar(
        self,
        *keys: str,
        unlike: Sequence[str] = (),
        where: Filter | str | None = None,
        limit: int = 10,
        min_score: float | None = None,
        max_score: float | None = None,
        within: float | None = None,
        autocut: bool = False,
        offset: int = 0,
        highlight: bool = False,
    ) -> Hits:
        """Return the documents nearest in meaning to some documents, which are left out; as ``search``."""
        cut = Cut(min_score, max_score, within, autocut)
        example = Example(keys, tuple(unlike))
        filter = self.filter(where)
        return self.ask(Query("", filter, limit, Mode.SEMANTIC, cut, offset, example=example, highlight=highlight))

    def ask(self, query: Query) -> Hits:
        """Return the answer to a query; as ``search``."""
        return self.ask_all([query])[0]

    def ask_all(self, queries: Sequence[Query]) -> list[Hits]:
        """Return the answers to several queries, whose texts are embedded together; as ``search``."""
        place = self._place()
        for _ in range(_TRIES):
            if place is None:
                break
            try:
                return search(self._searching(*place), queries)
            except SupersededError:  # a generation was promoted after this was looked at: asked again, of that one
                place = self._present()
        else:
            raise SupersededError(
                f"the generation of '{self.name}' has changed {_TRIES} times during this search", hint="search again"
            )
        for query in queries:
            if query.cut.relevance is not None:
                raise not_calibrated(self.name, query.cut.relevance)
            for key in (*query.example.like, *query.example.unlike):
                self._existing(key)
        return [
            Hits(
                query.text,
                self.name,
                self.model,
                (),
                Report(0, query.limit, 0, 0, 0, query.cut.min_score, None, Strategy.EXACT, 0.0, query.mode),
                tuple(Facet(field.name, (), 0, 0, 0) for field in facet_fields(self.schema, query.facets)),
            )
            for query in queries
        ]

    def filter(self, where: Filter | str | None) -> Filter | None:
        """Return a filter that has been checked against the schema, from its text or an object.

        Raises:
            FilterError: It is malformed or does not fit the schema.
        """
        if not isinstance(where, str):
            return None if where is None else check(where, self.schema)
        if where not in self._filters:
            if len(self._filters) >= MAX_FILTERS:
                self._filters.clear()
            self._filters[where] = check(parse(where), self.schema)
        return self._filters[where]


def _relevance(relevance: Relevance | str | None) -> Relevance | None:
    try:
        return None if relevance is None else Relevance(relevance)
    except ValueError:
        valid = nearest(str(relevance), list(Relevance))
        raise QueryError(f"there is no relevance '{relevance}'", hint=valid) from None


def _facets(names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise QueryError(f"facets is a list of fields, not one text: '{names}'", hint=f"write facets=[{names!r}]")
    return tuple(names)


def _mode(mode: Mode | str) -> Mode:
    try:
        return Mode(mode)
    except ValueError:
        raise QueryError(f"there is no search mode '{mode}'", hint=nearest(str(mode), list(Mode))) from None
