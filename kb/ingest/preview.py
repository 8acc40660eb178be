"""What the first rows of an import would become: stored how, embedded how, or rejected why. Writes nothing."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kb.chunks import split
from kb.errors import DocumentError, UsageError
from kb.ingest.resolving import Tally, resolve_all, selected
from kb.sources import expand_inputs, open_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kb.chunks import Chunking
    from kb.embed import Encoder
    from kb.ingest.columns import Columns
    from kb.ingest.request import ImportRequest
    from kb.schema import Document, Schema, Value
    from kb.sources import Row


@dataclass(frozen=True, slots=True)
class PreviewedChunk:
    """One text that the model would read.

    Attributes:
        text: Exactly what it reads, without the model's own document prompt.
        tokens: Its tokens, the prompt and special tokens included.
    """

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class PreviewedRow:
    """What a row would become.

    Attributes:
        file: The name of the input.
        number: The row's number in it, from 1.
        line: The physical line where it starts, from 1.
        id: Of the document; None when the row would be rejected.
        fields: The typed values that would be stored; empty likewise.
        chunks: What would be embedded, in order; empty likewise.
        window: The most tokens that the model reads at once.
        problems: Why the row would be rejected; empty when it would be accepted.
        place: In words where in the input it stands: ``on line 5``, or ``in a.md`` where it is a file of a folder.
    """

    file: str
    number: int
    line: int
    id: str | None
    fields: Mapping[str, Value]
    chunks: tuple[PreviewedChunk, ...]
    window: int
    problems: tuple[str, ...]
    place: str


def preview_rows(
    schema: Schema, request: ImportRequest, limit: int, *, encoder: Encoder, chunking: Chunking
) -> Iterator[PreviewedRow]:
    """Yield what the first rows would become; reads no further, and asks the model for nothing but tokens.

    Args:
        schema: Of the collection.
        request: What to import.
        limit: How many rows; at least 1. Rows that ``where`` leaves out are none.
        encoder: The collection's model.
        chunking: How its texts are cut.

    Raises:
        UsageError: No file is named, the limit is too small, or the mapping does not fit.
        SourceError: A file cannot be read as a whole.
    """
    if limit < 1:
        raise UsageError(f"a preview shows at least one row, not {limit}")
    if not request.files:
        raise UsageError("no file to import is named")
    sources = [open_source(name, request.reading) for name in expand_inputs(request.files)]
    columns = resolve_all(schema, request, sources)
    tally = Tally()
    rows = ((s, its, row) for s, its in zip(sources, columns, strict=True) for row in selected(s, its, tally))
    first: dict[str, tuple[int, str]] = {}
    for position, (source, its, row) in enumerate(itertools.islice(rows, limit)):
        name, place = source.name, source.place(row.line)
        found = _document(its, row)
        if not isinstance(found, tuple):
            before = first.setdefault(found.id, (position, f"{place} of {name}"))
            if before[0] != position:
                found = (f"{schema.key}: {found.id!r} stands {place} and already {before[1]}",)
        if isinstance(found, tuple):
            yield PreviewedRow(name, row.number, row.line, None, {}, (), encoder.window, found, place)
        else:
            fields = {field: found.__dict__.get(field) for field in schema.fields}
            chunks = _chunks(schema.text(found), encoder, chunking)
            yield PreviewedRow(name, row.number, row.line, found.id, fields, chunks, encoder.window, (), place)


def _chunks(text: str, encoder: Encoder, chunking: Chunking) -> tuple[PreviewedChunk, ...]:
    pieces = split(text, chunking, spans=encoder.token_spans, reserved=encoder.reserved)
    return tuple(
        PreviewedChunk(piece.embed_text, len(encoder.token_spans(piece.embed_text)) + encoder.reserved)
        for piece in pieces
    )


def _document(columns: Columns, row: Row) -> Document | tuple[str, ...]:
    """Return the document of a row, or its problems."""
    if row.problem is not None:
        return (row.problem,)
    try:
        return columns.document(row)
    except DocumentError as error:
        return error.problems
