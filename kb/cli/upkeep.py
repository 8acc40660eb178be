"""``kb stats``, ``kb verify`` and ``kb rebuild``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kb.cli import render
from kb.cli.options import Shared, shared
from kb.cli.running import working

if TYPE_CHECKING:
    from pathlib import Path

    from kb.maintain import RebuildPlan


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
    """Check the catalog, and the indexes and models against it. Exit code 12 on any difference.

    Each difference comes with the command that mends it.

    \b
    Examples:
      kb verify
      kb verify --full --format json
    """
    with options.open() as base, working(options, "comparing"):
        problems = list(base.verify(collection=options.collection, full=full, on_note=options.note))
    rows = [asdict(problem) for problem in problems]
    if options.format == "table":
        names = ("code", "collection", "id", "difference", "mended by")
        made = render.table(*names, wrap=["difference", "mended by"])
        for problem in problems:
            id, message = render.short(problem.id, 60), render.short(problem.message)
            made.add_row(problem.code, problem.collection, id, message, problem.command)
        if problems:
            render.console().print(made)
    else:
        render.print_rows(rows, options.format, columns=["code", "collection", "id", "message", "command"])
    options.note(render.counted(len(problems), "difference") if problems else "no differences")
    return 12 if problems else 0


@click.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@shared
def rebuild(options: Shared, yes: bool) -> int:
    """Build the indexes again from the catalog. No model is needed.

    The old files are moved to `quarantine/`, and searches are exact until the
    new indexes are full. Stopped on the way, the next write goes on with it.

    \b
    Examples:
      kb rebuild
      kb rebuild -c articles --yes
    """
    with options.open() as base:
        plan = base.plan_rebuild(collection=options.collection)
        if not (yes or _is_confirmed(plan)):
            options.note("nothing was done")
            return 1
        kept: tuple[Path, ...] = ()
        with working(options, "building the indexes"):
            for step in base.rebuild_steps(collection=options.collection):
                kept = step.kept
    if options.format == "json":
        render.print_json({"documents": plan.documents, "chunks": plan.chunks, "kept": [str(path) for path in kept]})
    options.note(f"{render.counted(plan.documents, 'document')} in new indexes")
    for path in kept:
        options.note(f"the old files are in {path}")
    return 0


def _is_confirmed(plan: RebuildPlan) -> bool:
    documents = f"{render.counted(plan.documents, 'document')} of {', '.join(plan.collections)}"
    room = f"{plan.bytes_needed / 1e6:,.0f} MB of {plan.bytes_free / 1e6:,.0f} MB free"
    what = f"{documents}, about {_duration(plan.seconds)} and {room}; the old files are kept"
    if not sys.stdin.isatty():
        raise click.UsageError(f"this would build the indexes again: {what}; say --yes to do it")
    return click.confirm(f"Build the indexes again: {what}?", err=True)


def _duration(seconds: float) -> str:
    return "a second" if seconds < 1 else f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} minutes"
