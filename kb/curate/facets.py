"""What is in a collection, field by field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.catalog import Facet
    from kb.filters import Filter
    from kb.schema import Field

MAX_VALUES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Facets:
    """How the values of some fields are distributed.

    Attributes:
        collection: Its name.
        documents: How many documents were counted.
        facets: One of each field, in the order asked for.
    """

    collection: str
    documents: int
    facets: tuple[Facet, ...]


def check_limit(limit: int) -> None:
    """Refuse a number of values that cannot be named.

    Raises:
        UsageError: It is out of range.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= MAX_VALUES:
        raise UsageError(f"the values of a field to name must be a number from 0 to {MAX_VALUES:,}, not {limit!r}")


def count_facets(
    catalog: cat.Catalog, collection: cat.StoredCollection, fields: Sequence[Field], where: Filter | None, limit: int
) -> Facets:
    """Count the values of fields, at one moment.

    Args:
        catalog: The catalog.
        collection: The collection.
        fields: From ``kb.catalog.facet_fields``.
        where: A checked filter, or None for the whole collection.
        limit: How many values of each field to name; the others are counted together.
    """
    condition = cat.compile_condition(collection.id, where, collection.schema)
    with catalog.read() as connection:
        found = tuple(cat.count_values(connection, condition, field, limit) for field in fields)
        return Facets(collection.name, cat.count_matching(connection, condition), found)
