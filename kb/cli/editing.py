"""``kb add``, ``kb update``, ``kb delete`` and ``kb restore``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from kb.cli import render
from kb.cli.options import Shared, shared

if TYPE_CHECKING:
    from kb.write import Put


@click.command()
@click.argument("values", nargs=-1, required=True, metavar="FIELD=VALUE...")
@shared
def add(options: Shared, values: tuple[str, ...]) -> None:
    """Add one document, given as FIELD=VALUE pairs or as a JSON object on stdin (-).

    \b
    Examples:
      kb add id=n1 title="Byte pairs" body="..." category=nlp rating=4.5
      echo '{"id": "n1", "title": "Byte pairs", "body": "..."}' | kb add -
    """
    textual = values != ("-",)
    raw = _pairs(values) if textual else _json_object()
    with options.open() as base:
        collection = options.pick(base)
        if collection.schema.key in raw and "id" not in raw:
            key = collection.schema.key
            raw["id"] = raw[key] if key in collection.schema.fields else raw.pop(key)
        document = collection.schema.document(raw, textual=textual, separators={})
        outcome = collection.add(document)
    _print_put(options, outcome, [document.id])


@click.command()
@click.argument("id")
@click.argument("values", nargs=-1, required=True, metavar="FIELD=VALUE...")
@shared
def update(options: Shared, id: str, values: tuple[str, ...]) -> None:
    """Change fields of the document ID; FIELD= takes a value away.

    Only text that changes is embedded again; a change of other fields never
    calls the model.

    \b
    Examples:
      kb update nlp-02 rating=4.5 tags="attention;transformers"
      kb update nlp-02 author=
    """
    with options.open() as base:
        outcome = options.pick(base).change(id, _pairs(values), textual=True)
    _print_put(options, outcome, [id])


@click.command()
@click.argument("ids", nargs=-1, metavar="ID...")
@click.option("--where", metavar="FILTER", help="Delete the documents that satisfy it, after a look at their number.")
@click.option("--all", "all_", is_flag=True, help="Delete every document of the collection.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@shared
def delete(options: Shared, ids: tuple[str, ...], where: str | None, all_: bool, dry_run: bool, yes: bool) -> int:
    """Delete documents by ID or by filter. `kb restore` brings them back.

    Exit code 3 when some of the ids do not exist, 4 when none of them does.

    \b
    Examples:
      kb delete nlp-02 nlp-03
      kb delete --where 'published < 2022-01-01' --yes
    """
    if sum((bool(ids), where is not None, all_)) != 1:
        raise click.UsageError("name the documents in one way: by ID, by --where FILTER, or by --all")
    from kb.schema import lookup_id

    with options.open() as base:
        collection = options.pick(base)
        if ids:
            wanted = list(dict.fromkeys(lookup_id(key) for key in ids))
        else:
            wanted = list(collection.keys(where))
            if where is not None and len(wanted) == collection.count() > 0 and not dry_run:
                raise click.UsageError(f"the filter matches all {len(wanted):,} documents; say --all if that is meant")
            if wanted and not (dry_run or yes or _is_confirmed(wanted, collection.count())):
                options.note("nothing was deleted")
                return 1
        if dry_run:
            existing = set(collection.keys())
            deleted = [key for key in wanted if key in existing]
        else:
            # Each part is complete in itself, and no transaction is longer than one of an import.
            parts = [collection.delete(*wanted[at : at + PART]) for at in range(0, len(wanted), PART)]
            deleted = [key for part in parts for key in part]
    gone = set(deleted)
    missing = [key for key in wanted if key not in gone]
    _print_deleted(options, deleted, missing, dry_run=dry_run)
    if ids and missing:
        return 4 if not deleted else 3
    return 0


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--revision", type=click.IntRange(1), metavar="N", help="Set one document back to this revision.")
@shared
def restore(options: Shared, ids: tuple[str, ...], revision: int | None) -> None:
    """Bring deleted documents back, or set one document back to an earlier revision.

    \b
    Examples:
      kb restore nlp-02
      kb restore nlp-02 --revision 1
    """
    if revision is not None and len(ids) > 1:
        raise click.UsageError("--revision takes one ID")
    with options.open() as base:
        outcome = options.pick(base).restore(*ids, revision=revision)
    _print_put(options, outcome, list(dict.fromkeys(ids)), verb="restored")


def _pairs(values: tuple[str, ...]) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise click.UsageError(f"'{value}' is not FIELD=VALUE")
        if name in pairs:
            raise click.UsageError(f"'{name}' is given twice")
        pairs[name] = text
    return pairs


def _json_object() -> dict[str, Any]:
    # By the reader of imports, which refuses what Python's own lets pass: a key given twice, NaN, endless nesting.
    from kb.sources import Limits, read_object

    raw, _, problem = read_object(sys.stdin.read().strip(), line=1, encoding="utf-8", limits=Limits())
    if problem is not None:
        raise click.UsageError(f'stdin must hold one JSON object, e.g. {{"id": "a1", "title": "…"}}: {problem}')
    return raw


def _is_confirmed(wanted: list[str], total: int) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError(f"this would delete {len(wanted):,} of {total:,} documents; say --yes to do it")
    some = render.short(wanted[:5]) + (", …" if len(wanted) > 5 else "")
    return click.confirm(f"Delete {len(wanted):,} of {total:,} documents ({some})?", err=True)


def _print_put(options: Shared, outcome: Put, ids: list[str], *, verb: str | None = None) -> None:
    counts = outcome.counts
    found = {
        "ids": ids,
        "new": counts.new,
        "updated": counts.updated,
        "fields_only": counts.fields_only,
        "unchanged": counts.unchanged,
        "embedded": counts.embedded,
    }
    if options.format == "json":
        render.print_json(found)
    elif options.format != "table":
        render.print_rows([found], options.format, columns=list(found))
    else:
        for key, action in zip(ids, outcome.actions, strict=True):
            print(f"{render.short(key)}: {_WORDS[str(action)] if verb is None else verb}")


PART: Final = 1_000

_WORDS = {
    "new": "added",
    "updated": "updated, its text embedded again",
    "fields_only": "updated, its text is the same",
    "unchanged": "unchanged",
}


def _print_deleted(options: Shared, deleted: list[str], missing: list[str], *, dry_run: bool) -> None:
    found = {"deleted": len(deleted), "ids": deleted, "missing": missing, "dry_run": dry_run}
    if options.format == "json":
        render.print_json(found)
    elif options.format != "table":
        render.print_rows([found], options.format, columns=list(found))
    else:
        print(f"{'would delete' if dry_run else 'deleted'} {render.counted(len(deleted), 'document')}")
    for key in missing:
        options.note(f"there is no document '{render.short(key)}'")
