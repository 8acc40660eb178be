"""How fast is an import? Against the loop that everybody writes: encode as it comes, then ``collection.add``.

Run ``python benchmarks/imports.py [COUNT]``. Both sides embed the same summaries with the same model, loaded and warm,
in one process, and write to a new folder. Exits with 1 when a bound is missed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wikipedia import read_articles, write_base

import kb
from kb.embed import open_encoder, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from wikipedia import Article

    from kb.embed import Encoder

BATCH = 100


class Timed:
    """An encoder that adds up what its bulk calls take."""

    def __init__(self, inner: Encoder) -> None:
        self._inner = inner
        self.seconds = 0.0
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Embed, and remember how long it took."""
        began = time.perf_counter()
        vectors = self._inner.encode_documents(texts)
        self.seconds += time.perf_counter() - began
        self.calls += 1
        return vectors


def naive(articles: list[Article], folder: Path) -> float:
    """Return documents per second of the loop."""
    import chromadb
    from sentence_transformers import SentenceTransformer

    path = resolve("all-MiniLM-L6-v2", {}).path
    model = SentenceTransformer(str(path), device="cpu")
    model.encode([article.extract for article in articles[:8]])
    collection = chromadb.PersistentClient(str(folder)).create_collection("wikipedia", embedding_function=None)
    began = time.perf_counter()
    for start in range(0, len(articles), BATCH):
        some = articles[start : start + BATCH]
        texts = [f"{article.title}\n\n{article.extract}" for article in some]
        collection.add(
            ids=[article.id for article in some],
            embeddings=model.encode(texts),
            documents=texts,
            metadatas=[{"title": article.title, "topic": article.topic} for article in some],
        )
    return len(articles) / (time.perf_counter() - began)


def ours(articles: list[Article], folder: Path) -> tuple[float, float, float, int]:
    """Return documents per second, the share that is not embedding, the second import's share, and its model calls."""
    import chromadb  # noqa: F401 - loaded before the clock starts, as on the other side

    data = write_base(folder, articles)
    encoder = Timed(open_encoder("all-MiniLM-L6-v2", {}))
    encoder.encode_documents([article.extract for article in articles[:16]])
    encoder.prepare_queries()
    encoder.seconds = 0.0
    with kb.open(folder, encoders={"all-MiniLM-L6-v2": encoder}) as base:
        collection = base.collection("wikipedia")
        began = time.perf_counter()
        collection.import_file(data)
        first = time.perf_counter() - began
        embedding, calls = encoder.seconds, encoder.calls
        began = time.perf_counter()
        job = collection.import_file(data)
        second = time.perf_counter() - began
        assert job.counts.unchanged == len(articles)
    return len(articles) / first, 1 - embedding / first, second / first, encoder.calls - calls


def main() -> int:
    """Print both sides and their ratio; return 1 when a bound is missed."""
    articles = read_articles(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        rate, overhead, again, calls = ours(articles, Path(one))
        reference = naive(articles, Path(two))
    flags = Path("/proc/cpuinfo").read_text()
    bound = 2.8 if "avx512_bf16" in flags or "amx_bf16" in flags else 1.3
    print(f"documents/s: naive {reference:.0f}, kb {rate:.0f}, ratio {rate / reference:.2f} (reach {bound})")
    print(f"share of the import that is not embedding: {overhead:.3f} (reach 0.15)")
    print(f"second import over the first: {again:.4f} (reach 0.05), model calls {calls} (reach 0)")
    return int(rate / reference < bound or overhead > 0.15 or again > 0.05 or calls > 0)


if __name__ == "__main__":
    sys.exit(main())
