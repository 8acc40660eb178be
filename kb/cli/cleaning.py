"""``kb purge``, ``kb gc`` and ``kb compact``."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from kb.cli import render
from kb.cli.options import Shared, shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kb.maintain import Cleaned, CompactPlan, GcPlan, PurgePlan, Step

_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_NAMED: Final = 5
"""How many ids or files a table names."""


class _Age(click.ParamType[timedelta]):
    """A length of time: ``12h``, ``30d`` or ``2w``."""

    name = "AGE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = re.fullmatch(r"(\d{1,5})([hdw])", str(value))
        if found is None:
            self.fail(f"'{value}' is no length of time: write 12h, 30d or 2w", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


_DRY_RUN: Final = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--deleted", is_flag=True, help="Every document that is deleted.")
@click.option("--older-than", type=_Age(), metavar="AGE", help="With --deleted: deleted so long ago: 12h, 30d, 2w.")
@_DRY_RUN
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@shared
def purge(
    options: Shared, ids: tuple[str, ...], deleted: bool, older_than: timedelta | None, dry_run: bool, yes: bool
) -> int:
    """Remove deleted documents for good, from every file of the storage.

    Their history, texts and vectors go; the catalog is written anew and the
    index built again. Backups are not touched: those that still hold one of
    the documents are named. Without ID and --deleted, a purge that was
    interrupted is finished. Exit code 3 when some of the ids never existed.

    \b
    Examples:
      kb purge nlp-02 nlp-03
      kb purge --deleted --older-than 30d --yes
    """
    if ids and deleted:
        raise click.UsageError("name the documents in one way: by ID or by --deleted")
    if older_than is not None and not deleted:
        raise click.UsageError("--older-than goes with --deleted")
    with options.open() as base:
        if ids:
            options.pick(base)  # several collections: one must be named
            name = base.collection(options.collection).name
            plan = base.plan_purge(*ids, collection=name)
        else:
            nothing = None if deleted else timedelta(days=100_000)
            plan = base.plan_purge(
                collection=options.collection, older_than=nothing if older_than is None else older_than
            )
            if not deleted and plan.unfinished is None:
                raise click.UsageError("name what to purge: ID... or --deleted")
        if not plan.is_empty and not dry_run:
            _show_purge(options, plan)
            # What was interrupted has been confirmed before.
            question = f"Purge {render.counted(plan.count, 'document')}? There is no way back."
            if plan.count and not (yes or _confirmed(question)):
                options.note("nothing was purged")
                return 1
        done = None
        if not plan.is_empty and not dry_run:
            with _shown(options) as show:
                done = base.purge(plan, progress=show)
    _print_purge(options, plan, done, dry_run=dry_run)
    return 3 if plan.missing else 0


@click.command()
@click.option("--quarantine", is_flag=True, help="Also quarantined indexes and pre-upgrade copies of any age.")
@click.option("--older-than", type=_Age(), default="30d", show_default=True, metavar="AGE", help="Else those so old.")
@_DRY_RUN
@shared
def gc(options: Shared, quarantine: bool, older_than: timedelta, dry_run: bool) -> None:
    """Delete what nobody needs any more.

    That is: generations that have served before, so that `kb reembed
    --rollback` finds none; vectors of no present document, files of Chroma collections that
    are no more, indexes of words of no collection, what killed processes left
    half made; and, when they are old, quarantined indexes and copies of the
    catalog from before an upgrade.

    \b
    Examples:
      kb gc --dry-run
      kb gc --quarantine
    """
    done = None
    with options.open() as base:
        plan = base.plan_gc(older_than=timedelta() if quarantine else older_than)
        if not dry_run and not plan.is_empty:
            with _shown(options) as show:
                done = base.gc(plan, progress=show)
    _print_gc(options, plan, done, dry_run=dry_run)


@click.command()
@click.option("--older-than", type=_Age(), default="30d", show_default=True, metavar="AGE", help="As for kb gc.")
@_DRY_RUN
@shared
def compact(options: Shared, older_than: timedelta, dry_run: bool) -> None:
    """Collect garbage, and give the disk back what is free.

    The catalog is written anew. The vector index is built again, without the
    model, when it holds more former records than present ones.

    \b
    Examples:
      kb compact --dry-run
      kb compact
    """
    done = None
    with options.open() as base:
        plan = base.plan_compact(older_than=older_than)
        if not dry_run:
            with _shown(options) as show:
                done = base.compact(plan, progress=show)
    _print_compact(options, plan, done, dry_run=dry_run)


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("there is no way back from this; say --yes to do it")
    return click.confirm(question, err=True)


@contextmanager
def _shown(options: Shared) -> Iterator[Callable[[Step], None]]:
    """Yield what shows a step: nothing when quiet, one line that changes on a terminal, a line each elsewhere."""
    if options.quiet:
        yield lambda _step: None
    elif sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status("beginning") as status:
            yield lambda step: status.update(f"{step.number}/{step.of} {step.what}")
    else:
        yield lambda step: options.note(f"{step.number}/{step.of} {step.what}")


def _show_purge(options: Shared, plan: PurgePlan) -> None:
    """Say on stderr, before anything is done, what it is."""
    for one in plan.documents:
        options.note(f"{render.counted(len(one.ids), 'document')} of {one.collection}: {_some(one.ids)}")
    if plan.unfinished is not None:
        also = "and " if plan.count else ""
        options.note(f"{also}what is left of the purge that began {plan.unfinished[:19].replace('T', ' ')} UTC")
    gone = f"{render.counted(plan.versions, 'former version')} and {render.counted(plan.vectors, 'unused vector')}"
    go = f"{gone} go, and " if plan.versions or plan.vectors else ""
    options.note(f"{go}{_mb(plan.bytes)} are written anew; {_mb(plan.needed)} must be free meanwhile")
    for path in plan.files:
        options.note(f"deleted with them: {path}")
    if plan.jobs:
        options.note(f"blanked in the messages of {render.counted(plan.jobs, 'job')} that quote them")
    _note_what_stays(options, plan)


def _note_what_stays(options: Shared, plan: PurgePlan) -> None:
    for key in plan.missing:
        options.note(f"there never was a document '{render.short(key)}'")
    if plan.shared:
        options.note(f"where another document has the same text, it stays: {_some(plan.shared)}")
    if plan.backups:
        hold = "holds" if len(plan.backups) == 1 else "hold"
        options.note(f"not touched: backups/{', backups/'.join(plan.backups)} still {hold} documents that are purged")


def _print_purge(options: Shared, plan: PurgePlan, done: Cleaned | None, *, dry_run: bool) -> None:
    found = {
        "purged": plan.count,
        "ids": [key for one in plan.documents for key in one.ids],
        "missing": list(plan.missing),
        "versions": plan.versions,
        "vectors": plan.vectors,
        "files": list(plan.files),
        "jobs": plan.jobs,
        "shared": list(plan.shared),
        "backups": list(plan.backups),
        **_sizes(plan, done),
        "dry_run": dry_run,
    }
    if _is_printed(options, found):
        return
    if plan.is_empty:
        print("nothing to purge")
        return
    if dry_run:
        _show_purge(options, plan)
    if plan.count:
        print(f"{'would purge' if dry_run else 'purged'} {render.counted(plan.count, 'document')}")
    else:
        print(f"{'would finish' if dry_run else 'finished'} the purge that was interrupted")
    if done is not None:
        print(_shrunk(done))


def _print_gc(options: Shared, plan: GcPlan, done: Cleaned | None, *, dry_run: bool) -> None:
    found = {
        "generations": [*plan.generations, *plan.strays],
        "vectors": plan.vectors,
        "vector_bytes": plan.vector_bytes,
        "files": [one._asdict() for one in plan.rubbish],
        "kept_bytes": plan.kept,
        **_sizes(plan, done),
        "dry_run": dry_run,
    }
    if _is_printed(options, found):
        return
    _print_rubbish(options, plan, dry_run=dry_run)
    if done is not None and plan.vectors:
        options.note("the room of the vectors is free for new documents; kb compact gives it to the disk")


def _print_compact(options: Shared, plan: CompactPlan, done: Cleaned | None, *, dry_run: bool) -> None:
    found = {
        "generations": [*plan.gc.generations, *plan.gc.strays],
        "vectors": plan.gc.vectors,
        "files": [one._asdict() for one in plan.gc.rubbish],
        "catalog_free": plan.catalog_free,
        "index_operations": plan.operations,
        "chunks": plan.chunks,
        "rebuilds_index": plan.rebuilds,
        **_sizes(plan, done),
        "dry_run": dry_run,
    }
    if _is_printed(options, found):
        return
    _print_rubbish(options, plan.gc, dry_run=dry_run)
    verb = "would be" if dry_run else "was"
    print(f"the vector index {f'{verb} built again' if plan.rebuilds else 'stays as it is'}: {plan.chunks:,} records,")
    print(f"  {plan.operations:,} written or deleted since it was built")
    print(f"the catalog {verb} written anew; {_mb(plan.catalog_free)} of it were free before")
    if done is not None:
        print(_shrunk(done))


def _print_rubbish(options: Shared, plan: GcPlan, *, dry_run: bool) -> None:
    if plan.is_empty:
        print("nothing to delete")
    else:
        rows = [("vectors that nothing uses", plan.vectors, plan.vector_bytes)] if plan.vectors else []
        rows += [(f"the generation {name}, which serves no more", 1, 0) for name in (*plan.generations, *plan.strays)]
        by_kind: dict[str, tuple[int, int]] = {}
        for one in plan.rubbish:
            number, size = by_kind.get(one.what, (0, 0))
            by_kind[one.what] = number + 1, size + one.bytes
        made = render.table("would go" if dry_run else "gone", "number", "MB", right=("number", "MB"), wrap=["gone"])
        for what, number, size in [*rows, *((what, *figures) for what, figures in by_kind.items())]:
            made.add_row(what, f"{number:,}", f"{size / 1e6:,.1f}")
        render.console().print(made)
    if plan.kept:
        options.note(
            f"{_mb(plan.kept)} of younger quarantined indexes and copies stay: kb gc --quarantine deletes them"
        )


def _is_printed(options: Shared, found: dict[str, Any]) -> bool:
    """Print the result where it is for programs; return whether it was."""
    if options.format == "json":
        render.print_json(found)
    elif options.format != "table":
        render.print_rows([found], options.format, columns=list(found))
    return options.format != "table"


def _sizes(plan: PurgePlan | GcPlan | CompactPlan, done: Cleaned | None) -> dict[str, object]:
    return {
        "bytes_before": plan.bytes if done is None else done.bytes_before,
        "bytes_after": None if done is None else done.bytes_after,
        "seconds": 0.0 if done is None else round(done.seconds, 3),
    }


def _shrunk(done: Cleaned) -> str:
    return f"the storage took {_mb(done.bytes_before)}, it takes {_mb(done.bytes_after)} ({done.seconds:.1f} s)"


def _some(names: tuple[str, ...]) -> str:
    return render.short(", ".join(names[:_NAMED])) + (", …" if len(names) > _NAMED else "")


def _mb(number: int) -> str:
    return f"{number / 1e6:,.1f} MB"
