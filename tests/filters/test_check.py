"""A filter meets a schema: fields found, operators fitting, operands of the field's type, sizes within the limits."""

from __future__ import annotations

import math
import time
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING

import pytest

from kb.errors import FilterError
from kb.filters import And, Comparison, Filter, In, Not, Op, Or, check, field, parse
from kb.schema import Field, FieldType, Scalar, build_schema

if TYPE_CHECKING:
    from collections.abc import Callable

_SCHEMA = build_schema(
    [
        Field("title", FieldType.STR),
        Field("body", FieldType.TEXT),
        Field("category", FieldType.STR, choices=("nlp", "ml", "vision")),
        Field("stars", FieldType.INT),
        Field("rating", FieldType.FLOAT, required=False),
        Field("draft", FieldType.BOOL),
        Field("published", FieldType.DATE),
        Field("changed", FieldType.DATETIME),
        Field("tags", FieldType.STR, many=True, choices=("python", "rust")),
        Field("years", FieldType.INT, many=True),
    ]
)
_LIST_HINT = "use has: tags has …, tags has any (…), tags has all (…)"


def _operand(text: str) -> Scalar:
    checked = check(parse(text), _SCHEMA)
    assert isinstance(checked, Comparison)
    return checked.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("rating > 4", 4.0),
        ("rating > 4.5", 4.5),
        ("stars > 4", 4),
        ("stars > 4.5", 4.5),
        ("stars = 4.0", 4.0),
        ("draft = true", True),
        ("published > 2024-01-31", date(2024, 1, 31)),
        ('published > "2024-01-31"', date(2024, 1, 31)),
        ("changed > 2024-01-31", datetime(2024, 1, 31, tzinfo=UTC)),
        ('changed > "2024-01-31"', datetime(2024, 1, 31, tzinfo=UTC)),
        ("changed > 2024-01-31T12:00", datetime(2024, 1, 31, 12, tzinfo=UTC)),
        ("changed > 2024-01-31T12:00+02:00", datetime(2024, 1, 31, 10, tzinfo=UTC)),
        ('title > "a"', "a"),
        ('category > "x"', "x"),
        ('id = "e\u0301"', "é"),
        ('title = "e\u0301"', "e\u0301"),
    ],
)
def test_faults_G5_operands_get_the_type_of_the_field(text: str, value: object) -> None:
    operand = _operand(text)
    assert (type(operand), operand) == (type(value), value)
    assert check(check(parse(text), _SCHEMA), _SCHEMA) == check(parse(text), _SCHEMA)


def test_every_operand_of_a_filter_is_cast_and_keeps_its_position() -> None:
    text = 'not (stars = 1 and rating between 1 and 2) or years has all (3, 4.5) or changed in ("2024-01-31")'
    checked = check(parse(text), _SCHEMA)
    assert str(checked) == (
        "not (stars = 1 and rating between 1.0 and 2.0) or years has all (3, 4.5) or changed in (2024-01-31T00:00:00Z)"
    )
    assert isinstance(checked, Or)
    assert [getattr(part, "position", None) for part in checked.parts] == [None, 46, 72]


def test_member_of_a_string_enumeration_becomes_a_plain_string() -> None:
    class Category(StrEnum):
        ML = "ml"

    checked = check(field("category") == Category.ML, _SCHEMA)
    assert isinstance(checked, Comparison)
    assert type(checked.value) is str


