"""Opening the catalog: made, migrated, or refused."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import kb
from kb.catalog import Catalog, copy_catalog, migrating, open_catalog
from kb.catalog.failures import RESTORE
from kb.catalog.tables import HEAD, catalog_info, metadata
from kb.catalog.write_lock import WriteLock
from kb.errors import DamagedError, LimitError, NewerCatalogError, UsageError
from tests.conftest import CONFIG, make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite3"


def made(path: Path, version: str = "0.1.0") -> Path:
    open_catalog(path, version=version).close()
    return path


def execute(path: Path, *statements: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        rows: list[tuple[object, ...]] = []
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        connection.commit()
        return rows
    finally:
        connection.close()


def revision(path: Path) -> object:
    return execute(path, "SELECT version_num FROM alembic_version")[0][0]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def shape(connection: sqlalchemy.Connection) -> dict[str, object]:
    """Everything about the tables that has a meaning, in one comparable value."""
    inspector = sqlalchemy.inspect(connection)
    named = {"alembic_version"}
    return {
        table: (
            [
                (c["name"], str(c["type"]), c["nullable"], c["default"], c["primary_key"])
                for c in inspector.get_columns(table)
            ],
            sorted(
                (f["constrained_columns"], f["referred_table"], f["options"]) for f in inspector.get_foreign_keys(table)
            ),
            sorted(u["column_names"] for u in inspector.get_unique_constraints(table)),
            sorted((c["name"], c["sqltext"]) for c in inspector.get_check_constraints(table)),
            sorted(
                (i["name"], i["column_names"], i["unique"], str(i["dialect_options"].get("sqlite_where")))
                for i in inspector.get_indexes(table)
            ),
            inspector.get_table_options(table),
        )
        for table in inspector.get_table_names()
        if table not in named
    }


def add_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upgrade: str) -> None:
    """Make a release with one more migration than the present one."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrating.migrations_folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "9999_more.py").write_text(
        f"from alembic import op\nrevision = '9999'\ndown_revision = '{HEAD}'\ndef upgrade():\n    {upgrade}\n"
    )
    monkeypatch.setattr(migrating, "HEAD", "9999")
    monkeypatch.setattr(migrating, "migrations_folder", lambda: folder)


def test_a_new_catalog_has_a_write_ahead_log_full_fsync_and_foreign_keys(path):
    catalog = open_catalog(path, version="0.1.0")
    for opened in (catalog.read, catalog.write):
        with opened() as connection:
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
        assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    catalog.close()
    assert contents(path.parent).keys() == {"catalog.sqlite3"}


def test_a_new_catalog_records_its_revision_and_the_version_that_made_it(path):
    made(path, "1.2.3")
    assert revision(path) == HEAD
    assert execute(path, "SELECT name, value FROM catalog_info") == [("kb_version", "1.2.3")]


def test_opening_again_changes_nothing(path):
    before = made(path, "1.2.3").read_bytes()
    assert made(path, "1.2.4").read_bytes() == before


