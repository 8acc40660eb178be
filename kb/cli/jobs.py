"""``kb jobs``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from kb.cli import render
from kb.cli.group import NearestGroup
from kb.cli.options import Shared, shared
from kb.cli.reembedding import print_built
from kb.cli.running import exit_code, percent, print_job, reject_place, run_steps, working
from kb.cli.stopping import stoppable

if TYPE_CHECKING:
    from collections.abc import Callable

    from kb.catalog import Job
    from kb.curate import UndoPlan

_STATUSES: Final = ("running", "done", "partial", "failed", "interrupted", "cancelled")
_SHOWN: Final = 20
"""How many jobs a table lists unless told otherwise."""
_COLUMNS: Final = ("job", "status", "read", "rejected")
_MORE_COLUMNS: Final = ("collection", "seconds")
_WIDE: Final = 110
"""How wide a terminal is that has room for more columns. What stands in them decides nothing."""
_WHOLE: Final = "finishing the undo … press Ctrl-C again to stop at once: then all of it is undone, or nothing"


def _which(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which jobs are listed."""
    most = "The most jobs. Default: 20 in a table, else all."
    function = click.option("--limit", type=click.IntRange(1), metavar="N", help=most)(function)
    return click.option("--status", type=click.Choice(_STATUSES), help="Only jobs that stand there.")(function)


@click.group(cls=NearestGroup, invoke_without_command=True)
@_which
@shared
@click.pass_context
def jobs(ctx: click.Context, options: Shared, status: str | None, limit: int | None) -> None:
    """List the jobs, newest first; or look into one, resume, cancel or undo it.

    \b
    Examples:
      kb jobs --status interrupted
      kb jobs undo 20260131-120000-a1b2c3
    """
    if ctx.invoked_subcommand is None:
        _list(options, status, limit)
    elif status is not None or limit is not None:
        raise click.UsageError("--status and --limit say which jobs are listed: kb jobs list --status STATUS --limit N")


@jobs.command("list")
@_which
@shared
def list_jobs(options: Shared, status: str | None, limit: int | None) -> None:
    """List the jobs, newest first. The newest 1,000 are kept.

    \b
    Examples:
      kb jobs list --status interrupted
      kb jobs list --limit 100 --format json
    """
    _list(options, status, limit)


@jobs.command("show")
@click.argument("job_id", metavar="JOB")
@shared
def show_job(options: Shared, job_id: str) -> None:
    """Show one job; also while another process runs it.

    \b
    Examples:
      kb jobs show 20260131-120000-a1b2c3
      kb jobs show 20260131-120000-a1b2c3 --format json
    """
    with options.open() as base:
        job = base.job(job_id)
    if options.format == "table":
        made = render.table("figure", "value", wrap=["value"])
        for name, value in _figures(job).items():
            made.add_row(name, value)
        render.console().print(made)
    else:
        _print_details(options, job)


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
        made = render.table("where", "reason", wrap=["where", "reason"])
        for reject in found:
            place = reject_place(reject, job)
            made.add_row(render.plain(place), render.short(reject.reason.removeprefix(f"{place}: "), 1_000))
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
    """Continue an interrupted or failed job after its last committed row.

    \b
    Examples:
      kb jobs resume 20260131-120000-a1b2c3
      kb jobs resume 20260131-120000-a1b2c3 --format json
    """
    with options.open() as base:
        job = run_steps(options, base, base.resume_steps(job_id))
        if job.kind == "reembed":
            print_built(options, base.stored_collection(job.collection), job)
            return exit_code(job)
    print_job(options, job)
    return exit_code(job)


@jobs.command("cancel")
@click.argument("job_id", metavar="JOB")
@click.option(
    "--wait", type=click.FloatRange(0), default=60, show_default=True, metavar="SECONDS", help="For its last batch."
)
@shared
def cancel(options: Shared, job_id: str, wait: float) -> int:
    """End a job for good, after the batch that it is writing.

    Another process may be running it. What it has done stays, and can be
    undone. Exit code 1 when it is still running after the wait: it ends all
    the same, with its next batch.

    \b
    Examples:
      kb jobs cancel 20260131-120000-a1b2c3
      kb jobs cancel 20260131-120000-a1b2c3 --wait 300
    """
    with options.open() as base:
        job = base.cancel(job_id, wait=wait)
    if options.format != "table":
        _print_details(options, job)
    elif str(job.status) == "cancelled":
        done = f": {_sum(job)}" if job.kind != "reembed" else ""
        noun = "document" if job.kind == "reembed" else "row"
        print(f"cancelled {job.id} after {render.counted(job.counts.read, noun)}{done}")
    if str(job.status) == "cancelled":
        return 0
    options.note(f"{job.id} is still writing a batch; it ends with that one")
    return 1