@pytest.mark.parametrize(
    ("text", "position", "message", "hint"),
    [
        (
            'stars = 1 and catgory = "x"',
            14,
            "unknown field 'catgory'",
            f"did you mean 'category'? valid: {', '.join(_SCHEMA.fields)}, id",
        ),
        ('tags = "python"', 0, "'=' does not apply to 'tags', which is list[str]", _LIST_HINT),
        ('tags in ("python")', 0, "'in' does not apply to 'tags', which is list[str]", _LIST_HINT),
        ('tags contains "py"', 0, "'contains' does not apply to 'tags', which is list[str]", "use has: tags has …"),
        ('title has "x"', 0, "'has' does not apply to 'title', which is str", "use = or in: title in (…)"),
        ("draft > false", 0, "'>' does not apply to 'draft', which is bool", "write: draft = true, or draft = false"),
        (
            "draft between false and true",
            0,
            "'between' does not apply to 'draft', which is bool",
            "write: draft = true, or draft = false",
        ),
        ('stars contains "4"', 0, "'contains' does not apply to 'stars', which is int", "it is for str and text"),
        (
            'published starts with "2024"',
            0,
            "'starts with' does not apply to 'published', which is date",
            "it is for str and text",
        ),
        (
            'rating >= "4"',
            0,
            "\"4\" is not a value of 'rating', which is float",
            "numbers are written without quotes",
        ),
        ("stars = true", 0, "true is not a value of 'stars', which is int", "numbers are written without quotes"),
        ("draft = 1", 0, "1 is not a value of 'draft', which is bool", "write true or false, without quotes"),
        ("title = 2024", 0, "2024 is not a value of 'title', which is str", "strings need quotes"),
        ("title = 2024-01-31", 0, "2024-01-31 is not a value of 'title', which is str", "strings need quotes"),
        ("published = 2024", 0, "2024 is not a value of 'published', which is date", "write 2024-01-31"),
        (
            "published = 2024-01-31T00:00",
            0,
            "2024-01-31T00:00:00 is not a value of 'published', which is date",
            "write 2024-01-31",
        ),
        ('published = "31.1.2024"', 0, '"31.1.2024" is not an ISO date (write 2024-01-31)', ""),
        ("changed < 0001-01-01T00:00+02:00", 0, "0001-01-01T00:00:00+02:00 is outside the years 1 to 9999 in UTC", ""),
        (
            'category = "nlq"',
            0,
            "\"nlq\" is not among the choices of 'category'",
            "did you mean 'nlp'? valid: nlp, ml, vision",
        ),
        (
            'category in ("ml", "nlq")',
            0,
            "\"nlq\" is not among the choices of 'category'",
            "did you mean 'nlp'? valid: nlp, ml, vision",
        ),
        (
            'not tags has any ("rusty")',
            4,
            "\"rusty\" is not among the choices of 'tags'",
            "did you mean 'rust'? valid: python, rust",
        ),
    ],
)
def test_faults_G7_what_does_not_fit_the_schema_is_refused(text: str, position: int, message: str, hint: str) -> None:
    with pytest.raises(FilterError) as caught:
        check(parse(text), _SCHEMA)
    assert str(caught.value) == f"filter, position {position}: {message}"
    assert (caught.value.position, caught.value.hint) == (position, hint)


def test_faults_G7_error_of_a_filter_built_in_python_has_no_position() -> None:
    with pytest.raises(FilterError) as caught:
        check(field("titel") == "x", _SCHEMA)
    assert str(caught.value) == "filter: unknown field 'titel'"
    assert caught.value.position is None


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: field("a").between(0, math.nan), "filter: nan is not a finite number"),
        (lambda: field("a") < math.inf, "filter: inf is not a finite number"),
        (lambda: field("a") == 2**63, "filter: a whole number is outside the 64-bit range"),
        (lambda: field("a") == 10**5_000, "filter: a whole number is outside the 64-bit range"),
        (lambda: field("a") == "\ud800", "filter: a string is not valid Unicode at character 0"),
        (lambda: field("a") == "\0", "filter: a string contains a NUL character"),
        (lambda: field("a") == None, "filter: nothing is equal to a missing value"),  # noqa: E711
        (lambda: field("a") == b"x", "filter: b'x' is not a value"),
        (lambda: field("a").is_in([]), "filter: the list of values is empty"),
        (lambda: field("a").is_in("abc"), "filter: a list of values is expected, not one string"),
        (lambda: field("a").contains(3), "filter: 'contains' takes a string, not 3"),  # type: ignore[arg-type]
        (lambda: field("a b") == 1, "filter: 'a b' cannot name a field"),
        (lambda: And((parse("a = 1"),)), "filter: 'and' joins at least two conditions, not 1"),
        (lambda: Or((parse("a = 1"), "b = 1")), "filter: 'b = 1' is not a filter"),  # type: ignore[arg-type]
        (lambda: Not("b = 1"), "filter: 'b = 1' is not a filter"),  # type: ignore[arg-type]
    ],
)
def test_faults_G7_python_cannot_build_what_the_language_cannot_say(build: Callable[[], Filter], message: str) -> None:
    with pytest.raises(FilterError) as caught:
        build()
    assert str(caught.value) == message


