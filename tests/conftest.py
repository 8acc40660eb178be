"""What all tests share: a deterministic encoder that counts its calls, and small knowledge bases in ``tmp_path``.

Only the embedder is ever faked; Chroma and SQLite are the real ones.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import kb
from kb.embed import HashingEncoder

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "data"

# A shell starts what runs in its background deaf to Ctrl-C, and children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

CONFIG = """\
[storage]
path = ".kb"

[collections.articles]
model = "fake"
text = "{title}\\n\\n{body}"

[collections.articles.fields]
title = "str"
body = "text"
category = { type = "str", choices = ["ml", "nlp"] }
published = "date"
author = { type = "str", required = false }
tags = { type = "list[str]", separator = ";" }
rating = { type = "float", min = 0, max = 5, required = false }
"""
"""``hashing-256`` in its place makes a knowledge base that a child process can open."""


@dataclass
class FakeEncoder:
    """The built-in hashing model under another name, with a record of what it was asked.

    Attributes:
        texts: Every document text that was embedded, in order.
        fail_on: Raise when a text contains this.
        dies_after: Raise always after so many calls.
        dies_on: Raise when a text contains this, and from then on always, until it is None again.
        broken: Return this instead of vectors.
    """

    model: str = "fake"
    texts: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    fail_on: str | None = None
    dies_on: str | None = None
    dead: bool = False
    dies_after: int | None = None
    broken: object = None
    inner: HashingEncoder = field(default_factory=HashingEncoder)
    seed: int = 0

    reserved = 0
    document_prompt = ""
    query_prompt = ""

    @property
    def dimension(self) -> int:
        return self.inner.dimension

    @property
    def window(self) -> int:
        return self.inner.window

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        return self.inner.token_spans(text)

    def query_tokens(self, text: str) -> int:
        return self.inner.query_tokens(text)

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        self.texts += texts
        if self.fail_on is not None and any(self.fail_on in text for text in texts):
            raise kb.errors.EncoderError(f"the model failed on {self.fail_on!r}", unchanged="nothing was stored")
        self.dead = self.dies_on is not None and (self.dead or any(self.dies_on in text for text in texts))
        if self.dies_after is not None:
            self.dies_after -= 1
            self.dead = self.dead or self.dies_after < 0
        if self.dead:
            raise kb.errors.EncoderError(f"the model failed on {self.dies_on!r}", unchanged="nothing was stored")
        if self.broken is not None:
            return self.broken
        return self._turned(self.inner.encode_documents(texts))

    def encode_query(self, text: str) -> np.ndarray:
        self.queries.append(text)
        return self._turned(self.inner.encode_query(text))

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        self.queries += texts
        return self._turned(self.inner.encode_queries(texts))

    def fingerprint(self) -> np.ndarray:
        return self._turned(self.inner.fingerprint())

    def prepare_queries(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _turned(self, vectors: np.ndarray) -> np.ndarray:
        """Another seed is another model of the same dimension."""
        return np.roll(vectors, self.seed, axis=-1)


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a config.toml and nothing else."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.toml").write_text(CONFIG)
    return folder


@pytest.fixture
def base(root: Path, encoder: FakeEncoder) -> Iterator[kb.KnowledgeBase]:
    with kb.open(root, encoders={"fake": encoder}) as opened:
        yield opened


@pytest.fixture
def articles(base: kb.KnowledgeBase) -> kb.Collection:
    return base.collection("articles")


def article(id: str = "a1", **changes: object) -> dict[str, object]:
    """A valid article as JSON values."""
    return {
        "id": id,
        "title": f"Title of {id}",
        "body": f"The body of article {id}.",
        "category": "ml",
        "published": "2024-01-31",
        "tags": ["x"],
        "rating": 4.5,
        **changes,
    }


def make(collection: kb.Collection, id: str = "a1", **changes: object) -> kb.Document:
    """A valid document of the collection."""
    return collection.schema.document(article(id, **changes), textual=False, separators={})


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_kb(root: Path, tmp_path: Path) -> Callable[..., Ran]:
    """Run ``kb`` as a child process on a knowledge base whose model is ``hashing-256``."""
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))

    def run(*arguments: str, input: str | bytes | None = None, cwd: Path = tmp_path, **environment: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "kb", *arguments],
            input=input.encode() if isinstance(input, str) else input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            cwd=cwd,
            env={**os.environ, "KB_HOME": str(root), "PYTHONPATH": str(ROOT), **environment},
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row I20: nothing in the suite may look up a host or connect to anything but this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if host not in ("", "127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"network use: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
