"""Every mode against a plain computation over all documents: hits, their order, and what the report counts."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pytest

from kb import catalog as cat
from kb.search import mixed, semantic
from kb.search.examples import find_examples
from kb.search.fusion import Term, fuse, meaning_leg, words_leg
from kb.search.query import Example, Mode
from kb.search.rank import exact_scores
from tests.conftest import make

if TYPE_CHECKING:
    from collections.abc import Sequence

    import kb

WORDS: Final = [f"w{n}" for n in range(30)]


class Expected(NamedTuple):
    """What an answer must be: its order in full and the counts of its report."""

    order: list[tuple[str, float, float]]
    candidates: int
    passed: int
    above: int
    below: int
    best_rejected: float | None


def fill(articles: kb.Collection, count: int, *, seed: int) -> None:
    """Add documents, some with several chunks and some equal; then delete and replace a tenth each."""
    rng = random.Random(seed)

    def document(number: int) -> kb.Document:
        body = " ".join(rng.choices(WORDS, k=rng.choice([2, 5, 12, 12, 700 if count < 100 else 12])))
        changes = {"category": rng.choice(["ml", "nlp"]), "rating": rng.choice([None, 1.0, 3.0, 5.0])}
        return make(articles, f"d{number}", title="t", body=rng.choice([*[body] * 9, "equal words here"]), **changes)

    numbers = rng.sample(range(count), count)
    articles.upsert(*map(document, numbers))
    articles.delete(*[f"d{number}" for number in numbers[: count // 10]])
    articles.upsert(*map(document, numbers[count - count // 10 :]))


def expected(
    articles: kb.Collection,
    text: str,
    mode: Mode,
    where: str | None,
    like: Sequence[str],
    bounds: dict[str, float],
) -> Expected:
    catalog, stored = articles._place()  # type: ignore[misc]
    on = articles._searching(catalog, stored)
    with catalog.read() as connection:
        examples = find_examples(on, connection, Example(tuple(like)))
        vector = examples.turn(on.encoder().encode_query(text))
        condition = on.condition(articles.filter(where))
        wanted = set(cat.matching_seqs(connection, condition, limit=1_000_000)) - examples.seqs
        chunks = cat.chunk_vectors(connection, stored.id, stored.dimension)
        cosines: dict[int, float] = {}
        for seq, cosine in zip(chunks.seqs.tolist(), exact_scores(vector, chunks.matrix).tolist(), strict=True):
            if seq in wanted:
                cosines[seq] = max(cosines.get(seq, -1.0), cosine)
        words = on.words(connection, False).index
        asked = words.parse(text)
        found = words.search(asked, 1_000_000)
        bm25 = dict(zip(found.seqs.tolist(), found.scores.tolist(), strict=True))
        keys = cat.keys_of(connection, list(cosines))
        excused: set[int] = set()
        if mode is Mode.SEMANTIC:
            places = cosines
        elif mode is Mode.KEYWORD:
            phrased = set(words.search(asked, 1_000_000, all_phrases=True).seqs.tolist())
            cosines = {seq: cosine for seq, cosine in cosines.items() if seq in phrased}
            places = {seq: bm25[seq] for seq in cosines}
        else:
            excused = excused.union(*(words.holding(phrase) for phrase in asked.phrases))
            terms = list(map(Term, asked.words, asked.counts, words.frequencies(asked)))
            fused = fuse(
                list(cosines.values()),
                [bm25.get(seq, 0.0) for seq in cosines],
                meaning_leg(on.sample(connection) @ vector),
                words_leg(terms, words.documents),
            )
            places = dict(zip(cosines, fused.rank_scores.tolist(), strict=True))
    top = bounds.get("max_score", 1.0)
    best = max((cosine for cosine in cosines.values() if cosine <= top), default=0.0)
    bound = max(
        bounds.get("min_score", -1.0), best - (1 - bounds["within"]) * abs(best) if "within" in bounds else -1.0
    )
    passed = [seq for seq, cosine in cosines.items() if cosine <= top and (cosine >= bound or seq in excused)]
    below = [cosine for seq, cosine in cosines.items() if cosine < bound and seq not in excused]
    order = sorted(passed, key=lambda seq: (-places[seq], keys[seq]))
    return Expected(
        [(keys[seq], cosines[seq], round(places[seq], 6)) for seq in order],
        len(cosines),
        len(passed),
        sum(cosine > top for cosine in cosines.values()),
        len(below),
        max(below, default=None),
    )


def check(articles: kb.Collection, mode: Mode, rng: random.Random, *, most: int = 200) -> None:
    words = rng.choices([*WORDS, "equal"], k=rng.choice([1, 2, 3, 6]))
    text = rng.choice([" ".join(words), " ".join(words), f'"{" ".join(words[:2])}" {" ".join(words[2:])}', "!!!"])
    where = rng.choice([None, None, 'category = "ml"', "rating is null", 'rating > 4 and category = "nlp"'])
    bounds: dict[str, float] = {}
    if rng.random() < 0.3:
        bounds["min_score"] = rng.choice([-1, 0, 0.1, 0.3, 0.6, 0.9])
    if rng.random() < 0.3:
        bounds["max_score"] = max(bounds.get("min_score", -1), rng.choice([0.05, 0.1, 0.2, 0.4, 0.7]))
    if rng.random() < 0.2:
        bounds["within"] = rng.choice([0.3, 0.5, 0.8, 1.0])
    like = [hit.id for hit in articles.search("w1 w2", limit=2)] if rng.random() < 0.25 else []
    limit, offset = min(most, rng.choice([1, 3, 10, 10, 50, 200])), rng.choice([0, 0, 0, 5, 40, 45, 100])
    options: dict[str, Any] = {"where": where, "like": like, **bounds}
    truth = expected(articles, text.strip(), mode, where, like, bounds)
    hits = articles.search(text, mode=mode, limit=limit, offset=offset, **options)
    asked = (text, mode, limit, offset, options)
    assert ([tuple(hit) for hit in shown(hits)], asked) == (truth.order[offset : offset + limit], asked)
    report, rejected = hits.report, hits.report.best_rejected
    counts = (report.candidates, report.passed, report.above_max_score, report.below_min_score)
    assert (counts, None if rejected is None else rejected.score, asked) == (truth[1:5], truth.best_rejected, asked)


def shown(hits: Any) -> list[tuple[str, float, float]]:
    return [(hit.id, hit.score, hit.rank_score) for hit in hits]


@pytest.mark.parametrize("count", [1, 2, 30, 400])
@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode_equals_a_look_at_every_document(articles: kb.Collection, mode: Mode, count: int):
    fill(articles, count, seed=count)
    rng = random.Random(f"{mode} {count}")
    for _ in range(40):
        check(articles, mode, rng)


@pytest.mark.parametrize("mode", list(Mode))
def test_shallow_legs_change_no_hit_and_no_count(articles: kb.Collection, mode: Mode, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mixed, "DEPTH", 16)
    fill(articles, 600, seed=3)
    rng = random.Random(mode)
    for _ in range(60):
        check(articles, mode, rng, most=4)


def test_faults_G12_hybrid_pages_are_slices_of_one_order_where_the_legs_go_deeper_between_them(
    articles: kb.Collection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mixed, "DEPTH", 100)
    fill(articles, 600, seed=4)
    for text in ("w1 w2 w3", "equal words w5", "w7"):
        whole = shown(articles.search(text, limit=120))
        pages = [shown(articles.search(text, limit=5, offset=start)) for start in range(0, 120, 5)]
        assert [hit for page in pages for hit in page] == whole


def test_more_near_copies_than_a_leg_names_do_not_hide_the_others(
    articles: kb.Collection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mixed, "DEPTH", 8)
    articles.add(*(make(articles, f"copy{n:02}", title="red", body="apple " * (n + 1)) for n in range(100)))
    articles.add(make(articles, "other", title="a pear", body="and a plum on the table"))
    hits = articles.search("red apple", limit=2, max_score=0.5)
    assert [hit.id for hit in hits] == ["other"]
    assert (hits.report.passed, hits.report.above_max_score) == (1, 100)


def test_all_that_pass_by_a_phrase_are_shown_also_where_other_words_rank_higher(
    articles: kb.Collection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(mixed, "DEPTH", 8)
    half = ("gradient " * 3, "descent " * 3)
    articles.add(*(make(articles, f"d{n:02}", title="t", body=half[n % 2] + "fig " * (n // 4)) for n in range(100)))
    articles.add(make(articles, "phrase", title="Steep", body="the descent of a gradient " + "and more " * 60))
    hits = articles.search('"gradient descent"', limit=2, min_score=0.95)
    assert [hit.id for hit in hits] == ["phrase"]
    assert (hits.report.passed, hits.report.below_min_score) == (1, 100)


def test_what_chroma_and_the_words_propose_is_all_counted(articles: kb.Collection, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(semantic, "SMALL", 0)
    monkeypatch.setattr(mixed, "DEPTH", 12)
    fill(articles, 400, seed=5)
    rng = random.Random(5)
    for _ in range(40):
        text = f'"{rng.choice(WORDS)}" ' + " ".join(rng.choices(WORDS, k=3))
        hits = articles.search(text, limit=3, min_score=rng.choice([0.2, 0.4, 0.8]))
        truth = {key: cosine for key, cosine, _ in expected(articles, text, Mode.HYBRID, None, (), {}).order}
        report = hits.report
        assert min(report.passed, report.below_min_score) >= 0
        assert report.candidates == report.passed + report.below_min_score <= 360
        assert len(hits) == min(3, report.passed)
        assert {hit.id: hit.score for hit in hits}.items() <= truth.items()


def test_vectors_in_memory_follow_a_write_before_they_score_what_chroma_proposes(
    articles: kb.Collection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(semantic, "SMALL", 0)
    fill(articles, 30, seed=6)
    for _ in range(2):
        articles.search("w1", mode="keyword")
    assert articles._searchable.cache.is_loaded  # type: ignore[union-attr]
    articles.add(make(articles, "new", title="zebra", body="crossing"))
    hits = articles.search("zebra crossing", mode="semantic", limit=1)
    assert [(hit.id, hit.score) for hit in hits] == [("new", 1.0)]


def test_a_keyword_search_looks_no_further_than_the_page_and_what_ties_with_it(
    articles: kb.Collection, monkeypatch: pytest.MonkeyPatch
):
    articles.add(*(make(articles, f"d{n}", title="t", body="oak " * n + "ash " * (40 - n)) for n in range(1, 30)))
    scored: list[int] = []
    plain = mixed.score_documents
    monkeypatch.setattr(mixed, "score_documents", lambda one, seqs: (scored.append(len(seqs)), plain(one, seqs))[1])
    hits = articles.search("oak", mode="keyword", limit=3)
    assert (len(hits), hits.report.candidates, scored) == (3, 29, [4])


def test_a_leg_gives_no_place_to_what_it_has_not_named(articles: kb.Collection):
    articles.add(make(articles, "a", body="oak"), make(articles, "b", body="ash"))
    explained = {hit.id: hit.explanation for hit in articles.search("oak", explain=True)}
    assert [explained[key].keyword.rank for key in "ab"] == [1, None]
    assert np.isclose(explained["b"].keyword.score, 0.0)
