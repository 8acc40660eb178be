"""How fast is a search in a warm process? Against Chroma's own ``query`` on the same vectors.

Run ``python benchmarks/queries.py [COUNT]``. The vectors are generated: clusters in a space of few dimensions, laid
into 384, as embeddings of text are. The embedding of the query is left out on both sides. Exits with 1 when a bound
is missed.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import kb
from kb.embed import HashingEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DIMENSION: Final = 384
QUERIES: Final = 200
SHARES: Final = (("half", 0.5, 0.2), ("twentieth", 0.05, 0.1), ("rare", 0.005, 0.1))
"""Name of the field, share of the documents that have it set, and the bound on our time over raw Chroma's."""

CONFIG: Final = """\
[collections.bench]
model = "table"
text = "{name}"

[collections.bench.fields]
name = "str"
half = "bool"
twentieth = "bool"
rare = "bool"
"""


class Table:
    """An encoder that looks its vectors up: document ``17`` has row 17, query ``q17`` row 17 of the queries."""

    model = "table"
    dimension = DIMENSION
    window = 256
    reserved = 0
    document_prompt = query_prompt = ""

    def __init__(self, documents: np.ndarray, queries: np.ndarray) -> None:
        self._documents = documents
        self._queries = queries
        self._tokens = HashingEncoder()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokens, name)

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Return the rows that the texts name."""
        return np.asarray(self._documents[[int(text) for text in texts]])

    def encode_query(self, text: str) -> np.ndarray:
        """Return the row that the text names."""
        return np.asarray(self._queries[int(text[1:])])

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Return the rows that the texts name."""
        return np.stack([self.encode_query(text) for text in texts])

    def fingerprint(self) -> np.ndarray:
        """Return three rows."""
        return np.asarray(self._documents[:3])


def make_vectors(count: int, *, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Return ``count`` document vectors and the query vectors, unit length, float32."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((300, 24))
    spread = rng.standard_normal((24, DIMENSION)) / np.sqrt(24)

    def draw(n: int) -> np.ndarray:
        points = centres[rng.integers(0, len(centres), n)] + 0.6 * rng.standard_normal((n, 24))
        vectors = points @ spread + 0.05 * rng.standard_normal((n, DIMENSION))
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    return draw(count), draw(QUERIES)


def median_ms(call: Callable[[int], list[str]]) -> tuple[float, list[list[str]]]:
    """Return the median milliseconds of one call per query, after a few to warm up, and the answers."""
    for number in range(5):
        call(number)
    times, answers = [], []
    for number in range(QUERIES):
        began = time.perf_counter()
        answers.append(call(number))
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times), answers


def recall(found: list[list[str]], right: list[set[str]]) -> float:
    """Return the share of the right answers that were found."""
    return sum(len(set(f) & r) for f, r in zip(found, right, strict=True)) / sum(len(r) for r in right)


def exact(documents: np.ndarray, queries: np.ndarray, allowed: np.ndarray) -> list[set[str]]:
    """Return the ids of the ten nearest allowed documents of every query."""
    scores = np.where(allowed, queries @ documents.T, -np.inf)
    return [{str(i) for i in np.argsort(-row)[:10]} for row in scores]


def main() -> int:
    """Print both sides and their ratio; return 1 when a bound is missed."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    documents, queries = make_vectors(count)
    rng = np.random.default_rng(1)
    flags = {name: rng.random(count) < share for name, share, _ in SHARES}
    failed = False
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        (Path(one) / "config.toml").write_text(CONFIG)
        raw = _fill_chroma(Path(two), documents, flags)
        with kb.open(one, encoders={"table": Table(documents, queries)}) as base:
            collection = base.collection("bench")
            _fill_kb(collection, count, flags)
            for name, share, bound in SHARES:
                theirs, their_answers = median_ms(lambda n, w=name: _ask_chroma(raw, queries[n], {w: True}))  # type: ignore[misc]
                ours, our_answers = median_ms(lambda n, w=name: _ask_kb(collection, n, f"{w} = true"))  # type: ignore[misc]
                right = exact(documents, queries, flags[name])
                mine = recall(our_answers, right)
                print(
                    f"filter {share:.1%}: chroma {theirs:.2f} ms (recall {recall(their_answers, right):.3f}), ", end=""
                )
                print(f"kb {ours:.2f} ms (recall {mine:.3f}), ratio {ours / theirs:.3f} (reach {bound})")
                failed |= ours / theirs > bound or mine < 1.0
            theirs, their_answers = median_ms(lambda n: _ask_chroma(raw, queries[n], None))
            ours, our_answers = median_ms(lambda n: _ask_kb(collection, n, None))
            right = exact(documents, queries, np.ones(count, dtype=bool))
            mine = recall(our_answers, right)
            strategy = collection.search("q0", mode="semantic").report.strategy
            print(f"unfiltered: chroma {theirs:.2f} ms (recall {recall(their_answers, right):.3f}), ", end="")
            print(f"kb {ours:.2f} ms by {strategy} (recall {mine:.3f}), ratio {ours / theirs:.2f} (reach 2)")
            failed |= ours / theirs > 2 or mine < 0.99
    return int(failed)


def _fill_kb(collection: kb.Collection, count: int, flags: dict[str, np.ndarray]) -> None:
    import pandas as pd

    names = [str(n) for n in range(count)]
    collection.import_frame(pd.DataFrame({"id": names, "name": names, **{k: v for k, v in flags.items()}}))


def _fill_chroma(folder: Path, documents: np.ndarray, flags: dict[str, np.ndarray]) -> Any:
    import chromadb

    collection = chromadb.PersistentClient(str(folder)).create_collection(
        "bench", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
    )
    for start in range(0, len(documents), 5_000):
        rows = range(start, min(start + 5_000, len(documents)))
        collection.add(
            ids=[str(n) for n in rows],
            embeddings=documents[start : start + 5_000],
            metadatas=[{name: bool(values[n]) for name, values in flags.items()} for n in rows],
        )
    return collection


def _ask_chroma(collection: Any, query: np.ndarray, where: dict[str, bool] | None) -> list[str]:
    answer = collection.query(query_embeddings=query.reshape(1, -1), n_results=10, where=where)
    return list(answer["ids"][0])


def _ask_kb(collection: kb.Collection, number: int, where: str | None) -> list[str]:
    return [hit.id for hit in collection.search(f"q{number}", where=where, mode="semantic")]


if __name__ == "__main__":
    sys.exit(main())
