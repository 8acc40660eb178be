"""``kb inspect``."""

from __future__ import annotations

import functools
import glob
import os
import shlex
import sys
import textwrap
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kb.cli import render
from kb.cli.options import Shared, shared
from kb.cli.running import PERCENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kb.config import Settings
    from kb.ingest.inspect import Finding, InspectedColumn, Inspection, InspectProgress, KeyCandidate, Proposal
    from kb.sources import Reading

_FIGURES: Final = ("column", "type", "missing", "distinct", "length")
_EXAMPLE_ROOM: Final = 8
_NAME_ROOM: Final = 24
_FINDINGS: Final = 20
_TEXT_FORMATS: Final = ("csv", "tsv", "json", "jsonl", "markdown")


def _formats() -> tuple[str, ...]:
    from kb.sources import Format

    return tuple(str(format) for format in Format)


_READING: Final = (
    click.option("--input", type=click.Choice(_formats()), help="The format, where no suffix says it."),
    click.option("--encoding", metavar="NAME", help="Of text; default UTF-8."),
    click.option("--delimiter", metavar="CHAR", help="What separates cells; default: by the header."),
    click.option("--quote", metavar="CHAR", help='What encloses a cell that holds a delimiter; default ".'),
    click.option("--header/--no-header", default=True, help="Whether the first row has names; else column_1, …"),
    click.option("--records", metavar="PATH", help="Where in a JSON document the list is, e.g. response.items."),
    click.option("--sheet", metavar="NAME", help="Of a workbook."),
    click.option("--sql", metavar="QUERY", help="What gives the rows of an SQLite file."),
)
"""As those of ``kb import``."""


