"""A knowledge base against a dict and numpy, over random histories.

An operation is a document that is written, deleted, brought back or read, or a search. Hypothesis chooses the steps;
after each comes a burst of operations from a seed that Hypothesis has drawn, every one of them compared. ``KB_SOAK=1``
makes ten times as many.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import kb
from kb.catalog import Counts
from kb.embed import HashingEncoder
from kb.errors import ConflictError, NotFoundError
from kb.filters import check, matches, parse
from tests.conftest import CONFIG, FakeEncoder, article

EXAMPLES: Final = 90 if os.environ.get("KB_SOAK") else 9
STEPS: Final = 25
OPERATIONS: Final = 20_000 * EXAMPLES // 9

NAMES: Final = [f"k{number}" for number in range(16)]
WORDS: Final = ["apple", "pear", "plum", "fig"]
WHERE: Final = [
    'category = "ml"',
    "rating >= 2",
    "rating is null",
    'not tags has "x"',
    'body contains "pl" or id = "k1"',
]
MODES: Final = ["semantic", "keyword", "hybrid"]

KEYS = st.sampled_from(NAMES)
BODIES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
RATINGS = st.none() | st.sampled_from([0.5, 2.0, 5.0])
TAGS = st.lists(st.sampled_from(["x", "y"]), max_size=2, unique=True)
VALUES = st.fixed_dictionaries(
    {"body": BODIES, "rating": RATINGS, "category": st.sampled_from(["ml", "nlp"]), "tags": TAGS}
)

MODEL: Final = HashingEncoder()
Values = dict[str, Any]
done: Final[list[int]] = []
"""How many operations each history had."""


@cache
def vector_of(body: str) -> np.ndarray:
    return MODEL.encode_documents([f"t\n\n{body}"])[0].astype(np.float64)


class KnowledgeBaseMachine(RuleBasedStateMachine):
    """``live`` is what must be there; ``past`` what each document was after each of its revisions, None when deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="kb-machine-"))
        self.root = self.folder / "base0"
        self.root.mkdir()
        (self.root / "config.toml").write_text(CONFIG)
        self.live: dict[str, Values] = {}
        self.past: dict[str, list[Values | None]] = {}
        self.undoable: tuple[str, dict[str, Values]] | None = None
        self.operations = 0
        self.crashes = 0
        self.open()

    def open(self) -> None:
        self.base = kb.open(self.root, encoders={"fake": FakeEncoder()})
        self.articles = self.base.collection()
        self.filters = {text: check(parse(text), self.articles.schema) for text in WHERE}

    def document(self, key: str, values: Values) -> kb.Document:
        return self.articles.schema.document(article(key, title="t", **values), textual=False, separators={})

    def become(self, key: str, values: Values | None) -> None:
        """Note what a document is now, and a revision if that is something else than before."""
        self.operations += 1
        if self.live.get(key) != values:
            self.past.setdefault(key, []).append(values)
            self.undoable = None
        if values is None:
            self.live.pop(key, None)
        else:
            self.live[key] = values

    @initialize(rows=st.dictionaries(KEYS, VALUES, max_size=8), seed=st.integers(0, 2**32))
    def begin(self, rows: dict[str, Values], seed: int) -> None:
        self.rng = random.Random(seed)
        self.put(rows)

    def put(self, rows: dict[str, Values]) -> None:
        self.articles.upsert(*[self.document(key, values) for key, values in rows.items()])
        for key, values in rows.items():
            self.become(key, values)

    @rule(key=KEYS, values=VALUES)
    def add(self, key: str, values: Values) -> None:
        try:
            self.articles.add(self.document(key, values))
        except ConflictError:
            assert key in self.live
        else:
            assert key not in self.live
            self.become(key, values)

    @rule(key=KEYS, body=BODIES)
    def update_text(self, key: str, body: str) -> None:
        self.change(key, {"body": body})

    @rule(key=KEYS, rating=RATINGS, tags=TAGS)
    def update_fields(self, key: str, rating: float | None, tags: list[str]) -> None:
        self.change(key, {"rating": rating, "tags": tags})

    def change(self, key: str, changes: Values) -> None:
        encoder: Any = self.base.encoder("fake")
        before = len(encoder.texts)
        try:
            self.articles.update(key, **changes)
        except NotFoundError:
            assert key not in self.live
        else:
            self.become(key, {**self.live[key], **changes})
            assert len(encoder.texts) - before <= ("body" in changes)

    @rule(keys=st.lists(KEYS, min_size=1, max_size=4))
    def delete(self, keys: list[str]) -> None:
        found = self.articles.delete(*keys)
        assert found == [key for key in dict.fromkeys(keys) if key in self.live]
        for key in found:
            self.become(key, None)

    @rule(key=KEYS)
    def restore(self, key: str) -> None:
        try:
            self.articles.restore(key)
        except NotFoundError:
            assert key not in self.past
        except ConflictError:
            assert key in self.live
        else:
            self.become(key, self.past[key][-2])

    @rule(key=KEYS, number=st.integers(1, 4))
    def restore_revision(self, key: str, number: int) -> None:
        past = self.past.get(key, [])
        values = past[number - 1] if number <= len(past) else None
        if values is None:
            with pytest.raises((NotFoundError, ConflictError)):
                self.articles.restore(key, revision=number)
        else:
            self.articles.restore(key, revision=number)
            self.become(key, values)

    @rule(rows=st.lists(st.tuples(KEYS, VALUES), max_size=6))
    def import_csv(self, rows: list[tuple[str, Values]]) -> None:
        names = ["id", "title", "body", "category", "published", "tags", "rating"]
        lines = [",".join(names)]
        first: dict[str, Values] = {}
        for key, values in rows:
            cells = article(key, title="t", **values)
            cells["tags"] = ";".join(values["tags"])
            lines.append(",".join("" if cells[name] is None else str(cells[name]) for name in names))
            first.setdefault(key, values)
        path = self.root / "in.csv"
        path.write_text("\n".join(lines) + "\n")
        before = dict(self.live)
        job = self.articles.import_file(path)
        text_differs = [k for k, v in first.items() if k in before and v["body"] != before[k]["body"]]
        differs = [k for k, v in first.items() if k in before and v != before[k] and k not in text_differs]
        assert job.counts == Counts(
            read=len(rows),
            new=sum(key not in before for key in first),
            updated=len(text_differs),
            fields_only=len(differs),
            unchanged=sum(v == before.get(k) for k, v in first.items()),
            rejected=len(rows) - len(first),
            embedded=job.counts.embedded,
        )
        for key, values in first.items():
            self.become(key, values)
        if before != self.live:
            self.undoable = job.id, before

    @precondition(lambda self: self.undoable is not None)
    @rule()
    def undo(self) -> None:
        assert self.undoable is not None
        job, before = self.undoable
        self.base.undo(job)
        for key in {*before, *self.live}:
            self.become(key, before.get(key))

    @rule()
    def reopen(self) -> None:
        self.operations += 1
        self.base.close()
        self.open()

    @precondition(lambda self: self.crashes < 1 and self.operations > 500)
    @rule()
    def crash(self) -> None:
        """Go on with what a killed process would have left: the files as they are while it has them open."""
        self.operations += 1
        self.crashes += 1
        root = self.folder / f"base{self.crashes}"
        shutil.copytree(self.root, root)
        self.base.close()
        shutil.rmtree(self.root)
        self.root = root
        self.open()

    @rule(
        text=BODIES,
        where=st.none() | st.sampled_from(WHERE),
        limit=st.sampled_from([1, 3, 10]),
        bound=st.none() | st.sampled_from([0.0, 0.5, 0.8]),
    )
    def search(self, text: str, where: str | None, limit: int, bound: float | None) -> None:
        self.operations += 1
        query = MODEL.encode_query(text).astype(np.float64)
        ranked = [
            (-round(float(np.einsum("i,i->", vector_of(self.live[key]["body"]), query)), 6), key)
            for key in self.matching(where)
        ]
        passed = [pair for pair in sorted(ranked) if bound is None or -pair[0] >= bound]
        hits = self.articles.search(text, mode="semantic", where=where, limit=limit, min_score=bound)
        assert [(-hit.score, hit.id) for hit in hits] == passed[:limit]
        assert (hits.report.candidates, hits.report.below_min_score) == (len(ranked), len(ranked) - len(passed))

    @rule(text=BODIES, where=st.none() | st.sampled_from(WHERE), mode=st.sampled_from(["keyword", "hybrid"]))
    def search_words(self, text: str, where: str | None, mode: str) -> None:
        self.operations += 1
        hits = self.articles.search(text, mode=mode, where=where, limit=100)
        query = MODEL.encode_query(text).astype(np.float64)
        found = self.matching(where)
        if mode == "keyword":
            found = [key for key in found if {*text.split()} & {*self.live[key]["body"].split()}]
        assert {hit.id: hit.score for hit in hits} == {
            key: round(float(np.einsum("i,i->", vector_of(self.live[key]["body"]), query)), 6) for key in found
        }
        ranks = [(-hit.rank_score, hit.id) for hit in hits]
        assert ranks == sorted(ranks)

    def matching(self, where: str | None) -> list[str]:
        if where is None:
            return list(self.live)
        condition = self.filters[where]
        return [key for key, values in self.live.items() if matches(condition, self.document(key, values))]

    def read(self, key: str) -> None:
        self.operations += 1
        if key in self.live:
            assert self.articles.get(key) == self.document(key, self.live[key])
        else:
            with pytest.raises(NotFoundError):
                self.articles.get(key)

    @invariant()
    def holds_what_it_should(self) -> None:
        assert {e.id: e.document.model_dump() for e in self.articles.entries()} == {
            key: self.document(key, values).model_dump() for key, values in self.live.items()
        }

    @invariant()
    def a_burst_of_operations(self) -> None:
        if not hasattr(self, "rng"):
            return
        rng = self.rng
        self.put({key: self.values(rng) for key in rng.sample(NAMES, 12)})
        fields = {"rating": rng.choice([None, 0.5, 2.0, 5.0]), "tags": rng.choice([[], ["x"], ["y"]])}
        self.put({key: {**self.live[key], **fields} for key in rng.sample(sorted(self.live), min(8, len(self.live)))})
        self.delete(rng.sample(NAMES, 2))
        for _ in range(6):
            where = rng.choice([None, *WHERE])
            self.search(self.body(rng), where, rng.choice([1, 3, 10]), rng.choice([None, 0.0, 0.5]))
            self.search_words(self.body(rng), where, rng.choice(MODES[1:]))
        for _ in range(4):
            for key in NAMES:
                self.read(key)
        self.holds_what_it_should()

    def body(self, rng: random.Random) -> str:
        return " ".join(rng.choices(WORDS, k=rng.choice([1, 2, 3])))

    def values(self, rng: random.Random) -> Values:
        return {
            "body": self.body(rng),
            "rating": rng.choice([None, 0.5, 2.0, 5.0]),
            "category": rng.choice(["ml", "nlp"]),
            "tags": rng.choice([[], ["x"], ["y", "x"]]),
        }

    def teardown(self) -> None:
        try:
            for key, past in self.past.items():
                told = [None if one.fields is None else one.fields["body"] for one in self.articles.history(key)]
                assert told == [None if values is None else values["body"] for values in past]
            problems = list(self.base.verify(full=True))
            stored = json.dumps([str(problem) for problem in problems])
            assert problems == [], stored
            done.append(self.operations)
        finally:
            self.base.close()
            shutil.rmtree(self.folder)


TestKnowledgeBase = KnowledgeBaseMachine.TestCase
TestKnowledgeBase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking would take minutes
    suppress_health_check=list(HealthCheck),
)


def test_the_histories_were_long_enough() -> None:
    if done:  # nobody has asked for this test alone
        assert sum(done) >= OPERATIONS
