"""Does an import stay fast and small? Generated short rows, up to 1,000,000, through a model that costs nothing.

Run ``python benchmarks/million.py [COUNT…]``; ``--profile COUNT`` prints where the time goes instead. Every count is
imported by a process of its own into a new knowledge base. The index is left behind: the write path gets a target that
does not follow, so that what is timed is reading, checking and the catalog; what the index still has to take over stays
in its queue. Exits with 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

import kb
from kb.ingest import ImportRequest, import_files, last_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COUNTS: Final = (10_000, 100_000, 1_000_000)
MOST_MB: Final = 300
LEAST_RATE: Final = 10_000
MOST_GROWTH: Final = 1.3
DIMENSION: Final = 16

CONFIG: Final = """\
[collections.rows]
model = "quick"
text = "{title}"

[collections.rows.fields]
title = "str"
category = { type = "str", choices = ["red", "green", "blue", "grey"] }
number = "int"
published = "date"
"""
WORDS: Final = (
    "amber",
    "basalt",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbour",
    "island",
    "juniper",
    "kelp",
    "lagoon",
    "reed",
    "nectar",
)


class Quick:
    """A model without a model: a text's checksum seeds its vector.

    Attributes:
        seconds: What its bulk calls took.
    """

    model = "quick"
    dimension = DIMENSION
    window = 256
    reserved = 0
    document_prompt = ""
    query_prompt = ""

    def __init__(self) -> None:
        self.seconds = 0.0

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return one span a word."""
        spans, at = [], 0
        for word in text.split(" "):
            spans.append((at, at + len(word)))
            at += len(word) + 1
        return spans

    def query_tokens(self, text: str) -> int:
        """Count the words."""
        return len(text.split())

    def encode_documents(self, texts: Sequence[str]) -> np.ndarray:
        """Spread each checksum over the dimensions."""
        began = time.perf_counter()
        sums = np.fromiter((zlib.crc32(text.encode()) for text in texts), np.float64, len(texts))
        vectors = np.sin(sums[:, None] * np.arange(1, DIMENSION + 1) * 1e-3 + 1).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        self.seconds += time.perf_counter() - began
        return vectors

    def encode_query(self, text: str) -> np.ndarray:
        """Embed one text."""
        vector: np.ndarray = self.encode_documents([text])[0]
        return vector

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Embed several texts."""
        return self.encode_documents(texts)

    def fingerprint(self) -> np.ndarray:
        """Embed three fixed texts."""
        return self.encode_documents(["one", "two", "three"])

    def prepare_queries(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Run:
    """One import.

    Seconds are those of the clock, of the processor (truer on a busy machine) and of the model; megabytes are beyond
    what there was before. ``private`` is memory that only this process has; ``resident`` counts the mapped pages of the
    catalog's file too, which belong to the system's cache.
    """

    rows: int
    seconds: float
    processor: float
    model: float
    private: float
    resident: float

    @property
    def cost(self) -> float:
        """Microseconds a row, without the model."""
        return (self.seconds - self.model) / self.rows * 1e6


def write_rows(path: Path, count: int) -> None:
    """Write the rows as CSV; no two have the same title."""
    with path.open("w") as file:
        file.write("id,title,category,number,published\n")
        for n in range(count):
            words = " ".join(WORDS[(n // 14**k) % 14] for k in range(5))
            category = ("red", "green", "blue", "grey")[n % 4]
            day = f"20{n % 24:02d}-{n % 12 + 1:02d}-{n % 28 + 1:02d}"
            file.write(f"r{n:07d},{words} {n},{category},{n * 7919 % 100_003},{day}\n")


def status(name: str) -> float:
    """Return a figure of this process in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))


@contextmanager
def peaks() -> Iterator[dict[str, float]]:
    """Watch the memory of this process ten times a second; the figures are there when it ends."""
    names = ("RssAnon", "VmRSS")
    before = {name: status(name) for name in names}
    highest, done = dict(before), threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            for name in names:
                highest[name] = max(highest[name], status(name))

    watcher = threading.Thread(target=watch)
    watcher.start()
    beyond: dict[str, float] = {}
    try:
        yield beyond
    finally:
        done.set()
        watcher.join()
        beyond.update({name: highest[name] - before[name] for name in names})


def one(count: int, *, profile: bool = False) -> Run:
    """Import ``count`` rows in this process."""
    encoder = Quick()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "config.toml").write_text(CONFIG)
        write_rows(root / "warm.csv", 10)
        write_rows(root / "rows.csv", count)
        with kb.open(root, encoders={"quick": encoder}) as base:
            target = replace(base.collection("rows").target(), follow=lambda: None)
            rejects = base.rejects_folder()
            # Modules are loaded and connections open before anything is measured.
            last_of(import_files(target, ImportRequest((str(root / "warm.csv"),)), rejects_folder=rejects), None)
            encoder.seconds = 0.0
            profiler = cProfile.Profile()
            with peaks() as beyond:
                began, busy = time.perf_counter(), time.process_time()
                if profile:
                    profiler.enable()
                request = ImportRequest((str(root / "rows.csv"),))
                job = last_of(import_files(target, request, rejects_folder=rejects), None)
                profiler.disable()
                seconds, busy = time.perf_counter() - began, time.process_time() - busy
            assert job.counts.new + job.counts.unchanged == job.counts.read == count
            if profile:
                pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
    return Run(count, seconds, busy, encoder.seconds, beyond["RssAnon"], beyond["VmRSS"])


def apart(count: int) -> Run:
    """Import ``count`` rows in a process of its own."""
    command = [sys.executable, __file__, "--one", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return Run(**json.loads(done.stdout))


def main() -> int:
    """Print every count and what the bounds say; return 1 when one is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("counts", type=int, nargs="*", default=COUNTS)
    parser.add_argument("--one", type=int)
    parser.add_argument("--profile", type=int)
    arguments = parser.parse_args()
    if arguments.one or arguments.profile:
        run = one(arguments.one or arguments.profile, profile=arguments.profile is not None)
        print(json.dumps(run.__dict__))
        return 0
    runs = [apart(count) for count in arguments.counts]
    for run in runs:
        print(
            f"{run.rows:>9,} rows: {run.seconds:6.1f} s (processor {run.processor:.1f}, model {run.model:.1f});"
            f" {1e6 / run.cost:,.0f} rows/s; memory +{run.private:.0f} MB, with mapped files +{run.resident:.0f} MB"
        )
    growth = max(runs, key=lambda run: run.rows).cost / min(runs, key=lambda run: run.rows).cost
    most, slowest = max(run.private for run in runs), min(1e6 / run.cost for run in runs)
    print(f"memory beyond that before the import: {most:.0f} MB (reach {MOST_MB})")
    print(f"rows/s: {slowest:,.0f} (reach {LEAST_RATE:,})")
    print(f"cost of a row, most rows to fewest: {growth:.2f} (reach {MOST_GROWTH})")
    return int(most > MOST_MB or slowest < LEAST_RATE or growth > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
