"""A process that writes to one knowledge base until it is killed, and first proves that nothing was lost before.

Run as ``python -m tests.faults.worker ROOT SEED``. What it is about to do and what was acknowledged goes to a log
beside the knowledge base, so that the next process knows what must be there: everything acknowledged, and of the one
operation that was under way either nothing, or all of it (of an import: whole rows).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

import kb
from kb.chunks import Chunking, split
from kb.reembedding import ReembedRequest
from kb.restoring import restore
from kb.search import semantic
from tests import legacy
from tests.conftest import CONFIG, FakeEncoder, article

KEYS: Final = [f"d{number}" for number in range(400)]
WORDS: Final = [f"word{number}" for number in range(60)]
LOG: Final = "history.jsonl"

Content = dict[str, Any]
State = dict[str, Content]


def make_root(root: Path) -> None:
    root.mkdir(parents=True)
    (root / "config.toml").write_text(CONFIG)


class History:
    """The log: ``settled`` is what must be there, ``open`` what the operation under way would change."""

    def __init__(self, root: Path) -> None:
        self.path = root / LOG
        self.settled: State = {}
        self.open: dict[str, Content | None] | None = None
        self.is_whole = True
        self.acknowledged = 0
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            self._replay(json.loads(line))
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _replay(self, entry: dict[str, Any]) -> None:
        if "begin" in entry:
            self.open, self.is_whole = entry["changes"], entry["whole"]
        else:
            self._apply(entry.get("kept", self.open))
            self.acknowledged += "end" in entry

    def _apply(self, changes: Mapping[str, Content | None]) -> None:
        for key, content in changes.items():
            if content is None:
                self.settled.pop(key, None)
            else:
                self.settled[key] = content
        self.open = None

    def _note(self, entry: dict[str, Any]) -> None:
        os.write(self._file, json.dumps(entry).encode() + b"\n")
        self._replay(entry)

    def settle(self, found: State) -> None:
        """Take over what became of the operation that was under way; a state in between is an error."""
        if self.open is None:
            return
        new = {key for key, content in self.open.items() if found.get(key) == content}
        old = {key for key in self.open if found.get(key) == self.settled.get(key)}
        assert new | old == set(self.open), f"neither old nor new: {set(self.open) - new - old}"
        if self.is_whole:
            assert new == set(self.open) or old == set(self.open), f"half of an operation: {new - old} of {self.open}"
        self._note({"kept": {key: self.open[key] for key in new}})

    @contextmanager
    def doing(self, what: str, changes: Mapping[str, Content | None], *, whole: bool = True) -> Iterator[None]:
        self._note({"begin": what, "changes": dict(changes), "whole": whole})
        yield
        self._note({"end": what})


def open_base(root: Path) -> kb.KnowledgeBase:
    return kb.open(root, encoders=models())


def models() -> dict[str, FakeEncoder]:
    """Two models of one dimension whose vectors have nothing in common."""
    return {"fake": FakeEncoder(), "other": FakeEncoder(model="other", seed=101)}


def stored_state(articles: kb.Collection) -> State:
    return {entry.id: content_of(entry.document) for entry in articles.entries(limit=None)}


def content_of(document: Any) -> Content:
    return {"body": document.body, "rating": document.rating}


def document(articles: kb.Collection, key: str, content: Content) -> kb.Document:
    return articles.schema.document(article(key, title="t", **content), textual=False, separators={})


def check(base: kb.KnowledgeBase, state: State, rng: random.Random) -> None:
    """Assert that every answer is what a plain computation over the state gives."""
    articles = base.collection()
    assert sorted(articles.keys()) == sorted(state)
    check_answers(articles, state, rng)
    check_sound(base)


def check_sound(base: kb.KnowledgeBase) -> None:
    problems = list(base.verify(full=True))
    assert not problems, problems


def check_answers(articles: kb.Collection, state: State, rng: random.Random) -> None:
    model = models()[articles.model]
    keys = sorted(state)
    if not keys:
        assert list(articles.search("word1")) == []
        return
    matrix, owners = embedded(model, [f"t\n\n{state[key]['body']}" for key in keys])
    for words in (1, 3):
        query = " ".join(rng.sample(WORDS, words))
        scores = np.full(len(keys), -1.0)
        np.maximum.at(scores, owners, matrix @ model.encode_query(query))
        best = np.sort(scores)[::-1][:10]
        hits = articles.search(query, mode="semantic", limit=10)
        right = sum(hit.score >= best[-1] - 1e-5 for hit in hits)
        # Chroma, which is asked where the collection passes for a large one, may miss a record; no score is wrong.
        assert len(hits) == len(best)
        assert right >= len(best) - (2 if semantic.SMALL == 0 else 0), (right, [hit.score for hit in hits], best)
        for hit in hits:
            assert abs(scores[keys.index(hit.id)] - hit.score) < 1e-5, hit.id
    word = rng.choice(WORDS)
    found = articles.search(word, mode="keyword", limit=1_000)
    assert {hit.id for hit in found} == {key for key in keys if word in state[key]["body"].split()}
    rated = articles.search(word, mode="hybrid", where="rating >= 3", limit=1_000)
    assert {hit.id for hit in rated} == {key for key in keys if (state[key]["rating"] or 0) >= 3}


def embedded(model: FakeEncoder, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors of all chunks, and which text each is of."""
    parts = [split(text, Chunking(256, 32), spans=model.token_spans, reserved=model.reserved) for text in texts]
    owners = np.repeat(np.arange(len(texts)), [len(part) for part in parts])
    return model.encode_documents([chunk.embed_text for part in parts for chunk in part]), owners


