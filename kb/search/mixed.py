"""Keyword and hybrid search: documents by their words, and by words and meaning together."""

from __future__ import annotations

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

    from kb.index import OpenWords, WordIndex, WordQuery
    from kb.search import fusion
    from kb.search.fusion import Fused
    from kb.search.rank import Best
    from kb.search.searchable import Asked
    from kb.search.semantic import Found

DEPTH: Final = 80
"""How many documents each leg of a hybrid search names at first; never fewer than four times those that are shown."""

DEEPEST: Final = 4_000
"""Beyond so many, a document that neither leg has named is taken to be none of the best."""

SPARE: Final = 16
"""How many documents beyond those shown keyword search looks at first, to see where those of one score end."""


def find_keyword(one: Asked) -> Answer:
    """Return documents that hold a word of the query, and every quoted phrase, by BM25."""
    opened = one.on.words(one.connection)
    words = opened.index
    asked = words.parse(one.query.text)
    found = _matches(one, words, asked, one.query.depth)
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
    )


def find_hybrid(one: Asked, *, may_use_index: bool) -> Answer:
    """Return documents by the fused scores of both legs.

    Each leg names its best documents; every one of them then gets both scores, exactly. As long as a document that
    neither has named could be among those that are shown, they name more (the threshold algorithm of Fagin, Lotem and
    Naor, 2001). A document passes the lower bound by its cosine, or by holding all words of a quoted phrase.

    Raises:
        DamagedError, LockedError: The index of vectors cannot be asked.
    """
    opened = one.on.words(one.connection)
    asked = opened.index.parse(one.query.text)
    meaning = meaning_leg(one.on.sample(one.connection) @ one.vector)
    terms = map(Term, asked.words, asked.counts, opened.index.frequencies(asked))
    words = words_leg(list(terms), opened.index.documents)
    depth = max(DEPTH, 4 * one.query.depth)
    while True:
        near = find_nearest(one, Wanted(depth, bounded=False), may_use_index=may_use_index)
        named = _named(one, opened.index, asked, depth)
        union = _union(one, near, named)
        bm25 = _scores_of(opened.index, asked, named, [best.seq for best in union])
        fused = fuse([best.score for best in union], bm25, meaning, words)
        if depth >= DEEPEST or not _could_be_shown(one, near, named, depth, fused):
            break
        depth *= 4
    placed = [Placed(best, score) for best, score in zip(union, fused.rank_scores.tolist(), strict=True)]
    return _bounded(one, near, placed, _Explainer(opened.index, asked, placed, bm25, fused), opened)


def _could_be_shown(one: Asked, near: Found, named: WordMatches, depth: int, fused: Fused) -> bool:
    """Return whether a document that neither leg has named could be among the best."""
    best = near.ranking.best
    if len(best) < depth or len(best) >= near.candidates:
        return False  # the semantic leg has named all that there are
    if len(best) <= one.query.depth:
        return True
    cosine = min(one.score for one in best)
    bm25 = float(named.scores[-1]) if len(named.seqs) and named.total > len(named.seqs) else 0.0
    unseen = fuse([cosine], [bm25], fused.meaning, fused.words).rank_scores[0]
    return bool(unseen >= np.partition(fused.rank_scores, -one.query.depth)[-one.query.depth])


class _Explainer:
    """Says of a hit how its place came about."""

    def __init__(
        self, words: WordIndex, asked: WordQuery, placed: Sequence[Placed], bm25: np.ndarray, fused: Fused
    ) -> None:
        self._words = words
        self._asked = asked
        self._fused = fused
        self._bm25 = bm25
        self._cosines = np.array([p.best.score for p in placed])
        self._rows = {p.best.seq: row for row, p in enumerate(placed)}

    def __call__(self, placed: Placed, text: str) -> Explanation:
        row, fused = self._rows[placed.best.seq], self._fused
        return Explanation(
            _leg(fused.meaning, self._cosines, fused.meaning_standard, row),
            _leg(fused.words, self._bm25, fused.words_standard, row),
            self._words.matched(self._asked, text),
        )


