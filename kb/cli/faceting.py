"""``kb facets``, and the counts beside an answer of ``kb search``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from kb.cli import render
from kb.cli.options import Shared, check_raw, raw_cells, shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kb.catalog import Facet
    from kb.schema import Value


@click.command()
@click.argument("fields", nargs=-1, metavar="[FIELD...]")
@click.option("--where", metavar="FILTER", help="Only documents that satisfy it.")
@click.option("-k", "--limit", metavar="N", type=int, default=10, show_default=True, help="Values of each FIELD.")
@raw_cells
@shared
def facets(options: Shared, fields: tuple[str, ...], where: str | None, limit: int, raw: bool) -> None:
    """Count the values of each FIELD, the most frequent first; of all fields but prose where none is named.

    Of a list each item counts, once a document. Numbers and dates also have
    quartiles. Documents without a value are counted apart.

    \b
    Examples:
      kb facets category tags
      kb facets rating published --where 'category = "nlp"' -k 3
    """
    check_raw(options, raw=raw)
    with options.open() as base:
        found = options.pick(base).facets(*fields, where=where, limit=limit)
    if options.format == "table":
        print_facets(found.facets)
    elif options.format == "json":
        counted = [facet_object(facet) for facet in found.facets]
        render.print_json({"collection": found.collection, "documents": found.documents, "facets": counted})
    elif options.format == "jsonl":
        render.print_rows([facet_object(facet) for facet in found.facets], "jsonl", columns=[])
    else:
        _print_csv(found.facets, raw=raw)
    options.note(f"{render.counted(found.documents, 'document')} in '{found.collection}' counted")


def facet_object(facet: Facet) -> dict[str, Any]:
    """Return a facet as a JSON object."""
    made = asdict(facet)
    if facet.spread is None:
        del made["spread"]
    return made


def print_facets(facets: Sequence[Facet]) -> None:
    """Print facets as one table."""
    from rich.text import Text

    made = render.table("field", "value", "documents", right=["documents"], wrap=["field", "value"])
    for facet in facets:
        name = facet.field
        for value, count, style in _lines(facet):
            made.add_row(name, Text(value, style=style), count)
            name = ""
        made.add_section()
    if facets:
        render.console().print(made)


def _lines(facet: Facet) -> Iterator[tuple[str, str, str]]:
    """Yield what the table says of a facet: a text, a count, and how it is shown."""
    for one in facet.values:
        yield render.short(one.value, 80) or '""', f"{one.count:,}", ""
    others = facet.distinct - len(facet.values)
    if others:
        yield render.counted(others, "other value"), f"{facet.other:,}", "dim"
    if facet.missing or not facet.distinct:
        yield "missing", f"{facet.missing:,}", "dim"
    if facet.spread is not None:
        low, *quartiles, high = map(render.cell, asdict(facet.spread).values())
        yield f"from {low} to {high}, quartiles {', '.join(quartiles)}", "", "dim"


def _print_csv(facets: Sequence[Facet], *, raw: bool) -> None:
    from kb.schema import Field, FieldType
    from kb.sources import Column

    names = ("field", "kind", "value")
    columns = [*(Column(name, None) for name in names), Column("documents", Field("documents", FieldType.INT))]
    render.print_csv(columns, [row for facet in facets for row in _csv_rows(facet)], raw=raw)


def _csv_rows(facet: Facet) -> Iterator[list[Value]]:
    for one in facet.values:
        yield [facet.field, "value", render.cell(one.value), one.count]
    yield [facet.field, "other", None, facet.other]
    yield [facet.field, "missing", None, facet.missing]
    if facet.spread is not None:
        for kind, value in asdict(facet.spread).items():
            yield [facet.field, kind, render.cell(value), None]
