"""Results as tables, JSON, JSON Lines or CSV on stdout. Values keep their types in JSON; dates are ISO 8601."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
import textwrap
import unicodedata
from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from kb.catalog import Job
    from kb.curate import Entry
    from kb.schema import Value
    from kb.search import Hit, Hits, Report
    from kb.sources import Column

_MAX_CELL: Final = 300
MAX_ID: Final = 1_000
"""More than any id has: ids are typed back."""


def print_json(value: object) -> None:
    """Print one JSON value, indented on a terminal."""
    print(_json(value, indent=2 if sys.stdout.isatty() else None))


def print_rows(
    rows: Sequence[Mapping[str, object]], format: str, *, columns: Sequence[str], header: bool = True
) -> None:
    """Print rows in one of the machine formats: ``json`` (one list), ``jsonl`` or ``csv``, there with a header.

    In CSV, an apostrophe stands before text that a spreadsheet would run as a formula; numbers stay numbers.
    """
    if format == "json":
        print_json(list(rows))
    elif format == "jsonl":
        for row in rows:
            print(_json(row, indent=None))
    else:
        if header:
            _print_record(columns)
        for row in rows:
            _print_record([row.get(column) for column in columns])


def _print_record(values: Sequence[object]) -> None:
    from kb.sources import inert

    record = io.StringIO()
    # Written with both, cells that hold either half of a line's end are enclosed; the line itself ends with one.
    cells = (inert(value) if isinstance(value, str) else cell(value) for value in values)
    csv.writer(record, lineterminator="\r\n").writerow(cells)
    print(record.getvalue().removesuffix("\r\n"))


def print_csv(columns: Sequence[Column], rows: Sequence[Sequence[Value]], *, raw: bool) -> None:
    """Print documents as ``kb export`` writes them: what a spreadsheet would run as a formula is quoted unless ``raw``.

    Args:
        columns: What a row holds.
        rows: The values of each, in the order of the columns.
        raw: Leave formulas as they are.
    """
    from kb.sources import ExportFormat, write_rows

    sys.stdout.flush()
    write_rows(sys.stdout.buffer, ExportFormat.CSV, columns, lambda: iter(rows), raw=raw)
    sys.stdout.buffer.flush()


def _json(value: object, *, indent: int | None) -> str:
    # Escapes are right in any encoding; what the terminal cannot show would otherwise spoil the JSON.
    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    return json.dumps(value, ensure_ascii=ascii_only, default=json_value, indent=indent)


def json_value(value: object) -> str:
    """Return dates and instants in ISO 8601; for ``json.dumps(default=…)``."""
    from kb.schema import json_datetime

    if isinstance(value, datetime):
        return json_datetime(value)
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"no JSON form of {type(value)}")


def cell(value: object) -> str:
    """Return a value as the text of one cell; lists and objects as JSON, missing as ``""``."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=json_value)
    return json_value(value) if isinstance(value, date) else str(value)


def plain(text: str) -> str:
    """Return text that can do nothing to a terminal: control, format and direction characters become visible or go."""
    return "".join(
        " " if c in "\n\t\r" else ("�" if unicodedata.category(c) in ("Cc", "Cs") or c in _DIRECTIONS else c)
        for c in text
    )


_DIRECTIONS: Final = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


_COMMAND: Final = re.compile(r"(?<=: )kb \S.*$")


def say(text: str, indent: str = "") -> None:
    """Print one line on stderr, harmless; on a terminal it is broken between words, as a terminal does not do."""
    _print_line(text, indent, sys.stderr)


def tell(text: str) -> None:
    """Print one line of a result on stdout; as ``say``."""
    _print_line(text, "", sys.stdout)


def _print_line(text: str, indent: str, stream: TextIO) -> None:
    line = indent + plain(text)
    if stream.isatty():
        # Nothing is broken that somebody may want to copy: options, paths, ids, and a command that ends the line.
        width = shutil.get_terminal_size().columns
        deeper = indent + "  "
        line = _COMMAND.sub(lambda found: found[0].replace(" ", "\0"), line).replace(" %", "\0%")
        line = textwrap.fill(line, width, subsequent_indent=deeper, break_long_words=False, break_on_hyphens=False)
        line = line.replace("\0", " ")
    print(line, file=stream)


