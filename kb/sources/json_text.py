"""The text of one JSON object → its values, or the one reason why it cannot be a row."""

from __future__ import annotations

import json
import math
import re
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NoReturn

from kb.sources.lines import encoded_size, undecodable
from kb.sources.row import LINE, RAW, REASON, RESERVED

if TYPE_CHECKING:
    from kb.sources.row import Limits

_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_LEADING: Final = re.compile(
    rf'\{{\s*"{REASON}"\s*:\s*"(?:[^"\\]++|\\.)*+"\s*,\s*"{LINE}"\s*:\s*\d+\s*(?:,\s*|(?=\}}))', re.DOTALL
)
_KINDS: Final = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


class _RefusedError(ValueError):
    """The text is something that ``json`` reads, but that no document can hold."""


def read_object(
    text: str, *, line: int, encoding: str, limits: Limits, value: object = None
) -> tuple[dict[str, object], str, str | None]:
    """Return the values of a row, its text, and its problem if it has one (the values are then empty).

    The keys that the reject writer adds are taken off: ``_reason`` and ``_line`` are dropped, and the text under
    ``_raw`` is read in place of the object.

    Args:
        text: One JSON value with nothing but white space around it.
        line: The physical line where it starts.
        encoding: The codec that decoded it.
        limits: What a row may measure.
        value: What ``STRICT`` has made of the text, to save doing it again.
    """
    given = text
    if f'"{RAW}"' in text:
        text = _unwrapped(text, limits)
    if leading := _LEADING.match(text):
        text = "{" + text[leading.end() :]
    problem = _text_problem(text, line, encoding, limits)
    if problem is not None:
        return {}, text, problem
    try:
        if value is None or text is not given:
            value = STRICT.decode(text)
    except ValueError:
        return {}, text, _refusal(text)
    if not isinstance(value, dict):
        return {}, text, f"the row is {kind_of(value)}, not an object"
    if RESERVED & value.keys():
        value = {key: item for key, item in value.items() if key not in RESERVED}
        text = to_json(value, encoding)
    if len(value) > limits.columns:
        return {}, text, f"the row has {len(value):,} keys; the limit is {limits.columns:,}"
    return value, text, None


def to_json(value: object, encoding: str) -> str:
    """Return the JSON text of a value, readable where ``encoding`` can write it and escaped where it cannot."""
    text = json.dumps(value, ensure_ascii=False, default=_iso)
    try:
        text.encode(encoding)
    except UnicodeError:
        return json.dumps(value, default=_iso)
    return text


def kind_of(value: object) -> str:
    """Return what a JSON value is, with its article."""
    return _KINDS.get(type(value), "a number")


def too_deep(text: str, depth: int) -> bool:
    """Return whether brackets outside strings are nested deeper than ``depth``."""
    if text.count("{") + text.count("[") <= depth:
        return False
    level = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            level += 1
            if level > depth:
                return True
        elif token[0] in "]}":
            level -= 1
    return False


def _iso(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _text_problem(text: str, line: int, encoding: str, limits: Limits) -> str | None:
    if len(text) * 4 > limits.row_bytes and (size := encoded_size(text, encoding)) > limits.row_bytes:
        return f"the row is {size:,} bytes long; the limit is {limits.row_bytes:,}"
    if too_deep(text, limits.depth):
        return f"the row is nested more than {limits.depth} levels deep"
    return undecodable(text, encoding, line)


def _unwrapped(text: str, limits: Limits) -> str:
    """Return the text that the reject writer has put under ``_raw``, or the same text if it has not."""
    if too_deep(text, limits.depth):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, dict) and isinstance(value.get(RAW), str) and value.keys() <= RESERVED | {RAW}:
        return str(value[RAW])
    return text


def _refusal(text: str) -> str:
    """Return why the strict decoder refused the text."""
    try:
        return _first_refused(_LENIENT.decode(text), "") or "cannot be read as JSON"
    except json.JSONDecodeError as error:
        return f"not JSON at column {error.pos + 1}: {error.msg}"


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _RefusedError
    return values


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _RefusedError
    return value


def _refuse(_: str) -> NoReturn:
    raise _RefusedError


LOOSE: Final = json.JSONDecoder()
"""Reads all that is JSON, and what ``json`` takes for it."""
STRICT: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)
"""Reads what a document can hold; ``ValueError`` for all else."""


class _Pairs(list[tuple[str, Any]]):
    """The members of an object, repeated keys included."""


class _Refusal(str):
    """Why a number is refused."""

    __slots__ = ()


def _lenient_float(digits: str) -> object:
    return _Refusal(f"{digits[:40]} is too large for a number") if math.isinf(float(digits)) else 0


def _lenient_int(digits: str) -> object:
    try:
        int(digits)
    except ValueError:  # Python's own limit, against conversions that take quadratic time
        return _Refusal(f"a number of {len(digits):,} digits is too long")
    return 0


_LENIENT: Final = json.JSONDecoder(
    object_pairs_hook=_Pairs,
    parse_float=_lenient_float,
    parse_int=_lenient_int,
    parse_constant=lambda name: _Refusal(f"{name} is not a number that can be stored"),
)


def _first_refused(value: object, path: str) -> str | None:
    """Return the first thing that no document can hold, after the path to it."""
    if isinstance(value, _Refusal):
        return f"{path}: {value}" if path else str(value)
    members: list[tuple[str, object]] = []
    if isinstance(value, _Pairs):
        members = [(f"{path}.{key}" if path else key, item) for key, item in value]
    elif isinstance(value, list):
        members = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    seen: set[str] = set()
    for place, item in members:
        if place in seen:
            return f"{place}: the key appears twice"
        seen.add(place)
        found = _first_refused(item, place)
        if found is not None:
            return found
    return None
