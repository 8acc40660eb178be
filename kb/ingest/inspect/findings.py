"""What a person should know before importing: one sentence each, with lines to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kb.ingest.inspect.inspection import Finding, Topic
from kb.ingest.inspect.shapes import Shape, shape_of_text
from kb.ingest.inspect.types import mean_words
from kb.schema.fields import MAX_TEXT_BYTES
from kb.schema.schema import MAX_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kb.ingest.inspect.columns import ColumnState
    from kb.ingest.inspect.inspection import Example, KeyCandidate, Repeat, TextCandidate, Window
    from kb.ingest.inspect.rows import Survey
    from kb.sources import Source

_DATA: Final = frozenset({Shape.FLOAT, Shape.WHOLE, Shape.DATE, Shape.INSTANT, Shape.LOCAL_NUMBER, Shape.LOCAL_DATE})
_FEW_WORDS: Final = 3
_NUMBERS: Final = frozenset({Shape.BIT, Shape.INT, Shape.BIG, Shape.ZEROS})


def of_input(source: Source, survey: Survey) -> Iterator[Finding]:
    """Yield what concerns the whole input.

    Args:
        source: After it was read.
        survey: What was seen in it.
    """
    for note in source.notes:
        told = note.removeprefix(f"{source.name} ")
        told = note.removeprefix(f"{source.name}: ") if told == note else f"it {told}"
        yield Finding(Topic.NOTE, None, told)
    if survey.unreadable:
        first = survey.problems[0]
        message = f"{_counted(survey.unreadable, 'row')} cannot be read and would be rejected: {first.value}"
        yield Finding(Topic.UNREADABLE, None, message, tuple(e.line for e in survey.problems))
    if source.textual and (name := _data_in_header(source.columns or ())) is not None:
        message = f"the first line looks like data, not like a header ({name!r}); if there is none: --no-header"
        yield Finding(Topic.HEADER, None, message, (1,))
    if survey.duplicates.repeated:
        count = _counted(survey.duplicates.repeated, "row")
        message = f"{count} {'is' if survey.duplicates.repeated == 1 else 'are'} the same as an earlier one"
        yield _repeats(Topic.DUPLICATE_ROW, None, message, survey.duplicates.repeats, source.place)
    if survey.too_many:
        message = f"there are more than {len(survey.columns):,} different keys; the others were not looked at"
        yield Finding(Topic.LIMIT, None, message)
    if len(survey.columns) > MAX_FIELDS:
        message = f"there are {len(survey.columns):,} columns; a collection has {MAX_FIELDS} fields at most"
        yield Finding(Topic.LIMIT, None, message)


def of_column(state: ColumnState) -> Iterator[Finding]:
    """Yield what concerns one column, whatever it is used for."""
    if state.mojibake_count:
        first = state.mojibake[0]
        message = (
            f"{_values(state.mojibake_count, 'looks', 'look')} as if decoded with the wrong encoding: "
            f"{first.value!r} {state.place(first.line)}; an import keeps them as they are"
        )
        yield Finding(Topic.MOJIBAKE, state.name, message, _lines(state.mojibake))
    if state.longest > MAX_TEXT_BYTES:
        place = state.place(state.longest_line)
        message = f"the value {place} has {state.longest:,} characters, more than a field takes"
        yield Finding(Topic.LIMIT, state.name, message, (state.longest_line,))


def of_keys(keys: Sequence[KeyCandidate], spoilt: Sequence[ColumnState], *, untried: bool) -> Iterator[Finding]:
    """Yield what concerns the key.

    Args:
        keys: The candidates.
        spoilt: Columns that are called like a key but repeat values.
        untried: Whether two columns together might be one, but the input could not be read a second time.
    """
    for state in spoilt:
        repeated = state.distinct.repeated
        message = f"{_values(repeated, 'repeats', 'repeat')} an earlier one; as the key, it makes those rows rejects"
        yield _repeats(Topic.DUPLICATE_KEY, state.name, message, state.distinct.repeats, state.place)
    if untried:
        none = "no column is there in every row and never repeats; two columns together were not tried, since a pipe "
        none += "can be read only once: save it to a file first"
    else:
        none = "no column, and no two columns together, are there in every row and never repeat"
    if not keys:
        message = f"{none}; proposed is a hash of what a row holds: a row that changes becomes another document"
        yield Finding(Topic.KEY, None, message)


def of_text(state: ColumnState, text: TextCandidate, window: Window) -> Iterator[Finding]:
    """Yield what concerns a column that may be embedded."""
    repeated = state.distinct.repeated
    prose = mean_words(state) >= _FEW_WORDS
    if repeated and prose:
        message = f"{_values(repeated, 'repeats', 'repeat')} an earlier one"
        yield _repeats(Topic.DUPLICATE_CONTENT, state.name, message, state.distinct.repeats, state.place)
    if state.near_empty_count and prose:
        first = state.near_empty[0]
        count = _values(state.near_empty_count, "has", "have")
        message = f"{count} fewer than three words: {first.value!r} {state.place(first.line)}"
        yield Finding(Topic.NEAR_EMPTY, state.name, message, _lines(state.near_empty))
    if text.over:
        of = "" if text.measured == state.values else f" of the first {text.measured:,}"
        count = f"{text.over:,}{of} {'value' if text.over == 1 else 'values'} ({_percent(text.over / text.measured)})"
        longer = f"{'is' if text.over == 1 else 'are'} longer than the {window.tokens} tokens of {window.model}"
        message = f"{count} {longer}: cut into chunks"
        yield Finding(Topic.WINDOW, state.name, message)


def of_template(columns: Sequence[ColumnState], rows: int) -> Iterator[Finding]:
    """Yield what concerns the columns that are proposed to be embedded together."""
    least = min((rows - state.values for state in columns), default=0)
    if least:
        names = " and ".join(state.name for state in columns)
        rows_have = f"{_counted(least, 'row')} {'has' if least == 1 else 'have'}"
        message = f"up to {rows_have} no {names}, so nothing to embed: they would be rejected"
        yield Finding(Topic.NEAR_EMPTY, None, message)


def _data_in_header(names: Sequence[str]) -> str | None:
    """Return the first name that no column would have, or None; years may head columns, but not one of three."""
    shapes = {name: shape_of_text(name) for name in names}
    numbers = [name for name, shape in shapes.items() if shape in _NUMBERS]
    data = [name for name, shape in shapes.items() if shape in _DATA]
    if not data and len(numbers) * 3 >= len(names):
        data = numbers
    return data[0] if data else None


def _repeats(
    topic: Topic, column: str | None, message: str, repeats: Sequence[Repeat], place: Callable[[int], str]
) -> Finding:
    first = repeats[0]
    shown = "" if column is None else f"{first.value!r} "
    where = f": {shown}{place(first.line)} as {place(first.earlier)}"
    lines = tuple(line for r in repeats for line in (r.earlier, r.line))
    return Finding(topic, column, message + where, lines)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _values(count: int, one: str, many: str) -> str:
    return f"{_counted(count, 'value')} {one if count == 1 else many}"


def _percent(share: float) -> str:
    return "<1 %" if share < 0.01 else f"{share * 100:.0f} %"


def _lines(examples: Sequence[Example]) -> tuple[int, ...]:
    return tuple(e.line for e in examples)
