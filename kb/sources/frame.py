"""Data frames → rows of Python values. Imports pandas and pyarrow, and only inside functions."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any, Final

from kb.errors import UsageError
from kb.sources.arrow import ArrowSource
from kb.sources.plain import checked_names, plain, typed_row, whole
from kb.sources.row import Limits
from kb.sources.source import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from kb.sources.input import SourceFingerprint
    from kb.sources.row import Row

_BLOCK_ROWS: Final = 1000
_AS_THEY_ARE: Final = (str, bool, int, dt.date)


class FrameSource:
    """A pandas data frame.

    Missing values (NaN, NaT, ``pd.NA``) are None. A whole float gives an int, which fits int and float fields alike:
    floats are what pandas makes of ints as soon as a column has a gap. A column of timestamps without a zone that are
    all midnight gives dates. Every other value keeps its type; the index is left out.
    """

    textual = False

    def __init__(self, frame: pd.DataFrame, limits: Limits) -> None:
        self.name = "<data frame>"
        self.format = self.rejects = Format.JSONL
        self.encoding = "utf-8"
        self.notes: list[str] = []
        self.position = 0
        self.delimiter: str | None = None
        self.columns: tuple[str, ...] | None = checked_names(
            list(frame.columns),
            limits,
            what="the data frame",
            hint="name every column by a string: frame.columns = [...]",
        )
        self.total: int | None = len(frame)
        self._frame = frame
        self._limits = limits
        if not len(frame):
            self.notes.append(f"{self.name} has no rows")
        if any(name is not None for name in frame.index.names):
            named = ", ".join(str(name) for name in frame.index.names)
            self.notes.append(f"{self.name}: the index ({named}) is not imported; reset_index() makes it a column")

    def place(self, line: int) -> str:
        """Return in words where the row of that number stands."""
        return f"on line {line}"

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order; one that holds a value of no known type has a problem."""
        columns = self.columns or ()
        converters = [_converter(self._frame.iloc[:, i]) for i in range(len(columns))]
        self.position = 0
        for start in range(0, len(self._frame), _BLOCK_ROWS):
            block = self._frame.iloc[start : start + _BLOCK_ROWS]
            lists = [block.iloc[:, i].tolist() for i in range(len(columns))]
            for number, cells in enumerate(zip(*lists, strict=True), start=start + 1):
                yield self._row(number, columns, converters, cells)
                self.position = number

    def _row(
        self, number: int, columns: tuple[str, ...], converters: list[Callable[[Any], object]], cells: tuple[Any, ...]
    ) -> Row:
        return typed_row(number, number, columns, cells, converters, limits=self._limits)

    def fingerprint(self) -> SourceFingerprint | None:
        """Return None: a data frame cannot be found again by another process."""
        return None

    def check_unchanged(self) -> None:
        """Do nothing: a data frame is in the hands of the caller."""


def open_frame(frame: object, *, limits: Limits = Limits()) -> FrameSource | ArrowSource:
    """Return a table in memory as a source.

    Args:
        frame: A ``pandas.DataFrame``, a ``pyarrow.Table``, or anything with ``__arrow_c_stream__`` or ``to_pandas``;
            its columns are named by different strings.
        limits: What it may measure.

    Raises:
        UsageError: It is none of these.
        SourceError: Its columns cannot be used.
    """
    import pandas as pd

    if isinstance(frame, pd.DataFrame):
        return FrameSource(frame, limits)
    if hasattr(frame, "__arrow_c_stream__"):
        import pyarrow as pa

        return ArrowSource(pa.table(frame), limits)
    if hasattr(frame, "to_pandas") and isinstance(found := frame.to_pandas(), pd.DataFrame):
        return FrameSource(found, limits)
    raise UsageError(f"a pandas data frame or an Arrow table is needed, not {type(frame).__name__}")


def _converter(column: pd.Series[Any]) -> Callable[[Any], object]:
    """Return what turns one value of the column into a Python value."""
    import pandas as pd

    present = column.dropna()
    kind = column.dtype
    if pd.api.types.is_float_dtype(kind):
        return _whole
    if pd.api.types.is_datetime64_dtype(kind) and len(present) and bool((present.dt.normalize() == present).all()):
        return _day
    return _python


def _whole(value: Any) -> object:
    """Return an int for a whole float, unless the float says more: that it is large, or a negative zero."""
    value = _python(value)
    return whole(value) if isinstance(value, float) else value


def _day(value: Any) -> object:
    value = _python(value)
    return value.date() if isinstance(value, dt.datetime) else value


def _python(value: Any) -> object:
    """Return the value in plain Python; ``ValueError`` says why it has none."""
    import numpy as np
    import pandas as pd

    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64):
        value = value.item()
    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, pd.Timestamp):
        if value.nanosecond:
            raise ValueError(f"{value.isoformat()} has nanoseconds; round it: .dt.floor('us')")
        return value.to_pydatetime()
    if isinstance(value, np.ndarray | list | tuple):
        return [_python(item) for item in value]
    if isinstance(value, dict):
        return {key: _python(item) for key, item in value.items()}
    return value if isinstance(value, _AS_THEY_ARE) else plain(value)
