"""What does hybrid search cost beside semantic search, in a warm process, the embedding of the query included?

Run ``python benchmarks/modes.py [COUNT…]``; 10,000 and 100,000 documents of one chunk unless given. The texts are runs
of sentences from the Wikipedia summaries, the queries their short descriptions. Documents get cheap vectors (sums of
random word vectors): embedding 100,000 texts would take twenty minutes and change nothing that is timed. A query is
embedded by the real model, for its time, and then asked with a vector of the documents' own space. Modes are asked in
turn. Exits with 1 when a bound is missed.
"""

from __future__ import annotations

import importlib.util
import json
import re
import statistics
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from wikipedia import PACKAGE, read_articles

import kb
from kb.embed import open_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNTS: Final = (10_000, 100_000)
QUERIES: Final = 200
MODES: Final = ("semantic", "hybrid", "keyword")
MOST_RATIO: Final = 2.0
MOST_MS: Final = 30.0
DIMENSION: Final = 384
CONFIG: Final = """\
[collections.bench]
model = "mixed"
text = "{text}"

[collections.bench.fields]
text = "text"
"""


class Mixed:
    """The real model for the time of a query; sums of random word vectors for what is compared."""

    model = "mixed"
    dimension = DIMENSION
    window = 256

    def __init__(self) -> None:
        self._real = open_encoder("all-MiniLM-L6-v2")
        self._words = np.random.default_rng(3).standard_normal((65_536, DIMENSION)).astype(np.float32)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Return the sums of the words' vectors."""
        sums = [self._words[[zlib.crc32(w.encode()) % 65_536 for w in words(text)]].sum(axis=0) for text in texts]
        matrix = np.stack(sums)
        return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True))

    def encode_query(self, text: str) -> np.ndarray:
        """Embed with the real model, and return a vector of the documents' space."""
        self._real.encode_query(text)
        return np.asarray(self.encode_documents([text])[0])

    def fingerprint(self) -> np.ndarray:
        """Embed three fixed texts."""
        return self.encode_documents(["one", "two", "three"])


def words(text: str) -> list[str]:
    """Return the words of a text, or one that stands for none."""
    return re.findall(r"\w+", text.lower()) or ["-"]


def make_texts(count: int) -> list[str]:
    """Return texts of three sentences each, all different."""
    sentences = [s for a in read_articles(10_033) for s in re.split(r"(?<=[.!?])\s+", a.extract) if len(s) > 30]
    rng = np.random.default_rng(5)
    return [" ".join(sentences[i] for i in rng.integers(0, len(sentences), 3)) for _ in range(count)]


def make_queries() -> list[str]:
    """Return short descriptions of articles."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations
    raw = json.loads((Path(spec.submodule_search_locations[0]) / "data" / "summaries_en-us.json").read_text())
    found = sorted({a["description"] for a in raw.values() if len((a.get("description") or "").split()) >= 3})
    return [found[i] for i in np.random.default_rng(9).choice(len(found), QUERIES, replace=False)]


def measure(count: int) -> bool:
    """Print the figures of one size; return whether the bounds hold."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.toml").write_text(CONFIG)
        rows = Path(folder) / "rows.jsonl"
        texts = make_texts(count)
        rows.write_text("".join(json.dumps({"id": f"d{n}", "text": t}) + "\n" for n, t in enumerate(texts)))
        with kb.open(folder, encoders={"mixed": Mixed()}) as base:
            bench = base.collection("bench")
            bench.import_file(rows)
            times: dict[str, list[float]] = {mode: [] for mode in MODES}
            for number, query in enumerate(make_queries()):
                for mode in MODES:
                    began = time.perf_counter()
                    bench.search(query, mode=mode)
                    if number >= 10:
                        times[mode].append((time.perf_counter() - began) * 1000)
            strategy = bench.search(query).report.strategy
    p50 = {mode: statistics.median(found) for mode, found in times.items()}
    ratio = p50["hybrid"] / p50["semantic"]
    shown = ", ".join(f"{mode} {p50[mode]:.1f} ms" for mode in MODES)
    print(f"{count:>7,} documents, p50 ({strategy}): {shown}; hybrid / semantic {ratio:.2f}")
    return ratio <= MOST_RATIO if count <= COUNTS[0] else p50["hybrid"] <= MOST_MS


def main() -> None:
    """Measure every size."""
    counts = [int(given) for given in sys.argv[1:]] or list(COUNTS)
    held = [measure(count) for count in counts]
    print(f"reach: hybrid / semantic {MOST_RATIO:g} at 10,000; hybrid {MOST_MS:g} ms at 100,000")
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
