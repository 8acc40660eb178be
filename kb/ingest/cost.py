"""What an import would cost where embedding has a price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kb.embed import estimate
from kb.ingest.preview import preview_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from kb.chunks import Chunking
    from kb.embed import Encoder, Estimate
    from kb.ingest.request import ImportRequest
    from kb.schema import Schema

_SAMPLE_ROWS: Final = 200


def estimate_cost(
    schema: Schema, request: ImportRequest, texts: Callable[[], int], *, encoder: Encoder, chunking: Chunking
) -> Estimate | None:
    """Return what an import would cost: so many texts as long as those of its first 200 rows.

    Args:
        schema: Of the collection.
        request: What to import.
        texts: Says how many texts would be embedded; called only where that has a price.
        encoder: The collection's model.
        chunking: How its texts are cut.

    Returns:
        None for a model without a price, where nothing would be embedded, and for standard input, which can be read
        only once.

    Raises:
        UsageError, SourceError: As ``preview_rows``.
    """
    if estimate(encoder, ()) is None or "-" in request.files or not (count := texts()):
        return None
    rows = preview_rows(schema, request, _SAMPLE_ROWS, encoder=encoder, chunking=chunking)
    sample = [chunk.text for row in rows for chunk in row.chunks]
    found = estimate(encoder, sample)
    return found.scaled(count / len(sample)) if found is not None and sample else None