def _reading_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say how to read a file; it takes them as its argument ``reading``."""

    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> None:
        from kb.sources import Format, Reading

        said = {name: options.pop(name) for name in ("encoding", "delimiter", "quote", "header", "records")}
        said |= {name: options.pop(name) for name in ("sheet", "sql")}
        format = options.pop("input")
        function(*args, **options, reading=Reading(format=None if format is None else Format(format), **said))

    for option in reversed(_READING):
        wrapper = option(wrapper)
    return wrapper


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--rows", type=click.IntRange(min=1), metavar="N", help="Look at the first N rows only.")
@click.option("--name", metavar="NAME", help="Of the proposed collection; default: the file's name.")
@click.option("--model", metavar="ID", help="Measure texts with this model; default: the collection's.")
@click.option("--toml", is_flag=True, help="Print only the proposal.")
@click.option("--write", is_flag=True, help="Put the proposal into config.toml.")
@_reading_options
@shared
def inspect(
    options: Shared,
    files: tuple[str, ...],
    rows: int | None,
    name: str | None,
    model: str | None,
    toml: bool,
    write: bool,
    reading: Reading,
) -> None:
    """Show what FILEs hold, and propose a collection that fits them.

    - is stdin, a folder means its text files. Several files must be of one
    shape, as for an import. All is read: types with what spoils them, missing and distinct
    values, what could be the key and the text, and what to look at before
    importing. Nothing is imported. --write declares the proposed collection
    in the config.toml of the knowledge base, names that file, and makes one
    here where there is none.

    \b
    Examples:
      kb inspect data/articles.csv
      kb inspect export.csv --encoding cp1252 --name customers --write
    """
    from kb.ingest.inspect import inspect_steps

    root, settings = _knowledge_base(options)
    steps = inspect_steps(
        files,
        reading,
        rows=rows,
        model=model or _model(options, settings),
        models=settings.models if settings else None,
        name=name,
        named=[_as_configured(file, root) for file in files],
    )
    found = _run(options, steps)
    written = _write(found, root) if write else None
    if toml:
        print(_proposed(found).to_toml(), end="")
    else:
        _print(options, found, written, _place(root, written))
    if written is not None:
        proposal = _proposed(found)
        options.note(f"wrote the collection '{proposal.name}' into {written}")
        options.note(f"next: {_next(proposal, files, several=bool(settings and settings.collections))}")


def _knowledge_base(options: Shared) -> tuple[Path, Settings | None]:
    """Return the folder where a proposal would be written, and the settings if there are any."""
    from kb.errors import NoKnowledgeBaseError

    try:
        settings = options.settings()
    except NoKnowledgeBaseError:
        return Path(options.directory or os.environ.get("KB_HOME") or "."), None
    return settings.root, settings


def _model(options: Shared, settings: Settings | None) -> str:
    """Return the model of the collection that is named, or of the only one, else the default."""
    from kb.config import DEFAULT_MODEL
    from kb.errors import NotFoundError, nearest

    collections = {} if settings is None else settings.collections
    if options.collection is not None and options.collection not in collections:
        hint = nearest(options.collection, collections) or "name the new collection with --name"
        raise NotFoundError(f"there is no collection '{options.collection}'", hint=hint)
    if options.collection is not None:
        return collections[options.collection].model
    return next(iter(collections.values())).model if len(collections) == 1 else DEFAULT_MODEL


def _as_configured(file: str, root: Path) -> str:
    """Return the pattern by which config.toml names a file: relative to its own folder where the file lies below."""
    from kb.ingest.inspect import as_pattern

    if file == "-":
        return file
    path = Path(as_pattern(os.path.abspath(file)))  # noqa: PTH100 - links stay as they are
    base = Path(glob.escape(os.path.abspath(root)))  # noqa: PTH100
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def _next(proposal: Proposal, files: tuple[str, ...], *, several: bool) -> str:
    """Return the command that imports the files."""
    if proposal.imports is not None:
        return f"kb import {'- ' if files == ('-',) else ''}--use {proposal.name}"
    return f"kb import {shlex.join(files)}" + (f" -c {proposal.name}" if several else "")


def _proposed(found: Inspection) -> Proposal:
    from kb.errors import SourceError

    if found.proposal is None:
        what = "no rows" if not found.rows else "no row or column that can be used"
        raise SourceError(f"{found.name}: {what}, so there is nothing to propose", unchanged="nothing was written")
    return found.proposal


def _write(found: Inspection, root: Path) -> Path:
    from kb.first_config import add_collection

    return add_collection(root, _proposed(found))


def _run(options: Shared, steps: Iterable[InspectProgress]) -> Inspection:
    last: InspectProgress | None = None
    with _shown(options) as show:
        for last in steps:
            show(last)
    assert last is not None
    assert last.inspection is not None
    return last.inspection


@contextmanager
def _shown(options: Shared) -> Iterator[Callable[[InspectProgress], None]]:
    """Yield what shows a step: a bar on a terminal once it takes longer than a second, else nothing."""
    if options.quiet or not sys.stderr.isatty():
        yield lambda _step: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    share = TaskProgressColumn(PERCENT)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), share, TimeRemainingColumn())
    began = time.monotonic()
    bar = Progress(*columns, console=Console(stderr=True), expand=True, transient=True)
    task = bar.add_task("", total=None)

    def show(step: InspectProgress) -> None:
        if time.monotonic() - began > 1 and not bar.live.is_started:
            bar.start()
        bar.update(task, description=f"{step.rows:,} rows", completed=step.position, total=step.total)

    try:
        yield show
    finally:
        bar.stop()


def _place(root: Path, written: Path | None) -> str:
    """Return where the proposal stands, or would: the file's name where it lies here, else its path."""
    from kb.config import FILE_NAME

    path = (root / FILE_NAME).resolve()
    shown = FILE_NAME if path.parent == Path.cwd().resolve() else str(path)
    return f"Proposed; --write puts it into {shown}." if written is None else f"Proposed, and written into {shown}."


def _print(options: Shared, found: Inspection, written: Path | None, place: str) -> None:
    if options.format == "json":
        render.print_json(_object(found, written))
    elif options.format == "table":
        _print_report(found, place)
    else:
        rows = [asdict(column) for column in found.columns]
        render.print_rows(rows, options.format, columns=list(rows[0]) if rows else ["name"])
        for finding in found.findings[:_FINDINGS]:
            options.note(f"note: {_said(finding)}")
        if more := _more(found):
            options.note(f"note: {more}")


def _object(found: Inspection, written: Path | None) -> dict[str, Any]:
    shown = asdict(found)
    if found.proposal is not None:
        shown["proposal"]["toml"] = found.proposal.to_toml()
    return shown if written is None else {**shown, "written": str(written)}


def _print_report(found: Inspection, place: str) -> None:
    width = render.console().width
    print(textwrap.fill(render.plain(" · ".join(_facts(found))), width))
    if found.columns:
        print()
        _print_columns(found.columns, found.rows - found.unreadable, width)
        print()
    for line in [*_roles(found), *_findings(found)]:
        print(textwrap.fill(render.plain(line), width, subsequent_indent="  ", break_on_hyphens=False))
    if found.proposal is not None:
        print()
        print(textwrap.fill(place, width, initial_indent="# ", subsequent_indent="# ", break_long_words=False))
        print(found.proposal.to_toml(), end="")


