from conftest import make


def test_smoke(articles, encoder):
    articles.upsert(make(articles, "a1"), make(articles, "a2", body="other words entirely"))
    hits = articles.search("other words", limit=1)
    assert [h.id for h in hits] == ["a2"]
    assert list(articles._base.verify(full=True)) == []


def test_cli(run_kb):
    r = run_kb("stats")
    print(r)
    assert r.code == 0
