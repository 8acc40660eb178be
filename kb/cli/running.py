"""Running a job at the command line: its progress while it runs, its figures when it has ended."""

from __future__ import annotations

import sys
import time
from contextlib import closing, contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import click

from kb.cli import render
from kb.cli.stopping import stoppable
from kb.errors import KBError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from kb.catalog import Job, Reject
    from kb.cli.options import Shared
    from kb.ingest import Progress
    from kb.knowledge_base import KnowledgeBase


PERCENT: Final = "[progress.percentage]{task.percentage:>3.0f} %"
"""How a bar says how much is done."""

FINISHING: Final = "finishing the batch … press Ctrl-C again to stop at once"


def run_steps(options: Shared, base: KnowledgeBase, steps: Generator[Progress]) -> Job:
    """Run a job with a bar on a terminal and lines elsewhere, and return it.

    The first Ctrl-C or SIGTERM ends it after the batch that is being written, the second at once; either way the
    user is told how to go on, and the command exits with 130 or 143.
    """
    last: Progress | None = None
    try:
        with stoppable("" if options.quiet else FINISHING) as stop, _shown(options) as show, closing(steps):
            for step in steps:
                show(step)
                last = step
                if stop.is_wanted and str(step.job.status) == "running":
                    break
    except (KeyboardInterrupt, SystemExit):
        if last is not None:
            _print_stopped(options, base, last)
        raise
    except KBError:
        if last is not None and last.job.id:
            _print_rejects(options, base.job(last.job.id), last)
        raise
    assert last is not None
    if stop.is_wanted and str(last.job.status) == "running":
        _print_stopped(options, base, last)
        raise click.exceptions.Exit(stop.exit_code)
    for note in last.notes:
        options.note(f"note: {note}")
    _print_first(options, last)
    more = last.job.counts.rejected - len(last.rejects)
    if more > 0:
        options.note(f"and {render.counted(more, 'more reject')}")
    return last.job


def _print_first(options: Shared, last: Progress) -> None:
    for reject in last.rejects:
        place = reject_place(reject, last.job)
        # The problem of a file that cannot be read begins with its name.
        options.note(f"{place}: {render.short(reject.reason.removeprefix(f'{place}: '))}")


def reject_place(reject: Reject, job: Job) -> str:
    """Return where a rejected row stands: its line, with the input where there are several; or the file of a folder."""
    from kb.ingest import ImportRequest

    files = ImportRequest.from_json(job.request).files
    path = PurePath(reject.file)
    for folder in files:
        if path != PurePath(folder) and path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return f"row {reject.number}, line {reject.line}" + (f" of {path.name}" if len(files) > 1 else "")


def _print_rejects(options: Shared, job: Job, last: Progress) -> None:
    """Tell of the rows that an import had rejected before it failed."""
    _print_first(options, last)
    if job.counts.rejected:
        options.note(
            f"{render.counted(job.counts.rejected, 'rejected row')}: kb jobs rejects {job.id}, or {job.rejects}"
        )


def _print_stopped(options: Shared, base: KnowledgeBase, last: Progress) -> None:
    if not last.job.id:
        options.note("stopped; nothing was written")
        return
    job = base.job(last.job.id)  # a batch may have been committed since the last step
    if options.format == "json":
        render.print_json(render.job_object(job))
    part = percent(job)
    whole = " of the input" if job.kind == "import" else ""
    share = "" if part is None else f", {part} %{whole}"
    options.note(f"{render.counted(job.counts.read, _noun(job))} done{share}; {_how_to_go_on(job)}")


def _noun(job: Job) -> str:
    """Return what a job counts."""
    return "row" if job.kind == "import" else "document"


def percent(job: Job) -> int | None:
    """Return how much of its input a job has read, in [0, 100]; None where nobody knows how much there is.

    It is measured in bytes, since only reading them all would tell how many rows there are.
    """
    if str(job.status) in ("done", "partial"):
        return 100
    # What is read is ahead of what is committed by a buffer: only the end is 100 %.
    return min(99, int(100 * job.position / job.total)) if job.total else None


def _how_to_go_on(job: Job) -> str:
    from kb.ingest import ImportRequest

    if job.kind != "import":
        return f"go on with: kb jobs resume {job.id}"
    if None in ImportRequest.from_json(job.request).fingerprints:
        return "import the same data again to go on: rows that are in already are skipped"
    return f"go on with: kb jobs resume {job.id}"


def exit_code(job: Job) -> int:
    """Return the exit code of the command that ran a job to its end: 3 when rows were rejected, 1 when cancelled."""
    if str(job.status) == "cancelled":
        return 1
    return 3 if job.counts.rejected else 0


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
def working(options: Shared, message: str) -> Iterator[None]:
    """Show that something is being done that tells nothing of its progress; nothing when quiet or not on a terminal."""
    if options.quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(message):
        yield


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(PERCENT),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    rate_at = _rates()
    with Progress(*columns, console=Console(stderr=True), expand=True) as bar:
        task = bar.add_task("loading the model", total=None, rate="")

        def show(step: Any) -> None:
            rows, rate = step.job.counts.read, rate_at(step)
            finished = str(step.job.status) != "running"
            total = step.total if not finished else step.position
            noun = _noun(step.job)
            bar.update(
                task,
                description=f"{rows:,} {noun}s",
                completed=step.position,
                total=total,
                rate=f"{rate:,.0f} {noun}s/s",
            )

        yield show


def _rates() -> Callable[[Progress], float]:
    """Return what gives the rows per second since the first step: what an earlier run has read does not count."""
    began: float | None = None
    before = 0

    def rate(step: Progress) -> float:
        nonlocal began, before
        if began is None:
            began, before = time.monotonic(), step.job.counts.read
        return (step.job.counts.read - before) / max(time.monotonic() - began, 1e-6)

    return rate


def _lines() -> Callable[[Progress], None]:
    shown = time.monotonic()
    rate_at = _rates()

    def show(step: Progress) -> None:
        nonlocal shown
        now, rate = time.monotonic(), rate_at(step)
        if now - shown < 5 or str(step.job.status) != "running":
            return
        shown = now
        part = f", {100 * step.position / step.total:.0f} %" if step.total else ""
        noun = _noun(step.job)
        print(f"{step.job.counts.read:,} {noun}s{part}, {rate:,.0f} {noun}s/s", file=sys.stderr, flush=True)

    return show


def print_job(options: Shared, job: Job, *, dry_run: bool = False) -> None:
    """Print the figures of a job that has ended."""
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
                (counts.conflicts, "in conflict and left alone"),
                (counts.rejected, "rejected"),
            )
            if number
        ]
        verb = "would import" if dry_run else "imported"
        print(f"{verb} {render.counted(counts.read, 'row')} into {job.collection}: {', '.join(parts) or 'nothing'}")
        if counts.removed:
            verb = "would be deleted" if dry_run else "deleted"
            print(f"{render.counted(counts.removed, 'document')} {verb} that vanished from {job.source}")
        name = f", job {job.id}" if job.id else ""
        embedded = "to embed" if dry_run else "embedded"
        print(f"{render.counted(counts.embedded, 'text')} {embedded}, {job.seconds:.1f} s{name}")
    for warning in job.warnings:
        options.note(f"warning: {warning}")
    if str(job.status) == "cancelled":
        options.note(f"the job was cancelled; what it had done stays: kb jobs undo {job.id} takes it back")
    if job.rejects:
        options.note(f"rejected rows, with reasons: {job.rejects}")
        without = ", but without --sync" if job.source is not None else ""
        options.note(f"mend them there and import that file with the same options{without}")