def test_the_migrations_make_the_tables_that_the_code_declares(path, tmp_path):
    catalog = open_catalog(path, version="0.1.0")
    declared = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'declared.sqlite3'}")
    metadata.create_all(declared)
    with catalog.read() as connection, declared.connect() as other:
        options = {"compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        assert shape(connection) == shape(other)
        assert set(shape(connection)) == set(metadata.tables)
    catalog.close()
    declared.dispose()


def test_the_code_reads_the_newest_migration():
    scripts = ScriptDirectory(str(migrating.migrations_folder()))
    assert scripts.get_heads() == [HEAD]


def test_a_write_is_kept_whole_or_not_at_all(path):
    catalog = open_catalog(path, version="0.1.0")
    with pytest.raises(ZeroDivisionError), catalog.write() as connection:
        connection.execute(catalog_info.insert().values(name="a", value="1"))
        raise ZeroDivisionError
    with catalog.write() as connection:
        connection.execute(catalog_info.insert().values(name="b", value="1"))
    catalog.close()
    assert execute(path, "SELECT name FROM catalog_info ORDER BY name") == [("b",), ("kb_version",)]


def test_a_reader_sees_one_snapshot(path):
    catalog = open_catalog(path, version="0.1.0")
    count = "SELECT count(*) FROM catalog_info"
    with catalog.read() as reader:
        assert reader.exec_driver_sql(count).scalar_one() == 1
        with catalog.write() as writer:
            writer.execute(catalog_info.insert().values(name="a", value="1"))
        assert reader.exec_driver_sql(count).scalar_one() == 1
    with catalog.read() as reader:
        assert reader.exec_driver_sql(count).scalar_one() == 2
    catalog.close()


def test_faults_D1_an_older_catalog_is_copied_then_migrated(path, tmp_path, monkeypatch):
    made(path, "0.1.0")
    add_revision(tmp_path, monkeypatch, "op.execute(\"UPDATE catalog_info SET name = 'was_' || name\")")
    made(path, "0.2.0")
    assert revision(path) == "9999"
    assert execute(path, "SELECT * FROM catalog_info ORDER BY name") == [
        ("kb_version", "0.2.0"),
        ("was_kb_version", "0.1.0"),
    ]
    copy = tmp_path / "catalog.before-9999.sqlite3"
    assert revision(copy) == HEAD
    assert execute(copy, "SELECT * FROM catalog_info") == [("kb_version", "0.1.0")]


def test_faults_D1_a_new_catalog_goes_through_all_migrations_without_a_copy(path, tmp_path, monkeypatch):
    add_revision(tmp_path, monkeypatch, "op.execute('CREATE TABLE more (a)')")
    made(path)
    assert revision(path) == "9999"
    assert execute(path, "SELECT count(*) FROM more") == [(0,)]
    assert not list(tmp_path.glob("catalog.before-*"))


def test_faults_D1_vectors_and_their_numbers_survive_a_smaller_index(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(migrating, "HEAD", "0002")
        made(path)
    execute(path, "INSERT INTO vectors VALUES (3, 'a', x'01', x'0000'), (7, 'b', x'01', x'0001'), (9, 'c', x'02', x'')")
    execute(path, "DELETE FROM vectors WHERE id = 9")
    made(path)
    assert revision(path) == HEAD
    assert execute(path, "SELECT * FROM vectors ORDER BY id") == [(3, "a", b"\1", b"\0\0"), (7, "b", b"\1", b"\0\1")]
    assert execute(path, "SELECT * FROM sqlite_sequence WHERE name LIKE '%vectors'") == [("vectors", 9)]


def test_faults_D5_a_migration_that_fails_leaves_the_older_catalog(path, tmp_path, monkeypatch):
    made(path, "0.1.0")
    before = execute(path, "SELECT sql FROM sqlite_master")
    with monkeypatch.context() as patch:
        add_revision(tmp_path, patch, "op.execute('CREATE TABLE more (a)'); op.execute('nonsense')")
        with pytest.raises(sqlalchemy.exc.OperationalError, match=r"nonsense"):
            open_catalog(path, version="0.2.0")
    assert execute(path, "SELECT sql FROM sqlite_master") == before
    made(path, "0.1.0")
    assert revision(path) == HEAD
    assert execute(path, "SELECT * FROM catalog_info") == [("kb_version", "0.1.0")]


def test_faults_A6_a_first_start_that_fails_leaves_no_catalog(path, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        add_revision(tmp_path, patch, "op.execute('nonsense')")
        with pytest.raises(sqlalchemy.exc.OperationalError, match=r"nonsense"):
            open_catalog(path, version="0.1.0")
    assert not path.exists()
    assert revision(made(path)) == HEAD


def test_faults_D2_a_newer_catalog_is_refused_untouched(path):
    made(path)
    execute(path, "UPDATE alembic_version SET version_num = '9999'", "UPDATE catalog_info SET value = '99.1'")
    before = contents(path.parent)
    with pytest.raises(NewerCatalogError) as caught:
        open_catalog(path, version="0.1.0")
    assert str(caught.value) == f"{path} was written by kb 99.1, which is newer than this kb 0.1.0"
    assert (caught.value.unchanged, caught.value.hint) == ("the catalog was not touched", "pip install 'kb>=99.1'")
    assert caught.value.exit_code == 13
    assert contents(path.parent) == before


def test_faults_D2_a_newer_knowledge_base_is_refused_untouched(root, encoder):
    with kb.open(root, encoders={"fake": encoder}) as base:
        base.collection("articles").upsert(make(base.collection("articles")))
    execute(root / ".kb" / "catalog.sqlite3", "UPDATE alembic_version SET version_num = '9999'")
    before = contents(root)
    for _ in range(2):
        with pytest.raises(NewerCatalogError):
            kb.open(root)
    assert contents(root) == before


def test_a_file_of_something_else_is_refused(path):
    execute(path, "CREATE TABLE photos (a)")
    before = path.read_bytes()
    with pytest.raises(DamagedError) as caught:
        open_catalog(path, version="0.1.0")
    assert str(caught.value) == f"{path} is an SQLite file, but not a catalog"
    assert caught.value.hint == "move it away"
    assert path.read_bytes() == before


def test_faults_A18_garbage_is_refused_untouched(path):
    garbage = bytes(range(256)) * 64
    path.write_bytes(garbage)
    with pytest.raises(DamagedError) as caught:
        open_catalog(path, version="0.1.0")
    assert str(caught.value) == f"{path} is damaged: file is not a database"
    assert (caught.value.hint, caught.value.exit_code) == (RESTORE, 12)
    assert contents(path.parent) == {"catalog.sqlite3": garbage}


def test_faults_A18_a_catalog_cut_short_is_refused(path):
    made(path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(DamagedError, match=r"catalog\.sqlite3 is damaged: database disk image is malformed$"):
        open_catalog(path, version="0.1.0")


def test_faults_A18_a_damaged_page_found_while_reading_is_an_error_of_ours(path):
    made(path)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"catalog\.sqlite3 is damaged: database disk image is malformed$"):
        open_catalog(path, version="0.1.0")


def test_faults_A19_an_index_without_its_catalog_is_refused(root, encoder):
    with kb.open(root, encoders={"fake": encoder}) as base:
        base.collection("articles").upsert(make(base.collection("articles")))
    (root / ".kb" / "catalog.sqlite3").unlink()
    before = contents(root)
    with pytest.raises(DamagedError) as caught:
        kb.open(root)
    storage = root / ".kb"
    assert str(caught.value) == f"{storage}/catalog.sqlite3 is missing or empty, but there is an index beside it"
    assert caught.value.unchanged == "nothing was created"
    assert caught.value.hint == f"{RESTORE}; without one, kb recover --from-index FILE.jsonl writes what the index has"
    assert contents(root) == before


def test_faults_A19_an_emptied_catalog_beside_an_index_is_refused(root, encoder):
    with kb.open(root, encoders={"fake": encoder}) as base:
        base.collection("articles").upsert(make(base.collection("articles")))
    (root / ".kb" / "catalog.sqlite3").write_bytes(b"")
    with pytest.raises(DamagedError):
        kb.open(root)
    assert (root / ".kb" / "catalog.sqlite3").read_bytes() == b""


def test_a_knowledge_base_without_any_document_writes_nothing(root):
    with kb.open(root) as base:
        assert base.collection("articles").count() == 0
        assert len(base.collection("articles").search("anything")) == 0
    assert contents(root) == {"config.toml": CONFIG.encode()}


def test_a_catalog_in_use_is_copied_consistently(path, tmp_path):
    catalog = open_catalog(path, version="0.1.0")
    with catalog.write() as connection:
        connection.execute(catalog_info.insert().values(name="committed", value="1"))
    with catalog.write() as connection:
        connection.execute(catalog_info.insert().values(name="uncommitted", value="1"))
        copy_catalog(path, tmp_path / "copy.sqlite3")
    catalog.close()
    assert execute(tmp_path / "copy.sqlite3", "SELECT name FROM catalog_info ORDER BY name") == [
        ("committed",),
        ("kb_version",),
    ]


def test_faults_B1_a_full_disk_is_an_error_that_keeps_the_catalog(path):
    catalog = open_catalog(path, version="0.1.0")
    with pytest.raises(LimitError) as caught, catalog.write() as connection:
        connection.execute(catalog_info.insert().values(name="small", value="1"))
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        connection.execute(catalog_info.insert().values(name="big", value="x" * 1_000_000))
    assert str(caught.value) == f"no space left for {path}"
    assert (caught.value.unchanged, caught.value.hint) == ("nothing of this write was kept", "free space, try again")
    with catalog.read() as connection:
        assert connection.exec_driver_sql("SELECT name FROM catalog_info").scalars().all() == ["kb_version"]
    catalog.close()


def test_faults_B11_odd_paths_can_hold_a_catalog(tmp_path):
    folder = tmp_path / "a b%20?#ä'\""
    folder.mkdir()
    path = made(folder / "catalog.sqlite3")
    catalog: Catalog = open_catalog(path, version="0.1.0")
    catalog.close()
    assert [p.name for p in folder.iterdir()] == ["catalog.sqlite3"]


def test_who_waits_to_write_while_the_catalog_is_shut_does_not_write(path):
    catalog = open_catalog(path, version="0.1.0")
    errors = []

    def write() -> None:
        try:
            with catalog.write():
                pass
        except UsageError as error:
            errors.append(str(error))

    catalog.end_suspended()
    thread = threading.Thread(target=write)
    thread.start()
    catalog.shut()
    catalog.writing.release()
    thread.join()
    assert errors == ["the knowledge base is closed"]
    catalog.close()


def test_the_lock_of_those_who_write_is_taken_several_times_and_released_by_any_thread():
    lock = WriteLock()
    found = []
    with lock, lock:
        thread = threading.Thread(target=lambda: found.append(lock.acquire(timeout=0)))
        thread.start()
        thread.join()
    lock.acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    thread = threading.Thread(target=lambda: found.append(lock.acquire(timeout=0)))
    thread.start()
    thread.join()
    assert found == [False, True]
