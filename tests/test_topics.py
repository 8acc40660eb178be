"""Topics: what the documents of a collection are about."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest

import kb
from kb.errors import UsageError
from kb.evaluate.topics import Map, Topic, Topics, TypicalDocument, grouping, topic_page, topic_picture
from kb.evaluate.topics.found import topic_color
from kb.evaluate.topics.projection import project
from kb.evaluate.topics.words import count_words, stem
from tests.conftest import Ran, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SUBJECTS = {
    "boats": "harbour sails anchor rope captain hull deck mast keel rudder",
    "bread": "flour yeast oven dough crust salt butter knead loaf rye",
    "stars": "telescope planet orbit comet galaxy moon nebula lens dust light",
}


def fill(collection: kb.Collection, each: int = 12) -> None:
    random = np.random.default_rng(5)
    made = []
    for subject, words in SUBJECTS.items():
        for n in range(each):
            body = f"The {subject} are " + " ".join(random.choice(words.split(), 8))
            made.append(make(collection, f"{subject}-{n:02}", title=f"{subject} {n}", body=body))
    collection.upsert(*made)


def test_documents_are_divided_by_what_they_are_about(articles: kb.Collection) -> None:
    fill(articles)
    found = articles.topics(topics=3, words=2, documents=1, map=True)
    assert (found.collection, found.documents, found.algorithm, found.attempts) == ("articles", 36, "KMeans", ())
    assert [(topic.number, topic.size, topic.share) for topic in found.topics] == [(n, 12, 0.3333) for n in (1, 2, 3)]
    assert [topic.words[0] for topic in found.topics] == ["boats", "bread", "stars"]
    assert [topic.documents[0].id.partition("-")[0] for topic in found.topics] == ["boats", "bread", "stars"]
    assert all(0.5 < topic.cosine < topic.documents[0].score <= 1 for topic in found.topics)
    assert found.topics[0].documents[0].title.startswith("boats ")
    assert found.map is not None
    assert found.map.method == "t-SNE"
    assert [point.id for point in found.map.points] == sorted(articles.keys())
    assert {(point.id.partition("-")[0], point.topic) for point in found.map.points} == {
        ("boats", 1),
        ("bread", 2),
        ("stars", 3),
    }


def test_the_number_of_topics_is_chosen_by_silhouette(articles: kb.Collection) -> None:
    fill(articles)
    found = articles.topics()
    assert [one.topics for one in found.attempts] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert max(found.attempts, key=lambda one: one.silhouette).topics == len(found.topics) == 3
    assert found.map is None


def test_the_same_documents_give_the_same_topics_in_whatever_order_they_came(
    base: kb.KnowledgeBase, articles: kb.Collection
) -> None:
    fill(articles)
    first = articles.topics(map=True)
    documents = articles.list()
    articles.delete(*articles.keys())
    articles.upsert(*reversed(documents))
    assert articles.topics(map=True) == first


def test_only_documents_that_satisfy_the_filter_are_divided(articles: kb.Collection) -> None:
    fill(articles)
    found = articles.topics('title starts with "boats"', topics=2)
    assert (found.documents, sum(topic.size for topic in found.topics)) == (12, 12)
    assert articles.topics('title = "none"', map=True) == Topics(
        "articles", 0, (), "none", (), Map("PCA", ()), ("no document satisfies the filter",)
    )


def test_an_empty_collection_has_no_topics(articles: kb.Collection) -> None:
    assert articles.topics() == Topics("articles", 0, (), "none", (), None, ("there are no documents",))


def test_one_document_is_one_topic(articles: kb.Collection) -> None:
    articles.upsert(make(articles, "a1", title="Anchors", body="An anchor holds. The anchor bites into sand."))
    found = articles.topics(words=3, map=True)
    assert found.topics == (
        Topic(1, ("anchor", "bites", "holds"), (TypicalDocument("a1", "Anchors", 1.0),), 1, 1.0, 1.0),
    )
    assert found.notes == ("1 different document: too few to divide, so one topic",)
    assert found.map is not None
    assert [(point.x, point.y) for point in found.map.points] == [(0.5, 0.5)]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_few_documents_are_divided_without_fuss(articles: kb.Collection, count: int) -> None:
    articles.upsert(*(make(articles, f"a{n}", title=f"t{n}", body=f"word{n} other{n} third{n}") for n in range(count)))
    found = articles.topics(map=True)
    assert sum(topic.size for topic in found.topics) == count
    assert len(found.topics) == (1 if count < 4 else 2)
    assert topic_picture(found)[:4] == b"\x89PNG"
    assert [one.size for one in articles.topics(topics=count).topics] == [1] * count


def test_identical_documents_are_one_topic(articles: kb.Collection) -> None:
    articles.upsert(*(make(articles, f"a{n:02}", title="Same", body="The very same text.") for n in range(40)))
    found = articles.topics(map=True)
    assert [(topic.size, topic.cosine) for topic in found.topics] == [(40, 1.0)]
    assert found.notes == ("1 different document: too few to divide, so one topic",)
    assert found.map is not None
    assert {(point.x, point.y) for point in found.map.points} == {(0.5, 0.5)}
    with pytest.raises(UsageError) as error:
        articles.topics(topics=2)
    assert str(error.value) == "2 topics cannot be made of 1 different document"
    assert error.value.hint == "ask for 1 or fewer, or leave out the number"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topics": 0}, "topics is 0; it must be from 1 to 1,000"),
        ({"words": 101}, "words is 101; it must be from 1 to 100"),
        ({"documents": -1}, "documents is -1; it must be from 0 to 100"),
    ],
)
def test_numbers_out_of_range_are_an_error(articles: kb.Collection, options: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as error:
        articles.topics(**options)
    assert str(error.value) == message


def test_many_documents_are_sampled_and_the_notes_say_so(
    articles: kb.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(articles)
    monkeypatch.setattr("kb.evaluate.topics.surveying.READ", 30)
    monkeypatch.setattr("kb.evaluate.topics.surveying.MOST_POINTS", 20)
    monkeypatch.setattr(grouping, "LARGE", 30)
    found = articles.topics(topics=3, map=True)
    assert (found.algorithm, [topic.size for topic in found.topics]) == ("MiniBatchKMeans", [12, 12, 12])
    assert found.notes == (
        "words were counted in 30 of 36 documents, chosen at random",
        "the map shows 20 of 36 documents, chosen at random",
    )
    assert found.map is not None
    assert len(found.map.points) == 20


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Models", "model"),
        ("queries", "query"),
        ("classes", "class"),
        ("boxes", "box"),
        ("class", "class"),
        ("status", "status"),
        ("analysis", "analysis"),
        ("gas", "gas"),
    ],
)
def test_cases_and_plurals_are_one_word(word: str, expected: str) -> None:
    assert stem(word) == expected


def test_words_that_are_in_every_topic_name_none() -> None:
    documents = [(0, "The cats and the cat's SQL"), (0, "the Cats of it"), (1, "the dogs and it"), (1, "the Dog of it")]
    counts = count_words(documents, 2)
    assert counts.typical(0, 2) == ("cats", "SQL")
    assert counts.typical(1, 1) == ("dogs",)
    assert "the" not in counts.typical(0, 10)


def test_the_map_keeps_neighbours_together() -> None:
    random = np.random.default_rng(0)
    heaps = np.repeat(np.eye(3, 16), 20, axis=0) + random.normal(0, 0.05, (60, 16))
    places, method = project((heaps / np.linalg.norm(heaps, axis=1, keepdims=True)).astype(np.float32))
    assert method == "t-SNE"
    assert (places.min(), places.max()) == (0.0, 1.0)
    labels = np.repeat([0, 1, 2], 20)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(60)
    assert (labels[distances.argmin(axis=1)] == labels).all()


class Page(HTMLParser):
    """What a browser would make of a page: its elements with their attributes, and the text outside of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


