"""What can be learned about a collection as a whole: methods of ``Collection``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kb.catalog import FACET_VALUES, Facet, facet_fields
from kb.curate import Facets, check_limit, count_facets
from kb.errors import UsageError
from kb.searching import Searching

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator

    from kb.catalog import Calibration
    from kb.evaluate import CalibrationStep
    from kb.evaluate.bench_index import IndexBench
    from kb.evaluate.topics import Topics
    from kb.filters import Filter


class Analysis(Searching):
    """The surveys and measurements of one collection."""

    def bench_index(self, *, queries: int = 200, k: int = 10, seed: int = 0) -> IndexBench:
        """Measure the recall and the time of exact search, Chroma and FAISS on the collection's own vectors.

        Args:
            queries: How many to ask; 1 to 10,000, and at most one for each vector.
            k: How many neighbours to ask for; 1 to 100.
            seed: Decides which queries.

        Raises:
            UsageError: A number is out of range, or there are not two vectors.
        """
        from kb.evaluate.bench_index import Place, bench_index

        place = self._place()
        if place is None:
            raise UsageError(f"'{self.name}' is empty; there is nothing to measure", hint="import some documents first")
        catalog, stored = place
        at = Place(catalog, stored, lambda: self._base.follow(stored), self._base.other_owner)
        return bench_index(at, queries=queries, k=k, seed=seed)

    def topics(
        self,
        where: Filter | str | None = None,
        *,
        topics: int | None = None,
        words: int = 8,
        documents: int = 3,
        map: bool = False,
    ) -> Topics:
        """Divide the documents into topics, named by their words and documents; the same ones give the same topics.

        Args:
            where: A filter, as text or as an object.
            topics: How many; 1 to 1,000. None to choose by silhouette.
            words: How many typical words of each; 1 to 100.
            documents: How many typical documents of each; 0 to 100.
            map: Whether documents get a place in two dimensions.

        Raises:
            FilterError: The filter does not fit the schema.
            UsageError: A number is out of range, or there are fewer different documents than topics asked for.
        """
        from kb.evaluate.topics import Source, Wanted, no_topics, survey

        wanted = Wanted(topics, words, documents, map)
        wanted.check()
        checked, place = self.filter(where), self._place()
        if place is None:
            return no_topics(self.name, "there are no documents", map=map)
        return survey(Source(*place, checked), wanted)

    def facets(self, *fields: str, where: Filter | str | None = None, limit: int = FACET_VALUES) -> Facets:
        """Count the values of fields over the documents that satisfy a filter; numbers and dates also have quartiles.

        Args:
            fields: Any but prose; none for all of them.
            where: A filter, as text or as an object.
            limit: How many values of each field to name, the most frequent; the others are counted together.

        Raises:
            FilterError: The filter does not fit the schema.
            SchemaError: One is no field, or is prose, or is named twice.
            UsageError: The limit is out of range.
        """
        names = fields or [name for name, field in self.schema.fields.items() if field.is_metadata]
        wanted = facet_fields(self.schema, names)
        check_limit(limit)
        checked, place = self.filter(where), self._place()
        if place is None:
            return Facets(self.name, 0, tuple(Facet(field.name, (), 0, 0, 0) for field in wanted))
        return count_facets(*place, wanted, checked, limit)

    def calibrate(
        self,
        queries: str | os.PathLike[str] | None = None,
        *,
        progress: Callable[[CalibrationStep], None] | None = None,
    ) -> Calibration:
        """Find and store the scores from which on a hit is relevant; ``search(relevance=…)`` then goes by them.

        Args:
            queries: A file of queries with ``relevant``, a list of ids (empty for no answer), and maybe ``where``. They
                and the stored judgements are gone by where there are 20 of a kind; other queries are made.
            progress: Called after every step.

        Raises:
            ConflictError: There are too few documents, or they are too short.
            SourceError: The file cannot be read.
            LockedError: Another process owns the knowledge base.
        """
        for step in self.calibrate_steps(queries):
            if progress is not None:
                progress(step)
        assert step.calibration is not None
        return step.calibration

    def calibrate_steps(self, queries: str | os.PathLike[str] | None = None) -> Generator[CalibrationStep]:
        """Calibrate step by step; as ``calibrate``. Nothing is stored before the last step."""
        from kb.evaluate.calibrate import calibrate
        from kb.evaluate.known import read_known

        known = [] if queries is None else read_known(queries, self.schema)
        yield from calibrate(self.target(), known)

    def calibration(self) -> Calibration | None:
        """Return the stored calibration for the collection's recipe, or None."""
        from kb.catalog import find_calibrations

        place = self._place()
        if place is None:
            return None
        with place[0].read() as connection:
            found = find_calibrations(connection, place[1].id)
        return next((one for one in found if one.recipe_hash == place[1].recipe.hash), None)
