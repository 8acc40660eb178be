"""The filter language: text to ``Filter``. Purely syntactic; whether the fields exist is for ``check``.

    category = "nlp"                      difficulty in ("beginner", "advanced")      category not in ("ml", "cv")
    published >= 2024-01-01               rating between 3.5 and 5                    draft = true
    tags has "python"                     tags has any ("python", "rust")             tags has all ("python", "rust")
    author is null                        author is not null                          id = "a17"
    title contains "transformer"          title starts with "How"
    not (category = "ml" and rating < 3) or author = "heron"

``not`` binds tightest, then ``and``, then ``or``. Keywords may be in upper or lower case; field names are exact.
"""

from __future__ import annotations

import functools
import math
import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Final, cast

from kb.filters.mistakes import explain, symbol_error
from kb.filters.model import (
    And,
    Between,
    Comparison,
    Contains,
    Filter,
    Has,
    In,
    IsNull,
    Not,
    Op,
    Or,
    StartsWith,
    filter_error,
)
from kb.schema.fields import INT_MAX, INT_MIN

if TYPE_CHECKING:
    from lark import Lark, Token

    from kb.schema import Scalar

MAX_CHARACTERS: Final = 10_000

# A number or a date is one run of characters, so that a mistake in it is reported as a whole. A name may hold any
# character beyond ASCII that is not a quotation mark or a mathematical sign: a superset of Python's identifiers.
_GRAMMAR: Final = r"""
start: any
?any: all (_OR all)*
?all: one (_AND one)*
?one: "(" any ")" | _NOT one -> negated | condition
?condition: NAME OP value -> comparison
    | NAME _IN values -> is_in
    | NAME _NOT _IN values -> is_not_in
    | NAME _BETWEEN value _AND value -> between
    | NAME _CONTAINS STRING -> contains
    | NAME _STARTS _WITH STRING -> starts_with
    | NAME _HAS value -> has
    | NAME _HAS _ANY values -> has_any
    | NAME _HAS _ALL values -> has_all
    | NAME _IS _NULL -> is_null
    | NAME _IS _NOT _NULL -> is_not_null
values: "(" value ("," value)* ")"
?value: STRING | NUMBER | TRUE | FALSE
OP: /[=!<>~]+/
STRING: /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/s
NUMBER: /[+-]?\.?[0-9][0-9A-Za-z_.:+-]*/
TRUE.2: /true\b/i
FALSE.2: /false\b/i
NAME: /(?!(?:and|or|not)\b)(?:[A-Za-z_]|[^\x00-\x7f\s“”‘’„«»≠≤≥])(?:[0-9A-Za-z_]|[^\x00-\x7f\s“”‘’„«»≠≤≥])*/i
_AND.2: /and\b/i
_OR.2: /or\b/i
_NOT.2: /not\b/i
_IN.2: /in\b/i
_BETWEEN.2: /between\b/i
_CONTAINS.2: /contains\b/i
_STARTS.2: /starts\b/i
_WITH.2: /with\b/i
_HAS.2: /has\b/i
_ANY.2: /any\b/i
_ALL.2: /all\b/i
_IS.2: /is\b/i
_NULL.2: /null\b/i
%ignore /\s+/
"""

_INT: Final = re.compile(r"[+-]?[0-9]+")
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ESCAPE: Final = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPED: Final = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "r": "\r", "t": "\t"}


def parse(text: str) -> Filter:
    """Return the filter that a text in the filter language stands for.

    Literals get their Python types; a date and time without a zone stays without one. Every condition remembers the
    zero-based position of its field, so that ``check`` can name it.

    Raises:
        FilterError: The text is not in the language, or over a limit; with the position where reading stopped.
    """
    if len(text) > MAX_CHARACTERS:
        message = f"the text is {len(text):,} characters long; the limit is {MAX_CHARACTERS:,}"
        raise filter_error(message, MAX_CHARACTERS)
    if not text.strip():
        raise filter_error("the text is empty", 0, 'write a condition, e.g. category = "nlp"')
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    try:
        # The tree is what the callbacks of _Reader made of it: a filter.
        return cast("Filter", _parser().parse(text))
    except UnexpectedCharacters as error:
        raise explain(text, error.pos_in_stream or 0, (error.allowed or set()) - {"RPAR"}) from None
    except UnexpectedToken as error:
        position = len(text) if error.token.type == "$END" else error.token.start_pos or 0
        raise explain(text, position, error.accepts or error.expected) from None


