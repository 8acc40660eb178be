"""What a filter means: the definition that its SQL and ``where`` readings are tested against."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final

from kb.filters.model import And, Between, Comparison, Contains, Has, In, IsNull, Not, Op, Or, StartsWith

if TYPE_CHECKING:
    from collections.abc import Callable

    from kb.filters.model import Filter
    from kb.schema import Document, Value

_COMPARE: Final[dict[Op, Callable[[Any, Any], bool]]] = {
    Op.EQ: operator.eq,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
}


def matches(filter: Filter, document: Document) -> bool:
    """Return whether a checked filter holds for a document; as ``holds``.

    Args:
        filter: As ``check`` returned it for the document's schema.
        document: A checked document.
    """
    return holds(filter, document.__dict__.get)


def holds(filter: Filter, value: Callable[[str], Value]) -> bool:
    """Return whether a checked filter holds for the values of something.

    There is no third truth value: a condition on a missing value is false, ``!=`` and ``not in`` are the exact
    negations of ``=`` and ``in``, and ``not`` is the exact negation of what it stands before.

    Args:
        filter: As ``check`` returned it.
        value: Gives the value of a field by name, None for a missing one; asked from left to right, and only until
            the answer is known.
    """
    match filter:
        case And(parts):
            return all(holds(part, value) for part in parts)
        case Or(parts):
            return any(holds(part, value) for part in parts)
        case Not(part):
            return not holds(part, value)
        case Comparison(name, Op.NE, operand):
            return value(name) != operand
    found = value(filter.field)
    if isinstance(filter, IsNull):
        return found is None or found == []
    return found is not None and _holds(filter, found)


def _holds(filter: Comparison | In | Between | Contains | StartsWith | Has, found: Any) -> bool:
    """Return whether the condition holds for a value that is not missing."""
    match filter:
        case Comparison(_, op, value):
            return _COMPARE[op](found, value)
        case In(_, values):
            return found in values
        case Between(_, low, high):
            return bool(low <= found <= high)
        case Contains(_, text):
            return text.casefold() in found.casefold()
        case StartsWith(_, text):
            return bool(found.casefold().startswith(text.casefold()))
        case Has(_, values, mode):
            return (all if mode == "all" else any)(value in found for value in values)
