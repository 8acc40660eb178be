"""The options of ``kb import``: what they say, laid over what ``[imports.NAME]`` says."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import click

from kb.import_config import ImportSettings, share

if TYPE_CHECKING:
    from collections.abc import Callable

    from kb.config import Settings
    from kb.ingest import ImportRequest

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the options say.

    Attributes:
        said: What ``[imports.NAME]`` could say as well.
        use: ``--use``.
        dry_run: ``--dry-run``.
        preview: ``--preview``; None for none.
        plan: ``--plan``; None for none.
        apply: ``--apply``; None for none.
    """

    said: ImportSettings
    use: str | None
    dry_run: bool
    preview: int | None
    plan: str | None
    apply: str | None


class _Percentage(click.ParamType[float]):
    name = "percentage"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return share(value)
        except ValueError as error:
            self.fail(f"'{value}' {error}.", param, ctx)


class _Bound(click.ParamType[float]):
    """A number of rows, which is an int, or a share, which is a float."""

    name = "number or percentage"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return value
        try:
            return int(value) if value.isascii() and value.isdecimal() else share(value)
        except ValueError:
            self.fail(f"'{value}' is neither a number of rows nor a percentage (write 100, or 5%).", param, ctx)


FORMATS: Final = ("csv", "tsv", "json", "jsonl", "parquet", "excel", "sqlite", "markdown")
"""Those of ``kb.sources``, which is not imported to print a help text; a test holds the two equal."""

_OPTIONS: Final = (
    # How to read.
    click.option("--input", type=click.Choice(FORMATS), help="The format, where no suffix says it."),
    click.option("--encoding", metavar="NAME", help="Of text; default UTF-8."),
    click.option("--delimiter", metavar="CHAR", help="What separates cells; default: by the header."),
    click.option("--quote", metavar="CHAR", help='What encloses a cell that holds a delimiter; default ".'),
    click.option("--header/--no-header", default=None, help="Whether the first row has names; else column_1, …"),
    click.option("--records", metavar="PATH", help="Where in a JSON document the list is, e.g. response.items."),
    click.option("--sheet", metavar="NAME", help="Of a workbook."),
    click.option("--sql", metavar="QUERY", help="What gives the rows of an SQLite file."),
    # What fills what.
    click.option("--map", "maps", multiple=True, metavar="COLUMN=FIELD", help="Fill a field (or id) from a column."),
    click.option("--set", "constants", multiple=True, metavar="FIELD=VALUE", help="The same value for all rows."),
    click.option(
        "--template", "templates", multiple=True, metavar="FIELD=TEXT", help='Columns in a text: "name={first} {last}".'
    ),
    click.option("--split", "splits", multiple=True, metavar="FIELD=SEP", help="What separates the items of a list."),
    click.option("--date-format", "dates", multiple=True, metavar="FIELD=FORMAT", help="E.g. published=%d.%m.%Y."),
    click.option("--null", "nulls", multiple=True, metavar="WORD", help='Means "missing", as an empty cell does.'),
    click.option("--key", metavar="COL[,COL]", help="What makes the id; @content: a hash of the fields."),
    click.option("--where", metavar="FILTER", help="Read only these rows; a filter over columns."),
    click.option(
        "--unknown-columns", type=click.Choice(("error", "ignore")), help="Neither mapped nor fields; default error."
    ),
    # What happens to rows that are wrong, in conflict, or gone.
    click.option("--on-error", type=click.Choice(("reject", "stop")), help="What a bad row does; default reject."),
    click.option("--max-errors", type=_Bound(), metavar="N|N%", help="Stop when more rows than this are rejected."),
    click.option("--atomic/--no-atomic", default=None, help="All rows or none."),
    click.option("--fail-empty", is_flag=True, default=None, help="No rows at all is an error."),
    click.option("--source", metavar="NAME", help="Where the rows come from, for --sync."),
    click.option(
        "--on-conflict",
        type=click.Choice(("keep", "theirs", "fail")),
        help="With documents edited since; default fail.",
    ),
    click.option("--sync/--no-sync", default=None, help="Delete what has vanished from the source."),
    click.option("--max-delete", type=_Percentage(), metavar="N%", help="The most that a sync deletes; default 10%."),
    # What to do.
    click.option("--use", metavar="NAME", help="Begin with what [imports.NAME] of config.toml says."),
    click.option("--preview", type=int, metavar="N", help="Only show what N rows would become."),
    click.option("--dry-run", is_flag=True, help="Check everything, write nothing."),
    click.option("--plan", metavar="FILE", help="Write what would happen to every document; write nothing else."),
    click.option("--apply", metavar="FILE", help="Do exactly what a plan says, or refuse."),
)


