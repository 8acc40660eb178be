"""``kb init``, ``kb collections``, ``kb models`` and ``kb config``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kb.cli import render
from kb.cli.options import Shared, shared

_NUMBERS = ("dimension", "window", "MB")


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


@click.command()
@shared
def collections(options: Shared) -> None:
    """List the collections with their model, text template and fields.

    \b
    Examples:
      kb collections
      kb collections --format json
    """
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

    \b
    Examples:
      kb models
      kb models --format json
    """
    from kb.embed import UNLIMITED, list_models
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
    made = render.table(
        "model", "kind", "dimension", "window", "MB", "local", "verified", right=_NUMBERS, wrap=["model"]
    )
    for m in found:
        size = f"{m.size_bytes / 1e6:,.0f}" if m.size_bytes else "–"
        verified = {True: "yes", False: "no", None: "–"}[m.verified]
        window = "any" if m.window == UNLIMITED else str(m.window or "–")
        made.add_row(m.id, m.kind, str(m.dimension or "–"), window, size, "yes" if m.local else "no", verified)
    render.console().print(made)


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
