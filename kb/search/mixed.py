"""Keyword and hybrid search: documents by their words, and by words and meaning together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from kb.index import WordMatches
from kb.search.answer import Answer
from kb.search.cut import Cut
from kb.search.fusion import Term, fuse, meaning_leg, words_leg
from kb.search.query import Explanation, Leg, Strategy
from kb.search.rank import Placed, rank
from kb.search.semantic import Wanted, find_nearest, score_documents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.index import WordIndex, WordQuery
    from kb.search import fusion
    from kb.search.fusion import Fused
    from kb.search.rank import Best
    from kb.search.searchable import Asked
    from kb.search.semantic import Found

DEPTH: Final = 80
"""How many documents each leg of a hybrid search names at first; never fewer than four times those that are shown."""

NO_WORDS: Final = "the query has no words, and keyword search goes by nothing else: ask in hybrid or semantic mode"
"""Why such a query finds nothing."""

DEEP: Final = 4_000
"""Beyond so many, a document that neither leg has named is taken to be none of the best."""


def find_keyword(one: Asked) -> Answer:
    """Return documents that hold a word of the query, and every quoted phrase, by BM25."""
    opened = one.words()
    words = opened.index
    asked = words.parse(one.query.text)
    found = _matches(one, words, asked, one.depth)
    scores = dict(zip(found.seqs.tolist(), found.scores.tolist(), strict=True))
    places = _places(found.seqs)
    cosines = score_documents(one, found.seqs.tolist())
    ranking = one.rank(cosines, limit=max(1, len(scores)), verified=True)

    def explain(placed: Placed, text: str) -> Explanation:
        score = placed.rank_score
        leg = Leg(score, places[placed.best.seq], 0.0, 1.0, score, 1.0)
        return Explanation(None, leg, words.matched(asked, text))

    passed = found.total - ranking.above if ranking.bound is None else ranking.passed
    return Answer(
        [Placed(best, scores[best.seq]) for best in ranking.best],
        found.total,
        passed,
        ranking.above,
        ranking.bound,
        ranking.rejected,
        Strategy.WORDS,
        explain,
        opened.degraded,
        [best.seq for best in ranking.best] if one.query.facets else None,
        notes=() if asked.words else (NO_WORDS,),
    )


def find_hybrid(one: Asked, *, may_use_index: bool) -> Answer:
    """Return documents by the fused scores of both legs.

    Each leg names its best documents; every one of them then gets both scores, exactly. As long as a document that
    neither has named could be among those that are shown, they name more (the threshold algorithm of Fagin, Lotem and
    Naor, 2001). A document passes the lower bound by its cosine, or by holding all words of a quoted phrase.

    Raises:
        DamagedError, LockedError: The index of vectors cannot be asked.
    """
    opened = one.words()
    asked = opened.index.parse(one.query.text)
    terms = map(Term, asked.words, asked.counts, opened.index.frequencies(asked))
    meaning = meaning_leg(one.on.sample(one.connection) @ one.vector)
    legs = _Legs(one, opened.index, asked, meaning, words_leg(list(terms), opened.index.documents))
    excused = legs.excused()
    depth = max(DEPTH, 4 * one.depth)
    found = legs.look(depth, excused, may_use_index=may_use_index)
    while depth < DEEP and not found.is_deep_enough(one.depth):
        depth *= 4
        found = legs.look(depth, excused, may_use_index=may_use_index)
    return found.answer(excused, opened.degraded)


@dataclass(frozen=True, slots=True)
class _Legs:
    """One query by meaning and by words."""

    one: Asked
    words: WordIndex
    asked: WordQuery
    by_meaning: fusion.Leg
    by_words: fusion.Leg

    def excused(self) -> frozenset[int]:
        """Return the documents that hold all words of a quoted phrase: no lower bound applies to them."""
        one, cut = self.one, self.one.query.cut
        if not self.asked.phrases or (cut.min_score is None and cut.within is None):
            return frozenset()
        seqs = set[int]().union(*(self.words.holding(phrase, among=one.narrow()) for phrase in self.asked.phrases))
        return frozenset(one.matching(sorted(seqs)) if seqs else ())

    def look(self, depth: int, excused: frozenset[int], *, may_use_index: bool) -> _Fusing:
        """Let each leg name so many documents, and fuse the scores of those that no bound keeps out."""
        one = self.one
        named = _named(one, self.words, self.asked, depth)
        also = sorted(excused.union(named.seqs.tolist()))
        near = find_nearest(one, Wanted(depth, also), may_use_index=may_use_index)
        known = {best.seq for best in near.ranking.best}
        bound = -1.0 if near.ranking.bound is None else near.ranking.bound
        top = 1.0 if one.query.cut.max_score is None else one.query.cut.max_score
        others = [
            best
            for best in _scored(one, [seq for seq in also if seq not in known])
            if best.score <= top and (best.score >= bound or best.seq in excused)
        ]
        union = [*near.ranking.best, *others]
        bm25 = _scores_of(self.words, self.asked, named, [best.seq for best in union])
        fused = fuse([best.score for best in union], bm25, self.by_meaning, self.by_words)
        placed = [Placed(best, score) for best, score in zip(union, fused.rank_scores.tolist(), strict=True)]
        return _Fusing(self, depth, near, named, placed, bm25, fused)


@dataclass(frozen=True, slots=True)
class _Fusing:
    """What both legs have named down to a depth, with its fused scores; ``bm25`` in the order of ``placed``."""

    legs: _Legs
    depth: int
    near: Found
    named: WordMatches
    placed: list[Placed]
    bm25: np.ndarray
    fused: Fused

    def is_deep_enough(self, wanted: int) -> bool:
        """Return whether no document that neither leg has named can be among the best so many.

        Its cosine and its BM25 are no higher than the lowest ones named.
        """
        nearest = self.near.ranking.best
        if len(nearest) < self.depth:
            return True
        cosine = min(best.score for best in nearest)
        bm25 = self.named.scores[-1] if len(self.named.seqs) >= self.depth else 0.0
        most = fuse([cosine], [bm25], self.fused.meaning, self.fused.words).rank_scores[0]
        return int(np.count_nonzero(self.fused.rank_scores > most)) >= wanted

    def answer(self, excused: frozenset[int], degraded: str | None) -> Answer:
        """Return the answer; those that pass by a phrase alone are counted with those that reach the bound."""
        near, ranking = self.near, self.near.ranking
        passed = near.candidates - ranking.above
        if ranking.bound is not None:
            passed = ranking.passed + sum(placed.best.score < ranking.bound for placed in self.placed)
        rows = {placed.best.seq: row for row, placed in enumerate(self.placed)}

        def explain(placed: Placed, text: str) -> Explanation:
            return self._explained(rows[placed.best.seq], text)

        return Answer(
            self.placed,
            near.candidates,
            passed,
            ranking.above,
            ranking.bound,
            self._rejected(excused),
            near.strategy,
            explain,
            degraded,
            self._counted() if self.legs.one.query.facets else None,
        )

    def _counted(self) -> list[int] | None:
        """Return the documents that no bound keeps out, those that pass by a phrase alone included."""
        bound = self.near.ranking.bound
        passing = self.legs.one.passing(self.near.scored, bound)
        if passing is None:
            return None
        return [
            *passing,
            *(placed.best.seq for placed in self.placed if bound is not None and placed.best.score < bound),
        ]

    def _rejected(self, excused: frozenset[int]) -> Best | None:
        """Return the best document below the bound that no phrase lets pass."""
        one, ranking = self.legs.one, self.near.ranking
        if ranking.rejected is None or ranking.rejected.seq not in excused:
            return ranking.rejected

        def verify(seqs: Sequence[int]) -> set[int]:
            return one.matching(seqs) - excused

        return rank(one.vector, self.near.scored, limit=1, min_score=ranking.bound, verify=verify).rejected

    def _explained(self, row: int, text: str) -> Explanation:
        fused = self.fused
        cosine, nearest = self.placed[row].best.score, np.array([best.score for best in self.near.ranking.best])
        bm25, named = float(self.bm25[row]), self.named.scores
        return Explanation(
            _leg(fused.meaning, cosine, float(fused.meaning_standard[row]), nearest),
            _leg(fused.words, bm25, float(fused.words_standard[row]), named),
            self.legs.words.matched(self.legs.asked, text),
        )


def _leg(leg: fusion.Leg, score: float, standard: float, named: np.ndarray) -> Leg:
    """Return how a leg saw a document, given the scores of those that it named."""
    before = int(np.count_nonzero(named > score))
    return Leg(score, before + 1 if before < len(named) else None, leg.mean, leg.deviation, standard, leg.weight)


def _scored(one: Asked, seqs: Sequence[int]) -> list[Best]:
    """Return documents with their exact cosines."""
    if not seqs:
        return []
    return rank(one.vector, score_documents(one, seqs), limit=len(seqs)).best


def _scores_of(words: WordIndex, asked: WordQuery, named: WordMatches, seqs: Sequence[int]) -> np.ndarray:
    """Return BM25 of documents, shape (n,); 0 where no word matches."""
    known = dict(zip(named.seqs.tolist(), named.scores.tolist(), strict=True))
    if named.total > len(named.seqs):
        others = [seq for seq in seqs if seq not in known]
        known.update(zip(others, words.score(asked, others).tolist(), strict=True))
    return np.array([known.get(seq, 0.0) for seq in seqs])


def _named(one: Asked, words: WordIndex, asked: WordQuery, depth: int) -> WordMatches:
    """Return the best documents by their words that satisfy the filter."""
    narrow = one.narrow()
    if narrow is not None or one.query.filter is None:
        return _existing(one, words.search(asked, depth, among=narrow))
    more = depth
    while True:
        found = words.search(asked, more)
        kept = _existing(one, found)
        if len(kept.seqs) >= depth or len(found.seqs) >= found.total:
            return kept
        more *= 8


def _existing(one: Asked, found: WordMatches) -> WordMatches:
    """Keep the documents that satisfy the filter in this snapshot; the index may be a write ahead."""
    seqs = found.seqs.tolist()
    kept = one.matching(seqs) if seqs else set()
    if len(kept) == len(seqs):
        return found
    mask = np.array([seq in kept for seq in seqs])
    return WordMatches(found.seqs[mask], found.scores[mask], found.total - (len(seqs) - len(kept)))


def _matches(one: Asked, words: WordIndex, asked: WordQuery, reach: int) -> WordMatches:
    """Return what keyword search shows, and how many documents that satisfy the filter match in all.

    With a bound, facets, a filter that many documents satisfy, or examples, all that match are looked at: they are
    counted.
    """
    narrow = one.narrow()
    partly = one.query.filter is not None or bool(one.without)
    bounded = one.query.cut != Cut(autocut=one.query.cut.autocut)
    every = bounded or bool(one.query.facets) or (narrow is None and partly)
    most = max(1, words.documents)
    # One more than is shown: it tells whether equal scores go on after the last one.
    found = words.search(asked, most if every else reach + 1, among=narrow, all_phrases=True)
    kept = _existing(one, found)
    if every or len(found.seqs) == found.total:
        return kept
    last = kept.scores[reach - 1] if len(kept.seqs) >= reach else 0.0
    if found.scores[-1] < last:
        return kept
    # Equal scores are ordered by id: all that tie with the last one are needed.
    found = words.search(asked, most, among=narrow, all_phrases=True)
    tied = found.scores >= last
    return _existing(one, WordMatches(found.seqs[tied], found.scores[tied], found.total))


def _places(seqs: np.ndarray) -> dict[int, int]:
    return {seq: place for place, seq in enumerate(seqs.tolist(), 1)}
