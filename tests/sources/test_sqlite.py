"""SQLite files: one SELECT, nothing written, typed values, logs of other programs."""

from __future__ import annotations

import sqlite3
import tracemalloc
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from kb.errors import SourceChangedError, SourceError, UsageError
from kb.sources import Format, Limits, Reading, Row, Source, open_source
from tests.sources.conftest import CHANGES, check_change_is_noticed
from tests.sources.samples import database

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = "give one SELECT, e.g. SELECT id, title, body FROM articles"


def opened(
    tmp_path: Path,
    sql: str | None,
    *statements: str | tuple[str, tuple[object, ...]],
    limits: Limits = Limits(),  # noqa: B008
) -> Source:
    path = tmp_path / "data.db"
    path.write_bytes(database(*statements) if statements else database("CREATE TABLE t (id, n)"))
    return open_source(str(path), Reading(sql=sql), limits=limits)


def column(source: Source) -> list[object]:
    return [row.problem or row.values["c"] for row in source.rows()]


def test_a_query_is_a_source(tmp_path: Path) -> None:
    source = opened(
        tmp_path, "SELECT id, n * 2 AS n FROM t ORDER BY id; ",
        "CREATE TABLE t (id, n)", "INSERT INTO t VALUES ('b', NULL), ('a', 1)",
    )  # fmt: skip
    assert (source.format, source.rejects, source.textual) == (Format.SQLITE, Format.JSONL, False)
    assert (source.columns, source.total) == (("id", "n"), None)
    assert list(source.rows()) == [
        Row(1, 1, {"id": "a", "n": 2}, {"id": "a", "n": 2}),
        Row(2, 2, {"id": "b", "n": None}, {"id": "b", "n": None}),
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.db"], "nothing is written beside it"


def test_values_keep_their_types(tmp_path: Path) -> None:
    sql = "SELECT column1 AS c FROM (VALUES ('00123'), (9223372036854775807), (1.5), (3.0), (NULL), ('é'), ('2024-01-31'))"
    found = column(opened(tmp_path, sql))
    assert found == ["00123", 2**63 - 1, 1.5, 3, None, "é", "2024-01-31"]
    assert [type(v) for v in found] == [str, int, float, int, type(None), str, str]


def test_what_is_no_value_costs_its_row(tmp_path: Path) -> None:
    sql = "SELECT column1 AS c FROM (VALUES (x'00ff'), (CAST(x'61ff' AS TEXT)), (1e999), ('x'))"
    assert column(opened(tmp_path, sql)) == [
        "c: b'\\x00\\xff' is of type bytes, which is not supported; convert the column",
        "c: byte 2 (0xFF) is not valid UTF-8",
        float("inf"),
        "x",
    ]


def test_without_a_query_the_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        opened(
            tmp_path,
            None,
            "CREATE TABLE b (x)",
            "CREATE VIEW a AS SELECT * FROM b",
            "CREATE TABLE c (x INTEGER PRIMARY KEY AUTOINCREMENT)",
        )
    assert (caught.value.what, caught.value.hint) == (
        f"{tmp_path}/data.db is an SQLite database; its tables: a, b, c", "say which rows: --sql 'SELECT * FROM a'"
    )  # fmt: skip
    with pytest.raises(UsageError, match="is an SQLite database without tables"):
        opened(tmp_path, " ", "CREATE TABLE b (x)", "DROP TABLE b")


@pytest.mark.parametrize(
    ("sql", "what", "hint"),
    [
        ("SELECT id FROM t; SELECT n FROM t", "--sql: you can only execute one statement at a time", EXAMPLE),
        ("DELETE FROM t", "--sql may only read", EXAMPLE),
        ("INSERT INTO t VALUES (1, 2) RETURNING id", "--sql may only read", EXAMPLE),
        ("WITH x AS (SELECT 1) UPDATE t SET id = 1", "--sql may only read", EXAMPLE),
        ("DROP TABLE t", "--sql may only read", EXAMPLE),
        ("ATTACH 'other.db' AS other", "--sql may only read", EXAMPLE),
        ("PRAGMA journal_mode = WAL", "--sql may only read", EXAMPLE),
        ("VACUUM INTO 'copy.db'", "--sql may only read", EXAMPLE),
        ("BEGIN", "--sql may only read", EXAMPLE),
        ("-- nothing", "--sql holds no query", EXAMPLE),
        ("SELECT title FROM t", "--sql: no such column: title", "its tables: t"),
        ("SELECT * FROM articles", "--sql: no such table: articles", "its tables: t"),
        ("SELEC id FROM t", '--sql: near "SELEC": syntax error', "its tables: t"),
    ],
)
def test_only_one_select_is_accepted(tmp_path: Path, sql: str, what: str, hint: str) -> None:
    before = database("CREATE TABLE t (id, n)", "INSERT INTO t VALUES ('a', 1)")
    (tmp_path / "data.db").write_bytes(before)
    with pytest.raises(UsageError) as caught:
        open_source(str(tmp_path / "data.db"), Reading(sql=sql))
    assert (caught.value.what, caught.value.hint) == (what, hint)
    assert [(e.name, e.read_bytes()) for e in tmp_path.iterdir()] == [("data.db", before)]


@pytest.mark.parametrize(
    "sql", ["WITH x(c) AS (VALUES (1)) SELECT c FROM x", "VALUES (1)", "SELECT count(*) AS c FROM t"]
)
def test_every_form_of_a_query_is_accepted(tmp_path: Path, sql: str) -> None:
    assert len(list(opened(tmp_path, sql).rows())) == 1


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("SELECT id, id FROM t", "the query has two columns named 'id'"),
        ("SELECT 1 AS ' '", "the query has a column named ' ', which is not a name"),
        ("SELECT " + ", ".join(f"1 AS c{n}" for n in range(1001)), "the query has 1,001 columns; the limit is 1,000"),
    ],
)
def test_faults_E8_E19_columns_are_checked(tmp_path: Path, sql: str, what: str) -> None:
    with pytest.raises(SourceError) as caught:
        opened(tmp_path, sql)
    assert caught.value.what == what


