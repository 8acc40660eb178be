"""Data frames: rows E13 and F15 of the fault matrix."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from kb.errors import SourceError, UsageError
from kb.schema import Field, FieldType, build_schema
from kb.sources import Format, Limits, Row, open_frame, open_rejects

if TYPE_CHECKING:
    from pathlib import Path


def column(series: Any) -> list[object]:
    return [row.problem or row.values["c"] for row in open_frame(pd.DataFrame({"c": series})).rows()]


def test_a_data_frame_is_a_source() -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "n": [1, 2]}, index=[7, 7])
    source = open_frame(frame)
    assert (source.name, source.format, source.textual) == ("<data frame>", Format.JSONL, False)
    assert (source.columns, source.total, source.fingerprint()) == (("id", "n"), 2, None)
    assert list(source.rows()) == [
        Row(1, 1, {"id": "a", "n": 1}, {"id": "a", "n": 1}),
        Row(2, 2, {"id": "b", "n": 2}, {"id": "b", "n": 2}),
    ]
    assert source.position == 2
    source.check_unchanged()


STAMP = pd.Timestamp("2024-05-06 07:08:09.123456")


@pytest.mark.parametrize(
    ("series", "values"),
    [
        (["a", None, "NaN"], ["a", None, "NaN"]),
        (pd.Series(["a", None], dtype="str"), ["a", None]),
        (pd.Series(["a", None], dtype="string"), ["a", None]),
        (pd.Series(["a", np.nan, pd.NA, None, pd.NaT, 1, 2.5, True], dtype="object"),
         ["a", None, None, None, None, 1, 2.5, True]),
        (pd.Series([1, 2], dtype="int8"), [1, 2]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.Series([2**63 - 1, None], dtype="Int64"), [2**63 - 1, None]),
        (pd.Series([True, None], dtype="boolean"), [True, None]),
        (pd.Series([True, False]), [True, False]),
        (pd.Series([1.5, None], dtype="Float64"), [1.5, None]),
        (pd.Series([0.5, np.nan], dtype="float32"), [0.5, None]),
        (pd.Series(["x", None, "y"], dtype="category"), ["x", None, "y"]),
        (pd.Series([3, 4], dtype="category"), [3, 4]),
        ([STAMP, pd.NaT], [dt.datetime(2024, 5, 6, 7, 8, 9, 123456), None]),
        (pd.Series([STAMP]).dt.tz_localize("Asia/Tokyo"), [STAMP.tz_localize("Asia/Tokyo").to_pydatetime()]),
        (pd.to_datetime(pd.Series(["2024-05-06", None])), [dt.date(2024, 5, 6), None]),
        (pd.to_datetime(pd.Series(["2024-05-06 00:00:00", "2024-05-06 00:00:01"])),
         [dt.datetime(2024, 5, 6), dt.datetime(2024, 5, 6, 0, 0, 1)]),
        (pd.to_datetime(pd.Series(["2024-05-06"])).dt.tz_localize("UTC"), [dt.datetime(2024, 5, 6, tzinfo=dt.UTC)]),
        (pd.Series([dt.date(2024, 5, 6), None], dtype="object"), [dt.date(2024, 5, 6), None]),
        ([["a", np.int64(1)], np.array([1.5, np.nan]), ("x",)], [["a", 1], [1.5, None], ["x"]]),
        (pd.Series([np.datetime64("2024-05-06T01:00"), np.float64(2), np.str_("s")], dtype="object"),
         [dt.datetime(2024, 5, 6, 1), 2.0, "s"]),
        ([{"a": 1}, {"b": [np.int64(2), {"c": np.nan}]}], [{"a": 1}, {"b": [2, {"c": None}]}]),
        ([Decimal("1.50"), Decimal("2.00"), Decimal("NaN"), Decimal("0.1")], [1.5, 2, None, 0.1]),
        ([1e300, 2.0**53, 2.0**53 - 1], [1e300, 2.0**53, 2**53 - 1]),
        ([float("inf")], [float("inf")]),
    ],
)  # fmt: skip
def test_faults_F15_values_become_plain_python(series: Any, values: list[object]) -> None:
    found = column(series)
    assert found == values
    assert [type(v) for v in found] == [type(v) for v in values]


@pytest.mark.parametrize(
    ("series", "values"),
    [
        ([3, None, 5], [3, None, 5]),
        ([3.0, 5.0], [3, 5]),
        ([3.0, None, 5.5], [3, None, 5.5]),
        (pd.Series([3, None], dtype="Float64"), [3, None]),
        ([None, None], [None, None]),
        ([np.nan, np.inf], [None, float("inf")]),
    ],
)
def test_faults_E13_whole_numbers_with_gaps_are_ints(series: Any, values: list[object]) -> None:
    found = column(series)
    assert found == values
    assert [type(v) for v in found] == [type(v) for v in values]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (Decimal("1.2345678901234567890"), "c: 1.2345678901234567890 has more digits than a float; convert the column"),
        (Decimal("Infinity"), "c: Infinity is not a finite number"),
        (pd.Timedelta("1h"), "c: 0 days 01:00:00 is of type Timedelta, which is not supported; convert the column"),
        (dt.time(1, 2), "c: 01:02:00 is of type time, which is not supported; convert the column"),
        (b"x", "c: b'x' is of type bytes, which is not supported; convert the column"),
        (1 + 2j, "c: (1+2j) is of type complex, which is not supported; convert the column"),
        ({1}, "c: {1} is of type set, which is not supported; convert the column"),
        ([{"x": {1}}], "c: {1} is of type set, which is not supported; convert the column"),
        (pd.Timestamp("2024-01-01 00:00:00.123456789"),
         "c: 2024-01-01T00:00:00.123456789 has nanoseconds; round it: .dt.floor('us')"),
    ],
)  # fmt: skip
def test_faults_F15_what_has_no_type_is_named(value: object, problem: str) -> None:
    assert column(pd.Series(["good", value], dtype="object")) == ["good", problem]


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        (["a", 1], "the data frame has a column named 1, which is not a name"),
        (["a", " "], "the data frame has a column named ' ', which is not a name"),
        (["a", ("x", "y")], "the data frame has a column named ('x', 'y'), which is not a name"),
        (["a", "a"], "the data frame has two columns named 'a'"),
    ],
)
def test_faults_F15_columns_are_named_by_different_strings(columns: list[object], what: str) -> None:
    frame = pd.DataFrame([[1, 2]])
    frame.columns = pd.Index(columns, tupleize_cols=False)
    with pytest.raises(SourceError) as caught:
        open_frame(frame)
    assert caught.value.what == what


def test_faults_E19_columns_are_capped() -> None:
    frame = pd.DataFrame([[1] * 3], columns=list("abc"))
    assert open_frame(frame, limits=Limits(columns=3)).columns == ("a", "b", "c")
    with pytest.raises(SourceError, match="the data frame has 3 columns; the limit is 2"):
        open_frame(frame, limits=Limits(columns=2))


def test_something_else_is_refused() -> None:
    with pytest.raises(UsageError, match="a pandas data frame or an Arrow table is needed, not list"):
        open_frame([{"id": 1}])


def test_notes_tell_of_no_rows_and_of_an_index_that_has_a_name() -> None:
    assert open_frame(pd.DataFrame({"a": []})).notes == ["<data frame> has no rows"]
    assert open_frame(pd.DataFrame({"k": ["x"], "a": [1]}).set_index("k")).notes == [
        "<data frame>: the index (k) is not imported; reset_index() makes it a column"
    ]


def test_rows_fit_a_schema_and_rejects_are_json_lines(tmp_path: Path) -> None:
    schema = build_schema(
        [Field("body", FieldType.TEXT), Field("n", FieldType.INT, required=False), Field("day", FieldType.DATE)]
    )
    frame = pd.DataFrame(
        {"id": [1, 2], "body": ["x", "é"], "n": [3, None], "day": pd.to_datetime(["2024-05-06", "2024-05-07"])}
    )
    source = open_frame(frame)
    path = tmp_path / "rejects.jsonl"
    writer = open_rejects(str(path), source, resume_at=None)
    for row in source.rows():
        assert schema.document(row.values, textual=False, separators={}).id == str(row.number)
        writer.write(row, "no reason")
    writer.close()
    assert path.read_text() == (
        '{"_reason": "no reason", "_line": 1, "id": 1, "body": "x", "n": 3, "day": "2024-05-06"}\n'
        '{"_reason": "no reason", "_line": 2, "id": 2, "body": "é", "n": null, "day": "2024-05-07"}\n'
    )
