"""``kb backup`` and ``kb recover``: what to do before and after a catalog is lost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kb.cli import render
from kb.cli.group import NearestGroup
from kb.cli.options import Shared, check_suffix, shared
from kb.errors import NoKnowledgeBaseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kb.maintain import Backup, Manifest


_COLUMNS: Final = ("name", "path", "created", "kb", "documents", "bytes", "problem")


@click.group(cls=NearestGroup, invoke_without_command=True)
@shared
@click.pass_context
def backup(ctx: click.Context, options: Shared) -> None:
    """Make, list, check and restore backups; alone, list them.

    A backup is a folder in STORAGE/backups with the catalog, which holds
    every fact, config.toml and a manifest of sizes and hashes. It is made
    while the knowledge base is in use, and restored into a new folder only.

    \b
    Examples:
      kb backup create --name before-cleanup
      kb backup restore before-cleanup ../restored
    """
    if ctx.invoked_subcommand is None:
        _list(options)


@backup.command()
@click.option("--name", metavar="NAME", help="Default: the time, in UTC.")
@shared
def create(options: Shared, name: str | None) -> None:
    """Back the knowledge base up as it is at this moment; others may go on using it.

    \b
    Examples:
      kb backup create
      kb backup create --name before-cleanup
    """
    from kb.maintain import create_backup

    settings = options.settings()
    made = create_backup(settings.root, settings.storage, name, on_pages=_progress(options))
    if options.format == "table":
        assert made.manifest is not None  # it has just been made
        print(f"backed up {_held(made.manifest)} as {made.path.name}, {made.bytes / 1e6:,.1f} MB")
        options.note(f"{made.path}; copy it to another disk as well")
    else:
        _print(made, options)


@backup.command("list")
@shared
def list_(options: Shared) -> None:
    """List the backups, oldest first; kb backup verify looks into their files.

    \b
    Examples:
      kb backup list
      kb backup list --format json
    """
    _list(options)


def _list(options: Shared) -> None:
    from kb.maintain import list_backups

    found = list_backups(options.settings().storage)
    if options.format != "table":
        render.print_rows([_object(one) for one in found], options.format, columns=_COLUMNS)
        return
    made = render.table("name", "made", "documents", "MB", "kb", "state", right=("documents", "MB"), wrap=["state"])
    for one in found:
        held = one.manifest
        if held is None:
            made.add_row(one.path.name, "–", "–", f"{one.bytes / 1e6:,.1f}", "–", render.short(one.problem))
            continue
        when = held.created[:19].replace("T", " ")
        documents = sum(counts.documents for counts in held.collections)
        made.add_row(one.path.name, when, f"{documents:,}", f"{one.bytes / 1e6:,.1f}", held.kb, "complete")
    if found:
        render.console().print(made)
    options.note(render.counted(len(found), "backup") if found else "no backups: kb backup create makes one")


@backup.command()
@click.argument("given", metavar="NAME|PATH")
@shared
def verify(options: Shared, given: str) -> None:
    """Compare every file of a backup with its manifest, and look through its catalog. Exit code 12 on a difference.

    \b
    Examples:
      kb backup verify before-cleanup
      kb backup verify /mnt/backups/before-cleanup
    """
    from kb.maintain import Backup, check_backup

    folder = _find(options, given)
    manifest = check_backup(folder)
    if options.format == "table":
        print(f"{folder.name} is as it was made: {_held(manifest)}")
    else:
        _print(Backup(folder, manifest), options)


@backup.command()
@click.argument("given", metavar="NAME|PATH")
@click.argument("target", metavar="NEWDIR", type=click.Path(path_type=Path))
@shared
def restore(options: Shared, given: str, target: Path) -> None:
    """Restore a backup into NEWDIR, a folder that does not exist yet.

    The present knowledge base is not touched. The indexes are built anew by
    the first search, without the model.

    \b
    Examples:
      kb backup restore before-cleanup ../restored
      kb backup restore /mnt/backups/before-cleanup ../restored
    """
    from kb.restoring import restore as restore_it

    restored = restore_it(_find(options, given), target)
    if options.format == "table":
        print(f"restored {_held(restored.manifest)} into {restored.root}")
    else:
        found = {"root": str(restored.root), "storage": str(restored.storage), "backup": restored.manifest.name}
        if options.format == "json":
            render.print_json(found)
        else:
            render.print_rows([found], options.format, columns=list(found))
    for note in restored.notes:
        options.note(f"note: {note}")
    options.note(f"look at it with: kb verify --kb {restored.root}")


@click.command()
@click.option("--from-index", "file", metavar="FILE.jsonl", required=True, help="Write there what the index holds.")
@click.option("--force", is_flag=True, help="Replace FILE.jsonl if it exists.")
@shared
def recover(options: Shared, file: str, force: bool) -> int:
    """Save what the index alone still holds, when the catalog is gone and there is no backup.

    The documents are written as rows that kb import reads into a new
    knowledge base; their vectors, history and jobs are lost. A copy of the
    index is read, so that nothing of what is left changes. Exit code 3 when
    something of a document is missing.

    \b
    Examples:
      kb recover --from-index rescued.jsonl
      kb recover -c articles --from-index articles.jsonl --force
    """
    from dataclasses import asdict

    from kb.maintain import recover as recover_it

    check_suffix(file, "--from-index", ".jsonl", ".ndjson")
    settings = options.settings()
    schemas = {name: declared.schema for name, declared in settings.collections.items()}
    found = recover_it(settings.storage, schemas, options.collection, Path(file), force=force)
    if options.format == "json":
        render.print_json(asdict(found))
    elif options.format == "table":
        print(f"wrote {render.counted(found.documents, 'document')} of {found.collection} to {file}")
    else:
        render.print_rows([asdict(found)], options.format, columns=list(asdict(found)))
    if found.without:
        options.note(f"the index does not hold: {', '.join(found.without)}")
    if found.incomplete:
        names = ", ".join(found.incomplete[:20]) + (", …" if len(found.incomplete) > 20 else "")
        options.note(f"{render.counted(len(found.incomplete), 'document')} lack a part of their text: {names}")
    options.note(f"move {settings.storage} away, then: kb import {file}")
    return 3 if found.without or found.incomplete else 0


def _find(options: Shared, given: str) -> Path:
    """Return the folder of a backup; a path needs no knowledge base."""
    from kb.maintain import find_backup

    try:
        storage = options.settings().storage
    except NoKnowledgeBaseError:
        if not Path(given).expanduser().is_dir():
            raise
        storage = None
    return find_backup(storage, given)


def _held(manifest: Manifest) -> str:
    """Return what a backup holds, in one phrase."""
    documents = sum(counts.documents for counts in manifest.collections)
    return f"{render.counted(documents, 'document')} of {render.counted(len(manifest.collections), 'collection')}"


def _print(one: Backup, options: Shared) -> None:
    if options.format == "json":
        render.print_json(_object(one))
    else:
        render.print_rows([_object(one)], options.format, columns=_COLUMNS)


def _object(one: Backup) -> dict[str, Any]:
    held = one.manifest
    return {
        "name": one.path.name,
        "path": str(one.path),
        "created": None if held is None else held.created,
        "kb": None if held is None else held.kb,
        "documents": None if held is None else sum(counts.documents for counts in held.collections),
        "bytes": one.bytes,
        "problem": one.problem or None,
    }


def _progress(options: Shared) -> Callable[[int, int], None] | None:
    """Return what shows how far the copying is; None when quiet or not on a terminal."""
    if options.quiet or not sys.stderr.isatty():
        return None

    def show(left: int, pages: int) -> None:
        done = 100 * (pages - left) // max(1, pages)
        print(f"\rcopying {done} %", end="\r" if left else "\r\033[K", file=sys.stderr, flush=True)

    return show
