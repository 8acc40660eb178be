"""``--where``: a filter in the filter language over the rows of an input, before they are documents.

A name in it is a column; what is no column, but a field that the mapping fills, stands for that field. A column that
fills a field is compared in the type of the field. Any other is compared with text as text, with a number as a number,
and with a date as an instant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, cast

from kb.errors import nearest
from kb.filters import And, Between, Comparison, Has, In, Not, Or, check, holds, parse
from kb.filters.model import filter_error
from kb.schema import Field, FieldType
from kb.schema.ids import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kb.filters import Filter, Leaf
    from kb.ingest.columns import Columns
    from kb.schema import Value


@dataclass(frozen=True, slots=True)
class RowFilter:
    """A checked filter with what gives it values.

    Attributes:
        columns: The columns that it reads.
    """

    columns: frozenset[str]
    _filter: Filter
    _values: Mapping[str, Callable[[Mapping[str, object]], Value]]

    def holds(self, values: Mapping[str, object]) -> bool:
        """Return whether a row is to be read.

        Raises:
            ValueError: A value that decides cannot be compared; the message names it.
        """
        return holds(self._filter, lambda name: self._values[name](values))


def row_filter(text: str, columns: Columns, header: Sequence[str] | None) -> RowFilter:
    """Return the filter that a text stands for.

    Args:
        text: In the filter language.
        columns: Of the input.
        header: Its columns where it declares them, else None.

    Raises:
        FilterError: It cannot be read, names what is neither a column nor a field that is filled, or compares a value
            with one of another type.
    """
    filter = parse(text)
    by_name: dict[str, list[Leaf]] = {}
    for leaf in _leaves(filter):
        by_name.setdefault(leaf.field, []).append(leaf)
    fields: dict[str, Field] = {}
    values: dict[str, Callable[[Mapping[str, object]], Value]] = {}
    read = set()
    for name, leaves in by_name.items():
        is_field = _is_field(name, columns, header, leaves[0].position)
        filled = (name,) if is_field else (columns.targets(name) or ())
        target = next((t for t in filled if t in columns.schema.fields), "id" if name == "id" else None)
        if target == "id":
            fields[name] = Field(name, FieldType.STR)
        else:
            fields[name] = _by_operands(leaves, columns) if target is None else columns.schema.fields[target]
        values[name] = _reader(name, fields[name], columns, target=target, is_field=is_field)
        if not is_field:
            read.add(name)
    return RowFilter(frozenset(read), check(filter, replace(columns.schema, fields=fields)), values)


def _leaves(filter: Filter) -> Iterator[Leaf]:
    match filter:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _leaves(part)
        case Not(part):
            yield from _leaves(part)
        case _:
            yield filter


def _is_field(name: str, columns: Columns, header: Sequence[str] | None, position: int | None) -> bool:
    """Return whether a name means a field that the mapping fills, rather than a column."""
    if name in (columns.named if header is None else header):
        return False
    if name == "id" and columns.from_content:
        raise filter_error("the id is made of the content, and cannot be asked for before", position)
    if name in columns.explicit:
        return True
    if header is None:
        return False
    raise filter_error(
        f"there is no column '{name[:60]}'", position, nearest(name, [*header, *sorted(columns.explicit)])
    )


def _by_operands(leaves: Sequence[Leaf], columns: Columns) -> Field:
    """Return a column that fills no field as a field of the type that it is compared with."""
    operands = [operand for leaf in leaves for operand in _operands(leaf)]
    kinds = {_kind(operand) for operand in operands} or {FieldType.STR}
    name, position = leaves[0].field, leaves[0].position
    if len(kinds) > 1:
        listed = " and ".join(sorted(kinds))
        raise filter_error(f"'{name}' is compared as {listed}; it has one type only", position)
    many = not columns.textual and any(isinstance(leaf, Has) for leaf in leaves)
    return Field(name, kinds.pop(), many)


def _operands(leaf: Leaf) -> tuple[object, ...]:
    match leaf:
        case Comparison(_, _, value):
            return (value,)
        case Between(_, low, high):
            return low, high
        case In(_, values) | Has(_, values, _):
            return values
        case _:
            return ()


def _kind(operand: object) -> FieldType:
    if isinstance(operand, bool):
        return FieldType.BOOL
    if isinstance(operand, int | float):
        return FieldType.FLOAT
    return FieldType.DATETIME if isinstance(operand, date) else FieldType.STR


def _reader(
    name: str, field: Field, columns: Columns, *, target: str | None, is_field: bool
) -> Callable[[Mapping[str, object]], Value]:
    """Return what gives the value that a name means in a row, in the type of ``field``."""

    def read(values: Mapping[str, object]) -> Value:
        raw: object = None
        try:
            if is_field:
                return _checked(columns.value(name, values), field)
            raw = columns.cell(name, values)
            if raw is None:
                return None
            if target is not None:
                return _checked(columns.typed(target, raw), field)
            return _checked(field.from_text(raw) if columns.textual else field.from_json(raw), field)
        except ValueError as error:
            reason = str(error)
            shown = "" if raw is None or reason.startswith(quoted(raw)) else f"{quoted(raw)} "
            raise ValueError(f"{name}: {shown}{reason}") from None

    return read


def _checked(value: object, field: Field) -> Value:
    """Return a value that can be compared; ``ValueError`` when it is of another type, as JSON values may be."""
    items = value if isinstance(value, list) else [value]
    fits = isinstance(value, list) == field.many and all(type(item) is field.python for item in items)
    if value is not None and not fits:
        raise ValueError(f"is not a value of the type {field.spelled}")
    return cast("Value", value)
