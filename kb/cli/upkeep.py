"""``kb stats`` and ``kb verify``."""

from __future__ import annotations

from dataclasses import asdict

import click

from kb.cli import render
from kb.cli.options import Shared, shared


@click.command()
@shared
def stats(options: Shared) -> None:
    """Show how much is in the knowledge base and how much disk it takes.

    \b
    Examples:
      kb stats
      kb stats --format json
    """
    with options.open() as base:
        found = base.stats(collection=options.collection)
    if options.format == "json":
        render.print_json(asdict(found))
        return
    rows = [asdict(one) for one in found.collections]
    if options.format != "table":
        columns = ["name", "model", "dimension", "documents", "chunks", "behind", "updated"]
        render.print_rows(rows, options.format, columns=columns)
        return
    made = render.table("collection", "documents", "chunks", "model", "last change", right=("documents", "chunks"))
    for one in found.collections:
        updated = (one.updated or "–")[:19].replace("T", " ")
        made.add_row(one.name, f"{one.documents:,}", f"{one.chunks:,}", one.model, updated)
    if rows:
        render.console().print(made)
    print(f"catalog {found.catalog_bytes / 1e6:,.1f} MB, index {found.index_bytes / 1e6:,.1f} MB")


@click.command()
@click.option("--full", is_flag=True, help="Look at every vector, text and value, and measure the index's recall.")
@shared
def verify(options: Shared, full: bool) -> int:
    """Check the catalog, and the index against it. Exit code 12 on any difference.

    \b
    Examples:
      kb verify
      kb verify --full --format json
    """
    with options.open() as base:
        problems = list(base.verify(collection=options.collection, full=full))
    rows = [asdict(problem) for problem in problems]
    if options.format == "table":
        made = render.table("code", "collection", "id", "difference", wrap=["difference"])
        for problem in problems:
            made.add_row(problem.code, problem.collection, render.short(problem.id, 60), render.short(problem.message))
        if problems:
            render.console().print(made)
    else:
        render.print_rows(rows, options.format, columns=["code", "collection", "id", "message"])
    options.note(render.counted(len(problems), "difference") if problems else "no differences")
    return 12 if problems else 0