@jobs.command("undo")
@click.argument("job_id", metavar="JOB")
@click.option("--force", is_flag=True, help="Also set back documents that were changed since.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@shared
def undo(options: Shared, job_id: str, force: bool, yes: bool) -> int:
    """Set every document that a job touched back to what it was before.

    All or nothing. Refused when one of them has been changed since. An undo
    is a job, too: undoing it brings everything back.

    \b
    Examples:
      kb jobs undo 20260131-120000-a1b2c3
      kb jobs undo 20260131-120000-a1b2c3 --force --yes
    """
    with options.open() as base:
        plan = base.undo_plan(job_id)
        # What will be refused is not asked about.
        if plan.touched and (force or not plan.conflicts) and not yes and not _is_confirmed(plan):
            options.note("nothing was undone")
            return 1
        with stoppable("" if options.quiet else _WHOLE), working(options, f"undoing {job_id}"):
            job = base.undo(job_id, force=force)
    if options.format == "table":
        print(f"undid {job_id}: {_outcome(plan, did=True)}")
        print(f"{render.counted(job.counts.embedded, 'text')} embedded, {job.seconds:.1f} s, job {job.id}")
    else:
        _print_details(options, job)
    return 0


def _is_confirmed(plan: UndoPlan) -> bool:
    what = _outcome(plan, did=False)
    if plan.conflicts:
        what += f" ({plan.conflicts:,} of them changed since)"
    if not sys.stdin.isatty():
        raise click.UsageError(f"this would undo {plan.job.id}: {what}; say --yes to do it")
    return click.confirm(f"Undo {plan.job.id}: {what}?", err=True)


def _outcome(plan: UndoPlan, *, did: bool) -> str:
    words = ("deleted", "restored", "set back") if did else ("to delete", "to restore", "to set back")
    parts = zip((plan.deleted, plan.restored, plan.changed), words, strict=True)
    return ", ".join(f"{render.counted(number, 'document')} {word}" for number, word in parts if number)


def _list(options: Shared, status: str | None, limit: int | None) -> None:
    from kb.catalog import JobStatus

    if limit is None and options.format == "table":
        limit = _SHOWN
    wanted = None if status is None else JobStatus(status)
    with options.open() as base:
        found = base.jobs(status=wanted, limit=limit)
        total = base.count_jobs(status=wanted)
    if options.format != "table":
        rows = [_details(job) for job in found]
        render.print_rows(rows, options.format, columns=list(rows[0]) if rows else ["job"])
        return
    if found:
        screen = render.console()
        columns = [*_COLUMNS, *(_MORE_COLUMNS if screen.width >= _WIDE else ()), "input"]
        made = render.table(*columns, right=["read", "rejected", "seconds"], wrap=["collection", "input"])
        for row in map(_row, found):
            made.add_row(*(row[column] for column in columns))
        screen.print(made)
    more = f"; {total - len(found):,} more: --limit {total}" if total > len(found) else ""
    options.note(render.counted(len(found), "job") + more)


def _row(job: Job) -> dict[str, str]:
    details = _details(job)
    names = [f"undo of {details['undoes']}"] if details["undoes"] else details["input"] or [job.kind]
    part = f" {details['percent']} %" if str(job.status) == "running" and details["percent"] is not None else ""
    return {
        "job": job.id,
        "status": f"{job.status}{part}",
        "collection": job.collection,
        "read": f"{job.counts.read:,}",
        "rejected": f"{job.counts.rejected:,}",
        "seconds": f"{job.seconds:.1f}",
        "input": render.short([name.rstrip("/").rpartition("/")[2] for name in names], 100),
    }


def _print_details(options: Shared, job: Job) -> None:
    details = _details(job)
    if options.format == "json":
        render.print_json(details)
    else:
        render.print_rows([details], options.format, columns=list(details))


def _details(job: Job) -> dict[str, Any]:
    """Return everything about a job as a JSON object."""
    from kb.curate import UNDO, UndoRequest
    from kb.ingest import ImportRequest

    is_undo, is_import = job.kind == UNDO, job.kind == "import"
    return render.job_object(job) | {
        "collection": job.collection,
        "kind": job.kind,
        "input": list(ImportRequest.from_json(job.request).files) if is_import else [],
        "undoes": UndoRequest.from_json(job.request).job if is_undo else None,
        "source": job.source,
        "position": job.position,
        "total": job.total,
        "percent": percent(job),
        "who": job.who,
        "started": job.started,
        "warnings": list(job.warnings),
        "error": job.error,
    }


def _figures(job: Job) -> dict[str, str]:
    """Return what a person wants to know of a job, in words."""
    details = _details(job)
    is_undo = details["undoes"] is not None
    rate = job.counts.read / job.seconds if job.seconds else 0.0
    left = None
    if str(job.status) == "running" and job.total and job.position:
        left = job.seconds * (job.total - job.position) / job.position
    noun = "document" if job.kind == "reembed" else "row"
    whole = "" if job.kind == "reembed" else " of the input"
    part = "" if details["percent"] is None else f", {details['percent']} %{whole}"
    found = {
        "job": f"{job.id}, {job.kind}",
        "status": str(job.status),
        "collection": job.collection,
        "input": render.short(details["input"], 500) if details["input"] else "",
        "undoes": details["undoes"] or "",
        "source": job.source or "",
        "read": "" if is_undo else f"{render.counted(job.counts.read, noun)}{part}",
        "outcome": _sum(job) if job.kind != "reembed" else "",
        "embedded": render.counted(job.counts.embedded, "text"),
        "rejects": job.rejects or "",
        "started": f"{job.started[:19].replace('T', ' ')} UTC by {render.short(job.who)}",
        "took": _duration(job.seconds) + ("" if is_undo else f", {rate:,.0f} {noun}s/s"),
        "time left": "" if left is None else f"about {_duration(left)}",
        "error": render.short(job.error or "", 500),
    }
    found |= {f"warning {number}": render.short(text, 500) for number, text in enumerate(job.warnings, 1)}
    return {name: value for name, value in found.items() if value}


def _sum(job: Job) -> str:
    counts = job.counts
    figures = {
        "new": counts.new,
        "updated": counts.updated,
        "with changed fields only": counts.fields_only,
        "unchanged": counts.unchanged,
        "in conflict": counts.conflicts,
        "rejected": counts.rejected,
        "removed": counts.removed,
    }
    return ", ".join(f"{number:,} {word}" for word, number in figures.items() if number) or "nothing"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
