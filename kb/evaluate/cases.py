"""Files of judged queries and of labelled pairs, told apart by what they hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kb.errors import SourceError, UsageError, nearest
from kb.schema import normal_id
from kb.sources import Reading, open_source

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from kb.sources import Row, Source

_QUERY_KEYS: Final = ("query", "relevant")


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query whose right answer is known.

    Attributes:
        text: What to look for.
        relevant: By id, how relevant a document is, from 0 (not at all); none above 0: the query has no answer.
        where: A filter to search with, or None.
        id: What reports call it.
    """

    text: str
    relevant: Mapping[str, int]
    where: str | None = None
    id: str = ""

    @property
    def has_answer(self) -> bool:
        """Whether a document is relevant."""
        return any(grade > 0 for grade in self.relevant.values())


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts and how alike somebody finds them.

    Attributes:
        text1, text2: The texts.
        label: 1 for alike and 0 for not, or a finite grade of any scale that grows with likeness.
        line: Where it stands in its file.
    """

    text1: str
    text2: str
    label: float
    line: int = 0


@dataclass(frozen=True, slots=True)
class PairColumns:
    """What the columns of a file of pairs are called."""

    text1: str = "text1"
    text2: str = "text2"
    label: str = "label"

    @property
    def names(self) -> tuple[str, str, str]:
        """The three, in order."""
        return self.text1, self.text2, self.label


DEFAULT_COLUMNS: Final = PairColumns()


@dataclass(frozen=True, slots=True)
class Cases:
    """What a file holds: judged queries or labelled pairs, never both.

    Attributes:
        name: The file as given.
        queries, pairs: One of them has items.
    """

    name: str
    queries: tuple[JudgedQuery, ...] = field(default=())
    pairs: tuple[Pair, ...] = field(default=())


def read_cases(path: str | os.PathLike[str], columns: PairColumns = DEFAULT_COLUMNS) -> Cases:
    """Read judged queries or labelled pairs, in any format that can be imported.

    Args:
        path: A file with ``query`` and ``relevant`` (and maybe ``where`` and ``id``), or with the columns of pairs;
            ``-`` for standard input. ``relevant`` is a list of ids, or an object of grades by id.
        columns: What the columns of pairs are called.

    Raises:
        SourceError: The file cannot be read, is neither, or one of its rows is not what the first one was.
    """
    try:
        source = open_source(str(path), Reading())
        rows = _read_rows(source)
    except SourceError as error:  # its own words are about an import
        raise SourceError(error.what, hint=error.hint) from None
    if not rows:
        raise SourceError(f"{source.name} has no rows", hint="a file of queries or of pairs is needed")
    found = list(source.columns or rows[0].values)
    if all(name in found for name in columns.names):
        return Cases(source.name, pairs=tuple(_pair(source, row, columns) for row in rows))
    if all(name in found for name in _QUERY_KEYS):
        return Cases(source.name, queries=tuple(_query(source, row) for row in rows))
    raise _unknown_shape(source, found, columns)


def read_queries(path: str | os.PathLike[str]) -> tuple[JudgedQuery, ...]:
    """Return the judged queries of a file; as ``read_cases``, and pairs are a UsageError."""
    cases = read_cases(path)
    if not cases.queries:
        raise UsageError(
            f"{cases.name} holds pairs of texts, not queries",
            hint="kb eval measures pairs; queries have the columns query and relevant",
        )
    return cases.queries


def read_pairs(path: str | os.PathLike[str], columns: PairColumns = DEFAULT_COLUMNS) -> tuple[Pair, ...]:
    """Return the labelled pairs of a file; as ``read_cases``, and queries are a UsageError."""
    cases = read_cases(path, columns)
    if not cases.pairs:
        raise UsageError(
            f"{cases.name} holds queries, not pairs of texts", hint="pairs have the columns text1, text2 and label"
        )
    return cases.pairs


def _read_rows(source: Source) -> list[Row]:
    return list(_sound_rows(source))


def _sound_rows(source: Source) -> Iterator[Row]:
    for row in source.rows():
        if row.problem is not None:
            raise _wrong(source, row, row.problem)
        yield row


def _unknown_shape(source: Source, found: Sequence[str], columns: PairColumns) -> SourceError:
    near = {name: nearest(name, found).partition("? valid")[0] for name in columns.names if name not in found}
    close = [f"'{name}': {hint}?" for name, hint in near.items() if hint.startswith("did you")]
    mistakes = f" ({'; '.join(close)})" if close else ""
    return SourceError(
        f"{source.name} holds neither queries ({', '.join(_QUERY_KEYS)}) nor pairs ({', '.join(columns.names)}), "
        f"but {', '.join(found[:20])}{', …' if len(found) > 20 else ''}",
        hint=f"name the columns of pairs with --text1, --text2 and --label{mistakes}",
    )


def _wrong(source: Source, row: Row, what: str) -> SourceError:
    return SourceError(f"{source.name}, {source.place(row.line)}: {what}")


def _text(source: Source, row: Row, name: str) -> str:
    value = row.values.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _wrong(source, row, f"'{name}' must be a text, not {value!r}")
    return value


def _pair(source: Source, row: Row, columns: PairColumns) -> Pair:
    value = row.values.get(columns.label)
    label = _number(value)
    if label is None:
        raise _wrong(source, row, f"'{columns.label}' must be a number, not {value!r}")
    return Pair(_text(source, row, columns.text1), _text(source, row, columns.text2), label, row.line)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _query(source: Source, row: Row) -> JudgedQuery:
    where = row.values.get("where")
    if where is not None and not isinstance(where, str):
        raise _wrong(source, row, f"'where' must be a filter, not {where!r}")
    given = row.values.get("id")
    return JudgedQuery(
        _text(source, row, "query"),
        _grades(source, row),
        where or None,
        str(row.number if given in (None, "") else given),
    )


def _grades(source: Source, row: Row) -> dict[str, int]:
    value = row.values.get("relevant")
    if isinstance(value, list):
        value = dict.fromkeys(value, 1) if all(isinstance(key, str | int) for key in value) else None
    if not isinstance(value, dict):
        raise _wrong(source, row, "'relevant' must be a list of ids, or an object of grades by id, as JSON has them")
    try:
        grades = {normal_id(key): grade for key, grade in value.items()}
    except ValueError as error:
        raise _wrong(source, row, f"'relevant': {error}") from None
    for key, grade in grades.items():
        if isinstance(grade, bool) or not isinstance(grade, int) or grade < 0:
            raise _wrong(source, row, f"the grade of '{key}' must be a whole number from 0, not {grade!r}")
    return grades
