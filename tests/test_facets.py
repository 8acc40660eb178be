"""Counts of values: beside an answer, over all that passes its cut, and over a whole collection."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, date, datetime
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import pytest

import kb
from kb.catalog import Facet, FacetValue, Spread
from kb.curate import Facets
from kb.errors import FilterError, QueryError, SchemaError, UsageError
from kb.search import Mode, Strategy, mixed, semantic
from tests.conftest import FakeEncoder, Ran, make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

WORDS: Final = [f"w{n}" for n in range(30)]


@pytest.fixture
def many(articles: kb.Collection) -> kb.Collection:
    """300 documents, a tenth of them replaced and a tenth deleted, some of several chunks."""
    rng = random.Random(7)

    def document(number: int) -> kb.Document:
        body = " ".join(rng.choices(WORDS, k=rng.choice([2, 5, 12, 12, 300])))
        tags = rng.choices(["a", "b", "c", "d", *(f"t{n}" for n in range(20))], k=rng.choice([0, 1, 2, 3]))
        author, rating = rng.choice([None, "heron", "wren", "=1+1"]), rng.choice([None, 1.0, 2.5, 4.0])
        category = rng.choice(["ml", "nlp"])
        return make(
            articles, f"d{number}", body=body, tags=tags, author=author, rating=rating, category=category,
            published=f"2024-01-{rng.randint(1, 28):02}",
        )  # fmt: skip

    articles.upsert(*map(document, range(300)))
    articles.delete(*[f"d{number}" for number in range(0, 300, 10)])
    articles.upsert(*map(document, range(5, 300, 10)))
    return articles


def counted(documents: Iterable[kb.Document], field: str, limit: int = 10) -> tuple[Any, ...]:
    """Count in Python what a facet must say: values, missing, other, distinct."""
    counts: Counter[Any] = Counter()
    missing = 0
    for document in documents:
        value = getattr(document, field)
        counts.update(set(value) if isinstance(value, list) else [] if value is None else [value])
        missing += value in (None, [])
    order = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(FacetValue(*pair) for pair in order[:limit]), missing, sum(n for _, n in order[limit:]), len(order)


def shown(facet: Facet) -> tuple[Any, ...]:
    return facet.values, facet.missing, facet.other, facet.distinct


FIELDS: Final = ("category", "tags", "author", "rating", "published")
CUTS: Final[list[dict[str, Any]]] = [
    {},
    {"min_score": 0.3},
    {"max_score": 0.4},
    {"min_score": 0.1, "max_score": 0.5},
    {"within": 0.6},
    {"min_score": 0.99},
]


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("chroma", [False, True])
def test_facets_count_all_that_passes_the_cut_whoever_proposed_it(
    many: kb.Collection, mode: Mode, chroma: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chroma:
        monkeypatch.setattr(semantic, "SMALL", 0)
        monkeypatch.setattr(semantic, "SCANNABLE", 0)
        monkeypatch.setattr("kb.search.searchable.NARROW", 20)
        monkeypatch.setattr(mixed, "DEPTH", 12)
    text, filters, likes = '"w1" w2 w3', (None, 'category = "ml"', 'tags has "a"'), ((), ("d1", "d2"))
    for where, cut, like in product(filters, CUTS, likes):
        options: dict[str, Any] = {"where": where, "mode": mode, "like": like, **cut}
        hits = many.search(text, limit=3, facets=FIELDS, **options)
        # A page of all documents is the whole answer, compared without any facet.
        monkeypatch.setattr(semantic, "SMALL", 20_000)
        every = many.search(text, limit=1_000, **options)
        if chroma:
            monkeypatch.setattr(semantic, "SMALL", 0)
        assert hits.report.passed == len(every)
        assert [hit.id for hit in hits] == [hit.id for hit in every][:3]
        for name, facet in zip(FIELDS, hits.facets, strict=True):
            assert (facet.field, shown(facet)) == (name, counted([hit.document for hit in every], name)), options


def test_facets_do_not_change_with_the_page_and_cost_nothing_unless_asked_for(
    many: kb.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [many.search("w1 w2", limit=5, offset=start, autocut=True, facets=["tags"]) for start in (0, 5, 100)]
    assert len({page.facets for page in pages}) == 1
    monkeypatch.setattr(semantic, "SMALL", 0)
    assert many.search("w1 w2", mode="semantic").report.strategy is Strategy.CHROMA
    asked = many.search("w1 w2", mode="semantic", facets=["tags"])
    assert (asked.report.strategy, asked.report.passed, asked.report.candidates) == (Strategy.EXACT, 270, 270)
    assert many.search("w1 w2").facets == ()


def test_the_collection_is_counted_without_a_search(many: kb.Collection, encoder: FakeEncoder) -> None:
    for where in (None, 'category = "nlp" and rating >= 2', 'tags has any ("a", "b")', "rating > 100"):
        documents = many.list(where)
        found = many.facets(*FIELDS, where=where, limit=3)
        assert (found.collection, found.documents) == ("articles", len(documents))
        assert [shown(one) for one in found.facets] == [counted(documents, name, 3) for name in FIELDS]
    assert encoder.queries == []
    assert [one.field for one in many.facets().facets] == ["title", "category", "published", "author", "tags", "rating"]


def test_numbers_and_dates_have_quartiles(articles: kb.Collection) -> None:
    def spread(field: str) -> Spread | None:
        return articles.facets(field).facets[0].spread

    assert spread("rating") is None
    for number in range(1, 6):
        articles.add(make(articles, f"a{number}", rating=float(number), published=date(2024, 1, number).isoformat()))
    articles.add(make(articles, "none", rating=None))
    assert spread("rating") == Spread(1.0, 2.0, 3.0, 4.0, 5.0)
    days = [date(2024, 1, day) for day in (1, 2, 3, 5, 31)]
    assert spread("published") == Spread(*days)
    assert spread("category") is None
    # No value is named, and yet all are counted.
    assert articles.facets("rating", limit=0).facets == (
        Facet("rating", (), 1, 5, 5, Spread(1.0, 2.0, 3.0, 4.0, 5.0)),
    )  # fmt: skip


def test_every_type_is_counted_by_its_value(tmp_path: Path) -> None:
    class Thing(kb.Document):
        name: kb.Text
        flag: bool | None = None
        number: int | None = None
        when: datetime | None = None
        flags: list[bool] = []  # noqa: RUF012
        numbers: list[int] = []  # noqa: RUF012

    at = datetime(2024, 1, 31, 12, tzinfo=UTC)
    with kb.open(tmp_path, encoders={"fake": FakeEncoder()}) as base:
        things = base.collection("things", Thing, model="fake")
        empty = things.facets("flag", "numbers")
        assert empty == Facets("things", 0, (Facet("flag", (), 0, 0, 0), Facet("numbers", (), 0, 0, 0)))
        assert things.search("x", facets=["flag"]).facets == (Facet("flag", (), 0, 0, 0),)
        large = 2**53 + 1
        things.add(
            Thing(id="1", name="a", flag=True, number=large, when=at, flags=[True, True], numbers=[3, 3, 1]),
            Thing(id="2", name="b", flag=False, number=large - 1, when=at, flags=[False]),
            Thing(id="3", name="c", flag=True, numbers=[3]),
        )
        found = {facet.field: facet for facet in things.facets().facets}
    assert found == {
        "flag": Facet("flag", (FacetValue(True, 2), FacetValue(False, 1)), 0, 0, 2),
        "number": Facet(
            "number", (FacetValue(large - 1, 1), FacetValue(large, 1)), 1, 0, 2,
            Spread(large - 1, large - 1, large - 1, large, large),
        ),
        "when": Facet("when", (FacetValue(at, 2),), 1, 0, 1, Spread(at, at, at, at, at)),
        "flags": Facet("flags", (FacetValue(False, 1), FacetValue(True, 1)), 1, 0, 2),
        "numbers": Facet("numbers", (FacetValue(3, 2), FacetValue(1, 1)), 1, 0, 2, Spread(1, 1, 3, 3, 3)),
    }  # fmt: skip
    assert isinstance(found["flag"].values[0].value, bool)


@pytest.mark.parametrize(
    ("names", "message", "hint"),
    [
        (["catgory"], "unknown field 'catgory'", "did you mean 'category'? valid: title, category, published, author, tags, rating"),
        (["body"], "'body' is prose: hardly two documents share a value", "fields that can be counted: title, category, published, author, tags, rating"),
        (["tags", "tags"], "the field 'tags' is named twice", ""),
    ],
)  # fmt: skip
def test_faults_G7_what_cannot_be_counted_is_refused(
    articles: kb.Collection, names: Sequence[str], message: str, hint: str
) -> None:
    for stored in (False, True):
        if stored:
            articles.add(make(articles))
        for ask in (lambda: articles.search("x", facets=names), lambda: articles.facets(*names)):
            with pytest.raises(SchemaError) as refused:
                ask()
            assert (str(refused.value), refused.value.hint) == (message, hint)


def test_faults_G2_other_mistakes_are_refused(articles: kb.Collection) -> None:
    with pytest.raises(QueryError, match="^facets is a list of fields, not one text: 'tags'$"):
        articles.search("x", facets="tags")
    for limit in (-1, 10_001, True, 2.5):
        with pytest.raises(UsageError, match="^the values of a field to name must be a number from 0 to 10,000, not "):
            articles.facets("tags", limit=limit)  # type: ignore[arg-type]
    with pytest.raises(FilterError, match="unknown field 'ratng'"):
        articles.facets("tags", where="ratng > 1")


def test_the_command_line_counts(run_kb: Callable[..., Ran], tmp_path: Path) -> None:
    shared = {"title": "Text", "published": "2024-01-01"}
    rows = [
        {**shared, "id": "1", "body": "red apple", "category": "ml", "tags": ["x", "y"], "rating": 2.5},
        {**shared, "id": "2", "body": "red pear", "category": "ml", "tags": ["x"], "author": "=1+1"},
        {**shared, "id": "3", "body": "blue sky", "category": "nlp", "tags": []},
    ]
    (tmp_path / "articles.json").write_text(json.dumps(rows))
    assert run_kb("import", "articles.json").code == 0
    tags = {"field": "tags", "values": [{"value": "x", "count": 2}, {"value": "y", "count": 1}],
            "missing": 0, "other": 0, "distinct": 2}  # fmt: skip
    asked = ("search", "red", "--mode", "keyword", "-k", "1", "--facets", "tags, category")
    answer = json.loads(run_kb(*asked, "--format", "json").out)
    assert (len(answer["hits"]), answer["report"]["passed"], answer["facets"][0]) == (1, 2, tags)
    _, first, _ = map(json.loads, run_kb(*asked).out.splitlines())
    assert first == {"facet": tags}
    refused = run_kb(*asked, "--format", "csv")
    assert (refused.code, refused.err.splitlines()[0]) == (
        2, "error: CSV has no place for facets: say --format json, or ask kb facets",
    )  # fmt: skip
    table = run_kb("facets", "tags", "rating", "--format", "table", "-k", "1")
    assert [" ".join(line.split()) for line in table.out.splitlines() if line.strip()][2:] == [
        *("tags x 2", "1 other value 1", "missing 1", "rating 2.5 1", "missing 2"),
        "from 2.5 to 2.5, quartiles 2.5, 2.5, 2.5",
    ]
    assert table.err == "3 documents in 'articles' counted\n"
    whole = json.loads(run_kb("facets", "tags", "--where", "rating > 1", "--format", "json").out)
    assert (whole["collection"], whole["documents"], len(whole["facets"])) == ("articles", 1, 1)
    cells = run_kb("facets", "author", "--format", "csv").out
    assert cells.splitlines()[:2] == ["field,kind,value,documents,_quoted", "author,value,'=1+1,1,value"]
