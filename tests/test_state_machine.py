"""A knowledge base against a dict and numpy, over random histories."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

import kb
from kb.catalog import Counts
from kb.embed import HashingEncoder
from kb.errors import ConflictError, NotFoundError
from kb.filters import check, matches, parse
from tests.conftest import CONFIG, FakeEncoder, article

MODEL = HashingEncoder()
KEYS = st.sampled_from([f"k{number}" for number in range(12)])
BODIES = st.lists(st.sampled_from(["apple", "pear", "plum", "fig"]), min_size=1, max_size=3).map(" ".join)
RATINGS = st.none() | st.sampled_from([0.5, 2.0, 5.0])
CATEGORIES = st.sampled_from(["ml", "nlp"])
TAGS = st.lists(st.sampled_from(["x", "y"]), max_size=2, unique=True)
VALUES = st.fixed_dictionaries({"body": BODIES, "rating": RATINGS, "category": CATEGORIES, "tags": TAGS})
FILTERS = st.none() | st.sampled_from(
    ['category = "ml"', "rating >= 2", "rating is null", 'not tags has "x"', 'body contains "pl" or id = "k1"']
)


class KnowledgeBaseMachine(RuleBasedStateMachine):
    """``live`` is what must be there, ``deleted`` the last content of what is not."""

    gone = Bundle("gone")

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="kb-machine-"))
        (self.root / "config.toml").write_text(CONFIG)
        self.live: dict[str, dict[str, Any]] = {}
        self.deleted: dict[str, dict[str, Any]] = {}
        self.open()

    def open(self) -> None:
        self.base = kb.open(self.root, encoders={"fake": FakeEncoder()})
        self.articles = self.base.collection()

    def document(self, key: str, values: dict[str, Any]) -> kb.Document:
        return self.articles.schema.document(article(key, title="t", **values), textual=False, separators={})

    def store(self, key: str, values: dict[str, Any]) -> None:
        self.live[key] = values
        self.deleted.pop(key, None)

    @initialize(rows=st.dictionaries(KEYS, VALUES, max_size=8))
    def begin(self, rows: dict[str, dict[str, Any]]) -> None:
        self.articles.upsert(*[self.document(key, values) for key, values in rows.items()])
        for key, values in rows.items():
            self.store(key, values)

    @rule(key=KEYS, values=VALUES)
    def add(self, key: str, values: dict[str, Any]) -> None:
        try:
            self.articles.add(self.document(key, values))
        except ConflictError:
            assert key in self.live
        else:
            assert key not in self.live
            self.store(key, values)

    @rule(key=KEYS, body=BODIES)
    def update_text(self, key: str, body: str) -> None:
        self.change(key, {"body": body})

    @rule(key=KEYS, rating=RATINGS, tags=TAGS)
    def update_fields(self, key: str, rating: float | None, tags: list[str]) -> None:
        self.change(key, {"rating": rating, "tags": tags})

    def change(self, key: str, changes: dict[str, Any]) -> None:
        encoder: Any = self.base.encoder("fake")
        before = len(encoder.texts)
        try:
            self.articles.update(key, **changes)
        except NotFoundError:
            assert key not in self.live
        else:
            self.live[key] = {**self.live[key], **changes}
            assert len(encoder.texts) - before <= ("body" in changes)

    @rule(target=gone, keys=st.lists(KEYS, min_size=1, max_size=4))
    def delete(self, keys: list[str]) -> Any:
        found = self.articles.delete(*keys)
        assert found == [key for key in dict.fromkeys(keys) if key in self.live]
        for key in found:
            self.deleted[key] = self.live.pop(key)
        return multiple(*found)

    @rule(key=consumes(gone))
    def restore(self, key: str) -> None:
        try:
            self.articles.restore(key)
        except ConflictError:
            assert key in self.live
        else:
            self.live[key] = self.deleted.pop(key)

    @rule(rows=st.lists(st.tuples(KEYS, VALUES), max_size=6))
    def import_csv(self, rows: list[tuple[str, dict[str, Any]]]) -> None:
        names = ["id", "title", "body", "category", "published", "tags", "rating"]
        lines = [",".join(names)]
        first: dict[str, dict[str, Any]] = {}
        for key, values in rows:
            cells = article(key, title="t", **values)
            cells["tags"] = ";".join(values["tags"])
            lines.append(",".join("" if cells[name] is None else str(cells[name]) for name in names))
            first.setdefault(key, values)
        path = self.root / "in.csv"
        path.write_text("\n".join(lines) + "\n")
        counts = self.articles.import_file(path).counts
        text_differs = [k for k, v in first.items() if k in self.live and v["body"] != self.live[k]["body"]]
        differs = [k for k, v in first.items() if k in self.live and v != self.live[k] and k not in text_differs]
        assert counts == Counts(
            read=len(rows),
            new=sum(key not in self.live for key in first),
            updated=len(text_differs),
            fields_only=len(differs),
            unchanged=sum(v == self.live.get(k) for k, v in first.items()),
            rejected=len(rows) - len(first),
            embedded=counts.embedded,
        )
        for key, values in first.items():
            self.store(key, values)

    @rule()
    def reopen(self) -> None:
        self.base.close()
        self.open()

    @rule(
        text=BODIES,
        where=FILTERS,
        limit=st.sampled_from([1, 3, 10]),
        bound=st.none() | st.sampled_from([0.0, 0.5, 0.8]),
    )
    def search(self, text: str, where: str | None, limit: int, bound: float | None) -> None:
        condition = None if where is None else check(parse(where), self.articles.schema)
        query = MODEL.encode_query(text).astype(np.float64)
        ranked = []
        for key, values in self.live.items():
            if condition is None or matches(condition, self.document(key, values)):
                vector = MODEL.encode_documents([f"t\n\n{values['body']}"])[0].astype(np.float64)
                ranked.append((-round(float(np.einsum("i,i->", vector, query)), 6), key))
        passed = [pair for pair in sorted(ranked) if bound is None or -pair[0] >= bound]
        hits = self.articles.search(text, mode="semantic", where=where, limit=limit, min_score=bound)
        assert [(-hit.score, hit.id) for hit in hits] == passed[:limit]
        assert (hits.report.candidates, hits.report.below_min_score) == (len(ranked), len(ranked) - len(passed))

    @invariant()
    def holds_what_it_should(self) -> None:
        assert {e.id: e.document.model_dump() for e in self.articles.entries()} == {
            key: self.document(key, values).model_dump() for key, values in self.live.items()
        }

    def teardown(self) -> None:
        try:
            problems = list(self.base.verify(full=True))
            stored = json.dumps([str(problem) for problem in problems])
            assert problems == [], stored
        finally:
            self.base.close()
            shutil.rmtree(self.root)


TestKnowledgeBase = KnowledgeBaseMachine.TestCase
TestKnowledgeBase.settings = settings(
    max_examples=30,
    stateful_step_count=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking 20 steps would take minutes
    suppress_health_check=[HealthCheck.too_slow],
)
