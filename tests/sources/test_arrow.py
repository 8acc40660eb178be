"""Parquet files, Arrow tables and what speaks Arrow: typed values, bounded memory, damage."""

from __future__ import annotations

import datetime as dt
import tracemalloc
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kb.errors import SourceError, UsageError
from kb.sources import Format, Limits, Reading, Row, Source, open_frame, open_rejects, open_source
from tests.sources.conftest import CHANGES, check_change_is_noticed
from tests.sources.samples import parquet

if TYPE_CHECKING:
    from pathlib import Path


def opened(tmp_path: Path, table: pa.Table | bytes, limits: Limits = Limits()) -> Source:  # noqa: B008
    path = tmp_path / "data.parquet"
    path.write_bytes(table if isinstance(table, bytes) else parquet(table))
    return open_source(str(path), limits=limits)


def column(source: Source) -> list[object]:
    return [row.problem or row.values["c"] for row in source.rows()]


def test_a_parquet_file_is_a_source(tmp_path: Path) -> None:
    source = opened(tmp_path, pa.table({"id": ["a", "b"], "n": [1, None]}))
    assert (source.format, source.rejects, source.textual) == (Format.PARQUET, Format.JSONL, False)
    assert (source.columns, source.total, source.position) == (("id", "n"), 2, 0)
    assert list(source.rows()) == [
        Row(1, 1, {"id": "a", "n": 1}, {"id": "a", "n": 1}),
        Row(2, 2, {"id": "b", "n": None}, {"id": "b", "n": None}),
    ]
    assert source.position == 2


NOON = dt.datetime(2024, 5, 6, 12)
VALUES: list[tuple[pa.Array, list[object]]] = [
    (pa.array(["é", None], pa.large_string()), ["é", None]),
    (pa.array([2**63, 1], pa.uint64()), [2**63, 1]),
    (pa.array([True, None]), [True, None]),
    (pa.array([1.5, float("nan")], pa.float32()), [1.5, None]),
    (pa.array([dt.date(2024, 5, 6), None]), [dt.date(2024, 5, 6), None]),
    (pa.array([NOON, None], pa.timestamp("ns")), [NOON, None]),
    (pa.array([NOON], pa.timestamp("us", "UTC")), [NOON.replace(tzinfo=dt.UTC)]),
    (pa.array(["x", "y", None]).dictionary_encode(), ["x", "y", None]),
    (pa.array([Decimal("1.50"), Decimal("2.00")]), [1.5, 2]),
]


@pytest.mark.parametrize(("array", "values"), VALUES)
@pytest.mark.parametrize("kind", ["parquet", "table"])
def test_faults_F15_values_become_plain_python(tmp_path: Path, kind: str, array: Any, values: list[object]) -> None:
    table = pa.table({"c": array})
    found = column(opened(tmp_path, table) if kind == "parquet" else open_frame(table))
    assert found == values
    assert [type(v) for v in found] == [type(v) for v in values]


def test_faults_E13_whole_numbers_with_gaps_are_ints(tmp_path: Path) -> None:
    pd.DataFrame({"c": [3, None, 5]}).to_parquet(tmp_path / "gaps.parquet")
    found = column(open_source(str(tmp_path / "gaps.parquet")))
    assert (found, [type(v) for v in found]) == ([3, None, 5], [int, type(None), int])


def test_midnight_fits_dates_and_datetimes(tmp_path: Path) -> None:
    pd.DataFrame({"c": pd.to_datetime(["2024-05-06", None])}).to_parquet(tmp_path / "days.parquet")
    assert column(open_source(str(tmp_path / "days.parquet"))) == [dt.date(2024, 5, 6), None]


def test_faults_F9_nested_values_stay_nested(tmp_path: Path) -> None:
    values = [{"name": "n", "tags": ["x", "y"], "more": [{"at": dt.date(2024, 5, 6)}]}, {"name": "m", "tags": []}]
    table = pa.Table.from_pylist([{"c": value} for value in values])
    assert column(opened(tmp_path, table)) == [values[0], {**values[1], "more": None}]
    assert column(open_frame(table)) == [values[0], {**values[1], "more": None}]


STAMP = pa.array([1_700_000_000_000_000_001, 1_700_000_000_000_000_000], pa.timestamp("ns"))


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (pa.array([b"x"]), ["c: b'x' is of type bytes, which is not supported; convert the column"]),
        (pa.array([dt.time(1, 2)]), ["c: 01:02:00 is of type time, which is not supported; convert the column"]),
        (STAMP, ["c: Casting from timestamp[ns] to timestamp[us] would lose data: 1700000000000000001",
                 dt.datetime(2023, 11, 14, 22, 13, 20)]),
        (pa.array([10**15, 0], pa.timestamp("ms")), ["c: date value out of range", dt.date(1970, 1, 1)]),
        (pa.StringArray.from_buffers(2, *pa.array([b"\xff", b"x"]).buffers()[1:]),
         ["c: the text is not valid UTF-8", "x"]),
    ],
)  # fmt: skip
def test_faults_F15_what_cannot_be_a_value_costs_its_row(tmp_path: Path, array: Any, found: list[object]) -> None:
    assert column(opened(tmp_path, pa.table({"c": array}))) == found


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["a", "a"], "two columns named 'a'"),
        (["a", " "], "a column named ' ', which is not a name"),
        ([f"c{n}" for n in range(1001)], "1,001 columns; the limit is 1,000"),
    ],
)
def test_faults_E8_E19_columns_are_checked(tmp_path: Path, names: list[str], what: str) -> None:
    table = pa.Table.from_arrays([pa.array([1])] * len(names), names)
    with pytest.raises(SourceError) as caught:
        opened(tmp_path, table)
    assert caught.value.what == f"{tmp_path}/data.parquet has {what}"
    with pytest.raises(SourceError) as caught:
        open_frame(table)
    assert caught.value.what == f"the table has {what}"


