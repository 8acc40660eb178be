"""Field types: text, typed, stored and JSON forms."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.errors import SchemaError
from kb.schema import Field, FieldType, json_datetime, parse_type
from kb.schema.fields import INT_MAX, INT_MIN, MAX_STR_BYTES, MAX_TEXT_BYTES

# A zone with a summer time has hours that Python never finds equal to themselves in another zone.
ZONES = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
# Within a day of either end of the calendar a zone can push an instant out of it.
DATETIMES = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)
STRINGS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
VALUES = {
    FieldType.STR: STRINGS,
    FieldType.TEXT: STRINGS,
    FieldType.INT: st.integers(INT_MIN, INT_MAX),
    FieldType.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    FieldType.BOOL: st.booleans(),
    FieldType.DATE: st.dates(),
    FieldType.DATETIME: DATETIMES,
}
ANY_VALUE = st.sampled_from(list(VALUES)).flatmap(lambda kind: VALUES[kind].map(lambda value: (kind, value)))


def refusal(kind: FieldType, text: str) -> str:
    with pytest.raises(ValueError) as caught:
        Field("f", kind).parse(text)
    return str(caught.value)


@given(ANY_VALUE)
def test_a_value_survives_storing_as_json(typed):
    kind, value = typed
    declared = Field("f", kind)
    loaded = declared.load(json.loads(json.dumps(declared.store(value))))
    assert loaded == value
    assert type(loaded) is declared.python


@given(st.sampled_from(list(VALUES)).flatmap(lambda kind: st.lists(VALUES[kind]).map(lambda value: (kind, value))))
def test_a_list_survives_storing_as_json(typed):
    kind, value = typed
    declared = Field("f", kind, many=True)
    assert declared.load_value(json.loads(json.dumps(declared.store_value(value)))) == value


@given(ANY_VALUE)
def test_a_formatted_value_parses_to_itself(typed):
    kind, value = typed
    declared = Field("f", kind)
    assert declared.parse(declared.format(value)) == value


@given(ANY_VALUE)
def test_a_stored_value_is_a_json_value_of_the_type(typed):
    kind, value = typed
    declared = Field("f", kind)
    assert declared.from_json(declared.store(value)) == value


@given(st.dates(), st.dates())
def test_stored_dates_have_the_order_of_the_dates(a, b):
    declared = Field("f", FieldType.DATE)
    assert (declared.store(a) < declared.store(b)) == (a < b)


@given(VALUES[FieldType.DATETIME], VALUES[FieldType.DATETIME])
def test_stored_datetimes_have_the_order_of_the_instants(a, b):
    declared = Field("f", FieldType.DATETIME)
    assert (declared.store(a) < declared.store(b)) == (a < b)
    assert len(declared.store(a)) == 27


def test_a_missing_value_is_stored_as_nothing_and_a_missing_list_is_empty():
    assert Field("f", FieldType.STR).store_value(None) is None
    assert Field("f", FieldType.STR).load_value(None) is None
    assert Field("f", FieldType.STR, many=True).load_value(None) == []


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (FieldType.INT, "00123", 123),
        (FieldType.INT, " 7 ", 7),
        (FieldType.INT, "+7", 7),
        (FieldType.INT, "3.0", 3),
        (FieldType.INT, "-9223372036854775808", INT_MIN),
        (FieldType.FLOAT, "1e5", 100000.0),
        (FieldType.FLOAT, " .5 ", 0.5),
        (FieldType.FLOAT, "-7.", -7.0),
        (FieldType.BOOL, "TRUE", True),
        (FieldType.BOOL, "0", False),
        (FieldType.BOOL, "Yes", True),
        (FieldType.STR, "00123", "00123"),
        (FieldType.STR, " 7 ", " 7 "),
        (FieldType.STR, "TRUE", "TRUE"),
    ],
)
def test_faults_E12_text_is_read_by_the_declared_type_only(kind, text, value):
    parsed = Field("f", kind).parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (FieldType.INT, "1e5", "is not a whole number"),
        (FieldType.INT, "1,234", "is not a whole number"),
        (FieldType.INT, "3.5", "is not a whole number"),
        (FieldType.INT, "٣", "is not a whole number"),
        pytest.param(FieldType.INT, "9" * 5000, "is not a whole number", id="int of 5000 digits"),
        (FieldType.INT, "9223372036854775808", "is outside the 64-bit range"),
        (FieldType.FLOAT, "1,234.50", "is not a number (write 1234.5)"),
        (FieldType.FLOAT, "1.234,50", "is not a number (write 1234.5)"),
        (FieldType.FLOAT, "￥5", "is not a number (write 1234.5)"),
        (FieldType.FLOAT, "nan", "is not a number (write 1234.5)"),
        (FieldType.FLOAT, "inf", "is not a number (write 1234.5)"),
        (FieldType.FLOAT, "1_0", "is not a number (write 1234.5)"),
        (FieldType.FLOAT, "1e999", "is not a finite number"),
        pytest.param(FieldType.FLOAT, "9" * 5000, "is not a finite number", id="float of 5000 digits"),
        (FieldType.BOOL, "2", "is not true or false"),
        (FieldType.BOOL, "on", "is not true or false"),
    ],
)
def test_faults_E12_what_no_value_of_the_type_looks_like_is_refused(kind, text, message):
    assert refusal(kind, text) == message


@pytest.mark.parametrize("text", ["NaN", "nan", "NULL", "None", "N/A", "-"])
def test_faults_E14_words_for_nothing_are_strings_like_any_other(text):
    assert Field("f", FieldType.STR).parse(text) == text
    assert refusal(FieldType.INT, text) == "is not a whole number"
    assert refusal(FieldType.FLOAT, text) == "is not a number (write 1234.5)"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0001-01-01", date(1, 1, 1)),
        ("9999-12-31", date(9999, 12, 31)),
        (" 2024-02-29 ", date(2024, 2, 29)),
    ],
)
def test_faults_E15_iso_dates_are_accepted(text, value):
    assert Field("f", FieldType.DATE).parse(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("01/02/2024", "is not an ISO date (write 2024-01-31)"),
        ("20240131", "is not an ISO date (write 2024-01-31)"),
        ("2024-1-31", "is not an ISO date (write 2024-01-31)"),
        ("2024-01-31T00:00:00", "is not an ISO date (write 2024-01-31)"),
        ("2023-02-29", "is not a day of the calendar"),
        ("0000-01-01", "is not a day of the calendar"),
        ("2024-13-01", "is not a day of the calendar"),
    ],
)
def test_faults_E15_other_dates_are_refused(text, message):
    assert refusal(FieldType.DATE, text) == message


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2024-01-31", "2024-01-31T00:00:00.000000Z"),
        ("2024-01-31T12:00:00", "2024-01-31T12:00:00.000000Z"),
        ("2024-01-31 12:00", "2024-01-31T12:00:00.000000Z"),
        ("2024-01-31T12:00:00Z", "2024-01-31T12:00:00.000000Z"),
        ("2024-01-31T00:30:00.000001+01:00", "2024-01-30T23:30:00.000001Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_faults_E15_datetimes_are_stored_in_utc(text, stored):
    declared = Field("f", FieldType.DATETIME)
    assert declared.store(declared.parse(text)) == stored


@pytest.mark.parametrize(
    "text",
    ["01/02/2024", "12:00", "2016-12-31T23:59:60Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"],
)
def test_faults_E15_other_datetimes_are_refused(text):
    assert refusal(FieldType.DATETIME, text) == "is not an ISO date and time (write 2024-01-31T12:00:00Z)"


@pytest.mark.parametrize(
    ("number", "day"),
    [("45000", "2023-03-15"), ("45000.5", "2023-03-15"), ("10000", "1927-05-18"), ("99999", "2173-10-13")],
)
def test_faults_E15_the_number_of_a_spreadsheet_is_refused_with_what_to_do(number, day):
    hint = f"; if it is a spreadsheet's number for {day}, format the column as a date there"
    assert refusal(FieldType.DATE, number) == f"is not an ISO date (write 2024-01-31){hint}"
    assert refusal(FieldType.DATETIME, number) == f"is not an ISO date and time (write 2024-01-31T12:00:00Z){hint}"
    for kind in (FieldType.DATE, FieldType.DATETIME):
        with pytest.raises(ValueError, match=f"^{re.escape('is a number' + hint)}$"):
            Field("f", kind).from_json(float(number) if "." in number else int(number))


def test_faults_E15_both_hours_of_the_end_of_summer_time_are_kept():
    declared = Field("f", FieldType.DATETIME)
    once = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert declared.store(once) == "2024-10-27T00:30:00.000000Z"
    assert declared.store(once.replace(fold=1)) == "2024-10-27T01:30:00.000000Z"


def test_faults_E15_an_instant_before_the_calendar_is_refused_from_python_too():
    early = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    with pytest.raises(ValueError, match=r"^is "):
        Field("f", FieldType.DATETIME).from_json(early)


@pytest.mark.parametrize("kind", [FieldType.STR, FieldType.TEXT])
def test_faults_F5_strings_that_cannot_be_stored_are_refused(kind):
    assert refusal(kind, "a\x00b") == "contains a NUL character"
    assert refusal(kind, "ab\ud800") == "is not valid Unicode at character 2"
    with pytest.raises(ValueError, match=r"^is not valid Unicode at character 0$"):
        Field("f", kind, many=True).from_json(["fine", "\udfff"])


@pytest.mark.parametrize(
    ("kind", "limit", "shown"),
    [(FieldType.STR, MAX_STR_BYTES, "32,768"), (FieldType.TEXT, MAX_TEXT_BYTES, "1,048,576")],
)
def test_a_string_may_have_as_many_bytes_as_its_limit(kind, limit, shown):
    fits = "é" * (limit // 2)
    assert Field("f", kind).parse(fits) == fits
    assert Field("f", kind).from_json(fits) == fits
    assert refusal(kind, fits + "x") == f"is {limit + 1:,} bytes long; the limit is {shown}"


@pytest.mark.parametrize("value", [INT_MAX + 1, INT_MIN - 1, 10**5000], ids=["above", "below", "5000 digits"])
@pytest.mark.parametrize("kind", [FieldType.INT, FieldType.FLOAT])
def test_faults_F3_integers_beyond_64_bits_are_refused(kind, value):
    with pytest.raises(ValueError, match=r"^is outside the 64-bit range$"):
        Field("f", kind).from_json(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match=r"^is not a finite number$"):
        Field("f", FieldType.FLOAT).from_json(value)


def test_an_int_in_json_becomes_a_float_of_a_float_field_only():
    assert repr(Field("f", FieldType.FLOAT).from_json(4)) == "4.0"
    assert repr(Field("f", FieldType.INT).from_json(4)) == "4"
    assert Field("f", FieldType.FLOAT).from_json(True) is True  # left to validation, which refuses it


@pytest.mark.parametrize(
    ("declared", "value", "text"),
    [
        (Field("f", FieldType.STR), None, ""),
        (Field("f", FieldType.STR, many=True), [], ""),
        (Field("f", FieldType.STR, many=True), ["a", "b"], "a, b"),
        (Field("f", FieldType.BOOL), False, "false"),
        (Field("f", FieldType.FLOAT), 4.0, "4.0"),
        (Field("f", FieldType.DATE), date(33, 4, 3), "0033-04-03"),
        (Field("f", FieldType.DATETIME), datetime(2024, 1, 31, 12, tzinfo=UTC), "2024-01-31T12:00:00Z"),
    ],
)
def test_format(declared, value, text):
    assert declared.format(value) == text


def test_json_datetime_keeps_a_fraction_and_takes_a_naive_time_as_utc():
    assert json_datetime(datetime(2024, 1, 31, 12, 0, 0, 500)) == "2024-01-31T12:00:00.000500Z"


@pytest.mark.parametrize("kind", list(FieldType))
def test_every_type_can_be_spelled_alone_and_as_a_list(kind):
    assert parse_type(str(kind)) == (kind, False)
    assert parse_type(f" list[ {kind} ] ") == (kind, True)
    assert Field("f", kind, many=True).spelled == f"list[{kind}]"


@pytest.mark.parametrize(
    ("spelled", "hint"),
    [
        ("varchar", "valid: str, text, int, float, bool, date, datetime, list[str]"),
        ("flaot", "did you mean 'float'? valid: str, text, int, float, bool, date, datetime, list[str]"),
        ("list[strr]", "did you mean 'list[str]'? valid: str, text, int, float, bool, date, datetime, list[str]"),
        ("list[list[str]]", "did you mean 'list[str]'? valid: str, text, int, float, bool, date, datetime, list[str]"),
    ],
)
def test_an_unknown_type_is_refused_with_the_nearest(spelled, hint):
    with pytest.raises(SchemaError) as caught:
        parse_type(spelled)
    assert str(caught.value) == f"unknown field type '{spelled}'"
    assert caught.value.hint == hint


def test_only_prose_stays_out_of_the_index():
    assert [kind for kind in FieldType if not Field("f", kind).is_metadata] == [FieldType.TEXT]
