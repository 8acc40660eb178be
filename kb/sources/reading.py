"""``Reading``: how an input is to be read, as whoever brings it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kb.sources.source import Format


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read an input; None everywhere means: by its name and its content.

    Attributes:
        format: What the input is.
        encoding: A Python codec of text; None for UTF-8, with or without a byte order mark.
        delimiter: What separates the cells of a CSV file; None to read it off the first row.
        quote: What encloses a cell of a CSV file that holds a delimiter: one character, or ``""`` where nothing does;
            None for ``"``. Inside such a cell it is doubled, or has a backslash before it where no other reading of the
            file's beginning makes sense.
        header: Whether the first row of a CSV file or sheet names the columns; else they are called ``column_1``,
            ``column_2``, …
        records: The path to the list of records inside a JSON document, e.g. ``response.items``.
        sheet: The sheet of a workbook; None for the only visible one.
        sql: The one SELECT that gives the rows of an SQLite file.
    """

    format: Format | None = None
    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    header: bool = True
    records: str | None = None
    sheet: str | None = None
    sql: str | None = None
