"""From rows to columns, batch by batch: the one pass over an input."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final, cast

from kb.ingest.inspect.columns import ColumnState
from kb.ingest.inspect.distinct import Distinct
from kb.ingest.inspect.inspection import Example
from kb.ingest.inspect.shapes import Shape, spelled

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from kb.ingest.inspect.measure import Ruler
    from kb.sources import Row, Source

MAX_COLUMNS: Final = 1_000
_BATCH_ROWS: Final = 4_000
_BATCH_CHARACTERS: Final = 4_000_000
_MAX_DISTINCT: Final = 2_000_000
_ALL_DISTINCT: Final = 8_000_000
"""All columns together remember no more: 16 bytes each, 128 MB."""
_SHOWN: Final = 3


class Survey:
    """Everything that was seen so far.

    Attributes:
        columns: The state of each column by name or path.
        rows: How many rows were read.
        unreadable: How many of them had a problem.
        problems: The first of these.
        duplicates: Rows that are the same as an earlier one.
        more: Whether there were rows beyond the number that was asked for.
        too_many: Whether there were more different keys than are looked at.
    """

    def __init__(self, source: Source, ruler: Ruler) -> None:
        self.columns: dict[str, ColumnState] = {}
        self.rows = 0
        self.unreadable = 0
        self.problems: list[Example] = []
        self.duplicates = Distinct(_MAX_DISTINCT)
        self.more = False
        self.too_many = False
        self._source = source
        self._ruler = ruler
        self._most = min(_MAX_DISTINCT, _ALL_DISTINCT // max(len(source.columns or ()), 4))
        for name in source.columns or ():
            self._state(name)

    @property
    def states(self) -> list[ColumnState]:
        """The columns that hold values of their own: not those that only ever hold an object with values in it."""
        paths = [name for name, state in self.columns.items() if state.values]
        return [
            state
            for name, state in self.columns.items()
            if state.values > state.shapes[Shape.NESTED] or not any(path.startswith(f"{name}.") for path in paths)
        ]

    @property
    def readable(self) -> int:
        """How many rows had no problem."""
        return self.rows - self.unreadable

    def read(self, most: int | None) -> Iterator[int]:
        """Read the input, or its first ``most`` rows, yielding the number of rows after every batch."""
        for batch in batches(self._source, None if most is None else most + 1):
            if most is not None and self.rows + len(batch) > most:
                self.more = True
                batch.pop()
            self.rows += len(batch)
            readable = [row for row in batch if row.problem is None]
            if len(readable) < len(batch):
                self._add_problems(row for row in batch if row.problem is not None)
            if readable:
                self._add(readable)
            yield self.rows

    def _add(self, rows: Sequence[Row]) -> None:
        lines = [row.line for row in rows]
        raw = [row.raw if isinstance(row.raw, str) else repr(row.values) for row in rows]
        self.duplicates.add(dict(zip(reversed(raw), reversed(lines), strict=True)), raw, lines)
        if self._source.textual:
            for name, cells in zip(self.columns, zip(*(row.values.values() for row in rows), strict=True), strict=True):
                self.columns[name].add_texts(cells, lines)
            return
        for name, (values, texts, places) in by_path(rows).items():
            state = self._state(name)
            if state is not None:
                state.add_natives(values, texts, places)

    def _state(self, name: str) -> ColumnState | None:
        if name not in self.columns:
            if len(self.columns) >= MAX_COLUMNS:
                self.too_many = True
                return None
            self.columns[name] = ColumnState(name, self._source, most=self._most, ruler=self._ruler)
        return self.columns[name]

    def _add_problems(self, rows: Iterator[Row]) -> None:
        for row in rows:
            self.unreadable += 1
            if len(self.problems) < _SHOWN:
                self.problems.append(Example(row.problem or "", row.line))


def batches(source: Source, most: int | None) -> Iterator[list[Row]]:
    """Yield the rows in lists that are worth a round of work, at most ``most`` rows in all."""
    batch: list[Row] = []
    size = read = 0
    rows = source.rows()
    # Every source's rows are a generator; closing it closes the file.
    with closing(cast("Generator[Row]", rows)):
        for row in rows:
            batch.append(row)
            read += 1
            size += len(row.raw) if isinstance(row.raw, str) else 100
            if read == most:
                break
            if len(batch) >= _BATCH_ROWS or size >= _BATCH_CHARACTERS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def by_path(rows: Sequence[Row]) -> dict[str, tuple[list[object], list[str], list[int]]]:
    """Return the values that are not null, their texts and their lines, by path into the nested objects."""
    found: dict[str, tuple[list[object], list[str], list[int]]] = {}
    for row in rows:
        for path, value in _flat(row.values, ""):
            values, texts, lines = found.setdefault(path, ([], [], []))
            values.append(value)
            texts.append(spelled(value))
            lines.append(row.line)
    return found


def _flat(values: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, dict):
            # The object itself counts, too: where other rows have a value in its place, no type takes both.
            yield prefix + key, {}
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield prefix + key, value
