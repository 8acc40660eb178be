"""``kb import`` and ``kb jobs``."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from kb.cli import render
from kb.cli.import_options import ImportOptions, import_options, request_from
from kb.cli.options import Shared, shared
from kb.cli.previewing import print_preview

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kb.catalog import Job
    from kb.ingest import Progress
    from kb.knowledge_base import KnowledgeBase


@click.command("import")
@click.argument("files", nargs=-1, metavar="[FILE...]")
@import_options
@shared
def import_(options: Shared, given: ImportOptions) -> int:
    """Import FILEs (CSV, TSV, a JSON list, JSON Lines; - is stdin) as one job.

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
        request, named = request_from(given, base.settings)
        collection = base.collection(options.collection or named)
        if given.preview is not None:
            return print_preview(options, collection.schema, collection.preview_import(request, given.preview))
        job = _run(options, base, collection.import_steps(request, dry_run=given.dry_run))
    _print_job(options, job, dry_run=given.dry_run)
    return 3 if job.counts.rejected else 0


@click.group(invoke_without_command=True)
@shared
@click.pass_context
def jobs(ctx: click.Context, options: Shared) -> None:
    """List the import jobs, newest first; or show, resume and look into one.

    \b
    Examples:
      kb jobs
      kb jobs resume 20260131-120000-a1b2c3
    """
    if ctx.invoked_subcommand is None:
        _list(options)


@jobs.command("list")
@shared
def list_jobs(options: Shared) -> None:
    """List the import jobs, newest first.

    \b
    Examples:
      kb jobs list
      kb jobs list --format json
    """
    _list(options)


@jobs.command("show")
@click.argument("job_id", metavar="JOB")
@shared
def show_job(options: Shared, job_id: str) -> None:
    """Show one job.

    \b
    Examples:
      kb jobs show 20260131-120000-a1b2c3
      kb jobs show 20260131-120000-a1b2c3 --format json
    """
    with options.open() as base:
        job = base.job(job_id)
    if options.format == "table":
        made = render.table("figure", "value", wrap=["value"])
        for name, value in _details(job).items():
            made.add_row(name.replace("_", " "), render.short(value, 500) or "–")
        render.console().print(made)
    elif options.format == "json":
        render.print_json(_details(job))
    else:
        render.print_rows([_details(job)], options.format, columns=list(_details(job)))


@jobs.command("rejects")
@click.argument("job_id", metavar="JOB")
@shared
def rejects(options: Shared, job_id: str) -> None:
    """List the rows that a job rejected, with the reasons.

    \b
    Examples:
      kb jobs rejects 20260131-120000-a1b2c3
      kb jobs rejects 20260131-120000-a1b2c3 --format csv
    """
    with options.open() as base:
        found = base.rejects(job_id)
        job = base.job(job_id)
    if options.format == "table":
        made = render.table("row", "line", "reason", right=["row", "line"], wrap=["reason"])
        for reject in found:
            made.add_row(str(reject.number), str(reject.line), render.short(reject.reason, 1_000))
        if found:
            render.console().print(made)
    else:
        rows = [{"file": r.file, "number": r.number, "line": r.line, "reason": r.reason} for r in found]
        render.print_rows(rows, options.format, columns=["file", "number", "line", "reason"])
    options.note(f"{len(found):,} of {job.counts.rejected:,} rejected rows; all of them: {job.rejects or 'none'}")


@jobs.command("resume")
@click.argument("job_id", metavar="JOB")
@shared
def resume(options: Shared, job_id: str) -> int:
    """Continue an interrupted or failed import after its last committed row.

    \b
    Examples:
      kb jobs resume 20260131-120000-a1b2c3
      kb jobs resume 20260131-120000-a1b2c3 --format json
    """
    with options.open() as base:
        job = _run(options, base, base.resume_steps(job_id))
    _print_job(options, job, dry_run=False)
    return 3 if job.counts.rejected else 0