def _leg(leg: fusion.Leg, scores: np.ndarray, standard: np.ndarray, row: int) -> Leg:
    score = float(scores[row])
    rank = int(np.count_nonzero(scores > score)) + 1
    return Leg(score, rank, leg.mean, leg.deviation, float(standard[row]), leg.weight)


def _bounded(one: Asked, near: Found, placed: Sequence[Placed], explain: _Explainer, opened: OpenWords) -> Answer:
    """Leave out what a bound keeps out, and count it.

    Every document that was compared is a candidate; those that pass by a phrase alone are counted with those that reach
    the bound.
    """
    cut = one.query.cut
    if cut == Cut(autocut=cut.autocut):
        ranking = near.ranking
        return Answer(placed, near.candidates, near.candidates, 0, None, None, near.strategy, explain, opened.degraded)
    ranking = one.rank(near.scored, limit=1, verified=near.verified)
    bound = -1.0 if ranking.bound is None else ranking.bound
    top = 1.0 if cut.max_score is None else cut.max_score
    excused = _excused(one, opened.index, bound)
    kept = [p for p in placed if p.best.score <= top and (p.best.score >= bound or p.best.seq in excused)]
    passed = ranking.passed if ranking.bound is not None else near.candidates - ranking.above
    below = {seq for seq, score in excused.items() if score < bound}
    rejected = max(
        (p.best for p in placed if p.best.score < bound and p.best.seq not in below),
        key=lambda best: best.score,
        default=None,
    )
    return Answer(
        kept,
        near.candidates,
        passed + len(below),
        ranking.above,
        ranking.bound,
        rejected,
        near.strategy,
        explain,
        opened.degraded,
    )


def _excused(one: Asked, words: WordIndex, bound: float) -> dict[int, float]:
    """Return the documents that hold all words of a quoted phrase, with their cosines: no bound applies to them."""
    phrases = words.parse(one.query.text).phrases
    if not phrases or bound <= -1.0:
        return {}
    seqs = set[int]().union(*(words.holding(phrase, among=one.narrow()) for phrase in phrases))
    seqs = one.matching(sorted(seqs)) if seqs else set()
    return {best.seq: best.score for best in _scored(one, sorted(seqs))}


def _scored(one: Asked, seqs: Sequence[int]) -> list[Best]:
    """Return documents with their exact cosines."""
    if not seqs:
        return []
    return rank(one.vector, score_documents(one, seqs), limit=len(seqs)).best


def _union(one: Asked, near: Found, named: WordMatches) -> list[Best]:
    known = {best.seq for best in near.ranking.best}
    return [*near.ranking.best, *_scored(one, [seq for seq in named.seqs.tolist() if seq not in known])]


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
    return WordMatches(found.seqs[mask], found.scores[mask], found.total)


def _matches(one: Asked, words: WordIndex, asked: WordQuery, reach: int) -> WordMatches:
    """Return what keyword search shows, and how many documents that satisfy the filter match in all.

    With a bound, or a filter that many documents satisfy, all that match are looked at: they are counted. So are they
    where documents are named as examples, which are no hits.
    """
    narrow = one.narrow()
    cut_off = one.query.cut != Cut(autocut=one.query.cut.autocut)
    every = cut_off or bool(one.query.example) or (narrow is None and one.query.filter is not None)
    limit = max(1, words.documents) if every else 2 * reach + SPARE
    found = _existing(one, words.search(asked, limit, among=narrow, all_phrases=True))
    if not every and limit <= len(found.seqs) < found.total and found.scores[-1] == found.scores[reach - 1]:
        # Equal scores are ordered by id: all that tie with the last one are needed.
        found = _existing(one, words.search(asked, words.documents, among=narrow, all_phrases=True))
    return WordMatches(found.seqs, found.scores, len(found.seqs) if every else found.total)


def _places(seqs: np.ndarray) -> dict[int, int]:
    return {seq: place for place, seq in enumerate(seqs.tolist(), 1)}
