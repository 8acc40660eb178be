"""A disk that fails: the write that it fails is reported as failed, and nothing is written after it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy

import kb
from kb.catalog import open_catalog
from kb.catalog.tables import catalog_info
from kb.errors import CatalogDamagedError
from tests.conftest import CONFIG, ROOT, FakeEncoder, make


def io_error(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = name
    return error


def test_faults_B6_after_a_failed_fsync_the_catalog_is_only_read_until_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite3"
    catalog = open_catalog(path, version="0.1.0")
    with pytest.raises(CatalogDamagedError) as caught, catalog.write() as connection:
        connection.execute(catalog_info.insert().values(name="lost", value="1"))
        raise sqlalchemy.exc.OperationalError("COMMIT", {}, io_error("SQLITE_IOERR_FSYNC"))
    assert str(caught.value) == f"the disk failed at {path}: disk I/O error (SQLITE_IOERR_FSYNC)"
    assert caught.value.unchanged == "nothing of this write was acknowledged"
    assert caught.value.hint == "look after the disk, then open the knowledge base again: until then it is read-only"
    with pytest.raises(CatalogDamagedError, match="is only read: the disk failed"), catalog.write():
        raise AssertionError("not reached")
    with catalog.read() as connection:
        assert connection.exec_driver_sql("SELECT name FROM catalog_info").scalars().all() == ["kb_version"]
    catalog.close()
    assert not (tmp_path / "catalog.damaged").exists()
    catalog = open_catalog(path, version="0.1.0")
    assert catalog.damage is None
    with catalog.write() as connection:
        connection.execute(catalog_info.insert().values(name="kept", value="1"))
    catalog.close()


PROGRAM = """
import sys, kb
from kb.errors import KBError
from tests.conftest import FakeEncoder, make
base = kb.open(sys.argv[1], encoders={"fake": FakeEncoder()})
articles = base.collection("articles")
articles.count()
for n in range(6):
    try:
        articles.upsert(make(articles, f"n{n}"))
        print(f"n{n}", flush=True)
    except KBError as error:
        print(type(error).__name__, error.exit_code, file=sys.stderr, flush=True)
try:
    base.close()
except KBError as error:
    print(type(error).__name__, error.exit_code, file=sys.stderr, flush=True)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    "inject",
    [
        *(f"fdatasync,fsync:error=EIO:when={number}" for number in (1, 2, 4, 7)),
        *(f"pwrite64:error=EIO:when={number}" for number in (1, 3, 8, 20, 60)),
    ],
)
def test_faults_B5_B6_what_was_acknowledged_is_there_after_the_disk_has_failed_once(
    tmp_path: Path, inject: str
) -> None:
    root = tmp_path / "base"
    root.mkdir()
    (root / "config.toml").write_text(CONFIG)
    with kb.open(root, encoders={"fake": FakeEncoder()}) as base:
        base.collection("articles").upsert(make(base.collection("articles"), "before"))
    ran = subprocess.run(
        ["strace", "-f", "-qq", "-e", "trace=none", "-e", f"inject={inject}", sys.executable, "-c", PROGRAM, str(root)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=300,
        check=False,
    )
    if "ptrace" in ran.stderr and not ran.stdout:
        pytest.skip("no right to trace")
    assert "Traceback" not in ran.stderr, ran.stderr
    acknowledged = ran.stdout.split()
    with kb.open(root, encoders={"fake": FakeEncoder()}) as base:
        assert base.damage is None
        articles = base.collection("articles")
        stored = set(articles.keys())
        assert {"before", *acknowledged} <= stored <= {"before", *(f"n{n}" for n in range(6))}
        articles.upsert(make(articles, "after"))
        assert list(base.verify(full=True)) == []


def test_faults_A6_D5_a_killed_migration_leaves_the_older_catalog_or_the_newer_one(tmp_path: Path) -> None:
    from kb.catalog.tables import HEAD

    program = (
        "import sys; from pathlib import Path; from kb.catalog import engine, migrating\n"
        "migrating.HEAD = sys.argv[2]\n"
        "engine.open_catalog(Path(sys.argv[1]), version='0.1.0').close()\n"
    )
    path = tmp_path / "catalog.sqlite3"

    def opened(head: str, **environment: str) -> int:
        command = [sys.executable, "-c", program, str(path), head]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        return subprocess.run(command, env=environment, check=False).returncode

    def revision(file: Path) -> str:
        database = sqlite3.connect(file)
        try:
            return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])
        finally:
            database.close()

    for place, then in (("migrate_before", "0004"), ("migrate_within", "0004"), ("migrate_after", HEAD)):
        for left in tmp_path.iterdir():
            left.unlink()
        assert opened("0004") == 0
        assert opened(HEAD, KB_FAILPOINT=place) == -9
        before = tmp_path / f"catalog.before-{HEAD}.sqlite3"
        assert (revision(before), revision(path)) == ("0004", then)
        assert opened(HEAD) == 0
        assert (revision(before), revision(path)) == ("0004", HEAD)