@functools.cache
def _parser() -> Lark:
    """Return the parser, built at the first use and kept."""
    from lark import Lark

    # Lark asks the transformer only for attributes named like rules; a subclass would need lark at import time.
    return Lark(_GRAMMAR, parser="lalr", lexer="contextual", transformer=_Reader())


class _Reader:
    """One method per rule of the grammar, called bottom-up; none calls another, so no nesting can exhaust the stack."""

    def start(self, children: list[Filter]) -> Filter:
        return children[0]

    def any(self, children: list[Filter]) -> Or:
        return Or(tuple(children))

    def all(self, children: list[Filter]) -> And:
        return And(tuple(children))

    def negated(self, children: list[Filter]) -> Not:
        return Not(children[0])

    def values(self, children: list[Token]) -> tuple[Scalar, ...]:
        return tuple(map(_literal, children))

    def comparison(self, children: list[Token]) -> Comparison:
        name, operator, value = children
        position = name.start_pos
        try:
            op = Op(operator)
        except ValueError:
            raise symbol_error(operator, operator.start_pos or 0) from None
        return Comparison(str(name), op, _literal(value), position)

    def is_in(self, children: tuple[Token, tuple[Scalar, ...]]) -> In:
        name, values = children
        return In(str(name), values, name.start_pos)

    def is_not_in(self, children: tuple[Token, tuple[Scalar, ...]]) -> Not:
        return Not(self.is_in(children))

    def between(self, children: list[Token]) -> Between:
        name, low, high = children
        return Between(str(name), _literal(low), _literal(high), name.start_pos)

    def contains(self, children: list[Token]) -> Contains:
        name, text = children
        return Contains(str(name), _string(text), name.start_pos)

    def starts_with(self, children: list[Token]) -> StartsWith:
        name, text = children
        return StartsWith(str(name), _string(text), name.start_pos)

    def has(self, children: list[Token]) -> Has:
        name, value = children
        return Has(str(name), (_literal(value),), "any", name.start_pos)

    def has_any(self, children: tuple[Token, tuple[Scalar, ...]]) -> Has:
        name, values = children
        return Has(str(name), values, "any", name.start_pos)

    def has_all(self, children: tuple[Token, tuple[Scalar, ...]]) -> Has:
        name, values = children
        return Has(str(name), values, "all", name.start_pos)

    def is_null(self, children: list[Token]) -> IsNull:
        return IsNull(str(children[0]), children[0].start_pos)

    def is_not_null(self, children: list[Token]) -> Not:
        return Not(self.is_null(children))


def _literal(token: Token) -> Scalar:
    match token.type:
        case "STRING":
            return _string(token)
        case "TRUE":
            return True
        case "FALSE":
            return False
    return _number_or_date(str(token), token.start_pos or 0)


def _number_or_date(text: str, position: int) -> int | float | date | datetime:
    if _INT.fullmatch(text):
        # int() itself refuses thousands of digits, with an error that is not ours.
        if len(text) > 40 or not INT_MIN <= int(text) <= INT_MAX:
            raise filter_error(f"{text[:60]} is outside the 64-bit range", position)
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise filter_error(f"{text[:60]} is too large a number", position)
        return number
    # Python would take any character for the T.
    if not _DATE.match(text) or text[10:11] not in ("", "T", "t"):
        raise filter_error(
            f"'{text[:60]}' is neither a number nor a date", position, "write 4.5, 2024-01-31, or a string in quotes"
        )
    try:
        if len(text) == len("2024-01-31"):
            return date.fromisoformat(text)
        return datetime.fromisoformat(text)
    except ValueError:
        raise filter_error(
            f"'{text[:60]}' is not a day of the calendar or a time of day",
            position,
            "write 2024-01-31 or 2024-01-31T12:00:00Z",
        ) from None


def _string(token: Token) -> str:
    start = (token.start_pos or 0) + 1

    def character(match: re.Match[str]) -> str:
        escaped = match[1]
        if len(escaped) == 5:
            return chr(int(escaped[1:], 16))
        if escaped not in _ESCAPED:
            raise filter_error(
                f"unknown escape '\\{escaped}'",
                start + match.start(),
                r"write \\ for a backslash; known: \\ \" \' \n \r \t, \u and four digits",
            )
        return _ESCAPED[escaped]

    return _ESCAPE.sub(character, token[1:-1])
