"""``kb import``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kb.cli import render
from kb.cli.import_options import ImportOptions, import_options, request_from
from kb.cli.options import Shared, shared
from kb.cli.previewing import print_preview
from kb.cli.running import exit_code, print_job, run_steps

if TYPE_CHECKING:
    from kb.catalog import Job
    from kb.collection import Collection
    from kb.ingest import ImportRequest, Plan


@click.command("import")
@click.argument("files", nargs=-1, metavar="[FILE...]")
@import_options
@shared
def import_(options: Shared, given: ImportOptions) -> int:
    """Import FILEs as one job; - is stdin, a folder means its text files.

    New rows are added, changed ones replaced, unchanged ones skipped without
    calling the model. A row that does not fit is rejected with all its
    problems; rejects go to a file in the input's own format, to be mended and
    imported by the same command. Exit code 3 when rows were rejected.

    \b
    Examples:
      kb import data/articles.csv
      kb import export.csv --map Headline=title --split "tags=;" --preview 3
    """
    with options.open() as base:
        if given.apply is not None:
            from kb.ingest import load_plan

            plan = load_plan(given.apply)
            collection = base.collection(options.collection or plan.collection)
            job = run_steps(options, base, collection.apply_steps(plan))
            print_job(options, job)
            return exit_code(job)
        request, named = request_from(given, base.settings)
        collection = base.collection(options.collection or named)
        if given.preview is not None:
            return print_preview(options, collection.schema, collection.preview_import(request, given.preview))
        if given.plan is not None:
            plan = collection.plan_import(request)
            plan.save(given.plan)
            _print_plan(options, plan, given.plan)
            return 3 if plan.rejects else 0
        if not given.dry_run:
            _note_cost(options, collection, request)
        job = run_steps(options, base, collection.import_steps(request, dry_run=given.dry_run))
        if given.dry_run:
            _note_cost(options, collection, request, job)
    print_job(options, job, dry_run=given.dry_run)
    return exit_code(job)


def _note_cost(options: Shared, collection: Collection, request: ImportRequest, rehearsed: Job | None = None) -> None:
    cost = collection.estimate_import(request, rehearsed)
    if cost is not None:
        options.note(f"embedding with {collection.model}: {cost}")


def _print_plan(options: Shared, plan: Plan, path: str) -> None:
    counts = plan.counts
    totals = {
        "new": counts.new,
        "updated": counts.updated,
        "fields_only": counts.fields_only,
        "unchanged": counts.unchanged,
        "vanished": plan.vanished,
        "removed": counts.removed,
        "conflicts": counts.conflicts,
        "rejected": counts.rejected,
    }
    if options.format == "table":
        made = render.table("what would happen", "documents", right=["documents"])
        for name, count in totals.items():
            made.add_row(name.replace("_", " "), f"{count:,}")
        render.console().print(made)
    else:
        render.print_json({"plan": path, "collection": plan.collection, "read": counts.read, **totals})
    for note in plan.notes:
        options.note(f"note: {note}")
    if plan.refused is None:
        options.note(f"the plan is in {path}; do it with: kb import --apply {path}")
    else:
        options.note(f"the plan is in {path}; it cannot be done as it is")
