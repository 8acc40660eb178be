"""Running a job at the command line: its progress while it runs, its figures when it has ended."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kb.cli import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kb.catalog import Job
    from kb.cli.options import Shared
    from kb.ingest import Progress
    from kb.knowledge_base import KnowledgeBase


def run_steps(options: Shared, base: KnowledgeBase, steps: Iterable[Progress]) -> Job:
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
