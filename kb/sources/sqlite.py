"""The rows that a query gives over an SQLite file, which is never written to."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from kb.errors import UsageError
from kb.sources.input import changed_error
from kb.sources.lines import undecodable
from kb.sources.plain import Unreadable, checked_names, plain, typed_row
from kb.sources.source import FileSource, Format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kb.sources.input import Input, SourceFingerprint
    from kb.sources.reading import Reading
    from kb.sources.row import Limits, Row

_EXAMPLE: Final = "SELECT id, title, body FROM articles"
_ALLOWED: Final = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
)
_BUSY_SECONDS: Final = 5.0
_WAL_VERSION: Final = b"\x02\x02"


class SqliteSource(FileSource):
    """One SELECT over an SQLite file; ``line`` is the record's number.

    The query sees the file as one transaction does. A write-ahead log that another program has not folded in yet is
    read with it, and belongs to what must not change.
    """

    textual = False

    def __init__(self, opened: Input, reading: Reading, limits: Limits) -> None:
        super().__init__(opened, Format.SQLITE, limits)
        self._path = opened.local()
        self._log = self._log_state()
        self._sql = reading.sql or ""
        with self._errors(), closing(self._connect()) as connection:
            if not self._sql.strip():
                raise self._no_query(connection)
            self.columns = self._checked_query(connection)

    @property
    def total(self) -> int | None:
        """None: how many rows there are is known at the end."""
        return None

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order; see ``Source.rows``."""
        self.begin()
        number = 0
        names = self.columns or ()
        converters = [_converted] * len(names)
        with self._errors(), closing(self._connect()) as connection:
            connection.set_authorizer(_authorize)
            for cells in connection.execute(self._sql):
                number += 1
                yield typed_row(number, number, names, cells, converters, limits=self._limits)
        self.check_unchanged()
        if not number:
            self.notes.append(f"{self.name}: the query gives no rows")

    def fingerprint(self) -> SourceFingerprint | None:
        """Return what identifies the content, with the write-ahead log beside it; None for a pipe."""
        found = super().fingerprint()
        return replace(found, digest=f"{found.digest}{self._log}") if found is not None else None

    def check_unchanged(self) -> None:
        """Raise ``SourceChangedError`` when the file or its write-ahead log is not what it was."""
        super().check_unchanged()
        if self._log_state() != self._log:
            raise changed_error(self.name, "another program has written to it")

    def _connect(self) -> sqlite3.Connection:
        # Without a log, a file in WAL mode could be read only by making one beside it, unless it is called immutable.
        with open(self._path, "rb") as file:
            wal = file.read(20)[18:] == _WAL_VERSION
        immutable = "&immutable=1" if wal and not self._log else ""
        connection = sqlite3.connect(
            f"file:{quote(os.path.abspath(self._path))}?mode=ro{immutable}", uri=True, timeout=_BUSY_SECONDS
        )
        # What is no UTF-8 costs its row, not the query.
        connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        # A view or index of the file must not call more than what SQL itself has.
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    def _log_state(self) -> str:
        try:
            status = os.stat(f"{self._path}-wal")
        except OSError:
            return ""
        return f"-{status.st_size}-{status.st_mtime_ns}" if status.st_size else ""

    def _checked_query(self, connection: sqlite3.Connection) -> tuple[str, ...]:
        connection.set_authorizer(_authorize)
        try:
            cursor = connection.execute(self._sql)
        except (sqlite3.ProgrammingError, sqlite3.Warning) as error:
            raise UsageError(f"--sql: {_sentence(error)}", hint=f"give one SELECT, e.g. {_EXAMPLE}") from None
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_AUTH:
                raise UsageError("--sql may only read", hint=f"give one SELECT, e.g. {_EXAMPLE}") from None
            if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
                connection.set_authorizer(None)
                hint = f"its tables: {', '.join(_tables(connection))}"
                raise UsageError(f"--sql: {_sentence(error)}", hint=hint) from None
            raise
        if cursor.description is None:
            raise UsageError("--sql holds no query", hint=f"give one SELECT, e.g. {_EXAMPLE}")
        names = [column[0] for column in cursor.description]
        return checked_names(names, self._limits, what="the query", hint="name it: SELECT … AS name")

    def _no_query(self, connection: sqlite3.Connection) -> UsageError:
        tables = _tables(connection)
        if not tables:
            return UsageError(f"{self.name} is an SQLite database without tables", unchanged="nothing was imported")
        return UsageError(
            f"{self.name} is an SQLite database; its tables: {', '.join(tables)}",
            unchanged="nothing was imported",
            hint=f"say which rows: --sql 'SELECT * FROM {tables[0]}'",
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeError) as error:  # names in a damaged schema may be no text
            raise self._input.broken(f"the database cannot be read: {_sentence(error)}") from None


def _authorize(action: int, *_: Any) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _tables(connection: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name"
    return [str(name) for (name,) in connection.execute(query)]


def _converted(value: Any) -> object:
    if isinstance(value, str) and not value.isascii() and (problem := undecodable(value, "utf-8", 1)):
        value = Unreadable(problem.partition(": ")[2])
    return plain(value)


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:1].lower() + text[1:200].rstrip(".")
