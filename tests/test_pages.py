"""Pages are slices of one order, also where that order is found bit by bit, and where it is cut."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

import pytest

from kb.index import Generation
from kb.search import Mode, Strategy, mixed, searchable, semantic
from tests.conftest import make

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    import kb

WORDS: Final = [f"w{n}" for n in range(40)]


@pytest.fixture
def many(articles: kb.Collection) -> kb.Collection:
    rng = random.Random(11)
    articles.add(*(make(articles, f"d{n:03}", body=" ".join(rng.choices(WORDS, k=12))) for n in range(160)))
    return articles


def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Chroma propose everywhere, and miss documents until it is asked for more, as its graph does at times."""
    monkeypatch.setattr(semantic, "SMALL", 0)
    monkeypatch.setattr(semantic, "SCANNABLE", 0)
    monkeypatch.setattr(searchable, "NARROW", 0)
    monkeypatch.setattr(mixed, "DEPTH", 10)
    plain = Generation.query

    def query(self: Generation, vector: np.ndarray, n: int, where: Mapping[str, object] | None = None) -> list[Any]:
        every = plain(self, vector, n + 200, where)
        needed = {
            key: random.Random(key).choice([0, 0, 0, 0, 0, 0, 50, 100, 250]) for key in (c.document for c in every)
        }
        return [candidate for candidate in every if needed[candidate.document] <= n][:n]

    monkeypatch.setattr(Generation, "query", query)


@pytest.mark.parametrize("where", [None, 'id != "d007"'])
@pytest.mark.parametrize("mode", [Mode.SEMANTIC, Mode.HYBRID])
def test_faults_G12_pages_of_what_chroma_proposes_repeat_no_document_and_lose_none(
    many: kb.Collection, mode: Mode, where: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgetful(monkeypatch)
    for text in ("w1 w2 w3", "w4 w5"):
        for size in (9, 40):
            pages = [many.search(text, mode=mode, where=where, limit=size, offset=at) for at in range(0, 160, size)]
            assert pages[0].report.strategy is Strategy.CHROMA
            found = [hit.id for page in pages for hit in page]
            assert (len(found), set(found)) == (many.count(where), set(many.keys(where)))
            whole = many.search(text, mode=mode, where=where, limit=120)
            assert found[:120] == [hit.id for hit in whole]


def test_hits_of_every_step_explain_their_place(many: kb.Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    forgetful(monkeypatch)
    hits = many.search("w1 w2 w3", limit=120, explain=True)
    assert all(hit.explanation.semantic.score == hit.score for hit in hits)  # type: ignore[union-attr]


@pytest.mark.parametrize("chroma", [False, True])
@pytest.mark.parametrize("options", [{}, {"diverse": 0.3}, {"mode": "keyword"}, {"mode": "semantic"}])
def test_the_largest_jump_is_one_of_the_order_and_not_of_the_page(
    many: kb.Collection, chroma: bool, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if chroma:
        forgetful(monkeypatch)
    for text in ("w1 w2 w3", "w9"):
        whole = many.search(text, limit=10, autocut=True, **options)
        shown = []
        for size in (4, 10):
            pages = [many.search(text, limit=size, offset=at, autocut=True, **options) for at in range(0, 60, size)]
            shown.append([hit.id for page in pages for hit in page])
            uncut = [many.search(text, limit=size, offset=at, **options) for at in range(0, 60, size)]
            assert [page.report.after_jump for page in pages] == [
                len(every) - len(page) for page, every in zip(pages, uncut, strict=True)
            ]
            if "diverse" not in options:
                assert shown[-1] == [hit.id for page in uncut for hit in page][: len(shown[-1])]
        assert set(shown[0]) == set(shown[1])
        assert [hit.id for hit in whole] == shown[1][:10]
        assert 0 < len(shown[0]) < 60
