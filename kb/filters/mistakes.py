"""What to tell somebody whose filter text cannot be read: where, what was expected, and the likely remedy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kb.errors import nearest
from kb.filters.model import filter_error

if TYPE_CHECKING:
    from collections.abc import Collection

    from kb.errors import FilterError

_FOUND: Final = re.compile(r"[\"'].*|\w[\w.:-]*|[^\w\s\"'(),]+|.", re.DOTALL)
_OPERATORS: Final = (
    *("=", "!=", "<", "<=", ">", ">=", "in", "not in", "between"),
    *("contains", "starts with", "has", "has any", "has all", "is null", "is not null"),
)
_SYMBOLS: Final = {
    "==": "write = for equality",
    "===": "write = for equality",
    "<>": "write != for inequality",
    "~=": 'write: FIELD contains "text"',
    "=~": 'write: FIELD contains "text"',
    "~": 'write: FIELD contains "text"',
    "!~": 'write: not FIELD contains "text"',
    "!": "write != for inequality, 'not' for negation",
    "=>": "write >=",
    "=<": "write <=",
    "≥": "write >=",
    "≤": "write <=",
    "≠": "write !=",
    "&&": "write 'and'",
    "&": "write 'and'",
    "||": "write 'or'",
    "|": "write 'or'",
    ":": "write = for equality",
}
_WORDS: Final = {
    "like": 'write: FIELD contains "text", or FIELD starts with "text"',
    "ilike": 'write: FIELD contains "text", or FIELD starts with "text"',
    "matches": 'write: FIELD contains "text", or FIELD starts with "text"',
    "startswith": 'write: FIELD starts with "text"',
    "equals": "write = for equality",
    "eq": "write = for equality",
    "isnull": "write: FIELD is null",
}
_NO_VALUE: Final = {
    "null": "a missing value is found with: FIELD is null",
    "none": "a missing value is found with: FIELD is null",
    "nan": "every number is finite",
    "inf": "every number is finite",
    "infinity": "every number is finite",
}
_TERMINALS: Final = {
    "LPAR": "'('",
    "RPAR": "')'",
    "COMMA": "','",
    "STRING": "a string in quotes",
    "NAME": "a field name",
    "$END": "the end",
}


def symbol_error(symbol: str, position: int) -> FilterError:
    """Return the error for a run of symbols that is no operator."""
    hint = _SYMBOLS.get(symbol) or nearest(symbol, _OPERATORS)
    return filter_error(f"'{symbol[:60]}' is not an operator", position, hint)


def explain(text: str, position: int, expected: Collection[str]) -> FilterError:
    """Return the error for a text that stops being a filter.

    Args:
        text: The whole text.
        position: Where the first thing that does not fit starts; the length of the text when it ends too early.
        expected: The terminals of the grammar that would have fitted.
    """
    # The lexer reports white space before what it cannot read.
    position += len(text[position:]) - len(text[position:].lstrip())
    match = _FOUND.match(text, position)
    found = match[0] if match else ""
    if found[:1] in {'"', "'"} and "STRING" in expected:
        return filter_error(
            "the string that starts here has no closing quote", position, r"a quote inside is written \""
        )
    wanted = _wanted(expected)
    if not found:
        return filter_error(f"the text ends where {wanted} is expected", position, _hint("", expected))
    return filter_error(f"{wanted} is expected, not {_short(found)}", position, _hint(found, expected))


def _wanted(expected: Collection[str]) -> str:
    if "OP" in expected:
        return "an operator"
    if "NUMBER" in expected:
        return "a value"
    if "_NOT" in expected and "NAME" in expected:
        return "a condition"
    if "_OR" in expected or "_AND" in expected:
        if "_OR" not in expected:
            return "'and'"
        closing = "')'" if "RPAR" in expected else "the end" if "$END" in expected else ""
        return f"'and', 'or' or {closing}" if closing else "'and' or 'or'"
    names = [_TERMINALS.get(name) or f"'{name.strip('_').lower()}'" for name in sorted(expected)]
    return " or ".join(names)


def _hint(found: str, expected: Collection[str]) -> str:
    word = found.lower()
    if found[:1] in "“”‘’„«»" and found:
        return "use straight quotes: \" or '"
    if "OP" in expected:
        return _SYMBOLS.get(found) or _WORDS.get(word) or nearest(word, _OPERATORS)
    if "NUMBER" in expected or "STRING" in expected:
        return _value_hint(found, expected)
    if "NAME" in expected:
        return "a condition starts with the name of a field, without quotes" if found[:1] in "\"'" else ""
    if "LPAR" in expected:
        return 'write the values in parentheses: ("a", "b")'
    if found.startswith(","):
        return "a number has a decimal point: 0.5; conditions are joined with 'and' or 'or'"
    return _SYMBOLS.get(found, "")


def _value_hint(found: str, expected: Collection[str]) -> str:
    if found.lower() in _NO_VALUE:
        return _NO_VALUE[found.lower()]
    if found.startswith("("):
        return (
            "a list follows 'in', 'has any' or 'has all'"
            if "_ANY" not in expected
            else "write: has any (…) or has all (…)"
        )
    if found[:1].isalpha() or found[:1] == "_":
        return f'strings need quotes: "{found[:40]}"'
    return ""


def _short(found: str) -> str:
    first = found.split("\n", 1)[0]
    text = first if len(first) <= 40 else first[:39] + "…"
    return text if text[:1] in {'"', "'"} else f"'{text}'"
