"""``kb jobs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kb.cli import render
from kb.cli.options import Shared, shared
from kb.cli.running import print_job, run_steps

if TYPE_CHECKING:
    from kb.catalog import Job


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
        job = run_steps(options, base, base.resume_steps(job_id))
    print_job(options, job)
    return 3 if job.counts.rejected else 0


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
