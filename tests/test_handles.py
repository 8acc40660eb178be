"""What a handle on a knowledge base sees and may do: other handles, closing, other weights, a lost index."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import kb
import kb.index.chroma
from kb.errors import EncoderError, ModelMismatchError, UsageError
from tests.conftest import CONFIG, FakeEncoder, article, make

TWO = CONFIG + CONFIG.partition('[storage]\npath = ".kb"\n')[2].replace("collections.articles", "collections.others")


def both(root: Path, encoder: FakeEncoder) -> kb.KnowledgeBase:
    (root / "config.toml").write_text(TWO)
    return kb.open(root, encoders={"fake": encoder})


def test_a_collection_opened_before_its_first_import_sees_it(base: kb.KnowledgeBase) -> None:
    early = base.collection("articles")
    late = kb.Collection(base, "articles", base.settings.collections["articles"], None)
    assert (early.count(), list(early.search("body"))) == (0, [])
    late.upsert(make(late))
    assert early.count() == 1
    assert [hit.id for hit in early.search("body")] == ["a1"]
    early.upsert(make(early, "a2"))
    assert late.keys() == ["a1", "a2"]


def test_nothing_can_be_done_with_a_closed_knowledge_base(root: Path, encoder: FakeEncoder) -> None:
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        document = make(articles)
        articles.upsert(document)
    for call in (
        lambda: articles.search("body"),
        articles.count,
        articles.list,
        lambda: articles.get("a1"),
        lambda: articles.upsert(document),
        base.stats,
    ):
        with pytest.raises(UsageError, match="^the knowledge base is closed$"):
            call()
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert base.collection("articles").count() == 1


def test_faults_D6_other_weights_under_the_same_id_share_no_vectors(root: Path) -> None:
    with both(root, FakeEncoder()) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles))
    other = FakeEncoder(seed=5)
    with both(root, other) as base:
        with pytest.raises(ModelMismatchError):
            base.collection("articles").search("body")
        others = base.collection("others")
        assert others.upsert(make(others)).embedded == 1
        assert others.search("Title of a1\n\nThe body of article a1.")[0].score == 1.0


def test_the_same_weights_share_vectors_between_collections(root: Path, encoder: FakeEncoder) -> None:
    with both(root, encoder) as base:
        articles, others = base.collection("articles"), base.collection("others")
        assert articles.upsert(make(articles)).embedded == 1
        assert others.upsert(make(others)).embedded == 0


@dataclass
class Prompting(FakeEncoder):
    document_prompt: str = ""
    query_prompt: str = ""


def test_other_prompts_are_refused(root: Path) -> None:
    with kb.open(root, encoders={"fake": Prompting()}) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles))
    changed = Prompting(query_prompt="query: ")
    with kb.open(root, encoders={"fake": changed}) as base, pytest.raises(ModelMismatchError) as caught:
        base.collection("articles").search("body")
    assert str(caught.value) == (
        "the query_prompt of the model 'fake' is not the one that 'articles' was stored with: '' before, 'query: ' now"
    )
    assert caught.value.hint == (
        'put query_prompt = "" back in [models."fake"], or make all vectors anew as it is: kb reembed -c articles'
    )


@dataclass
class Odd(FakeEncoder):
    answer: np.ndarray = field(default_factory=lambda: np.full(256, np.nan, dtype=np.float32))

    def encode_query(self, text: str) -> np.ndarray:
        return self.answer


def test_faults_G9_a_query_vector_that_is_none_is_refused(root: Path) -> None:
    with kb.open(root, encoders={"fake": Odd()}) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles))
        with pytest.raises(EncoderError):
            articles.search("body")
    with kb.open(root, encoders={"fake": Odd(answer=np.full(256, 3.0, dtype=np.float32))}) as base:
        assert -1 <= base.collection("articles").search("body")[0].score < 1


def test_a_lost_index_is_built_again_without_the_model(root: Path, encoder: FakeEncoder) -> None:
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        articles.upsert(*(make(articles, f"a{n}", body=f"word{n}") for n in range(20)))
    shutil.rmtree(root / ".kb" / "chroma")
    embedded = len(encoder.texts)
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert list(base.verify(full=True)) == []
    assert len(encoder.texts) == embedded


def test_faults_A13_a_torn_index_shuts_nothing(
    root: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kb.index.chroma._HNSW, "sync_threshold", 10)
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        articles.upsert(*(make(articles, f"a{n}", body=f"word{n}") for n in range(30)))
    (torn,) = (root / ".kb" / "chroma").glob("*/index_metadata.pickle")
    torn.write_bytes(torn.read_bytes()[:10])
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles, "new", body="newword"))
        assert articles.get("new").id == "new"
        assert [hit.id for hit in articles.search("newword", limit=1)] == ["new"]
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert base.collection("articles").count() == 31
    shutil.rmtree(root / ".kb" / "chroma")
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert list(base.verify(full=True)) == []


def test_a_job_is_resumed_from_another_folder(
    tmp_path: Path, root: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [",".join((f"a{n}", "t", f"body {n}", "ml", "2024-01-31", "", "x", "1")) for n in range(100)]
    (tmp_path / "in.csv").write_text("\n".join(["id,title,body,category,published,author,tags,rating", *lines, ""]))
    monkeypatch.chdir(tmp_path)
    with kb.open(root, encoders={"fake": encoder}) as base:
        encoder.dies_on = "body 80"
        with pytest.raises(EncoderError):
            base.collection("articles").import_file("in.csv")
        encoder.dies_on = None
        monkeypatch.chdir("/")
        assert base.resume(base.jobs()[0].id).counts.new == 100


def test_a_file_named_twice_is_refused(tmp_path: Path, articles: kb.Collection) -> None:
    with pytest.raises(UsageError, match="is named twice$"):
        articles.import_file(tmp_path / "in.csv", tmp_path / "in.csv")


def test_deleted_documents_are_listed_until_they_are_back(articles: kb.Collection) -> None:
    articles.upsert(make(articles, "a1"), make(articles, "a2"), make(articles, "a3"))
    articles.delete("a1")
    articles.delete("a3")
    assert [(entry.id, entry.revision) for entry in articles.deleted()] == [("a3", 2), ("a1", 2)]
    articles.restore("a1")
    assert [entry.id for entry in articles.deleted()] == ["a3"]


def test_what_is_no_document_is_refused(articles: kb.Collection) -> None:
    with pytest.raises(kb.KBError, match="^dict is not a document$"):
        articles.upsert(article())
