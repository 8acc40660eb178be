"""How long does one command take, from nothing? ``kb search`` and ``kb --help`` as whole processes.

Run ``python benchmarks/cold.py [COUNT]``. The naive script loads sentence-transformers and chromadb, as everybody's
does. Runs alternate; medians are compared. Exits with 1 when a bound is missed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from wikipedia import read_articles, write_base

import kb
from kb.embed import HashingEncoder, open_encoder, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

RUNS: Final = 7

NAIVE: Final = """\
import sys
import chromadb
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
collection = chromadb.PersistentClient(sys.argv[2]).get_collection("wikipedia", embedding_function=None)
answer = collection.query(query_embeddings=model.encode([sys.argv[3]]), n_results=10)
print(answer["ids"])
"""


class Mixed:
    """The real model for queries, cheap vectors of its dimension for documents: only the process is measured here."""

    def __init__(self) -> None:
        self._inner = open_encoder("all-MiniLM-L6-v2", {})
        self._cheap = HashingEncoder()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors that depend on the text."""
        cheap = self._cheap.encode_documents(texts)
        return np.pad(cheap, ((0, 0), (0, self._inner.dimension - cheap.shape[1])))


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return how long a command takes."""
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stderr.decode()}")
    return took


def main() -> int:
    """Print both sides and their ratio; return 1 when a bound is missed."""
    articles = read_articles(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        data = write_base(Path(one), articles)
        encoder = Mixed()
        with kb.open(one, encoders={"all-MiniLM-L6-v2": encoder}) as base:
            base.collection("wikipedia").import_file(data)
            encoder.prepare_queries()
            entries = base.collection("wikipedia").entries()
        _fill(Path(two), [entry.id for entry in entries], encoder.encode_documents([e.text for e in entries]))
        search = [sys.executable, "-m", "kb", "search", "--kb", one, "who painted the Mona Lisa"]
        model = str(resolve("all-MiniLM-L6-v2", {}).path)
        script = [sys.executable, "-c", NAIVE, model, two, "who painted the Mona Lisa"]
        seconds(search, environment), seconds(script, environment)
        pairs = [(seconds(search, environment), seconds(script, environment)) for _ in range(RUNS)]
    kb_search = statistics.median(pair[0] for pair in pairs)
    naive = statistics.median(pair[1] for pair in pairs)
    print(f"search, {len(articles):,} documents: naive {naive:.2f} s, kb {kb_search:.2f} s", end="")
    print(f", ratio {kb_search / naive:.3f} (reach 0.3)")
    help_ = statistics.median(seconds([sys.executable, "-m", "kb", "--help"], environment) for _ in range(RUNS))
    print(f"kb --help: {help_:.3f} s (reach 0.25)")
    return int(kb_search / naive > 0.3 or help_ > 0.25)


def _fill(folder: Path, ids: list[str], vectors: np.ndarray) -> None:
    import chromadb

    collection = chromadb.PersistentClient(str(folder)).create_collection(
        "wikipedia", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
    )
    for start in range(0, len(ids), 5_000):
        collection.add(ids=ids[start : start + 5_000], embeddings=vectors[start : start + 5_000])


if __name__ == "__main__":
    sys.exit(main())
