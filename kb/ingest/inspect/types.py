"""From everything that was seen in a column to its type, and to what keeps it from a narrower one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kb.ingest.inspect.inspection import Almost, Example, Finding, Topic
from kb.ingest.inspect.shapes import FITS, STRINGS, Shape
from kb.schema import FieldType
from kb.schema.fields import MAX_STR_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kb.ingest.inspect.columns import ColumnState

ALMOST_SHARE: Final = 0.95
FEW_SHARE: Final = 0.75
"""Is enough where all the values that do not fit can be named: in a small file, one or two are more than 5 %."""
PROSE_WORDS: Final = 10
PROSE_CHARACTERS: Final = 1_000
_SHOWN: Final = 3
_NULLS: Final = frozenset({"n/a", "na", "nan", "null", "none", "nil", "-", "--", "?", "unknown", "missing", "#n/a"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The type of a column.

    Attributes:
        type: As in a declaration; None when no type takes all values.
        separator: Of a list in a cell.
        date_format: Of dates that are not ISO 8601.
        almost: The narrower type that a few values spoil.
        findings: What else there is to say about it.
    """

    type: str | None
    separator: str | None = None
    date_format: str | None = None
    almost: Almost | None = None
    findings: tuple[Finding, ...] = field(default=())


def decide(state: ColumnState) -> Verdict:
    """Return the narrowest type that every value of the column fits."""
    if not state.values:
        return Verdict(FieldType.STR)
    for decided in (_exact(state), _list(state), _local_date(state)):
        if decided is not None:
            return decided
    return _string(state)


def mean_words(state: ColumnState) -> float:
    """Return the average number of words of a value."""
    return state.words / state.values if state.values else 0.0


def _exact(state: ColumnState) -> Verdict | None:
    for kind, shapes in FITS.items():
        if _count(state, shapes) < state.values:
            continue
        if kind is not FieldType.BOOL:
            return Verdict(kind, findings=_excel_days(state) if kind is FieldType.INT else ())
        if state.shapes[Shape.WORD]:
            return Verdict(kind)
        # Two rows that are numbered 0 and 1 are no flags.
        if state.few == {"0", "1"} and state.distinct.repeated:
            message = "holds only 0 and 1: true and false; declare it as int if they are numbers"
            return Verdict(kind, findings=(Finding(Topic.BOOL, state.name, message),))
    return None


def _excel_days(state: ColumnState) -> tuple[Finding, ...]:
    """Days since 1900, as Excel exports dates that were never formatted."""
    looks = [e.value for e in state.shape_examples.get(Shape.INT, ())]
    if not any(word in state.name.lower() for word in ("date", "day", "datum")) or state.longest != state.shortest:
        return ()
    if not (state.longest == 5 and looks and all("30000" <= value <= "60000" for value in looks)):
        return ()
    message = f"holds numbers such as {looks[0]}: if they are days as Excel counts them, format them as dates there"
    return (Finding(Topic.DATES, state.name, message),)


def _list(state: ColumnState) -> Verdict | None:
    if state.shapes[Shape.ARRAY] == state.values:
        kind = _item_type(state.item_shapes, textual=state.textual)
        return _mixed_items(state) if kind is None else Verdict(f"list[{kind}]")
    if not state.textual or state.shapes[Shape.ARRAY]:
        return None
    found = state.separators.best(state.values)
    if found is None:
        return None
    separator, shapes, cells = found
    # Cells without the separator are lists of one: their shapes count as well.
    single = {shape: count for shape, count in state.shapes.items() if shape in FITS[FieldType.FLOAT] | {Shape.DATE}}
    if cells + sum(single.values()) < state.values:
        single[Shape.OTHER] = 1
    return Verdict(f"list[{_item_type({**single, **shapes}, textual=True)}]", separator=separator)


def _mixed_items(state: ColumnState) -> Verdict:
    example = _examples(state, [Shape.ARRAY])[0]
    message = f"holds lists whose items are of several types ({example.value!r} {state.place(example.line)}); left out"
    return Verdict(None, findings=(Finding(Topic.MIXED, state.name, message, (example.line,)),))


