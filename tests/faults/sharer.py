"""One of several processes that import, search, edit and delete on one knowledge base: ``python -m tests.faults.sharer``.

It writes a line to its own log for every write that was acknowledged, after it was, and looks for what the others have
acknowledged. What it finds wrong ends it with a message.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import kb
from kb.errors import LockedError
from kb.search import semantic
from tests.conftest import article

SHARED: Final = 4
"""So many documents are edited by all workers, each changing a field of its own."""

FIELDS: Final = ("title", "body", "author", "tags")
BATCH: Final = 20


def common() -> list[dict[str, object]]:
    """Return the documents that all workers edit."""
    return [article(f"shared{n}", title="t", body="b", author="a", tags=["x"]) for n in range(SHARED)]


@dataclass
class Worker:
    """One worker: its number, its log, and what it knows of its own documents."""

    base: kb.KnowledgeBase
    folder: Path
    number: int
    rng: random.Random
    counts: Counter[str]
    tokens: int = 0
    slowest: float = 0.0
    living: dict[str, str] = field(default_factory=dict)
    read: dict[int, int] = field(default_factory=dict)
    kept: list[tuple[str, str]] = field(default_factory=list)

    def token(self) -> str:
        """Return a word that nobody else writes."""
        self.tokens += 1
        return f"w{self.number}x{self.tokens}z"

    def acknowledge(self, op: str, key: str, value: str) -> None:
        with (self.folder / f"worker{self.number}.log").open("a") as log:
            log.write(json.dumps([op, key, value]) + "\n")

    def write(self, do: Any) -> bool:
        """Do a write and return whether it was acknowledged; a refusal must come soon."""
        began = time.monotonic()
        try:
            do()
        except LockedError as error:
            self.counts["refused"] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            assert "owned by" in str(error) or "has been writing" in str(error), error
            return False
        self.counts["written"] += 1
        return True

    def put(self) -> None:
        token = self.token()
        key = self.rng.choice([*self.living, token])
        document = self.document(key, title=token, body=self.prose())
        if self.write(lambda: self.base.collection().upsert(document)):
            self.acknowledge("put", key, token)
            self.living[key] = token
            self.find(key, token)

    def delete(self) -> None:
        if not self.living:
            return
        key = self.rng.choice(list(self.living))
        if self.write(lambda: self.base.collection().delete(key)):
            self.acknowledge("delete", key, "")
            token = self.living.pop(key)
            hits = self.base.collection().search(token, mode="keyword")
            assert [hit.id for hit in hits] == [], f"{key} was deleted, and is found"

    def update(self) -> None:
        name, token = FIELDS[self.number], self.token()
        key = f"shared{self.rng.randrange(SHARED)}"
        value: object = [token] if name == "tags" else token
        if self.write(lambda: self.base.collection().update(key, **{name: value})):
            self.acknowledge("update", key, token)

    def load(self) -> None:
        rows = [article(token, title=token, body=self.prose()) for token in (self.token() for _ in range(BATCH))]
        path = self.folder / f"batch{self.number}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        if self.write(lambda: self.base.collection().import_file(path)):
            for row in rows:
                self.acknowledge("keep", str(row["id"]), str(row["title"]))

    def look(self) -> None:
        """Find what another worker has imported, and had acknowledged before this began."""
        for number in range(4):
            path = self.folder / f"worker{number}.log"
            if not path.exists():
                continue
            with path.open() as log:
                log.seek(self.read.get(number, 0))
                for line in iter(log.readline, ""):
                    if not line.endswith("\n"):
                        break
                    self.read[number] = log.tell()
                    op, key, value = json.loads(line)
                    if op == "keep":
                        self.kept.append((key, value))
        for key, token in self.rng.sample(self.kept[-200:], min(2, len(self.kept))):
            self.find(key, token)
            self.counts["looked"] += 1

    def find(self, key: str, token: str) -> None:
        collection = self.base.collection()
        entry = collection.entry(key)
        assert entry.document.title == token, (key, token, entry)
        for mode, text in (("keyword", token), ("semantic", entry.text)):
            hits = collection.search(text, mode=mode, limit=10)
            self.counts["searched"] += 1
            self.counts["degraded"] += hits.report.degraded is not None
            self.counts[str(hits.report.strategy)] += 1
            assert key in [hit.id for hit in hits], f"{key} is not found by {mode}: {hits.report}"

    def prose(self) -> str:
        """Return a text that is not like any other: Chroma loses vectors that are all equally far from each other."""
        return " ".join(f"word{self.rng.randrange(100_000)}" for _ in range(30))

    def document(self, key: str, **changes: object) -> kb.Document:
        return self.base.collection().schema.document(article(key, **changes), textual=False, separators={})

    def step(self) -> None:
        actions = [self.put] * 3 + [self.delete, self.update, self.update, self.load, self.look, self.look]
        self.rng.choice(actions)()


def main() -> None:
    """Work for so many seconds: ``worker ROOT FOLDER NUMBER SECONDS TURN``."""
    root, folder, number, seconds, turn = sys.argv[1:]
    semantic.SMALL = semantic.SCANNABLE = 0  # type: ignore[misc]  # so that Chroma is asked
    until = time.monotonic() + float(seconds)
    counts: Counter[str] = Counter()
    worker: Worker | None = None
    rng = random.Random(int(number))
    while time.monotonic() < until:
        # Where there is one owner at a time, it changes.
        closing = min(until, time.monotonic() + float(turn))
        with kb.open(root) as base:
            if worker is None:
                worker = Worker(base, Path(folder), int(number), rng, counts)
            worker.base = base
            while time.monotonic() < closing:
                worker.step()
    assert worker is not None
    print(json.dumps({**counts, "slowest": worker.slowest}))


if __name__ == "__main__":
    main()
