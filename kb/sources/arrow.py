"""Parquet files, and everything in memory that speaks Arrow → rows. Imports pyarrow, and only inside functions."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from kb.errors import KBError
from kb.sources.plain import Unreadable, checked_names, plain, typed_row
from kb.sources.source import FileSource, Format

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from kb.sources.input import Input, SourceFingerprint
    from kb.sources.row import Limits, Row

_BATCH_ROWS: Final = 1000
_BUFFER_BYTES: Final = 1024 * 1024


class ParquetSource(FileSource):
    """A Parquet file, read batch by batch; ``line`` is the record's number."""

    textual = False

    def __init__(self, opened: Input, limits: Limits) -> None:
        super().__init__(opened, Format.PARQUET, limits)
        with _arrow_errors(opened), self._file() as file:
            names = file.schema_arrow.names
            self._rows = int(file.metadata.num_rows)
        self.columns = checked_names(names, limits, what=self.name, hint="name every column by a string of its own")
        self._read = 0
        if not self._rows:
            self.notes.append(f"{self.name} has no rows")

    @property
    def total(self) -> int | None:
        """The number of rows."""
        return self._rows

    @property
    def position(self) -> int:
        """How many rows have been read."""
        return self._read

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order; one that holds a value of no known type has a problem."""
        self.begin()
        self._read = 0
        with _arrow_errors(self._input), self._file() as file:
            for row in _rows(file.iter_batches(batch_size=_BATCH_ROWS), self.columns or (), self._limits):
                self._read = row.number
                yield row
        self.check_unchanged()

    def _file(self) -> Any:
        import pyarrow.parquet as pq

        # Threads would read ahead; a buffer in place of whole columns bounds the memory.
        return pq.ParquetFile(self._input.local(), buffer_size=_BUFFER_BYTES, pre_buffer=False)


class ArrowSource:
    """A table in memory."""

    textual = False

    def __init__(self, table: pa.Table, limits: Limits) -> None:
        self.name = "<data frame>"
        self.format = self.rejects = Format.JSONL
        self.encoding = "utf-8"
        self.notes: list[str] = []
        self.position = 0
        self.delimiter: str | None = None
        self.columns: tuple[str, ...] | None = checked_names(
            table.column_names, limits, what="the table", hint="name every column by a string of its own"
        )
        self.total: int | None = int(table.num_rows)
        self._table = table
        self._limits = limits
        if not self.total:
            self.notes.append(f"{self.name} has no rows")

    def place(self, line: int) -> str:
        """Return in words where the row of that number stands."""
        return f"on line {line}"

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order; one that holds a value of no known type has a problem."""
        for row in _rows(self._table.to_batches(max_chunksize=_BATCH_ROWS), self.columns or (), self._limits):
            self.position = row.number
            yield row

    def fingerprint(self) -> SourceFingerprint | None:
        """Return None: a table in memory cannot be found again by another process."""
        return None

    def check_unchanged(self) -> None:
        """Do nothing: a table in memory does not change."""


@contextmanager
def _arrow_errors(opened: Input) -> Iterator[None]:
    """Turn what pyarrow raises about a damaged file into an error of the source."""
    import pyarrow as pa

    try:
        yield
    except KBError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise opened.broken(f"the Parquet data cannot be read: {reason}") from None


def _rows(batches: Iterable[pa.RecordBatch], names: tuple[str, ...], limits: Limits) -> Iterator[Row]:
    number = 0
    converters = [plain] * len(names)
    for batch in batches:
        columns = [_values(batch.column(index)) for index in range(len(names))]
        for cells in zip(*columns, strict=True):
            number += 1
            yield typed_row(number, number, names, cells, converters, limits=limits)


def _values(column: pa.Array) -> list[Any]:
    """Return the values of a column; one that Python cannot hold costs its row only."""
    import pyarrow as pa

    try:
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            column = column.cast(pa.timestamp("us", column.type.tz))
        return list(column.to_pylist())
    except (pa.ArrowException, ValueError, OverflowError, KeyError):
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    import pyarrow as pa

    try:
        if pa.types.is_timestamp(scalar.type) and scalar.type.unit == "ns":
            scalar = scalar.cast(pa.timestamp("us", scalar.type.tz))
        return scalar.as_py()
    except UnicodeError:
        return Unreadable("the text is not valid UTF-8")
    except (pa.ArrowException, ValueError, OverflowError, KeyError) as error:
        return Unreadable(" ".join(str(error).split())[:200])