def _facts(found: Inspection) -> Iterator[str]:
    names = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
    yield found.name
    yield {"jsonl": "JSON Lines", "csv": "CSV", "tsv": "TSV", "json": "JSON", "sqlite": "SQLite"}.get(
        found.format, found.format.capitalize()
    )
    if found.format in _TEXT_FORMATS:
        yield {"utf-8": "UTF-8", "utf-8-sig": "UTF-8 with a byte order mark"}.get(found.encoding, found.encoding)
    if found.delimiter is not None:
        quote = f", quoted with {found.quote}" if found.quote else ", nothing quoted"
        yield f"cells separated by {names.get(found.delimiter, repr(found.delimiter))}{quote}"
        yield "with a header" if found.header else "no header"
    if found.records is not None:
        yield f"records under '{found.records}'"
    yield render.counted(found.rows, "row") if found.complete else f"the first {render.counted(found.rows, 'row')} only"
    yield render.counted(len(found.columns), "column")
    if found.bytes is not None:
        yield render.counted(found.bytes, "byte")


def _print_columns(columns: tuple[InspectedColumn, ...], rows: int, width: int) -> None:
    lines = all(column.longest_place == f"on line {column.longest_line}" for column in columns if column.values)
    figures = (*_FIGURES, "at line" if lines else "longest")
    cells = [_cells(column, rows, at_line=lines) for column in columns]
    widths = [max(len(row[i]) for row in [figures, *cells]) for i in range(len(figures))]
    # The table puts a space on both sides of a cell and a rule's width between two.
    room = width - sum(widths) - 3 * len(widths) - 1
    heads = [*figures, *(["examples"] if room >= _EXAMPLE_ROOM else [])]
    made = render.table(*heads, right=["missing", "distinct", "length", "at line"])
    for column, row in zip(columns, cells, strict=True):
        examples = render.short(" · ".join(column.examples), room) if room >= _EXAMPLE_ROOM else ""
        made.add_row(*row, *([examples] if room >= _EXAMPLE_ROOM else []))
    render.console().print(made)


def _cells(column: InspectedColumn, rows: int, *, at_line: bool) -> tuple[str, ...]:
    share = 100 * column.missing / rows if rows else 0
    percent = f"{share:.0f} %" if share >= 1 else "<1 %"
    length = f"{column.shortest:,}" if column.shortest == column.longest else f"{column.shortest:,}–{column.longest:,}"
    place = str(column.longest_line) if at_line else render.short(column.longest_place, _NAME_ROOM)
    return (
        render.short(column.name, _NAME_ROOM),
        column.type or "none fits",
        f"{column.missing:,} ({percent})" if column.missing else "–",
        f"{'' if column.distinct_exact else '≥ '}{column.distinct:,}",
        length if column.values else "–",
        place if column.values else "–",
    )


def _roles(found: Inspection) -> Iterator[str]:
    if found.keys:
        names = [" + ".join(key.columns) + _doubt(key) for key in found.keys]
        others = f"; also unique: {', '.join(names[1:6])}" if len(names) > 1 else ""
        yield f"key: {names[0]}{others}"
    words = {column.name: column.mean_words for column in found.columns}
    for text in found.texts:
        measured = ""
        if text.measured:
            measured = f", {text.over:,} of {text.measured:,} longer than the {found.window.tokens} tokens of "
            measured += found.window.model
        yield f"text: {text.column}, {words[text.column]:.0f} words on average{measured}"
    if found.texts and found.window.problem is not None:
        yield f"tokens were not counted: {found.window.problem}"


def _doubt(key: KeyCandidate) -> str:
    if key.repeated:
        return f" ({render.counted(key.repeated, 'value')} {'repeats' if key.repeated == 1 else 'repeat'})"
    return "" if key.proven else " (so far)"


def _findings(found: Inspection) -> Iterator[str]:
    for finding in found.findings[:_FINDINGS]:
        if finding.topic != "window":  # stands with the text already
            yield f"{'note:' if finding.topic == 'note' else '!'} {_said(finding)}"
    if more := _more(found):
        yield more


def _said(finding: Finding) -> str:
    return finding.message if finding.column is None else f"{finding.column}: {finding.message}"


def _more(found: Inspection) -> str:
    more = len(found.findings) - _FINDINGS
    return f"and {more:,} more; --format json has them all" if more > 0 else ""
