"""``kb import --preview``: rows as they would be stored and embedded, for reading or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kb.cli import render

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kb.cli.options import Shared
    from kb.ingest import PreviewedRow
    from kb.schema import Schema


def print_preview(options: Shared, schema: Schema, rows: Iterable[PreviewedRow]) -> int:
    """Print rows as they come and return the exit code: 3 when one of them would be rejected."""
    shown = []
    for row in rows:
        shown.append(row)
        if options.format == "table":
            _print_row(row, schema)
        elif options.format != "json":
            render.print_rows([_object(row)], options.format, columns=list(_object(row)), header=len(shown) == 1)
    if options.format == "json":
        render.print_json([_object(row) for row in shown])
    rejected = sum(bool(row.problems) for row in shown)
    options.note(f"{render.counted(len(shown), 'row')} shown, {rejected:,} of them rejected; nothing was written")
    return 3 if rejected else 0


def _object(row: PreviewedRow) -> dict[str, Any]:
    return {
        "file": row.file,
        "number": row.number,
        "line": row.line,
        "accepted": not row.problems,
        "id": row.id,
        "fields": render.present(row.fields),
        "chunks": [{"tokens": chunk.tokens, "text": chunk.text} for chunk in row.chunks],
        "window": row.window,
        "problems": list(row.problems),
    }


def _print_row(row: PreviewedRow, schema: Schema) -> None:
    from rich.padding import Padding
    from rich.text import Text

    screen = render.console()
    place = f"row {row.number:,} {row.place} of {row.file.rstrip('/').rpartition('/')[2]}"
    if row.problems:
        screen.print(Text(render.plain(f"{place}: rejected"), style="bold"))
        for problem in row.problems:
            screen.print(Padding(Text(render.plain(problem)), (0, 0, 0, 2), expand=False))
    else:
        screen.print(Text(render.plain(f"{place}: accepted, id {row.id}"), style="bold"))
        made = render.table("field", "type", "value", wrap=["value"])
        for name, value in row.fields.items():
            made.add_row(name, schema.fields[name].spelled, render.short(value) or "–")
        screen.print(Padding(made, (0, 0, 0, 2), expand=False))
        for number, chunk in enumerate(row.chunks, start=1):
            of = f"embedded, chunk {number:,} of {len(row.chunks):,}: {chunk.tokens:,} of {row.window:,} tokens"
            screen.print(Padding(Text(of, style="bold"), (0, 0, 0, 2), expand=False))
            text = "\n".join(render.plain(line) for line in chunk.text.split("\n"))
            screen.print(Padding(Text(text), (0, 0, 0, 4), expand=False))
    screen.print()
