"""``kb init``, ``kb collections``, ``kb models`` and ``kb config``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kb.cli import render
from kb.cli.group import NearestGroup
from kb.cli.options import Shared, shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.embed import ModelInfo

_FIGURES: Final = ("dimension", "window", "MB", "weights")


@click.command()
@click.argument("folder", required=False, metavar="[DIR]")
@click.option("--name", default="articles", metavar="NAME", show_default=True, help="Of the first collection.")
@click.option("--field", "fields", multiple=True, metavar="NAME=TYPE", help="Of it, e.g. title=str or author=str?")
@click.option("--text", metavar="TEMPLATE", help='What is embedded, e.g. "{title}\\n\\n{body}".')
@click.option("--key", default="id", metavar="COLUMN", show_default=True, help="What identifies a document.")
@click.option("--model", default="all-MiniLM-L6-v2", metavar="ID", show_default=True, help="The embedding model.")
@shared
def init(
    options: Shared,
    folder: str | None,
    name: str,
    fields: tuple[str, ...],
    text: str | None,
    key: str,
    model: str,
) -> None:
    """Make a new knowledge base in DIR: a commented config.toml, to be edited.

    Without --field it declares an example collection of articles. Types are
    str, text, int, float, bool, date, datetime and list[...] of them; a ? makes
    a field optional.

    \b
    Examples:
      kb init library
      kb init notes --name notes --field body=text --field "rating=float?"
    """
    from kb.first_config import write_config

    pairs = []
    for field in fields:
        left, equals, right = field.partition("=")
        if not equals or not left or not right:
            raise click.UsageError(f"--field {field}: write NAME=TYPE")
        pairs.append((left, right))
    template = None if text is None else text.replace("\\n", "\n")
    path = write_config(Path(folder or options.directory or "."), name, pairs, text=template, key=key, model=model)
    found = {"config": str(path), "collection": name}
    if options.format == "json":
        render.print_json(found)
    elif options.format != "table":
        render.print_rows([found], options.format, columns=list(found))
    else:
        print(f"wrote {path} with the collection '{name}'")
    options.note("edit it, then: kb import FILE")


@click.group(cls=NearestGroup, invoke_without_command=True)
@shared
@click.pass_context
def collections(ctx: click.Context, options: Shared) -> None:
    """List the collections with their model, text template and fields; or delete one.

    \b
    Examples:
      kb collections
      kb collections delete drafts --yes
    """
    if ctx.invoked_subcommand is None:
        _list_collections(options)


@collections.command("list")
@shared
def list_collections(options: Shared) -> None:
    """List the collections with their model, text template and fields.

    \b
    Examples:
      kb collections list
      kb collections list --format json
    """
    _list_collections(options)


@collections.command("delete")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@shared
def delete_collection(options: Shared, name: str, dry_run: bool, yes: bool) -> int:
    """Delete the collection NAME: its documents, their history, its jobs, its index.

    There is no way back but a backup. What config.toml declares stays
    declared: the collection is empty then.

    \b
    Examples:
      kb collections delete drafts
      kb collections delete drafts --yes --format json
    """
    with options.open() as base:
        stored = {one.name: one for one in base.stored_collections()}
        count = base.collection(name).count() if name in stored else 0
        if name in stored and not (dry_run or yes):
            if not sys.stdin.isatty():
                raise click.UsageError(
                    f"this would delete '{name}' with {render.counted(count, 'document')}; say --yes to do it"
                )
            question = f"Delete '{name}' with {render.counted(count, 'document')}? There is no way back."
            if not click.confirm(question, err=True):
                options.note("nothing was deleted")
                return 1
        if not dry_run or name not in stored:
            count = base.delete_collection(name)
        declared = name in base.settings.collections
    found = {"collection": name, "documents": count, "dry_run": dry_run}
    if options.format == "json":
        render.print_json(found)
    elif options.format != "table":
        render.print_rows([found], options.format, columns=list(found))
    else:
        print(f"{'would delete' if dry_run else 'deleted'} '{name}' with {render.counted(count, 'document')}")
    if declared:
        options.note(f"config.toml still declares '{name}': take [collections.{name}] out to be rid of it")
    if not dry_run:
        options.note("kb compact gives the room to the disk")
    return 0


def _list_collections(options: Shared) -> None:
    from kb.config import describe_type

    with options.open() as base:
        rows: list[dict[str, Any]] = []
        for name in base.names() if options.collection is None else [options.collection]:
            collection = base.collection(name)
            rows.append(
                {
                    "name": name,
                    "documents": collection.count(),
                    "model": collection.model,
                    "key": collection.schema.key,
                    "text": collection.schema.template.source,
                    "fields": {f.name: describe_type(f) for f in collection.schema.fields.values()},
                }
            )
    if options.format != "table":
        render.print_rows(rows, options.format, columns=["name", "documents", "model", "key", "text", "fields"])
        return
    for row in rows:
        print(f"{row['name']}: {render.counted(row['documents'], 'document')}, {row['model']}")
        made = render.table("field", "type", wrap=["type"])
        for field, described in row["fields"].items():
            made.add_row(field, described)
        render.console().print(made)
        print(f"text: {row['text']!r}, key: {row['key']}")


@click.command()
@shared
def models(options: Shared) -> None:
    """List the embedding models: kind, dimension, window in tokens, size, and whether the weights are here.

    verified: here, and the ones on record. here: nothing is on record to
    compare them with. unusable: here, but not the right ones, or not whole.

    \b
    Examples:
      kb models
      kb models --format json
    """
    from kb.embed import list_models
    from kb.errors import NoKnowledgeBaseError

    try:
        configured = options.settings().models
    except NoKnowledgeBaseError:
        configured = {}
    found = list_models(configured)
    rows = [
        {
            "id": m.id,
            "kind": m.kind,
            "dimension": m.dimension,
            "window": m.window,
            "size_bytes": m.size_bytes,
            "local": m.local,
            "verified": m.verified,
            "where": m.where,
        }
        for m in found
    ]
    if options.format != "table":
        render.print_rows(rows, options.format, columns=list(rows[0]))
        return
    _print_models(found)
    for m in found:
        if m.verified is False:
            options.note(f"note: {m.id}: {m.where}")


def _print_models(found: Sequence[ModelInfo]) -> None:
    from rich.cells import cell_len

    screen = render.console()
    figures = [_figures(m) for m in found]
    widths = [max(map(cell_len, column)) for column in zip(_FIGURES, *figures, strict=True)]
    names = max(cell_len(text) for text in ("model", *(m.id for m in found)))
    kinds = max(cell_len(text) for text in ("kind", *(m.kind for m in found)))
    beside = names + kinds + sum(widths) + 3 * (len(widths) + 1) <= screen.width
    # A name is typed: where there is no room for it and its kind side by side, its kind stands below it.
    made = render.table("model", *(["kind"] if beside else []), *_FIGURES, right=_FIGURES[:-1], wrap=["model"])
    for m, row in zip(found, figures, strict=True):
        name = render.short(m.id, render.MAX_ID)
        made.add_row(*([name, m.kind] if beside else [f"{name}\n  {m.kind}"]), *row)
    screen.print(made)


def _figures(model: ModelInfo) -> tuple[str, ...]:
    from kb.embed import UNLIMITED

    size = f"{model.size_bytes / 1e6:,.0f}" if model.size_bytes else "–"
    window = "any" if model.window == UNLIMITED else str(model.window or "–")
    return str(model.dimension or "–"), window, size, _weights(model)


def _weights(model: ModelInfo) -> str:
    """Return where the weights are, in a word or two."""
    if model.kind in ("hashing", "http"):
        return {"hashing": "built in", "http": "server"}[model.kind]
    if model.verified is False:
        return "unusable"
    if not model.local:
        return "not here"
    return "verified" if model.verified else "here"


@click.command()
@shared
def config(options: Shared) -> None:
    """Show the settings in force: the file, the environment and the defaults together.

    The imports in it are checked as far as that is possible without their
    files.

    \b
    Examples:
      kb config
      kb config --format json
    """
    settings = options.settings()
    if settings.imports:
        from kb.ingest import check_imports

        check_imports(settings)
    found: dict[str, Any] = {
        "root": str(settings.root),
        "storage": str(settings.storage),
        "index": settings.index.place_in_words,
        "store_text": settings.store_text,
        "collections": sorted(settings.collections),
        "models": sorted(settings.models),
        "imports": {name: said.said() for name, said in sorted(settings.imports.items())},
    }
    if options.format == "json":
        render.print_json(found)
    elif options.format != "table":
        render.print_rows([found], options.format, columns=list(found))
    else:
        made = render.table("setting", "value", wrap=["value"])
        imports = found.pop("imports")
        found |= {f"imports.{name}.{key}": value for name, said in imports.items() for key, value in said.items()}
        for name, value in found.items():
            made.add_row(name, render.short(value, 500) or "–")
        render.console().print(made)