EVIL = "</script><script>alert('x')</script> \"onload=\"{{rows}} & <img src=x onerror=alert(1)>"


def test_the_page_shows_a_hostile_title_as_text(articles: kb.Collection) -> None:
    fill(articles, 4)
    articles.upsert(make(articles, "evil", title=EVIL, body="<script>harbour</script> <b>anchor</b>"))
    page = Page(topic_page(articles.topics(topics=1, documents=100, map=True)))
    assert len(page.named("script")) == 1
    assert page.named("img") == []
    assert [attributes["data-title"] for attributes in page.named("circle")].count(EVIL) == 1
    assert EVIL in page.text
    assert {name for _, attributes in page.elements for name in attributes if name.startswith("on")} == set()


def test_the_page_needs_nothing_but_itself_and_only_its_script_may_run(articles: kb.Collection, tmp_path: Path) -> None:
    fill(articles)
    found = articles.topics(topics=3, map=True)
    text = topic_page(found)
    page = Page(text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|\bsrc=|\bhref=|{{", text.replace("http-equiv", ""))
    (policy,) = [one["content"] for one in page.named("meta") if one.get("http-equiv")]
    assert re.fullmatch(r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/]{43}='", policy or "")
    assert "innerHTML" not in text
    assert [one["aria-pressed"] for one in page.named("button")] == ["false"] * 3
    assert len(page.named("circle")) == 36
    assert "36 documents · 3 topics · t-SNE" in page.text
    assert f".t2{{--own:{topic_color(2)}}}" in text


def test_the_picture_is_the_same_for_the_same_topics(articles: kb.Collection) -> None:
    fill(articles)
    articles.update("boats-00", title="$costs \\frac{1}{2}$")
    found = articles.topics(topics=3, map=True)
    assert topic_picture(found) == topic_picture(found)


def test_colours_of_topics_differ() -> None:
    assert len({topic_color(number) for number in range(1, 101)}) == 100


def test_the_command_writes_a_table_rows_pictures_and_pages(
    run_kb: Callable[..., Ran], root: Path, tmp_path: Path
) -> None:
    with kb.open(root) as base:
        fill(base.collection("articles"))
    table = run_kb("topics", "--topics", "3", "--words", "1", "--documents", "1", "--format", "table", COLUMNS="80")
    assert (table.code, table.err) == (0, "36 documents, 3 topics, KMeans\n")
    lines = table.out.splitlines()
    assert lines[0].split() == ["topic", "typical", "words", "and", "documents", "documents", "share", "cosine"]
    assert re.match(r"    1   boats +12   33\.3 %     0\.\d\d$", lines[2])
    assert max(map(len, lines)) <= 80
    files = run_kb("topics", "--map", "m.png", "--page", "t.html", "--format", "json")
    assert files.err.splitlines()[1:] == ["wrote m.png", "wrote t.html"]
    assert re.match(
        r"36 documents, 3 topics, chosen out of 2 to 9 by silhouette 0\.\d\d, KMeans$", files.err.splitlines()[0]
    )
    assert (tmp_path / "m.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "t.html").read_text().startswith("<!doctype html>")
    assert [topic["size"] for topic in json.loads(files.out)["topics"]] == [12, 12, 12]
    again = run_kb("topics", "--page", "t.html")
    assert (again.code, again.err.splitlines()[0]) == (1, f"error: {tmp_path / 't.html'} exists already")
    for option, name, kind in (("--map", "m.pdf", "PNG"), ("--page", "t.png", "HTML")):
        wrong = run_kb("topics", option, name)
        message = f"error: {option} writes {kind}, but {name} ends in {name[1:]}\n  kb topics --help shows how\n"
        assert (wrong.code, wrong.out, wrong.err) == (2, "", message)
    rows = list(csv.DictReader(io.StringIO(run_kb("topics", "--topics", "2", "--format", "csv").out)))
    assert list(rows[0]) == ["number", "words", "documents", "size", "share", "cosine"]
    assert [row["number"] for row in rows] == ["1", "2"]


def test_an_empty_collection_is_told_by_the_command(run_kb: Callable[..., Ran]) -> None:
    done = run_kb("topics", "--format", "table", "--map", "m.png", "--page", "t.html", "-q")
    assert (done.code, done.out, done.err) == (0, "", "")
    done = run_kb("topics", "--format", "table")
    assert (done.code, done.out, done.err) == (0, "", "0 documents, 0 topics\nthere are no documents\n")
