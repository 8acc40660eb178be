"""Cells of a CSV file that say in themselves what they are, because plain cells cannot: how kb writes and reads them.

A cell is quoted by an apostrophe before it, and the last column, ``_quoted``, names the quoted cells of its row, so
that a foreign file with an apostrophe of its own is never mistaken for one. Quoted are

- text that a spreadsheet would run as a formula: ``'=1+1`` for ``=1+1``;
- text that is empty, where an empty cell means missing: ``'`` alone;
- lists that their separator does not bring back, as JSON: ``'["a;b", ""]``.

A file without such a cell has no such column. Whoever takes off the apostrophe in a spreadsheet gets a plain cell.
"""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Final

from kb.schema import Exact

if TYPE_CHECKING:
    from collections.abc import Sequence

QUOTED: Final = "_quoted"
"""The column; no field can have that name."""

_MARK: Final = "'"
# What spreadsheets take for a formula, or skip to find one; the last four are the wide forms of the first.
_FORMULA: Final = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


class QuotedCell(str):
    """The text of a quoted cell, with its apostrophe."""

    __slots__ = ()


def quote(text: str) -> QuotedCell:
    """Return a text as a quoted cell."""
    return QuotedCell(_MARK + text)


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet might run the text."""
    return _FORMULA.match(text) is not None


def inert(text: str) -> str:
    """Return a text as a spreadsheet shows it and never runs it: quoted where it might."""
    return quote(text) if is_formula(text) else text


def names_cell(names: Sequence[str]) -> str:
    """Return the cell of the column ``_quoted``."""
    if not names:
        return ""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return text.getvalue()


def unquote(values: dict[str, object], cell: str) -> None:
    """Replace the quoted cells of a row by what they say: exact text, or a list.

    Args:
        values: The cells by column; changed.
        cell: What stands under ``_quoted``.
    """
    for name in next(csv.reader([cell]), []):
        found = values.get(name)
        if isinstance(found, str) and found.startswith(_MARK):
            values[name] = _content(found[len(_MARK) :])


def _content(text: str) -> object:
    if text.startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass  # somebody has edited it; the schema will say what is wrong with it
    return Exact(text)