def test_faults_E5_the_size_of_a_row_is_limited(tmp_path: Path) -> None:
    sql = "SELECT column1 AS c FROM (VALUES ('12345'), ('123456'))"
    assert column(opened(tmp_path, sql, limits=Limits(row_bytes=5))) == [
        "12345", "the row is 6 bytes long; the limit is 5"
    ]  # fmt: skip


def test_faults_E10_no_rows_has_a_reason(tmp_path: Path) -> None:
    source = opened(tmp_path, "SELECT * FROM t")
    assert (list(source.rows()), source.notes) == ([], [f"{tmp_path}/data.db: the query gives no rows"])


def test_faults_E19_rows_are_streamed(tmp_path: Path) -> None:
    sql = "WITH RECURSIVE n(c) AS (SELECT 1 UNION ALL SELECT c + 1 FROM n) SELECT c, hex(zeroblob(500)) AS t FROM n LIMIT 50000"
    source = opened(tmp_path, sql)
    tracemalloc.start()
    assert sum(1 for _ in source.rows()) == 50_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    whole = database("CREATE TABLE t (id)", *(("INSERT INTO t VALUES (?)", (f"{n}" * 100,)) for n in range(1000)))
    path = tmp_path / "data.db"
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    with pytest.raises(SourceError, match="data.db: the database cannot be read: database disk image is malformed"):
        list(open_source(str(path), Reading(sql="SELECT * FROM t")).rows())
    path.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(SourceError, match="data.db: the database cannot be read: file is not a database"):
        open_source(str(path), Reading(sql="SELECT * FROM t"))
    path.write_bytes(b"id,t\n")
    with pytest.raises(SourceError, match="data.db is not an SQLite database"):
        open_source(str(path), Reading(sql="SELECT * FROM t"))


@pytest.mark.parametrize("change", CHANGES)
def test_faults_E20_a_file_that_changes_is_noticed(tmp_path: Path, change: str) -> None:
    inserts = [("INSERT INTO t VALUES (?)", (f"{n}" * 100,)) for n in range(2000)]
    source = opened(tmp_path, "SELECT * FROM t", "CREATE TABLE t (id)", *inserts)
    check_change_is_noticed(source, tmp_path / "data.db", change)


def test_faults_E20_a_log_that_another_program_keeps_is_read_and_watched(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE t (c)")
        writer.execute("INSERT INTO t VALUES ('only in the log')")
        source = open_source(str(path), Reading(sql="SELECT * FROM t"))
        before = source.fingerprint()
        assert column(source) == ["only in the log"]
        writer.execute("INSERT INTO t VALUES ('later')")
        with pytest.raises(SourceChangedError, match="data.db changed while it was read: another program has written"):
            source.check_unchanged()
        again = open_source(str(path), Reading(sql="SELECT * FROM t"))
        assert column(again) == ["only in the log", "later"]
        assert again.fingerprint() != before


def test_a_database_that_was_in_wal_mode_is_read_where_nothing_may_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "data.db")) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE t (c)")
        writer.execute("INSERT INTO t VALUES (1)")
        writer.commit()
    folder.chmod(0o555)
    try:
        assert column(open_source(str(folder / "data.db"), Reading(sql="SELECT * FROM t"))) == [1]
        assert [entry.name for entry in folder.iterdir()] == ["data.db"]
    finally:
        folder.chmod(0o755)