def _run(options: Shared, base: KnowledgeBase, steps: Iterable[Progress]) -> Job:
    """Run the steps with a bar on a terminal and lines elsewhere; on an interruption say how to go on."""
    last: Progress | None = None
    try:
        with _shown(options) as show:
            for step in steps:
                show(step)
                last = step
    except (KeyboardInterrupt, SystemExit):
        if last is not None and last.job.id:
            job = base.job(last.job.id)  # a batch may have been committed since the last step
            if options.format == "json":
                render.print_json(render.job_object(job))
            options.note(f"stopped after {job.counts.read:,} rows; go on with: kb jobs resume {job.id}")
        raise
    assert last is not None
    for note in last.notes:
        options.note(f"note: {note}")
    for reject in last.rejects:
        options.note(f"row {reject.number}, line {reject.line}: {render.short(reject.reason)}")
    more = last.job.counts.rejected - len(last.rejects)
    if more > 0:
        options.note(f"and {render.counted(more, 'more reject')}")
    return last.job


@contextmanager
def _shown(options: Shared) -> Iterator[Callable[[Progress], None]]:
    """Yield what shows a step: nothing when quiet, a bar on a terminal, now and then a line elsewhere."""
    if options.quiet:
        yield lambda _step: None
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _lines()


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), expand=True) as bar:
        task = bar.add_task("loading the model", total=None, rate="")

        def show(step: Any) -> None:
            rows = step.job.counts.read
            rate = rows / max(time.monotonic() - began, 1e-6)
            finished = str(step.job.status) != "running"
            total = step.total if not finished else step.position
            bar.update(
                task, description=f"{rows:,} rows", completed=step.position, total=total, rate=f"{rate:,.0f} rows/s"
            )

        yield show


def _lines() -> Callable[[Progress], None]:
    began = shown = time.monotonic()

    def show(step: Progress) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < 5 or str(step.job.status) != "running":
            return
        shown = now
        part = f", {step.position / step.total:.0%}" if step.total else ""
        rate = step.job.counts.read / (now - began)
        print(f"{step.job.counts.read:,} rows{part}, {rate:,.0f} rows/s", file=sys.stderr, flush=True)

    return show


def _print_job(options: Shared, job: Job, *, dry_run: bool) -> None:
    found = render.job_object(job) | ({"dry_run": True} if dry_run else {})
    if options.format == "json":
        render.print_json(found)
    elif options.format != "table":
        render.print_rows([found], options.format, columns=list(found))
    else:
        counts = job.counts
        parts = [
            f"{number:,} {word}"
            for number, word in (
                (counts.new, "new"),
                (counts.updated, "updated"),
                (counts.fields_only, "with changed fields only"),
                (counts.unchanged, "unchanged"),
                (counts.rejected, "rejected"),
            )
            if number
        ]
        verb = "would import" if dry_run else "imported"
        print(f"{verb} {render.counted(counts.read, 'row')} into {job.collection}: {', '.join(parts) or 'nothing'}")
        name = f", job {job.id}" if job.id else ""
        embedded = "to embed" if dry_run else "embedded"
        print(f"{render.counted(counts.embedded, 'text')} {embedded}, {job.seconds:.1f} s{name}")
    if job.rejects:
        options.note(f"rejected rows, with reasons: {job.rejects}")
        options.note("mend them there and import that file with the same options")


def _list(options: Shared) -> None:
    with options.open() as base:
        found = base.jobs()
    if options.format == "table":
        rows = [
            {
                "job": job.id,
                "status": str(job.status),
                "collection": job.collection,
                "read": f"{job.counts.read:,}",
                "rejected": f"{job.counts.rejected:,}",
                "seconds": f"{job.seconds:.1f}",
                "input": ", ".join(name.rpartition("/")[2] for name in _details(job)["input"]),
            }
            for job in found
        ]
        if rows:
            render.print_grid(rows, list(rows[0]), first=["job", "status", "read", "rejected", "input"])
        options.note(render.counted(len(found), "job"))
    else:
        rows = [_details(job) for job in found]
        columns = list(rows[0]) if rows else ["job"]
        render.print_rows(rows, options.format, columns=columns)


def _details(job: Job) -> dict[str, Any]:
    from kb.ingest import ImportRequest

    return render.job_object(job) | {
        "collection": job.collection,
        "input": list(ImportRequest.from_json(job.request).files),
        "who": job.who,
        "started": job.started,
        "error": job.error,
    }
