"""``kb get``, ``kb list`` and ``kb history``."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from kb.cli import render
from kb.cli.options import Shared, check_raw, raw_cells, shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kb.curate import Entry
    from kb.schema import Field

_WHO_ROOM: Final = 22
"""As wide as the id of a job."""


@click.command()
@click.argument("id")
@raw_cells
@shared
def get(options: Shared, id: str, raw: bool) -> None:
    """Show the document ID with its fields and its revision.

    \b
    Examples:
      kb get nlp-02
      kb get nlp-02 --format json
    """
    check_raw(options, raw=raw)
    with options.open() as base:
        collection = options.pick(base)
        entry = collection.entry(id)
        fields = collection.schema.fields
    if options.format == "csv":
        _print_csv([entry], fields.values(), raw=raw)
        return
    found = render.entry_object(entry)
    if options.format != "table":
        if options.format == "json":
            render.print_json(found)
        else:
            render.print_rows([found], options.format, columns=[])
        return
    made = render.table("field", "value", wrap=["value"])
    made.add_row("id", render.plain(entry.id))
    for name, value in render.present(entry.fields).items():
        # A long text is shown whole: its line ends stay, everything that could move the cursor goes.
        text = "\n".join(render.plain(line) for line in value.split("\n")) if isinstance(value, str) else None
        made.add_row(name, text if text is not None else render.short(value, 2_000))
    made.add_row("revision", f"{entry.revision}, {entry.updated}")
    render.console().print(made)


@click.command("list")
@click.option("--where", metavar="FILTER", help="Only documents that satisfy it.")
@click.option("--sort", metavar="FIELD", help="A field, id or updated; -FIELD from the largest down.")
@click.option("-k", "--limit", metavar="N", type=click.IntRange(1), default=50, show_default=True, help="The most.")
@click.option("--all", "all_", is_flag=True, help="All of them; the limit is ignored.")
@click.option("--offset", metavar="N", type=click.IntRange(0), default=0, help="How many to skip.")
@click.option("--deleted", is_flag=True, help="The deleted ones, to be restored; the last one first.")
@raw_cells
@shared
def list_(
    options: Shared, where: str | None, sort: str | None, limit: int, all_: bool, offset: int, deleted: bool, raw: bool
) -> None:
    """List documents by id, or sorted by a field.

    \b
    Examples:
      kb list --where 'difficulty = "advanced"' --sort -rating --limit 5
      kb list --all --format csv > articles.csv
    """
    check_raw(options, raw=raw)
    if deleted:
        if where is not None or sort is not None:
            raise click.UsageError("--deleted goes without --where and --sort")
        _list_deleted(options, None if all_ else limit, offset)
        return
    descending = sort is not None and sort.startswith("-")
    with options.open() as base:
        collection = options.pick(base)
        entries = collection.entries(
            where,
            sort=sort.lstrip("-") if sort else None,
            descending=descending,
            limit=None if all_ else limit,
            offset=offset,
        )
        total = collection.count(where)
        fields = collection.schema.fields
        names = [f.name for f in fields.values() if f.is_metadata]
    if options.format == "table":
        hidden = []
        if entries:
            key = sort.lstrip("-") if sort and sort.lstrip("-") in names else "id"
            rows = [{"id": entry.id, **entry.fields} for entry in entries]
            hidden = render.print_grid(rows, ["id", *names], first=["id", key])
        if hidden:
            options.note(f"no room for {', '.join(hidden)}; --format json shows everything")
    elif options.format == "csv":
        _print_csv(entries, fields.values(), raw=raw)
    else:
        render.print_rows([render.entry_object(e) for e in entries], options.format, columns=[])
    options.note(f"{len(entries):,} of {render.counted(total, 'document')}")


def _print_csv(entries: Sequence[Entry], fields: Iterable[Field], *, raw: bool) -> None:
    """Print the same columns always, and nothing but fields, as ``kb export`` does: what is listed can be imported."""
    from kb.sources import Column

    columns = [Column("id", None), *(Column(one.name, one) for one in fields)]
    rows = [[entry.id, *(entry.fields[column.name] for column in columns[1:])] for entry in entries]
    render.print_csv(columns, rows, raw=raw)


def _list_deleted(options: Shared, limit: int | None, offset: int) -> None:
    with options.open() as base:
        found = options.pick(base).deleted()
    some = found[offset:] if limit is None else found[offset : offset + limit]
    rows = [asdict(entry) for entry in some]
    columns = ["id", "revision", "at", "who"]
    if options.format != "table":
        render.print_rows(rows, options.format, columns=columns)
    elif rows:
        shown = [row | {"at": row["at"][:16].replace("T", " ")} for row in rows]
        render.print_grid(shown, columns, first=["id"])
    options.note(f"{len(some):,} of {render.counted(len(found), 'deleted document')}")


@click.command()
@click.argument("id")
@shared
def history(options: Shared, id: str) -> None:
    """Show the revisions of the document ID, oldest first, also when it has been deleted.

    \b
    Examples:
      kb history nlp-02
      kb history nlp-02 --format json
    """
    with options.open() as base:
        entries = options.pick(base).history(id)
    rows = [
        {
            "revision": e.revision,
            "action": e.action,
            "at": e.at,
            "who": e.who,
            "job": e.job,
            "changed": list(e.changed),
            "fields": e.fields,
        }
        for e in entries
    ]
    if options.format != "table":
        render.print_rows(rows, options.format, columns=list(rows[0]))
        return
    made = render.table("revision", "action", "at", "who, job", "changed", right=["revision"], wrap=["changed"])
    for e in entries:
        # A job's id is typed back: it has a line of its own, where no terminal is too narrow for it.
        by = [*textwrap.wrap(render.short(e.who), _WHO_ROOM), *([e.job] if e.job else [])]
        changed = render.short(e.changed) or "–"
        made.add_row(str(e.revision), e.action, e.at[:16].replace("T", " "), "\n".join(by), changed)
    render.console().print(made)
