"""Filter objects: immutable, comparable, and never larger than the limits stated here.

Every limit is kept by the constructors, so that no filter that exists can exhaust the stack of a function that walks
it. ``str(filter)`` is the filter in the filter language; parsing that gives an equal filter.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias

from kb.errors import FilterError
from kb.schema.fields import INT_MAX, INT_MIN, MAX_STR_BYTES, Scalar, check_string

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_CONDITIONS: Final = 100
MAX_DEPTH: Final = 8
MAX_VALUES: Final = 1_000
MAX_TOTAL_VALUES: Final = 10_000

_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


class Op(StrEnum):
    """A comparison of a field with one value."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


def filter_error(message: str, position: int | None, hint: str = "") -> FilterError:
    """Return an error whose text names the position when there is one."""
    place = "filter" if position is None else f"filter, position {position}"
    return FilterError(f"{place}: {message}", position=position, hint=hint)


def quoted(value: Scalar) -> str:
    """Return the value as the filter language writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    if isinstance(value, datetime):
        return value.isoformat().removesuffix("+00:00") + ("Z" if value.utcoffset() == UTC.utcoffset(None) else "")
    if isinstance(value, date):
        return value.isoformat()
    return float.__repr__(value) if isinstance(value, float) else int.__repr__(value)


def shown(value: Scalar) -> str:
    """Return the value as ``quoted`` does, shortened for a message."""
    text = quoted(value)
    return text if len(text) <= 60 else text[:50] + "…" + text[-1]


class _Node:
    """What all filters can do: be combined."""

    def __and__(self: Filter, other: Filter) -> And:  # type: ignore[misc]  # the alias covers every subclass
        """Both hold."""
        return And((self, other)) if isinstance(other, _Node) else NotImplemented

    def __or__(self: Filter, other: Filter) -> Or:  # type: ignore[misc]
        """One of them holds, or both."""
        return Or((self, other)) if isinstance(other, _Node) else NotImplemented

    def __invert__(self: Filter) -> Not:  # type: ignore[misc]
        """It does not hold."""
        return Not(self)

    def __bool__(self) -> bool:
        # "a and b" would silently drop a.
        raise TypeError("a filter is neither true nor false: combine filters with & | ~, and test with 'is None'")


class _LeafNode(_Node):
    """A condition on one field."""

    depth: ClassVar[int] = 0
    conditions: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Comparison(_LeafNode):
    """``rating >= 4``: false for a missing value, except ``!=``, which is the exact negation of ``=``."""

    field: str
    op: Op
    value: Scalar
    position: int | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_name(self.field, self.position)
        _check_operands((self.value,), self.position)
        object.__setattr__(self, "op", Op(self.op))

    def __str__(self) -> str:
        return f"{self.field} {self.op} {quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class In(_LeafNode):
    """``difficulty in ("beginner", "advanced")``: the value is one of those."""

    field: str
    values: tuple[Scalar, ...]
    position: int | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_name(self.field, self.position)
        object.__setattr__(self, "values", _checked_list(self.values, self.position))

    def __str__(self) -> str:
        return f"{self.field} in {_list(self.values)}"


@dataclass(frozen=True, slots=True)
class Between(_LeafNode):
    """``rating between 3.5 and 5``: both bounds included; nothing when they are the wrong way round."""

    field: str
    low: Scalar
    high: Scalar
    position: int | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_name(self.field, self.position)
        _check_operands((self.low, self.high), self.position)

    def __str__(self) -> str:
        return f"{self.field} between {quoted(self.low)} and {quoted(self.high)}"


@dataclass(frozen=True, slots=True)
class Contains(_LeafNode):
    """``title contains "transformer"``: the text occurs in the string, in upper or lower case."""

    field: str
    text: str
    position: int | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_name(self.field, self.position)
        _check_text("contains", self.text, self.position)

    def __str__(self) -> str:
        return f"{self.field} contains {quoted(self.text)}"


@dataclass(frozen=True, slots=True)
class StartsWith(_LeafNode):
    """``title starts with "How"``: the string begins with the text, in upper or lower case."""

    field: str
    text: str
    position: int | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_name(self.field, self.position)
        _check_text("starts with", self.text, self.position)

    def __str__(self) -> str:
        return f"{self.field} starts with {quoted(self.text)}"


@dataclass(frozen=True, slots=True)
class Has(_LeafNode):
    """``tags has any ("python", "rust")``: the list holds one of the values, or all of them."""

    field: str
    values: tuple[Scalar, ...]
    mode: Literal["any", "all"] = "any"
    position: int | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_name(self.field, self.position)
        object.__setattr__(self, "values", _checked_list(self.values, self.position))
        if self.mode not in ("any", "all"):
            raise filter_error(f"the mode of 'has' is {self.mode!r}", self.position, "valid: any, all")

    def __str__(self) -> str:
        if len(self.values) == 1 and self.mode == "any":
            return f"{self.field} has {quoted(self.values[0])}"
        return f"{self.field} has {self.mode} {_list(self.values)}"


@dataclass(frozen=True, slots=True)
class IsNull(_LeafNode):
    """``author is null``: the value is missing, or the list is empty."""

    field: str
    position: int | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _check_name(self.field, self.position)

    def __str__(self) -> str:
        return f"{self.field} is null"


@dataclass(frozen=True, slots=True)
class And(_Node):
    """All parts hold; an ``And`` among the parts is replaced by its own parts."""

    parts: tuple[Filter, ...]
    depth: int = dataclasses.field(init=False, compare=False, repr=False)
    conditions: int = dataclasses.field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _measure(self, _flat(And, self.parts))

    def __str__(self) -> str:
        return " and ".join(f"({part})" if isinstance(part, Or) else str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or(_Node):
    """At least one part holds; an ``Or`` among the parts is replaced by its own parts."""

    parts: tuple[Filter, ...]
    depth: int = dataclasses.field(init=False, compare=False, repr=False)
    conditions: int = dataclasses.field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _measure(self, _flat(Or, self.parts))

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts))


@dataclass(frozen=True, slots=True)
class Not(_Node):
    """The part does not hold: exactly the documents that the part leaves out."""

    part: Filter
    depth: int = dataclasses.field(init=False, compare=False, repr=False)
    conditions: int = dataclasses.field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        _measure(self, None)

    def __str__(self) -> str:
        match self.part:
            case In(name, values):
                return f"{name} not in {_list(values)}"
            case IsNull(name):
                return f"{name} is not null"
            case And() | Or():
                return f"not ({self.part})"
            case _:
                return f"not {self.part}"


Leaf: TypeAlias = Comparison | In | Between | Contains | StartsWith | Has | IsNull
Filter: TypeAlias = Leaf | And | Or | Not


def _list(values: Iterable[Scalar]) -> str:
    return f"({', '.join(map(quoted, values))})"


def _flat(kind: type[And | Or], parts: Iterable[Filter]) -> tuple[Filter, ...]:
    flat: list[Filter] = []
    for part in parts:
        if not isinstance(part, _Node):
            raise filter_error(f"{part!r:.60} is not a filter", None)
        flat.extend(part.parts if isinstance(part, And | Or) and type(part) is kind else (part,))
        if len(flat) > MAX_CONDITIONS:
            break
    if len(flat) < 2:
        raise filter_error(f"'{kind.__name__.lower()}' joins at least two conditions, not {len(flat)}", None)
    return tuple(flat)


def _measure(node: And | Or | Not, parts: tuple[Filter, ...] | None) -> None:
    """Set the parts, depth and number of conditions of a new node after checking its size."""
    if parts is not None:
        object.__setattr__(node, "parts", parts)
    elif not isinstance(node.part, _Node):  # type: ignore[union-attr]
        raise filter_error(f"{node.part!r:.60} is not a filter", None)  # type: ignore[union-attr]
    below = parts if parts is not None else (node.part,)  # type: ignore[union-attr]
    object.__setattr__(node, "conditions", sum(part.conditions for part in below))
    object.__setattr__(node, "depth", 1 + max(part.depth for part in below))
    if node.conditions > MAX_CONDITIONS:
        raise filter_error(
            f"more than {MAX_CONDITIONS} conditions", None, "list values with: field in (value, value, …)"
        )
    if node.depth > MAX_DEPTH:
        raise filter_error(f"'and', 'or' and 'not' are nested more than {MAX_DEPTH} deep", None, "write it flatter")


def _check_name(name: str, position: int | None) -> None:
    if not isinstance(name, str) or not name.isidentifier() or name.lower() in ("and", "or", "not"):
        raise filter_error(f"{name!r:.60} cannot name a field", position)


def _check_text(operator: str, text: str, position: int | None) -> None:
    if not isinstance(text, str):
        raise filter_error(f"'{operator}' takes a string, not {text!r:.60}", position)
    _check_operands((text,), position)


def _checked_list(values: Iterable[Scalar], position: int | None) -> tuple[Scalar, ...]:
    if isinstance(values, str):
        raise filter_error("a list of values is expected, not one string", position)
    operands: list[Scalar] = []
    for value in values:
        operands.append(value)
        if len(operands) > MAX_VALUES:
            raise filter_error(f"more than {MAX_VALUES:,} values in one list", position)
    if not operands:
        raise filter_error("the list of values is empty", position)
    _check_operands(operands, position)
    return tuple(operands)


def _check_operands(values: Iterable[Scalar], position: int | None) -> None:
    for value in values:
        if value is None:
            raise filter_error("nothing is equal to a missing value", position, "write: FIELD is null")
        if not isinstance(value, str | int | float | date):
            raise filter_error(
                f"{value!r:.60} is not a value", position, "valid: str, int, float, bool, date, datetime"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise filter_error(f"{value} is not a finite number", position)
        if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
            raise filter_error("a whole number is outside the 64-bit range", position)
        if isinstance(value, str):
            try:
                check_string(value, MAX_STR_BYTES)
            except ValueError as error:
                raise filter_error(f"a string {error}", position) from None