def import_options(function: Callable[Concatenate[ImportOptions, P], R]) -> Callable[P, R]:
    """Give a command the options of an import; it takes them as its first argument."""

    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> R:
        given = ImportOptions(
            _said(options, files=options.pop("files")),
            options.pop("use"),
            options.pop("dry_run"),
            options.pop("preview"),
            options.pop("plan"),
            options.pop("apply"),
        )
        if given.apply is not None and given.said != ImportSettings():
            raise click.UsageError("--apply FILE does what the plan says: give no files and no other options")
        return function(given, *args, **options)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper


def request_from(given: ImportOptions, settings: Settings) -> tuple[ImportRequest, str | None]:
    """Return what is to be imported, and the collection that the configuration names for it.

    Raises:
        UsageError: There is no import of the name that ``--use`` gives, options contradict each other, or no file is
            named.
    """
    from kb.ingest import named_import, request_of

    said = given.said
    if given.use is not None:
        said = named_import(settings, given.use).overridden_by(said)
    if given.said.max_delete is not None and not said.sync:
        raise click.UsageError("--max-delete bounds what --sync deletes: give both")
    if given.said.on_conflict is not None and said.source is None:
        raise click.UsageError("--on-conflict is about documents of a source: give --source NAME as well")
    if not said.files:
        raise click.UsageError("no file to import is named")
    return request_of(said), said.collection


def _said(options: dict[str, Any], *, files: tuple[str, ...]) -> ImportSettings:
    """Take the options of an import out of all options and return them as settings."""
    on_error, max_errors = options.pop("on_error"), options.pop("max_errors")
    if on_error is not None and max_errors is not None:
        raise click.UsageError("--on-error and --max-errors say the same: give one of them")
    columns: dict[str, tuple[str, ...]] = {}
    for column, field in _pairs("--map", options.pop("maps")):
        columns[column] = (*columns.get(column, ()), field)
    key = options.pop("key")
    said = ImportSettings(
        files=files,
        columns={column: fields[0] if len(fields) == 1 else fields for column, fields in columns.items()},
        constants=_once("--set", options.pop("constants")),
        templates=_once("--template", options.pop("templates")),
        split=_once("--split", options.pop("splits")),
        dates=_once("--date-format", options.pop("dates")),
        key=() if key is None else tuple(key.split(",")),
        nulls=options.pop("nulls"),
        format=options.pop("input"),
        # More than all rows is never reached: said so, it also wins over the configuration.
        max_errors={"stop": 0, "reject": 1.0}.get(on_error, max_errors),
    )
    same = (
        *("encoding", "delimiter", "quote", "header", "records", "sheet", "sql", "where", "unknown_columns"),
        *("atomic", "fail_empty", "source", "on_conflict", "sync", "max_delete"),
    )
    return replace(said, **{name: options.pop(name) for name in same})


_SHAPES: Final = {
    "--map": "COLUMN=FIELD",
    "--set": "FIELD=VALUE",
    "--template": "FIELD=TEXT",
    "--split": "FIELD=SEP",
    "--date-format": "FIELD=FORMAT",
}


def _pairs(option: str, values: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = []
    for value in values:
        # The last "=" divides a mapping (a column may hold one), the first the others (a value may).
        left, equals, right = value.rpartition("=") if option == "--map" else value.partition("=")
        if not equals or not left or not right:
            raise click.UsageError(f"{option} {value}: write {_SHAPES[option]}")
        if (left, right) in pairs:
            raise click.UsageError(f"{option} {value} is given twice")
        pairs.append((left, right))
    return pairs


def _once(option: str, values: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for left, right in _pairs(option, values):
        if left in pairs:
            raise click.UsageError(f"{option} names '{left}' twice")
        pairs[left] = right
    return pairs