def _deep(filter: Filter, times: int) -> Filter:
    for _ in range(times):
        filter = ~filter
    return filter


def _long(filter: Filter, times: int) -> Filter:
    for _ in range(times):
        filter = filter | (field("stars") == 1)
    return filter


@pytest.mark.parametrize(
    "build",
    [
        lambda: _deep(field("stars") == 1, 10_000),
        lambda: _deep(field("stars") == 1, 9),
        lambda: _long(field("stars") == 1, 10_000),
        lambda: _long(field("stars") == 1, 100),
        lambda: Or((field("stars") == 1,) * 100_000),
        lambda: field("stars").is_in(count()),
        lambda: field("stars").is_in(range(1_001)),
        lambda: field("years").has_all(range(10**9)),
    ],
)
def test_faults_G7_evil_filters_of_python_are_refused_quickly(build: Callable[[], Filter]) -> None:
    started = time.perf_counter()
    with pytest.raises(FilterError):
        build()
    assert time.perf_counter() - started < 1


def test_faults_G7_limits_hold_to_the_last_one() -> None:
    check(_deep(field("stars") == 1, 8), _SCHEMA)
    check(_long(field("stars") == 1, 99), _SCHEMA)
    full = field("stars").is_in(range(1_000))
    check(Or((full,) * 10), _SCHEMA)
    with pytest.raises(FilterError) as caught:
        check(Or((full,) * 10) | field("years").has(1), _SCHEMA)
    assert str(caught.value) == "filter: the lists hold 10,001 values together; the limit is 10,000"


def test_zone_far_from_utc_is_converted() -> None:
    east = timezone(timedelta(hours=14))
    checked = check(field("changed").is_in([datetime(2024, 1, 1, 5, tzinfo=east)]), _SCHEMA)
    assert checked == In("changed", (datetime(2023, 12, 31, 15, tzinfo=UTC),))


def test_operators_by_field_type_are_the_documented_ones() -> None:
    values = {
        FieldType.STR: '"a"',
        FieldType.TEXT: '"a"',
        FieldType.INT: "1",
        FieldType.FLOAT: "1.5",
        FieldType.BOOL: "true",
        FieldType.DATE: "2024-01-31",
        FieldType.DATETIME: "2024-01-31T12:00",
    }
    forms = {
        **{str(op): f"x {op} VALUE" for op in Op},
        "in": "x in (VALUE)",
        "between": "x between VALUE and VALUE",
        "contains": 'x contains "a"',
        "starts with": 'x starts with "a"',
        "has": "x has VALUE",
        "null": "x is null",
    }
    accepted: dict[str, set[str]] = {}
    for kind, value in values.items():
        for many in (False, True):
            declared = Field("x", kind, many)
            schema = build_schema([declared], text="{x}")
            for name, form in forms.items():
                try:
                    check(parse(form.replace("VALUE", value)), schema)
                except FilterError:
                    continue
                accepted.setdefault(declared.spelled, set()).add(name)
    ordered = {"=", "!=", "<", "<=", ">", ">=", "in", "between", "null"}
    strings = ordered | {"contains", "starts with"}
    assert accepted == {
        "str": strings,
        "text": strings,
        "bool": {"=", "!=", "in", "null"},
        **dict.fromkeys(["int", "float", "date", "datetime"], ordered),
        **{f"list[{kind}]": {"has", "null"} for kind in FieldType},
    }