def earlier(root: Path) -> Path:
    return root.parent / "earlier"


def check_earlier(root: Path) -> None:
    """Assert that the catalog of an earlier release opens, whatever became of the process that opened it before."""
    if earlier(root).exists():
        with kb.open(earlier(root)) as base:
            assert base.collection().keys()
            check_sound(base)


class Writer:
    """Does one random thing after the other."""

    def __init__(self, base: kb.KnowledgeBase, history: History, rng: random.Random, root: Path) -> None:
        self.base = base
        self.articles = base.collection()
        self.history = history
        self.rng = rng
        self.root = root

    def content(self) -> Content:
        body = " ".join(self.rng.choices(WORDS, k=self.rng.choice([3, 3, 3, 400])))
        return {"body": body, "rating": self.rng.choice([None, 1.0, 3.0, 5.0])}

    def some(self, most: int) -> list[str]:
        return self.rng.sample(KEYS, self.rng.randint(1, most))

    def existing(self, most: int) -> list[str]:
        keys = sorted(self.history.settled)
        return self.rng.sample(keys, min(len(keys), self.rng.randint(1, most)))

    def import_rows(self) -> None:
        changes = {key: self.content() for key in self.some(200)}
        path = self.root / "rows.jsonl"
        path.write_text("".join(json.dumps(article(key, title="t", **c)) + "\n" for key, c in changes.items()))
        with self.history.doing("import", changes, whole=False):
            self.articles.import_file(path)

    def upsert(self) -> None:
        changes = {key: self.content() for key in self.some(20)}
        with self.history.doing("upsert", changes):
            self.articles.upsert(*[document(self.articles, key, content) for key, content in changes.items()])

    def update(self) -> None:
        for key in self.existing(3):
            content = {**self.history.settled[key], "body": " ".join(self.rng.choices(WORDS, k=4))}
            with self.history.doing("update", {key: content}):
                self.articles.update(key, body=content["body"])

    def update_field(self) -> None:
        for key in self.existing(3):
            content = {**self.history.settled[key], "rating": self.rng.choice([None, 2.0, 4.0])}
            with self.history.doing("fields", {key: content}):
                self.articles.update(key, rating=content["rating"])

    def delete(self) -> None:
        keys = self.existing(30)
        with self.history.doing("delete", dict.fromkeys(keys)):
            self.articles.delete(*keys)

    def search(self) -> None:
        check_answers(self.articles, self.history.settled, self.rng)

    def reembed(self) -> None:
        """Build another generation, and let it serve, or not; half the time, go back."""
        other = "fake" if self.articles.model == "other" else "other"
        with self.history.doing("reembed", {}):
            if not any(one.generation.state == "building" for one in self.articles.generations()):
                self.articles.reembed(ReembedRequest(model=other))
            else:
                self.articles.reembed()
            if self.rng.random() < 0.3:
                self.articles.discard()
                return
            self.articles.promote()
        check_answers(self.articles, self.history.settled, self.rng)
        if self.rng.random() < 0.5:
            self.upsert()
            with self.history.doing("rollback", {}):
                self.articles.rollback()

    def rebuild(self) -> None:
        with self.history.doing("rebuild", {}):
            self.base.rebuild()

    def back_up(self) -> None:
        """Make a backup and restore it elsewhere; what is restored answers as the original does."""
        target = self.root.parent / f"restored-{self.rng.randrange(10**9)}"
        with self.history.doing("backup", {}):
            backup = self.base.back_up(f"b{self.rng.randrange(10**9)}")
            restored = restore(backup.path, target)
        with open_base(restored.root) as copy:
            assert stored_state(copy.collection()) == self.history.settled
            check_answers(copy.collection(), self.history.settled, self.rng)
        shutil.rmtree(target)
        shutil.rmtree(backup.path)

    def purge(self) -> None:
        with self.history.doing("purge", {}):
            self.base.purge(self.base.plan_purge())

    def compact(self) -> None:
        with self.history.doing("compact", {}):
            self.base.compact(self.base.plan_compact(older_than=timedelta(0)))

    def migrate(self) -> None:
        """Open a catalog that an earlier release wrote."""
        folder, made = earlier(self.root), self.root.parent / "made"
        for path in (folder, made):
            shutil.rmtree(path, ignore_errors=True)
        (made / ".kb").mkdir(parents=True)
        (made / "config.toml").write_text(legacy.CONFIG)
        legacy.write_catalog(made / ".kb", self.rng.choice(legacy.REVISIONS), queued=True)
        made.rename(folder)
        check_earlier(self.root)

    def operations(self) -> dict[Callable[[], None], int]:
        """By operation, how often it is chosen."""
        return {
            self.import_rows: 3,
            self.upsert: 4,
            self.update: 3,
            self.update_field: 2,
            self.delete: 3,
            self.search: 1,
        }


def main(root: Path, seed: int) -> None:
    """Check what earlier processes have left, say so, and write until the end comes."""
    rng = random.Random(seed)
    semantic.SMALL = rng.choice([0, semantic.SMALL])  # the index answers, or exact search does
    history = History(root)
    check_earlier(root)
    with open_base(root) as base:
        articles = base.collection()
        history.settle(stored_state(articles))
        check(base, history.settled, rng)
        print("ready", history.acknowledged, flush=True)
        writer = Writer(base, history, rng, root)
        choices = writer.operations()
        while True:
            (operation,) = rng.choices(list(choices), list(choices.values()))
            operation()
            print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