def _item_type(shapes: Mapping[Shape, int], *, textual: bool) -> FieldType | None:
    """Return the type that all items fit, None when there is none: in JSON, a number is no string."""
    for kind in (FieldType.INT, FieldType.FLOAT, FieldType.DATE, FieldType.DATETIME):
        if shapes and FITS[kind].issuperset(shapes):
            return kind
    if textual or STRINGS.issuperset(shapes):
        return FieldType.STR
    return FieldType.BOOL if set(shapes) == {Shape.WORD} else None


def _local_date(state: ColumnState) -> Verdict | None:
    fitting = [format for format, count in state.formats.fitting.items() if count == state.values]
    if not fitting:
        return None
    kind = _kind_of(fitting[0])
    if len(fitting) == 1:
        return Verdict(kind, date_format=fitting[0])
    formats = " and ".join(fitting)
    message = f"every value is a {kind} as {formats}: which of them it is cannot be told, so it stays text"
    return Verdict(FieldType.STR, findings=(Finding(Topic.DATES, state.name, message),))


def _string(state: ColumnState) -> Verdict:
    findings = []
    almost = _almost(state)
    if not state.textual and _count(state, STRINGS) < state.values:
        return _native_misfit(state, almost)
    zeros = state.shape_examples.get(Shape.ZEROS, [])
    numbers = _count(state, FITS[FieldType.FLOAT]) + state.shapes[Shape.ZEROS]
    if zeros and numbers >= ALMOST_SHARE * state.values:
        findings.append(
            Finding(
                Topic.LEADING_ZEROS,
                state.name,
                f"stays text: as a number {zeros[0].value!r} {state.place(zeros[0].line)} would lose how it begins",
                tuple(e.line for e in zeros),
            )
        )
        almost = None
    elif almost is not None:
        findings.append(_almost_finding(state, almost))
    elif (local := _numbers(state)) is not None:
        findings.append(local)
    elif (almost := _almost(state, few=True)) is not None:
        findings.append(_almost_finding(state, almost))
    elif _is_mixed(state):
        findings.append(_mixed(state))
    return Verdict(FieldType.TEXT if _is_prose(state) else FieldType.STR, almost=almost, findings=tuple(findings))


def _is_prose(state: ColumnState) -> bool:
    # A character takes four bytes at most; a longer value must go into a field of prose.
    long = state.longest * 4 > MAX_STR_BYTES or state.longest >= PROSE_CHARACTERS
    return mean_words(state) >= PROSE_WORDS or (long and mean_words(state) >= 3) or state.longest > MAX_STR_BYTES


def _almost(state: ColumnState, *, few: bool = False) -> Almost | None:
    """Return the type that all values but a few fit; with ``few``, few are what can be named, else a share."""

    def suffices(fitting: int) -> bool:
        if few:
            return state.values - fitting <= _SHOWN and fitting >= FEW_SHARE * state.values
        return fitting >= ALMOST_SHARE * state.values

    for kind, shapes in FITS.items():
        fitting = _count(state, shapes)
        if not fitting or (kind is FieldType.BOOL and not state.shapes[Shape.WORD]):
            continue
        misfits = _examples(state, (s for s in state.shapes if s not in shapes))
        # Three examples may not be all; fewer are.
        only_nulls = len(misfits) < _SHOWN and all(_is_null(e.value) for e in misfits)
        if suffices(fitting) or only_nulls:
            return Almost(kind, state.values - fitting, misfits)
    for format, fitting in state.formats.fitting.most_common(1):
        if suffices(fitting):
            others = [*_examples(state, (s for s in state.shapes if s is not Shape.LOCAL_DATE))]
            others = sorted({*others, *state.formats.misfits[format]}, key=lambda e: e.line)[:_SHOWN]
            return Almost(f"{_kind_of(format)} ({format})", state.values - fitting, tuple(others))
    return None


def _is_null(text: str) -> bool:
    return text.strip().lower() in _NULLS


def _kind_of(format: str) -> FieldType:
    return FieldType.DATETIME if "%H" in format or "%I" in format else FieldType.DATE


