"""Looks at a vector index that was not closed in order: in a process of its own, which it may crash or keep busy.

``kb.child`` runs it with STORAGE as its argument; it prints what it has found as one JSON object on its last line.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from kb import __version__
from kb import catalog as cat
from kb.errors import CatalogDamagedError, DamagedError, KBError
from kb.index import FOLDER, VectorIndex, Verdict, damage_of, is_passing
from kb.write.compare import record_differences
from kb.write.drain import records_of, vectors_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.index import Generation

PAGE: Final = 200
SAMPLE: Final = 300
"""So many records, spread over the whole index, the first and the last among them, are looked for by their vectors."""

FOUND: Final = 0.95
SAME_PLACE: Final = 0.998
"""The least cosine of what is found: of equal vectors any will do, and copies differ by their jitter."""


def look(storage: Path) -> Verdict:
    """Return what is to be said of the index of a knowledge base; of one without a catalog, whether it can be read."""
    try:
        if not (storage / cat.FILE_NAME).exists():
            _read(storage)
            return Verdict()
        damage = damage_of(storage / FOLDER)
        return Verdict(damage if damage is not None else _compare(storage))
    except (OSError, sqlite3.Error, KBError) as error:
        cause = error.__cause__ or error
        # What the catalog fails at says nothing of the index.
        from_catalog = isinstance(error, CatalogDamagedError) or (
            isinstance(error, KBError) and not isinstance(error, DamagedError)
        )
        if from_catalog or is_passing(cause):
            return Verdict(hindrance=str(error))
        return Verdict(str(error))


def _read(storage: Path) -> None:
    """Read every record."""
    index = VectorIndex(storage)
    try:
        for name in index.names():
            generation = index.existing(name)
            ids = sorted(generation.ids()) if generation is not None else []
            for start in range(0, len(ids), PAGE):
                assert generation is not None
                generation.get(ids[start : start + PAGE])
    finally:
        index.close()


def _compare(storage: Path) -> str | None:
    """Return the first difference between the index and the catalog."""
    # Whoever asked for this has it open, and may be writing.
    catalog = cat.open_catalog(storage / cat.FILE_NAME, version=__version__, in_use=True)
    index = VectorIndex(storage)
    try:
        with catalog.read() as connection:
            collections = {stored.id: stored for stored in cat.list_collections(connection)}
            for one in cat.all_generations(connection):
                generation = index.existing(one.name)
                # One that is missing is made anew and filled.
                if generation is None:
                    continue
                found = _difference(connection, collections[one.collection_id], one, generation)
                if found is not None:
                    return f"'{one.name}': {found}"
    finally:
        index.close()
        catalog.close()
    return None


def _difference(
    connection: cat.Connection, stored: cat.StoredCollection, one: cat.StoredGeneration, generation: Generation
) -> str | None:
    present = sorted(generation.ids())
    serves = one.state is cat.GenerationState.ACTIVE
    other = None if serves else one.id
    stored = stored if serves else one.of(stored)
    unknown = cat.queued_keys(connection, stored.id, cat.VECTORS if serves else one.target)
    total = 0
    seqs = cat.page_seqs(connection, stored.id, after=0, limit=PAGE)
    while seqs:
        keys = [key for key in cat.keys_of(connection, seqs).values() if key not in unknown]
        wanted = records_of(connection, stored, keys, store_text=True, other=other)
        vectors = vectors_of(connection, stored, keys, other=other)
        found = generation.get(list(vectors))
        for record in wanted:
            if record.id not in found:
                return f"the record '{record.id}' is missing"
            # Whether it keeps text may have been configured differently when it was written.
            expected = record if found[record.id].text is not None else replace(record, text=None)
            for difference in record_differences(expected, vectors[record.id], found[record.id]):
                return f"the record '{record.id}': {difference}"
        total += len(wanted)
        seqs = cat.page_seqs(connection, stored.id, after=seqs[-1], limit=PAGE)
    known = sum(name.rpartition("#")[0] not in unknown for name in present)
    if known != total:
        return f"there are {known - total:,} records too many"
    return _lost(generation, present)


def _lost(generation: Generation, present: Sequence[str]) -> str | None:
    """Return how many records of a sample cannot be found by their own vectors, if those are too many."""
    if not present:
        return None
    places = np.unique(np.linspace(0, len(present) - 1, min(SAMPLE, len(present))).astype(int))
    sample = generation.vectors([present[place] for place in places])
    lost = 0
    for vector in sample.values():
        nearest = generation.nearest(vector, 1)
        lost += not nearest or float(nearest[0] @ vector) < SAME_PLACE
    if len(sample) < len(places) or lost > (1 - FOUND) * len(places):
        return f"{lost + len(places) - len(sample)} of {len(places)} records cannot be found by their vectors"
    return None


def main() -> None:
    """Look at the index of the folder that is named as the first argument."""
    # No core file where it crashes.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(json.dumps(asdict(look(Path(sys.argv[1])))))


if __name__ == "__main__":
    main()
