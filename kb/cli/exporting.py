"""``kb export``."""

from __future__ import annotations

import sys

import click

from kb.cli import render
from kb.cli.options import Shared, raw_cells, shared

_FORMATS = ("csv", "jsonl", "parquet")
_NAMED = 20


@click.command()
@click.option("--where", metavar="FILTER", help="Only documents that satisfy it.")
@click.option("--to", type=click.Choice(_FORMATS), help="Default: by the name of FILE; jsonl on stdout.")
@click.option("-o", "--output", metavar="FILE", help="Write there, all or nothing, in place of stdout.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--fields", metavar="A,B", help="Only these fields, in this order, after the id.")
@raw_cells
@shared
def export(
    options: Shared,
    where: str | None,
    to: str | None,
    output: str | None,
    force: bool,
    fields: str | None,
    raw: bool,
) -> None:
    """Write documents by id, as they are at one moment, so that importing them again changes nothing.

    Other processes may go on importing meanwhile. In CSV, cells that a
    spreadsheet would run as a formula, and cells that CSV cannot spell, have
    an apostrophe before them; where there are any, the last column, _quoted,
    names them, and kb import takes the apostrophe off again.

    \b
    Examples:
      kb export --where 'rating >= 4' -o best.csv
      kb export -c articles | gzip > articles.jsonl.gz
    """
    output = None if output == "-" else output
    if force and output is None:
        raise click.UsageError("--force is about a file: name it with -o FILE")
    to = to or _said_as_format() or (None if output else "jsonl")
    if to == "parquet" and output is None and sys.stdout.isatty():
        raise click.UsageError("Parquet cannot be shown on a terminal: name a file with -o FILE")
    names = None if fields is None else [name.strip() for name in fields.split(",")]
    sys.stdout.flush()
    with options.open() as base:
        collection = options.pick(base)
        count = collection.export(output or sys.stdout.buffer, where, format=to, fields=names, raw=raw, force=force)
        lost = base.unreadable(collection=options.collection)
    if lost:
        names_of = ", ".join(lost[:_NAMED]) + (", …; kb verify names all" if len(lost) > _NAMED else "")
        options.note(f"{render.counted(len(lost), 'document')} cannot be read: {names_of}")
    options.note(f"exported {render.counted(count, 'document')}" + (f" to {output}" if output else ""))


def _said_as_format() -> str | None:
    """Return what ``--format`` says, where it can only mean the format of the documents."""
    context = click.get_current_context()
    said: str | None = context.params.get("format")
    if said is not None and said not in _FORMATS:
        raise click.UsageError(f"documents cannot be exported as {said}: say --to csv, jsonl or parquet")
    return said
