"""Recall and time of vector indexes on a collection's own vectors: what an approximate index would gain and miss."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kb import catalog as cat
from kb.errors import DamagedError, LockedError, MismatchError, UsageError
from kb.evaluate.threads import single_thread
from kb.index import record_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kb.index import Generation, Owner

    Ask = Callable[[np.ndarray, int], Sequence[int]]

SIMILARITY: Final = 0.8
"""The cosine of a query and the vector that it was moved away from: about that of a text and its paraphrase."""

PER_LIST: Final = 39
"""Fewer vectors than this per list, and FAISS warns that its k-means has too little to learn from."""

MAX_K: Final = 100
MAX_QUERIES: Final = 10_000
_SPREAD: Final = 512
_WARM_UP: Final = 10
_TOLERANCE: Final = 2e-6
_NEIGHBOURS: Final = 16  # of a node in Chroma's graph; twice as many on its lowest level


@dataclass(frozen=True, slots=True)
class Measured:
    """What one index does under one setting.

    Attributes:
        index: ``exact``, ``Chroma HNSW``, ``FAISS FlatIP`` or ``FAISS IVFFlat``.
        setting: What can be chosen about it, e.g. ``nprobe 4``, or "".
        recall: The share of the nearest ``k`` that it finds, mean over the queries, in [0, 1].
        p50: Milliseconds per query, median.
        p95: Milliseconds per query that 95 % of them stay within.
        build: Seconds that building it took; None for Chroma, which is built as documents are written.
        bytes: Memory; computed from the layout for Chroma.
    """

    index: str
    setting: str
    recall: float
    p50: float
    p95: float
    build: float | None
    bytes: int


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """An index that was left out, and why."""

    index: str
    reason: str


@dataclass(frozen=True, slots=True)
class IndexBench:
    """The answer of ``bench_index``.

    Attributes:
        collection: Its name.
        vectors: How many chunks it has.
        dimension: Of a vector.
        queries: How many were asked, one at a time, on one thread.
        k: How many neighbours were asked for; fewer than wanted where there are no more.
        lists: Into how many lists ``IndexIVFFlat`` divides the vectors; 0 where it was left out.
        similarity: The cosine of a query and the vector that it was made from.
        seed: Decides which queries.
        measured: Each index and setting.
        missing: Each index that was left out.
    """

    collection: str
    vectors: int
    dimension: int
    queries: int
    k: int
    lists: int
    similarity: float
    seed: int
    measured: tuple[Measured, ...]
    missing: tuple[NotMeasured, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a collection's vectors and its Chroma index are.

    Attributes:
        catalog: Has the vectors.
        collection: The stored declaration.
        follow: Brings the Chroma index up to date and returns it.
        other_owner: Returns the other process that owns that index, or None.
    """

    catalog: cat.Catalog
    collection: cat.StoredCollection
    follow: Callable[[], Generation]
    other_owner: Callable[[], Owner | None]


@dataclass(frozen=True, slots=True)
class _Data:
    """The vectors, their records in Chroma, and the queries with what is right for each.

    ``origins`` are the rows that the queries were made from: a query does not count as finding itself. ``bounds`` are
    the scores of the k-th other neighbour: whatever reaches it is right, so that any of several equal vectors is.
    """

    matrix: np.ndarray
    records: list[str]
    loaded: float
    origins: np.ndarray
    queries: np.ndarray
    bounds: np.ndarray
    k: int


def bench_index(place: Place, *, queries: int = 200, k: int = 10, seed: int = 0) -> IndexBench:
    """Measure exact search, Chroma's HNSW and FAISS on the vectors of a collection.

    A query is a vector of the collection, moved to a cosine of ``SIMILARITY`` in a random direction that has the spread
    of the collection's own vectors; the vector that it was made from is left out of every answer. Time is that of one
    query at a time on one thread, called from Python.

    Args:
        place: The collection.
        queries: How many to ask; 1 to 10,000, and at most one for each vector.
        k: How many neighbours to ask for; 1 to 100.
        seed: Decides which queries.

    Raises:
        UsageError: A number is out of range, or there are not two vectors.
    """
    for name, value, most in (("queries", queries, MAX_QUERIES), ("k", k, MAX_K)):
        if not 1 <= value <= most:
            raise UsageError(f"{name} is {value}; it must be from 1 to {most:,}", unchanged="nothing was measured")
    with single_thread():
        data = _prepare(place, queries, k, seed)
        found = [
            _measure(data, "exact", _exact(data), build=data.loaded, size=data.matrix.nbytes),
            _chroma(place, data),
            *_faiss(data, seed),
        ]
    vectors, dimension = data.matrix.shape
    return IndexBench(
        collection=place.collection.name,
        vectors=vectors,
        dimension=dimension,
        queries=len(data.queries),
        k=data.k,
        lists=_lists(vectors),
        similarity=SIMILARITY,
        seed=seed,
        measured=tuple(one for one in found if isinstance(one, Measured)),
        missing=tuple(one for one in found if isinstance(one, NotMeasured)),
    )


def _prepare(place: Place, count: int, k: int, seed: int) -> _Data:
    began = time.perf_counter()
    with place.catalog.read() as connection:
        found = cat.chunk_vectors(connection, place.collection.id, place.collection.dimension)
        loaded = time.perf_counter() - began
        keys = cat.keys_of(connection, sorted(set(found.seqs.tolist())))
    matrix, n = found.matrix, len(found.matrix)
    if n < 2:
        raise UsageError(
            f"'{place.collection.name}' has {n} vector{'' if n == 1 else 's'}; there is nothing to compare",
            unchanged="nothing was measured",
            hint="import some documents first",
        )
    records = [record_id(keys[seq], chunk) for seq, chunk in zip(found.seqs.tolist(), found.ordinals, strict=True)]
    random = np.random.default_rng(seed)
    origins = np.sort(random.choice(n, size=min(count, n), replace=False))
    k = min(k, n - 1)
    queries = _moved(matrix, origins, random)
    bounds = np.empty(len(origins))
    for number, (query, origin) in enumerate(zip(queries, origins, strict=True)):
        scores = matrix @ query
        scores[origin] = -np.inf
        bounds[number] = np.partition(scores, n - k)[n - k]
    return _Data(matrix, records, loaded, origins, queries, bounds, k)