def _almost_finding(state: ColumnState, almost: Almost) -> Finding:
    named = ", ".join(f"{e.value!r} {state.place(e.line)}" for e in almost.examples)
    more = f" and {almost.misfits - len(almost.examples):,} more" if almost.misfits > len(almost.examples) else ""
    words = {e.value.strip() for e in almost.examples}
    message = f"{almost.type} but for {named}{more}"
    if words and all(map(_is_null, words)):
        listed = ", ".join(f'"{word}"' for word in sorted(words))
        message += f"; if that means missing, say nulls = [{listed}] under [imports.NAME] and make it {almost.type}"
    return Finding(Topic.ALMOST, state.name, message, tuple(e.line for e in almost.examples))


def _numbers(state: ColumnState) -> Finding | None:
    local = state.shape_examples.get(Shape.LOCAL_NUMBER, [])
    numbers = _count(state, FITS[FieldType.FLOAT]) + state.shapes[Shape.LOCAL_NUMBER]
    if not local or numbers < ALMOST_SHARE * state.values:
        return None
    message = f"stays text: numbers are read as 1234.5, not as {local[0].value!r} {state.place(local[0].line)}"
    return Finding(Topic.NUMBERS, state.name, message, tuple(e.line for e in local))


def _families(state: ColumnState) -> dict[str, list[Shape]]:
    """Return the shapes that occur, by the kind of value that a person would call them."""
    families: dict[str, list[Shape]] = {}
    for shape in state.shapes:
        if shape in FITS[FieldType.FLOAT] or shape in (Shape.BIG, Shape.ZEROS, Shape.LOCAL_NUMBER):
            name = "numbers"
        elif shape in (Shape.DATE, Shape.INSTANT):
            name = "dates"
        else:
            name = {Shape.WORD: "true or false", Shape.ARRAY: "lists", Shape.NESTED: "objects or lists of them"}.get(
                shape, "other text"
            )
        families.setdefault(name, []).append(shape)
    return families


def _is_mixed(state: ColumnState) -> bool:
    families = {name: _count(state, shapes) for name, shapes in _families(state).items()}
    # Prose and codes hold a number now and then; a column is mixed when no kind clearly prevails.
    return len(families) > 1 and max(families.values()) < ALMOST_SHARE * state.values


def _mixed(state: ColumnState) -> Finding:
    parts, lines = [], []
    for name, shapes in sorted(_families(state).items(), key=lambda item: -_count(state, item[1])):
        example = _examples(state, shapes)[0]
        share = _count(state, shapes) / state.values
        parts.append(f"{100 * share:.0f} % {name} ({example.value!r} {state.place(example.line)})")
        lines.append(example.line)
    return Finding(Topic.MIXED, state.name, f"mixes {', '.join(parts)}; stays text", tuple(lines))


def _native_misfit(state: ColumnState, almost: Almost | None) -> Verdict:
    """Return the verdict on JSON values of several kinds: no string holds a number there."""
    if almost is None or almost.type not in set(FITS):
        return Verdict(None, findings=(_left_out(state),))
    found = _almost_finding(state, almost)
    rejected = f"{found.message}; {'that row' if almost.misfits == 1 else 'those rows'} would be rejected"
    return Verdict(almost.type, almost=almost, findings=(Finding(Topic.ALMOST, state.name, rejected, found.lines),))


def _left_out(state: ColumnState) -> Finding:
    """What is wrong with JSON values that no field holds."""
    families = {name: _count(state, shapes) for name, shapes in _families(state).items()}
    example = _examples(state, state.shapes)[0]
    if len(families) == 1 or set(families) == {"lists", "objects or lists of them"}:
        what = next(iter(families)) if len(families) == 1 else "objects or lists of them"
        message = f"holds {what}, which no field can take ({example.value!r} {state.place(example.line)}); left out"
        return Finding(Topic.NESTED, state.name, message, (example.line,))
    found = _mixed(state)
    message = found.message.removesuffix("; stays text") + "; no type takes them all, left out"
    return Finding(Topic.MIXED, state.name, message, found.lines)


def _count(state: ColumnState, shapes: Iterable[Shape]) -> int:
    return sum(state.shapes[shape] for shape in shapes)


def _examples(state: ColumnState, shapes: Iterable[Shape]) -> tuple[Example, ...]:
    found = [example for shape in shapes for example in state.shape_examples.get(shape, ())]
    return tuple(sorted(found, key=lambda e: e.line)[:_SHOWN])
