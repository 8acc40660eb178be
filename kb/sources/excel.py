"""One sheet of an Excel workbook → rows. Imports openpyxl, and only inside functions."""

from __future__ import annotations

import datetime as dt
import warnings
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from kb.errors import KBError, LimitError, UsageError, nearest
from kb.sources.input import source_error
from kb.sources.plain import Unreadable, checked_names, plain, typed_row
from kb.sources.row import Row
from kb.sources.source import FileSource, Format

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kb.sources.input import Input
    from kb.sources.reading import Reading
    from kb.sources.row import Limits

_PART_BYTES: Final = 256 * 1024 * 1024
_SHEETS: Final = "xl/worksheets/"
_MOST_ROWS: Final = 1024 * 1024  # of a sheet, by its own format


class ExcelSource(FileSource):
    """One sheet, streamed; ``line`` is the number of the row in it. Empty rows are left out.

    Values have the type that the cell has: text, number, boolean, date and time. A cell that holds an error, and a
    formula whose result the program that wrote the file has not stored, cost their row.
    """

    textual = False

    def __init__(self, opened: Input, reading: Reading, limits: Limits) -> None:
        super().__init__(opened, Format.EXCEL, limits)
        self._path = opened.local()
        self._header_row = 0
        with _excel_errors(opened):
            _check_parts(self._path, self.name)
            with self._workbook() as book:
                self._sheet = self._pick(book, reading.sheet)
                self.columns = self._read_header(book, named=reading.header)

    @property
    def total(self) -> int | None:
        """None: how many rows there are is known at the end."""
        return None

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order; see ``Source.rows``."""
        self.begin()
        number = 0
        names = self.columns or ()
        with _excel_errors(self._input), self._workbook() as book:
            for line, cells in _sheet_rows(book, book[self._sheet]):
                if line <= self._header_row:
                    continue
                number += 1
                yield self._row(number, line, names, cells)
        self.check_unchanged()
        if not number and names:
            self.notes.append(f"{self.name}: header only, no rows")

    def _row(self, number: int, line: int, names: tuple[str, ...], cells: list[object]) -> Row:
        if len(cells) > len(names):
            values = dict(zip(names, map(str, cells), strict=False))
            return Row(number, line, {}, values, f"expected {len(names)} cells, found {len(cells)}")
        cells += [None] * (len(names) - len(cells))
        return typed_row(number, line, names, cells, [_converted] * len(names), limits=self._limits)

    def _pick(self, book: Any, wanted: str | None) -> str:
        """Return the name of the sheet that is meant."""
        sheets = [sheet for sheet in book.worksheets if hasattr(sheet, "iter_rows")]
        names = [sheet.title for sheet in sheets]
        if wanted is not None:
            if wanted not in names:
                raise UsageError(
                    f"{self.name} has no sheet '{wanted}'",
                    unchanged="nothing was imported",
                    hint=nearest(wanted, names),
                )
            return wanted
        shown = [sheet.title for sheet in sheets if sheet.sheet_state == "visible"]
        if len(shown) == 1:
            if len(names) > 1:
                hidden = ", ".join(f"'{name}'" for name in names if name != shown[0])
                self.notes.append(f"{self.name}: the sheet '{shown[0]}' is read; hidden ones are not: {hidden}")
            return str(shown[0])
        if not names:
            raise source_error(f"{self.name} has no sheet with cells")
        listed = ", ".join(f"'{name}'" for name in names)
        raise UsageError(
            f"{self.name} has {len(names)} sheets: {listed}",
            unchanged="nothing was imported",
            hint=f"say which one: --sheet '{names[0]}'",
        )

    def _read_header(self, book: Any, *, named: bool) -> tuple[str, ...]:
        for line, cells in _sheet_rows(book, book[self._sheet]):
            if not named:
                return checked_names(
                    [f"column_{number}" for number in range(1, len(cells) + 1)], self._limits, what=self.name, hint=""
                )
            self._header_row = line
            # A year is a name, too.
            names = [str(cell) if type(cell) is int else cell for cell in cells]
            hint = f"row {line} of the sheet '{self._sheet}' must name every column; else say --no-header"
            return checked_names(names, self._limits, what=self.name, hint=hint)
        self.notes.append(f"{self.name}: the sheet '{self._sheet}' is empty")
        return ()

    @contextmanager
    def _workbook(self) -> Iterator[Any]:
        import openpyxl

        # About parts that are of no interest here, and cells that are rejected with a reason.
        warnings.filterwarnings("ignore", module="openpyxl")
        # A file object: by a path, openpyxl would judge the suffix.
        with open(self._path, "rb") as file:
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            try:
                yield book
            finally:
                book.close()


@contextmanager
def _excel_errors(opened: Input) -> Iterator[None]:
    """Turn whatever openpyxl raises about a damaged workbook into an error of the source."""
    try:
        yield
    except KBError:
        raise
    # openpyxl trusts the XML that it reads: what is missing in it shows as errors of every kind.
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise opened.broken(f"the workbook cannot be read: {reason}") from None


def _check_parts(path: str, name: str) -> None:
    """Refuse a workbook whose parts other than sheets, which are held in memory, are huge."""
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.file_size > _PART_BYTES and not part.filename.startswith(_SHEETS):
                raise LimitError(
                    f"{name}: its part {part.filename} has {part.file_size:,} bytes; the limit is {_PART_BYTES:,}",
                    unchanged="nothing was imported",
                    hint="export the sheet as CSV",
                )


def _sheet_rows(book: Any, sheet: Any) -> Iterator[tuple[int, list[object]]]:
    """Yield the number and the cells, up to the last that is not empty, of each row that has any."""
    # Not iter_rows(): it keeps a trace of every row, fills gaps with empty ones, as many as the file says there are,
    # and does not tell a formula without a result from an empty cell.
    from xml.etree.ElementTree import iterparse

    from openpyxl.worksheet._reader import DATA_TAG, FORMULA_TAG, ROW_TAG, WorkSheetParser

    class Parser(WorkSheetParser):  # type: ignore[misc]
        def parse_cell(self, element: Any) -> dict[str, Any]:
            cell: dict[str, Any] = super().parse_cell(element)
            if cell["value"] is None and element.find(FORMULA_TAG) is not None:
                cell["data_type"] = "f"
            return cell

    with book._archive.open(sheet._worksheet_path) as source:  # noqa: SLF001 - there is no other way to the XML
        parser = Parser(
            source,
            sheet._shared_strings,  # noqa: SLF001
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats,  # noqa: SLF001
            timedelta_formats=book._timedelta_formats,  # noqa: SLF001
        )
        rows = None
        for event, element in iterparse(source, events=("start", "end")):  # noqa: S314
            if event == "start":
                rows = element if element.tag == DATA_TAG else rows
            elif element.tag == ROW_TAG:
                line, found = parser.parse_row(element)
                if cells := _in_place(line, found):
                    yield line, cells
                parser.row_dimensions.clear()
                if rows is not None:
                    rows.clear()
            elif element.tag == DATA_TAG:
                return


def _in_place(line: int, found: Sequence[dict[str, Any]]) -> list[object]:
    if line > _MOST_ROWS:
        raise ValueError(f"a row has the number {line}")
    values = {cell["column"]: _value(cell) for cell in found if cell["value"] is not None or cell["data_type"] == "f"}
    return [values.get(column) for column in range(1, max(values, default=0) + 1)]


def _value(cell: dict[str, Any]) -> object:
    if cell["data_type"] == "e":
        return Unreadable(f"the cell holds the error {cell['value']}", str(cell["value"]))
    if cell["data_type"] == "f":
        return Unreadable("the cell holds a formula without a stored result; open the workbook, and save it")
    return cell["value"]


def _converted(value: object) -> object:
    if isinstance(value, dt.time | dt.timedelta):
        raise ValueError(f"{value} is a time without a date, which is not supported; format the cell as text")  # noqa: TRY004
    return plain(value)