def short(value: object, limit: int = _MAX_CELL) -> str:
    """Return a value for a table: harmless, on one line, cut with an ellipsis."""
    shown = ", ".join(cell(item) for item in value) if isinstance(value, list | tuple) else cell(value)
    text = " ".join(plain(shown).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def console() -> Console:
    """Return a console on stdout."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False, emoji=False, markup=False)


def table(*headers: str, right: Sequence[str] = (), wrap: Sequence[str] = ()) -> Table:
    """Return an empty table.

    Args:
        headers: The columns.
        right: Columns aligned to the right.
        wrap: Columns that go on over several lines; the others are cut with an ellipsis where there is no room.
    """
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for header in headers:
        made.add_column(
            header,
            justify="right" if header in right else "left",
            min_width=len(header),
            no_wrap=header not in wrap,
            overflow="fold" if header in wrap else "ellipsis",
        )
    return made


def print_grid(rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, first: Sequence[str]) -> list[str]:
    """Print rows as a table of as many columns as fit side by side; return the names of those that did not.

    Args:
        rows: What to show.
        columns: In the order to show them.
        first: The columns that get their room before the others; the first of them, an id, is never cut.
    """
    screen = console()
    cells = {c: [short(row.get(c), MAX_ID if c == first[0] else 40) for row in rows] for c in columns}
    widths = {c: max([len(c), *map(len, cells[c])]) for c in columns}
    room = screen.width
    shown: set[str] = set()
    for column in [*first, *(c for c in columns if c not in first)]:
        if widths[column] + 3 <= room or not shown:
            shown.add(column)
            room -= widths[column] + 3
    kept = [c for c in columns if c in shown]
    made = table(*kept, wrap=[first[0]])
    for number in range(len(rows)):
        made.add_row(*(cells[c][number] for c in kept))
    screen.print(made)
    return [c for c in columns if c not in shown]


def side_by_side(count: int, first: int, each: int) -> list[range]:
    """Return which columns stand in one table, and which in the next ones, where there is no room for all.

    Args:
        count: How many there are.
        first: How wide the columns before them are, which every table has.
        each: How wide one of them is.
    """
    room = max(1, (console().width - first) // each)
    return [range(start, min(start + room, count)) for start in range(0, count, room)]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, e.g. ``1 job`` or ``1,200 jobs``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def hit_object(hit: Hit) -> dict[str, Any]:
    """Return a hit as a JSON object."""
    made = {
        "id": hit.id,
        "score": hit.score,
        "rank_score": hit.rank_score,
        "text": hit.text,
        "chunk": hit.chunk,
        "fields": present(hit.fields),
    }
    if hit.highlight is not None:
        made["highlight"] = hit.highlight
    if hit.explanation is not None:
        made["explanation"] = asdict(hit.explanation)
    return made


def hits_object(hits: Hits) -> dict[str, Any]:
    """Return an answer as a JSON object."""
    return {
        "query": hits.query,
        "collection": hits.collection,
        "model": hits.model,
        "hits": [hit_object(hit) for hit in hits],
        "report": report_object(hits.report),
    }


def report_object(report: Report) -> dict[str, Any]:
    """Return a report as a JSON object."""
    best = report.best_rejected
    return {
        "returned": report.returned,
        "limit": report.limit,
        "candidates": report.candidates,
        "passed": report.passed,
        "below_min_score": report.below_min_score,
        "min_score": report.min_score,
        "relevance": report.relevance,
        "above_max_score": report.above_max_score,
        "after_jump": report.after_jump,
        "best_rejected": None if best is None else {"id": best.id, "score": best.score},
        "mode": str(report.mode),
        "strategy": str(report.strategy),
        "milliseconds": report.milliseconds,
        "degraded": report.degraded,
        "notes": list(report.notes),
    }


def entry_object(entry: Entry) -> dict[str, Any]:
    """Return a document as a JSON object."""
    return {
        "id": entry.id,
        "text": entry.text,
        "fields": present(entry.fields),
        "revision": entry.revision,
        "updated": entry.updated,
    }


def job_object(job: Job) -> dict[str, Any]:
    """Return an import job as a JSON object."""
    counts = job.counts
    return {
        "job": job.id or None,
        "status": str(job.status),
        "read": counts.read,
        "new": counts.new,
        "updated": counts.updated,
        "fields_only": counts.fields_only,
        "unchanged": counts.unchanged,
        "conflicts": counts.conflicts,
        "rejected": counts.rejected,
        "removed": counts.removed,
        "embedded": counts.embedded,
        "rejects": job.rejects,
        "seconds": round(job.seconds, 3),
    }


def present(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}