def test_faults_E5_F12_the_size_and_depth_of_a_row_are_limited(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"c": "ä" * 10}, {"c": "ä" * 10 + "x"}]
    assert column(opened(tmp_path, pa.Table.from_pylist(rows), Limits(row_bytes=20))) == [
        "ä" * 10, "the row is 21 bytes long; the limit is 20"
    ]  # fmt: skip
    deep = pa.Table.from_pylist([{"c": {"d": {"e": 1}}}])
    assert column(opened(tmp_path, deep, Limits(depth=3))) == [{"d": {"e": 1}}]
    assert column(opened(tmp_path, deep, Limits(depth=2))) == ["the row is nested more than 2 levels deep"]


def test_faults_E10_no_rows_has_a_reason(tmp_path: Path) -> None:
    empty = pa.table({"c": pa.array([], pa.string())})
    assert opened(tmp_path, empty).notes == [f"{tmp_path}/data.parquet has no rows"]
    assert open_frame(empty).notes == ["<data frame> has no rows"]
    with pytest.raises(SourceError, match=r"data.parquet is empty \(0 bytes\), not Parquet"):
        opened(tmp_path, b"")


def test_faults_E19_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    with pq.ParquetWriter(path, pa.schema([("t", pa.string())])) as writer:
        for start in range(0, 40_000, 4000):
            writer.write_table(pa.table({"t": [f"{n:01000d}" for n in range(start, start + 4000)]}))
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    count, arrow = 0, 0
    for _ in open_source(str(path)).rows():
        count += 1
        arrow = max(arrow, pa.total_allocated_bytes() - before) if count % 500 == 0 else arrow
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (count, peak < 10_000_000, arrow < 20_000_000) == (40_000, True, True)


@pytest.mark.parametrize("change", CHANGES)
def test_faults_E20_a_file_that_changes_is_noticed(tmp_path: Path, change: str) -> None:
    source = opened(tmp_path, pa.table({"c": [f"{n}" * 50 for n in range(20_000)]}))
    check_change_is_noticed(source, tmp_path / "data.parquet", change)


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    whole = parquet(pa.table({"c": list(range(1000))}))
    with pytest.raises(SourceError, match="the Parquet data cannot be read: Parquet magic bytes not found in footer"):
        opened(tmp_path, whole[:-10])
    with pytest.raises(SourceError, match="data.parquet is not Parquet"):
        opened(tmp_path, b"id,t\n")


class Capsule:
    """What polars, DuckDB and others offer."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


class ToPandas:
    def to_pandas(self) -> object:
        return pd.DataFrame({"c": [1, None]})


def test_whatever_speaks_arrow_or_pandas_is_a_frame() -> None:
    table = pa.table({"c": [1, None]})
    for frame in (table, Capsule(table), table.to_reader(), ToPandas(), table.to_pandas()):
        source = open_frame(frame)
        assert (source.name, source.columns, source.total, source.fingerprint()) == ("<data frame>", ("c",), 2, None)
        assert column(source) == column(source) == [1, None]
        assert source.position == 2
        source.check_unchanged()
    with pytest.raises(UsageError, match="a pandas data frame or an Arrow table is needed, not list"):
        open_frame([{"id": 1}])


def test_rejects_are_json_lines(tmp_path: Path) -> None:
    source = opened(
        tmp_path, pa.table({"id": ["a", "b"], "d": [NOON, None], "n": [{"x": [1]}, None], "b": [b"", None]})
    )
    writer = open_rejects(tmp_path / "rejects.jsonl", source, resume_at=None)
    for row in source.rows():
        writer.write(row, row.problem or "no")
    writer.close()
    assert (tmp_path / "rejects.jsonl").read_text() == (
        '{"_reason": "b: b\'\' is of type bytes, which is not supported; convert the column", "_line": 1, "id": "a", '
        '"d": "2024-05-06T12:00:00", "n": {"x": [1]}, "b": "b\'\'"}\n'
        '{"_reason": "no", "_line": 2, "id": "b", "d": null, "n": null, "b": null}\n'
    )
    assert [row.values["id"] for row in open_source(str(tmp_path / "rejects.jsonl")).rows()] == ["a", "b"]


@pytest.mark.parametrize("option", ["delimiter", "quote", "records", "sheet", "sql", "encoding"])
def test_options_of_other_formats_are_refused(tmp_path: Path, option: str) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(parquet(pa.table({"c": [1]})))
    with pytest.raises(UsageError, match="is given, but parquet has none"):
        open_source(str(path), Reading(**{option: ","}))
    with pytest.raises(UsageError, match="a first row without names is given, but parquet has none"):
        open_source(str(path), Reading(header=False))
