"""From what ``[imports.NAME]`` and the options of a command say to an ``ImportRequest``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from kb.errors import ConfigError, UsageError, nearest
from kb.ingest.request import FieldMapping, ImportRequest, OnConflict, Policy, UnknownColumns
from kb.ingest.resolving import resolve
from kb.sources import Format, Reading

if TYPE_CHECKING:
    from enum import StrEnum

    from kb.config import Settings
    from kb.import_config import ImportSettings
    from kb.schema import Schema

    Word = TypeVar("Word", bound=StrEnum)


def named_import(settings: Settings, name: str) -> ImportSettings:
    """Return what ``[imports.NAME]`` says.

    Raises:
        UsageError: There is no such table.
    """
    if name not in settings.imports:
        hint = nearest(name, settings.imports) or f"declare it in {settings.root / 'config.toml'}: [imports.{name}]"
        raise UsageError(f"there is no import '{name}'", unchanged="nothing was imported", hint=hint)
    return settings.imports[name]


def request_of(said: ImportSettings) -> ImportRequest:
    """Return the request that settings stand for, with defaults for what they do not say.

    Raises:
        UsageError: A word is none of its key's, or a sync has no source.
    """
    if said.sync and said.source is None:
        raise UsageError(
            "a sync deletes what has vanished from a source, but no source is named",
            unchanged="nothing was imported",
            hint="name it: --source NAME",
        )
    return ImportRequest(said.files, _reading(said), _mapping(said), _policy(said))


def _reading(said: ImportSettings) -> Reading:
    return Reading(
        None if said.format is None else _word(Format, "format", said.format),
        said.encoding,
        said.delimiter,
        said.quote,
        header=True if said.header is None else said.header,
        records=said.records,
        sheet=said.sheet,
        sql=said.sql,
    )


def _mapping(said: ImportSettings) -> FieldMapping:
    return FieldMapping(
        said.columns,
        said.constants,
        said.templates,
        said.split,
        said.dates,
        said.key,
        said.where,
        said.nulls,
        _word(UnknownColumns, "unknown_columns", said.unknown_columns or UnknownColumns.ERROR),
    )


def _policy(said: ImportSettings) -> Policy:
    defaults, errors = Policy(), said.max_errors
    return Policy(
        atomic=bool(said.atomic),
        max_errors=errors if isinstance(errors, int) else None,
        max_error_share=errors if isinstance(errors, float) else None,
        source=said.source,
        sync=bool(said.sync),
        max_delete=defaults.max_delete if said.max_delete is None else said.max_delete,
        on_conflict=_word(OnConflict, "on_conflict", said.on_conflict or defaults.on_conflict),
        fail_empty=bool(said.fail_empty),
    )


def check_imports(settings: Settings) -> None:
    """Make sure that every ``[imports.NAME]`` can be used, as far as that shows without its files.

    Raises:
        ConfigError: One cannot; the message names it.
    """
    for name, said in settings.imports.items():
        place = f"{settings.root / 'config.toml'}: [imports.{name}]"
        try:
            mapping = request_of(said).mapping
            schema = _schema(settings, said)
            if schema is not None:
                resolve(schema, mapping, None, name="the input", textual=True)
        except UsageError as error:
            raise ConfigError(f"{place}: {error}", hint=error.hint) from None


def _schema(settings: Settings, said: ImportSettings) -> Schema | None:
    """Return the schema of the import's collection; None when it is not declared in the file."""
    declared = settings.collections
    if said.collection is not None:
        if said.collection not in declared and declared:
            hint = nearest(said.collection, declared)
            raise UsageError(f"the collection '{said.collection}' is not declared", hint=hint)
        return declared[said.collection].schema if declared else None
    return next(iter(declared.values())).schema if len(declared) == 1 else None


def _word(words: type[Word], key: str, given: str) -> Word:
    try:
        return words(given)
    except ValueError:
        raise UsageError(f"'{given}' is not a value of {key}", hint=nearest(given, words)) from None
