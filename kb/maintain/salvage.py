"""What is wrong with a damaged catalog, and what of it can be saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.errors import CatalogDamagedError
from kb.maintain.problem import Problem, in_catalog

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NAMED: Final = 1_000
"""How many unreadable documents of a collection are named; the others are counted."""


def damage_problems(
    catalog: cat.Catalog, damage: str, collections: Sequence[cat.StoredCollection]
) -> Iterator[Problem]:
    """Yield what is wrong with a catalog: its tables, and the documents that cannot be read.

    Args:
        catalog: Only read.
        damage: What was noticed.
        collections: Which of them to look at.
    """
    tables = cat.table_problems(catalog.path)
    for table, message in tables.items():
        yield in_catalog("integrity", "", table, f"the table {table} is damaged: {message}" if table else message)
    if not tables and damage != cat.FOREIGN:
        yield in_catalog("integrity", "", "", damage)
    for collection in collections:
        expected = cat.expected_documents(catalog.path, collection.id)
        lost = unreadable(catalog, collection)
        if tables or lost:
            message = f"{len(expected) - len(lost):,} of {len(expected):,} documents can be read"
            yield Problem("unreadable", collection.name, "", message, f"kb export -c {collection.name} -o FILE")
        for key in lost[:_NAMED]:
            yield in_catalog("unreadable", collection.name, key, "cannot be read, or is not what was stored")
        if len(lost) > _NAMED:
            yield in_catalog("unreadable", collection.name, "", f"and {len(lost) - _NAMED:,} more cannot be read")


def unreadable(catalog: cat.Catalog, collection: cat.StoredCollection) -> list[str]:
    """Return the ids of the documents that a damaged catalog should have, and does not give back, sorted."""
    saved = {one.seq for one in cat.saved_documents(catalog.path, collection.id)}
    return sorted(key for seq, key in cat.expected_documents(catalog.path, collection.id).items() if seq not in saved)


def readable_collections(catalog: cat.Catalog) -> list[cat.StoredCollection]:
    """Return the collections whose declarations can be read: none, where their table is damaged."""
    try:
        with catalog.read() as connection:
            return cat.list_collections(connection)
    except CatalogDamagedError:
        return []
