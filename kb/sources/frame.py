"""Data frames → rows of Python values. The only module that imports pandas, and only inside functions."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any, Final

from kb.errors import UsageError
from kb.sources.input import source_error
from kb.sources.row import Limits, Row
from kb.sources.source import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from kb.sources.input import SourceFingerprint

_BLOCK_ROWS: Final = 1000
_EXACT: Final = 2**53  # up to here, every int has a float of its own
_AS_THEY_ARE: Final = (str, bool, int, dict, dt.date)


class FrameSource:
    """A pandas data frame.

    Missing values (NaN, NaT, ``pd.NA``) are None. A whole float gives an int, which fits int and float fields alike:
    floats are what pandas makes of ints as soon as a column has a gap. A column of timestamps without a zone that are
    all midnight gives dates. Every other value keeps its type; the index is left out.
    """

    textual = False

    def __init__(self, frame: pd.DataFrame, limits: Limits) -> None:
        self.name = "<data frame>"
        self.format = Format.JSONL
        self.encoding = "utf-8"
        self.notes: list[str] = []
        self.position = 0
        self.delimiter: str | None = None
        self.columns: tuple[str, ...] | None = _checked_names(list(frame.columns), limits)
        self.total: int | None = len(frame)
        self._frame = frame
        if not len(frame):
            self.notes.append(f"{self.name} has no rows")
        if any(name is not None for name in frame.index.names):
            named = ", ".join(str(name) for name in frame.index.names)
            self.notes.append(f"{self.name}: the index ({named}) is not imported; reset_index() makes it a column")

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order; one that holds a value of no known type has a problem."""
        columns = self.columns or ()
        converters = [_converter(self._frame.iloc[:, i]) for i in range(len(columns))]
        self.position = 0
        for start in range(0, len(self._frame), _BLOCK_ROWS):
            block = self._frame.iloc[start : start + _BLOCK_ROWS]
            lists = [block.iloc[:, i].tolist() for i in range(len(columns))]
            for number in range(start + 1, start + len(block) + 1):
                raw = [values[number - start - 1] for values in lists]
                yield _row(number, columns, converters, raw)
                self.position = number

    def fingerprint(self) -> SourceFingerprint | None:
        """Return None: a data frame cannot be found again by another process."""
        return None

    def check_unchanged(self) -> None:
        """Do nothing: a data frame is in the hands of the caller."""


def open_frame(frame: object, *, limits: Limits = Limits()) -> FrameSource:
    """Return a pandas data frame as a source.

    Args:
        frame: A ``pandas.DataFrame`` whose columns are named by different strings.
        limits: What it may measure.

    Raises:
        UsageError: It is not a data frame.
        SourceError: Its columns cannot be used.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise UsageError(f"a pandas data frame is needed, not {type(frame).__name__}")
    return FrameSource(frame, limits)


def _checked_names(names: list[object], limits: Limits) -> tuple[str, ...]:
    if len(names) > limits.columns:
        raise source_error(f"the data frame has {len(names):,} columns; the limit is {limits.columns:,}")
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise source_error(
                f"the data frame has a column named {name!r}, which is not a name",
                "name every column by a string: frame.columns = [...]",
            )
        if name in seen:
            raise source_error(f"the data frame has two columns named '{name}'", "rename or drop one of them")
        seen.add(name)
    return tuple(str(name) for name in names)


def _row(number: int, columns: tuple[str, ...], converters: list[Callable[[Any], object]], raw: list[Any]) -> Row:
    values: dict[str, object] = {}
    problems: list[str] = []
    for name, convert, value in zip(columns, converters, raw, strict=True):
        try:
            values[name] = convert(value)
        except (ValueError, OverflowError) as error:
            problems.append(f"{name}: {error}")
            values[name] = str(value)
    if problems:
        return Row(number, number, {}, values, "; ".join(problems))
    return Row(number, number, values, values)


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
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT
    return int(value) if whole and (value or math.copysign(1, value) > 0) else value


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
    if isinstance(value, _AS_THEY_ARE):
        return value
    raise ValueError(f"{str(value)[:60]} is of type {type(value).__name__}, which is not supported; convert the column")