def _moved(matrix: np.ndarray, origins: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the vectors of these rows, each moved to a cosine of ``SIMILARITY``, unit length, float32."""
    sample = matrix[random.choice(len(matrix), size=min(_SPREAD, len(matrix)), replace=False)].astype(np.float64)
    vectors = matrix[origins].astype(np.float64)
    # Questions differ from texts in the directions in which texts differ from each other, not in any direction at all.
    noise = random.standard_normal((len(origins), len(sample))) @ (sample - sample.mean(axis=0))
    noise += 1e-9 * random.standard_normal(noise.shape)  # where all vectors are equal there is no such direction
    noise -= np.einsum("ij,ij->i", noise, vectors)[:, None] * vectors
    noise /= np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    moved = SIMILARITY * vectors + math.sqrt(1 - SIMILARITY**2) * noise
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), dtype=np.float32)


def _measure(data: _Data, index: str, ask: Ask, *, build: float | None, size: int, setting: str = "") -> Measured:
    """Ask every query, and compare what is found with what is right."""
    for query in data.queries[:_WARM_UP]:
        ask(query, data.k + 1)
    seconds, right = [], 0
    for query, origin, bound in zip(data.queries, data.origins, data.bounds, strict=True):
        began = time.perf_counter()
        found = ask(query, data.k + 1)
        seconds.append(time.perf_counter() - began)
        others = [row for row in found if row not in (origin, -1)][: data.k]
        right += int(np.count_nonzero(data.matrix[others] @ query >= bound - _TOLERANCE))
    p50, p95 = (round(float(x) * 1000, 4) for x in np.percentile(seconds, [50, 95]))
    recall = round(right / (data.k * len(data.queries)), 4)
    return Measured(index, setting, recall, p50, p95, None if build is None else round(build, 3), size)


def _exact(data: _Data) -> Ask:
    """Return what a search of kb does: one product with the matrix, then the best of it."""

    def ask(query: np.ndarray, k: int) -> list[int]:
        scores = data.matrix @ query
        best = np.argpartition(scores, len(scores) - k)[len(scores) - k :]
        rows: list[int] = best[np.argsort(-scores[best])].tolist()
        return rows

    return ask


def _chroma(place: Place, data: _Data) -> Measured | NotMeasured:
    """Measure the collection's own index, unless another process has it open."""
    name = "Chroma HNSW"
    owner = place.other_owner()
    if owner is not None:
        return NotMeasured(name, f"the index is owned by {owner}; end it, and run this again")
    rows = {record: row for row, record in enumerate(data.records)}
    n, dimension = data.matrix.shape
    # As hnswlib lays it out: a label, the vector, two links per neighbour on the lowest level, and a count.
    size = n * (8 + 4 * dimension + 4 * (2 * _NEIGHBOURS + 1))
    try:
        generation = place.follow()

        def ask(query: np.ndarray, k: int) -> list[int]:
            found = generation.query(query, k)
            return [rows.get(record_id(one.document, one.chunk), -1) for one in found]

        return _measure(data, name, ask, build=None, size=size)
    except (LockedError, DamagedError, MismatchError) as error:
        return NotMeasured(name, str(error))


def _faiss(data: _Data, seed: int) -> Iterator[Measured | NotMeasured]:
    import faiss

    began = time.perf_counter()
    flat = faiss.IndexFlatIP(data.matrix.shape[1])
    flat.add(data.matrix)
    build = time.perf_counter() - began
    yield _measure(data, "FAISS FlatIP", _asking(flat), build=build, size=data.matrix.nbytes)
    yield from _inverted(data, seed)


def _inverted(data: _Data, seed: int) -> Iterator[Measured | NotMeasured]:
    """Measure ``IndexIVFFlat`` while it looks into 1, 2, 4, … lists, up to the first time that it misses nothing."""
    import faiss

    name = "FAISS IVFFlat"
    n, dimension = data.matrix.shape
    lists = _lists(n)
    if not lists:
        yield NotMeasured(name, f"{n} vectors are too few for two lists of {PER_LIST}")
        return
    began = time.perf_counter()
    quantizer = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFFlat(quantizer, dimension, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed + 1
    index.train(data.matrix)
    index.add(data.matrix)
    build = time.perf_counter() - began
    size = data.matrix.nbytes + 8 * n + 4 * lists * dimension
    for probes in [*(2**power for power in range(lists.bit_length()) if 2**power < lists), lists]:
        index.nprobe = probes
        measured = _measure(data, name, _asking(index), setting=f"nprobe {probes}", build=build, size=size)
        yield measured
        if measured.recall >= 1:
            return


def _lists(n: int) -> int:
    """Return into how many lists ``IndexIVFFlat`` divides so many vectors; 0 where there are too few for two.

    4 √n, as FAISS advises, where that leaves ``PER_LIST`` vectors for each.
    """
    lists = min(round(4 * math.sqrt(n)), n // PER_LIST)
    return lists if lists >= 2 else 0


def _asking(index: Any) -> Ask:
    def ask(query: np.ndarray, k: int) -> list[int]:
        rows: list[int] = index.search(query.reshape(1, -1), k)[1][0].tolist()
        return rows

    return ask
