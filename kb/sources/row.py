"""``Row``: one record of an input as it came, before any type is known; and the limits of reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

REASON: Final = "_reason"
LINE: Final = "_line"
RAW: Final = "_raw"
PATH: Final = "path"
RESERVED: Final = frozenset({REASON, LINE})


@dataclass(frozen=True, slots=True)
class Row:
    """One record of an input.

    Attributes:
        number: The record's number, from 1; headers and blank lines do not count.
        line: The physical line where it starts, from 1; for a data frame the record's number.
        values: What it holds by column or key, in input order: text for CSV and TSV, JSON values or Python values
            otherwise. Empty when there is a problem.
        raw: What the reject writer needs to write the record back exactly: its text, or the values of a row
            that has none; for a Markdown file that cannot be read, ``path`` and, under ``_raw``, the text.
            ``""`` for a record that was too long to be kept.
        problem: Why the record cannot be read, or None.
        file: Of a folder, the path of the file that the row is, relative to the folder; else None.
    """

    number: int
    line: int
    values: Mapping[str, object]
    raw: object
    problem: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reader accepts at most.

    Attributes:
        row_bytes: The size of one record, without its line ending; a larger one is rejected.
        columns: The columns of a file (more: the file is refused) or keys of an object (more: the row is rejected).
        depth: How deep a JSON row may be nested; the row itself is the first level.
    """

    row_bytes: int = 2 * 1024 * 1024
    columns: int = 1000
    depth: int = 32
