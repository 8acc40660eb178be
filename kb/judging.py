"""What makes a collection's answers better known: judgements of them, and figures. Methods of ``Collection``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb import curate
from kb.errors import FilterError, QueryError, UsageError, nearest
from kb.evaluate import DEFAULT, Answers, JudgedQuery, evaluate
from kb.schema import lookup_id
from kb.search import Cut, Mode, Query
from kb.searching import Searching
from kb.write import current_user

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from kb.catalog import Judgement
    from kb.evaluate import Evaluation, EvaluationStep, Wanted


_NO_CUT: Final = Cut()


class Judging(Searching):
    """A collection whose answers can be judged and measured."""

    def judge(self, query: str, *keys: str, relevant: bool = True) -> None:
        """Record that documents answer a query, or do not; a later judgement replaces an earlier one.

        Args:
            query: The search text; white space at its ends does not count.
            keys: Ids of documents; all are recorded, or none.
            relevant: Whether they answer it.

        Raises:
            NotFoundError: There is no document of such an id.
            QueryError: The query is blank.
            LockedError: Another process owns the knowledge base.
        """
        text = _stripped(query)
        ids = [curate.get(*self._existing(key), lookup_id(key)).id for key in keys]
        catalog = self._base.own()
        place = self._existing("")
        with catalog.write() as connection:
            cat.save_judgements(connection, place[1].id, text, ids, relevant=relevant, who=current_user())

    def forget_judgements(self, query: str, *keys: str) -> int:
        """Remove the judgements of a query, or those of some documents for it; return how many there were."""
        place, text = self._place(), _stripped(query)
        if place is None:
            return 0
        with self._base.own().write() as connection:
            some = [lookup_id(key) for key in keys] or None
            return cat.forget_judgements(connection, place[1].id, text, some)

    def judgements(self, query: str | None = None) -> Sequence[Judgement]:
        """Return what has been judged, of one query or of all, by query and id."""
        place = self._place()
        if place is None:
            return []
        catalog, stored = place
        with catalog.read() as connection:
            return cat.list_judgements(connection, stored.id, None if query is None else _stripped(query))

    def judged_queries(self) -> Sequence[JudgedQuery]:
        """Return the judgements as queries with their answers; what is judged ``no`` only has none."""
        grades: dict[str, dict[str, int]] = {}
        for one in self.judgements():
            grades.setdefault(one.query, {})[one.key] = int(one.relevant)
        return [JudgedQuery(text, found, id=str(number)) for number, (text, found) in enumerate(grades.items(), 1)]

    def evaluate(
        self,
        queries: Sequence[JudgedQuery] | None = None,
        *,
        wanted: Wanted = DEFAULT,
        cut: Cut = _NO_CUT,
        progress: Callable[[EvaluationStep], None] | None = None,
    ) -> Evaluation:
        """Search with queries whose answers are known, and measure what comes back.

        Args:
            queries: From ``kb.evaluate.read_queries``, or made by hand; None for the judgements of the collection.
            wanted: Which modes, and how far down recall looks.
            cut: Where answers end; as in a search.
            progress: Called after every step.

        Raises:
            UsageError: There are no queries, or no documents.
            QueryError, FilterError: One of the queries cannot be asked; the message names it. Or a relevance is asked
                for, and there is no calibration for it.
        """
        for step in self.evaluate_steps(queries, wanted=wanted, cut=cut):
            if progress is not None:
                progress(step)
        assert step.evaluation is not None
        return step.evaluation

    def evaluate_steps(
        self, queries: Sequence[JudgedQuery] | None = None, *, wanted: Wanted = DEFAULT, cut: Cut = _NO_CUT
    ) -> Generator[EvaluationStep]:
        """Evaluate step by step; as ``evaluate``. The queries of a step are embedded together."""
        asked = self.judged_queries() if queries is None else queries
        if not asked and queries is None:
            raise UsageError(f"nothing has been judged in '{self.name}'", hint="kb judge QUERY ID yes, or name a file")
        place = self._place()
        if place is None or not curate.count(*place, None):
            raise UsageError(f"'{self.name}' is empty; there is nothing to evaluate", hint="import documents first")
        for mode in wanted.modes:
            if mode not in list(Mode):
                raise QueryError(f"there is no search mode '{mode}'", hint=nearest(mode, list(Mode)))
        for query in asked:
            self._query(query, Mode.SEMANTIC, wanted, cut)  # an error in the last one must not cost all the others

        def ask(some: Sequence[JudgedQuery]) -> Answers:
            return self._answers(some, wanted, cut)

        relevant = {key for query in asked for key, grade in query.relevant.items() if grade > 0}
        catalog, stored = place
        with catalog.read() as connection:
            missing = relevant - cat.stored_states(connection, stored.id, sorted(relevant)).keys()
        yield from evaluate(ask, asked, wanted, collection=self.name, model=self.model, missing=sorted(missing))

    def _answers(self, queries: Sequence[JudgedQuery], wanted: Wanted, cut: Cut) -> Answers:
        """Ask queries in every mode, in one call."""
        hits = self.ask_all([self._query(query, mode, wanted, cut) for query in queries for mode in wanted.modes])
        ids = iter([[hit.id for hit in found] for found in hits])
        rankings = [{mode: next(ids) for mode in wanted.modes} for _ in queries]
        reports = [found.report for found in hits]
        return Answers(rankings, tuple(n for r in reports for n in (*r.notes, *([r.degraded] if r.degraded else []))))

    def _query(self, query: JudgedQuery, mode: str, wanted: Wanted, cut: Cut) -> Query:
        prefix = f"query {query.id}: " if query.id else ""
        try:
            found = self.filter(query.where)
        except FilterError as error:
            raise FilterError(f"{prefix}{error}", position=error.position, hint=error.hint) from None
        try:
            return Query(query.text, found, wanted.depth, Mode(mode), cut)
        except QueryError as error:
            raise QueryError(f"{prefix}{error}", hint=error.hint) from None


def _stripped(query: str) -> str:
    return Query(query).text.strip()
