"""The doctor finds what is wrong, says what mends it, and touches nothing."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import kb
from kb.maintain import Fact, Finding, Severity, doctor, examine
from kb.maintain.filesystem import FileSystem, brief_life, file_system_of, hazard
from kb.maintain.manifest import Manifest
from kb.maintain.surroundings import CHROMADB, chromadb_findings, holders, variable_findings
from tests import legacy
from tests.conftest import ROOT, Ran, make

ALWAYS = {"verify", "backup"}
"""Notes on every knowledge base that nobody has looked after yet."""


@pytest.fixture(autouse=True)
def any_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite itself may run in a container or in memory."""
    monkeypatch.setattr(doctor, "hazard", lambda _storage: None)
    monkeypatch.setattr(doctor, "brief_life", lambda _storage: None)
    for name in [name for name in os.environ if name.startswith("CHROMA_") or name == "ANONYMIZED_TELEMETRY"]:
        monkeypatch.delenv(name)


@pytest.fixture
def stored(root: Path) -> Path:
    (root / "config.toml").write_text((root / "config.toml").read_text().replace('"fake"', '"hashing-256"'))
    with kb.open(root) as base:
        articles = base.collection()
        articles.upsert(make(articles, "a1"), make(articles, "a2"))
    return root


def found(root: Path) -> list[Finding]:
    return [finding for finding in examine(root).findings if finding.code not in ALWAYS]


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm")
    }


def test_the_last_verification_of_everything_without_a_difference_is_remembered(stored: Path) -> None:
    with kb.open(stored) as base:
        assert list(base.verify(collection="articles")) == []
        assert "verify" in {finding.code for finding in base.doctor().findings}
        assert list(base.verify()) == []
        assert "verify" not in {finding.code for finding in base.doctor().findings}
        remembered = [fact.value for fact in base.doctor().facts if fact.name == "last verify"]
        base.collection().delete("a1")
        base.follow(base.stored_collections()[0]).delete(["a2#0"])
        assert [problem.code for problem in base.verify()] == ["missing"]
        assert [fact.value for fact in base.doctor().facts if fact.name == "last verify"] == remembered


def test_a_sound_knowledge_base_is_well(stored: Path) -> None:
    before = files(stored)
    found = examine(stored)
    assert found.is_well
    assert found.findings == (
        Finding("verify", Severity.NOTE, "it has never been verified", "kb verify"),
        Finding("backup", Severity.NOTE, "there is no backup", "kb backup create"),
    )
    facts = {fact.name: fact.value for fact in found.facts}
    assert facts["kb"] == kb.__version__
    assert facts["owner"] == "nobody"
    assert facts["collection articles"] == "2 documents, 2 chunks, model hashing-256, 256 dimensions"
    assert facts["model hashing-256"] == "built in"
    assert (facts["last verify"], facts["last backup"]) == ("never", "never")
    assert files(stored) == before


def test_an_open_knowledge_base_examines_itself(stored: Path) -> None:
    with kb.open(stored) as base:
        base.own()
        found = base.doctor()
    assert found.is_well
    assert {fact.name: fact.value for fact in found.facts}["owner"] == "this process"


def test_before_the_first_import_nothing_is_wrong(root: Path) -> None:
    assert found(root) == [
        Finding("storage", Severity.NOTE, f"there is no {root}/.kb yet: nothing has been stored", "kb import FILE")
    ]
    assert not (root / ".kb").exists()


def test_a_damaged_configuration_is_named_and_the_rest_examined(stored: Path) -> None:
    (stored / "config.toml").write_text("[storage\n")
    examined = examine(stored)
    (error, *_) = examined.findings
    assert (error.code, error.severity) == ("config", Severity.ERROR)
    assert error.message.startswith(f"{stored}/config.toml is not valid TOML: ")
    assert "collection articles" in {fact.name for fact in examined.facts}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b"nonsense" * 1000), "{} cannot be read: file is not a database"),
        (lambda path: path.write_bytes(b""), "{} is missing or empty, but there is an index beside it"),
        (lambda path: path.unlink(), "{} is missing or empty, but there is an index beside it"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\0" * (path.stat().st_size - 4096)),
            "{} cannot be read: database disk image is malformed",
        ),
    ],
)
def test_faults_A18_a_damaged_catalog_is_examined_from_outside(
    stored: Path, damage: Callable[[Path], object], message: str
) -> None:
    path = stored / ".kb" / "catalog.sqlite3"
    damage(path)
    before = files(stored)
    (finding,) = found(stored)
    assert finding == Finding("catalog", Severity.ERROR, message.format(path), "kb backup list")
    assert files(stored) == before


def test_faults_D2_a_newer_catalog_is_examined(stored: Path) -> None:
    with closing(sqlite3.connect(stored / ".kb" / "catalog.sqlite3")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.execute("UPDATE catalog_info SET value = '9.1' WHERE name = 'kb_version'")
    message = "the catalog was written by kb 9.1, which is newer than this one"
    assert found(stored) == [Finding("catalog", Severity.ERROR, message, "pip install 'kb>=9.1'")]


@pytest.mark.parametrize("revision", legacy.REVISIONS)
def test_faults_D1_a_catalog_of_an_earlier_release_is_examined_as_it_is(tmp_path: Path, revision: str) -> None:
    (tmp_path / ".kb").mkdir(mode=0o700)
    (tmp_path / "config.toml").write_text(legacy.CONFIG)
    legacy.write_catalog(tmp_path / ".kb", revision, queued=False)
    before = files(tmp_path)
    examined = examine(tmp_path)
    assert examined.is_well
    facts = {fact.name: fact.value for fact in examined.facts}
    assert facts["collection articles"] == "4 documents, 6 chunks, model hashing-256, 256 dimensions"
    assert files(tmp_path) == before


def test_what_the_index_has_not_taken_over_is_told(tmp_path: Path) -> None:
    (tmp_path / ".kb").mkdir(mode=0o700)
    (tmp_path / "config.toml").write_text(legacy.CONFIG)
    legacy.write_catalog(tmp_path / ".kb", legacy.REVISIONS[-1], queued=True)
    behind = [finding for finding in found(tmp_path) if finding.code == "queue"]
    assert behind == [
        Finding("queue", Severity.WARNING, f"the index of {target} of 'articles' is behind by 5; searches are right "
                "meanwhile", "kb verify")
        for target in ("vectors", "words")
    ]  # fmt: skip


def test_a_model_that_is_not_here_is_told_with_the_way_to_get_it(tmp_path: Path) -> None:
    (tmp_path / ".kb").mkdir(mode=0o700)
    (tmp_path / "config.toml").write_text(legacy.CONFIG)
    path = legacy.write_catalog(tmp_path / ".kb", legacy.REVISIONS[-1], queued=False)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE collections SET recipe = replace(recipe, 'hashing-256', 'somebody/else')")
        database.execute("UPDATE collections SET fingerprint = x''")
    wrong = [finding for finding in found(tmp_path) if finding.code == "model"]
    assert [(finding.severity, finding.message) for finding in wrong] == [
        (
            Severity.ERROR,
            "the catalog does not remember what the model of 'articles' answers: no other can be told from it",
        ),
        (Severity.ERROR, "the model 'somebody/else' is not on this machine"),
    ]


def test_it_works_while_another_process_owns_the_knowledge_base(stored: Path) -> None:
    code = "import kb, sys, time; b = kb.open(sys.argv[1]); b.own(); print('mine', flush=True); time.sleep(60)"
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(stored)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"mine\n"
        examined = examine(stored)
        (note,) = (finding for finding in examined.findings if finding.code not in ALWAYS)
        assert examined.is_well
        assert (note.code, note.severity) == ("lock", Severity.NOTE)
        assert note.message.startswith(f"owned by process {owner.pid} on ")
    finally:
        owner.kill()
        owner.communicate()


def test_beside_an_index_server_everybody_writes(stored: Path) -> None:
    with kb.open(stored) as base:
        base.own()
        note = {"host": "127.0.0.1", "port": 4711, "pid": 99, "since": "2026-01-01 00:00:00 UTC"}
        (stored / ".kb" / "server.json").write_text(json.dumps(note))
        found = list(doctor._owner(stored / ".kb"))
        assert found == [Fact("owner", "this process")]
    code = (
        "import sys; from pathlib import Path; from kb.index.lock import acquire;"
        "from kb.index.sharing import ServerNote, write_note; storage = Path(sys.argv[1]); lock = acquire(storage);"
        "write_note(storage, ServerNote('127.0.0.1', 4711, 99, '')); print('mine', flush=True); sys.stdin.read()"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code, str(stored / ".kb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"mine\n"
        (finding,) = (one for one in examine(stored).findings if one.code not in ALWAYS)
        message = (
            "kb index serve (process 99) serves the index at 127.0.0.1:4711: all processes search and write through it; "
            "rebuild and purge have to wait until it is stopped"
        )
        assert finding == Finding("lock", Severity.NOTE, message, "kb index status")
    finally:
        server.kill()
        server.communicate()


def test_a_verification_without_a_difference_is_noted(stored: Path) -> None:
    with kb.open(stored) as base:
        assert list(base.verify(collection="articles")) == []
        assert {fact.name: fact.value for fact in base.doctor().facts}["last verify"] == "never"
        assert list(base.verify()) == []
        examined = base.doctor()
        assert {fact.name: fact.value for fact in examined.facts}["last verify"] != "never"
        assert [finding.code for finding in examined.findings] == ["backup"]


def test_a_verification_with_a_difference_is_not_noted(stored: Path) -> None:
    with kb.open(stored) as base:
        assert list(base.verify()) == []
        before = {fact.name: fact.value for fact in base.doctor().facts}["last verify"]
    with closing(sqlite3.connect(stored / ".kb" / "catalog.sqlite3")) as database, database:
        noted = "2026-01-02T03:04:05.000006Z"
        database.execute("UPDATE catalog_info SET value = ? WHERE name = 'last_verify'", [noted])
        database.execute("UPDATE documents SET fields = replace(fields, 'a1', 'zz')")
        database.execute("UPDATE documents SET text_hash = zeroblob(32) WHERE key = 'a1'")
    with kb.open(stored) as base:
        assert list(base.verify(full=True)) != []
        assert before != "never"
        assert {fact.name: fact.value for fact in base.doctor().facts}["last verify"] == "2026-01-02 03:04:05 UTC"


def test_a_process_that_opened_chroma_past_the_lock_is_named(stored: Path) -> None:
    database = stored / ".kb" / "chroma" / "chroma.sqlite3"
    code = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    stranger = subprocess.Popen(
        [sys.executable, "-c", code, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == b"open\n"
        assert holders(database) == [stranger.pid]
        (finding,) = found(stored)
        assert (finding.code, finding.severity, finding.command) == (
            "strangers",
            Severity.ERROR,
            f"kill {stranger.pid}",
        )
    finally:
        stranger.kill()
        stranger.communicate()
    assert found(stored) == []


def test_folders_that_belong_to_nothing_are_named(stored: Path) -> None:
    name = "01234567-89ab-cdef-0123-456789abcdef"
    lost = stored / ".kb" / "chroma" / name
    lost.mkdir()
    (lost / "data_level0.bin").write_bytes(b"\0" * 2_000_000)
    message = f"folders of the index that belong to nothing: 1, 2.0 MB, such as {name}"
    assert found(stored) == [Finding("folders", Severity.WARNING, message, "kb gc")]


def test_an_index_without_its_database_is_named(stored: Path) -> None:
    database = stored / ".kb" / "chroma" / "chroma.sqlite3"
    database.write_bytes(b"nonsense" * 100)
    assert found(stored) == [
        Finding("index", Severity.ERROR, f"{database} cannot be read: file is not a database", "kb rebuild")
    ]
    database.unlink()
    (database.parent / "left").write_bytes(b"")
    assert found(stored) == [
        Finding("index", Severity.ERROR, f"{database} is missing: the index cannot be opened", "kb rebuild")
    ]


def test_what_was_put_aside_or_left_behind_is_named(stored: Path) -> None:
    storage = stored / ".kb"
    shutil.copytree(storage / "chroma", storage / "quarantine" / "chroma-1")
    (storage / "catalog.new").write_bytes(b"")
    assert [one.code for one in found(stored)] == ["quarantine"]  # somebody may be making it
    os.utime(storage / "catalog.new", (0, 0))
    warning, note = found(stored)
    assert (warning.code, warning.severity, warning.command) == ("quarantine", Severity.WARNING, "kb gc")
    assert warning.message.startswith(f"damaged indexes put aside in {storage}/quarantine: 1, ")
    assert note == Finding(
        "leftovers", Severity.NOTE, "left behind by something that was stopped: catalog.new", "kb gc"
    )


def test_when_it_was_last_verified_and_backed_up(stored: Path) -> None:
    with closing(sqlite3.connect(stored / ".kb" / "catalog.sqlite3")) as database, database:
        database.execute("INSERT OR REPLACE INTO catalog_info VALUES ('last_verify', '2026-01-02T03:04:05.000006Z')")
    (foreign,) = (finding for finding in examine(stored).findings if finding.code == "catalog")
    message = f"{stored}/.kb/catalog.sqlite3 is only read: something else than kb has written to it since it was closed"
    assert foreign == Finding("catalog", Severity.WARNING, message, "kb verify")
    (stored / ".kb" / "catalog.closed").unlink()
    for name, manifest in (
        ("one", Manifest("one", "2026-01-01T00:00:00.000000Z", "0.1.0", "0006", None, (), (), 0, 0).to_json()),
        ("two", Manifest("two", "2026-02-01T00:00:00.000000Z", "0.1.0", "0006", None, (), (), 0, 0).to_json()),
        ("bad", "[]"),
    ):
        folder = stored / ".kb" / "backups" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(manifest)
    examined = examine(stored)
    facts = {fact.name: fact.value for fact in examined.facts}
    assert (facts["last verify"], facts["last backup"]) == ("2026-01-02 03:04:05 UTC", "2026-02-01 00:00:00 UTC")
    message = (
        f"the backup {stored}/.kb/backups/bad cannot be used: manifest.json is no manifest: "
        "TypeError: 'str' object cannot be interpreted as an integer"
    )
    assert examined.findings == (Finding("backup", Severity.WARNING, message, "kb backup verify bad"),)


def test_a_disk_with_little_room_is_told(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(stored)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1_000_000))
    message = f"only 1 MB are free beside {stored}/.kb: a write may find no room"
    assert found(stored) == [Finding("disk", Severity.ERROR, message, "kb gc --dry-run")]


def test_a_folder_that_is_open_to_others_is_told(stored: Path) -> None:
    (stored / ".kb").chmod(0o755)
    message = f"{stored}/.kb is open to other users of this machine"
    assert found(stored) == [Finding("storage", Severity.WARNING, message, f"chmod 700 {stored}/.kb")]


MOUNTS = """\
sysfs /sys sysfs rw 0 0
/dev/vda / ext4 rw,relatime 0 0
overlay /layers overlay rw 0 0
host:/export /net nfs4 rw 0 0
//host/share /net/odd\\040name cifs ro,relatime 0 0
me@host:/ /far fuse.sshfs rw 0 0
tmpfs /memory tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/home/me/kb", None),
        ("/network/kb", None),
        ("/net", "/net lies on a network file system (nfs4): locks and fsync cannot be relied on there"),
        (
            "/net/odd name/kb",
            "/net/odd name/kb lies on a network file system (cifs): locks and fsync cannot be relied on there",
        ),
        ("/far/kb", "/far/kb lies on a network file system (fuse.sshfs): locks and fsync cannot be relied on there"),
        ("/memory/kb", "/memory/kb lies in memory (tmpfs): it is gone when the machine stops"),
        (
            "/layers/kb",
            "/layers/kb lies in the layers of a container (overlay): it is gone when the container is removed",
        ),
        (
            "/home/me/Dropbox/kb",
            "/home/me/Dropbox/kb lies in a synchronised folder ('Dropbox'): a file may be replaced while it is written",
        ),
        (
            "/home/me/OneDrive - Firm/kb",
            "/home/me/OneDrive - Firm/kb lies in a synchronised folder ('OneDrive - Firm'): a file may be replaced "
            "while it is written",
        ),
    ],
)
def test_faults_B9_odd_file_systems_are_recognised(tmp_path: Path, folder: str, expected: str | None) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert (hazard(Path(folder), mounts) or brief_life(Path(folder), mounts)) == expected
    assert file_system_of(Path("/net/odd name"), mounts) == FileSystem("cifs", "/net/odd name", is_read_only=True)
    assert file_system_of(Path(folder), tmp_path / "missing") == FileSystem("", "/", is_read_only=False)


def test_faults_B9_the_doctor_warns_of_an_odd_file_system(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "hazard", lambda storage: f"{storage} lies elsewhere")
    assert found(stored) == [Finding("file system", Severity.WARNING, f"{stored}/.kb lies elsewhere")]


def test_faults_B9_a_knowledge_base_made_on_an_odd_file_system_is_warned_of_once(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "config.toml").write_text((root / "config.toml").read_text().replace('"fake"', '"hashing-256"'))
    monkeypatch.setattr("kb.opened.hazard", lambda storage: f"{storage} lies elsewhere")
    for _ in range(2):
        with kb.open(root) as base:
            articles = base.collection()
            articles.upsert(make(articles))
    assert [record.message for record in caplog.records] == [f"{root}/.kb lies elsewhere"]


@pytest.mark.parametrize("installed", ["1.5.8", "0.6.3", "1.6.0", "2.0", "1.6.0.dev3"])
def test_a_chromadb_that_nobody_has_tried_is_told(installed: str) -> None:
    assert list(chromadb_findings(installed)) == [
        Finding(
            "chromadb",
            Severity.WARNING,
            f"chromadb {installed} is not one of those that kb is tried with, from 1.5.9 to before 1.6",
            "pip install 'chromadb>=1.5.9,<1.6'",
        )
    ]


def test_the_range_of_chromadb_is_the_one_that_is_installed() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    first, after = (".".join(map(str, numbers)) for numbers in CHROMADB)
    assert f"chromadb>={first},<{after}" in declared
    assert list(chromadb_findings("1.5.9")) == list(chromadb_findings()) == []


def test_variables_that_change_chromadb_are_told(tmp_path: Path) -> None:
    environment = {
        "ANONYMIZED_TELEMETRY": "True",
        "CHROMA_API_KEY": "secret",
        "CHROMA_API_IMPL": "other",
        "CHROMA_OTEL_COLLECTION_ENDPOINT": "http://collector",
        "HOME": "/root",
    }
    (tmp_path / ".env").write_text("export ALLOW_RESET=true\nOTHER=1\nanonymized_telemetry=false\n")
    assert list(variable_findings(environment, tmp_path)) == [
        Finding(
            "telemetry",
            Severity.NOTE,
            "the variable asks chromadb for telemetry (ANONYMIZED_TELEMETRY); kb switches it off all the same",
            "unset ANONYMIZED_TELEMETRY",
        ),
        Finding(
            "chromadb",
            Severity.WARNING,
            "the variable changes how chromadb works (CHROMA_API_IMPL)",
            "unset CHROMA_API_IMPL",
        ),
        Finding(
            "telemetry",
            Severity.WARNING,
            "the variable makes chromadb report its calls (CHROMA_OTEL_COLLECTION_ENDPOINT)",
            "unset CHROMA_OTEL_COLLECTION_ENDPOINT",
        ),
        Finding(
            "chromadb",
            Severity.WARNING,
            f"{tmp_path}/.env, which chromadb reads, changes how chromadb works (ALLOW_RESET)",
        ),
    ]


@pytest.fixture
def ran(run_kb: Callable[..., Ran], root: Path) -> Callable[..., Ran]:
    with kb.open(root) as base:
        articles = base.collection()
        articles.upsert(make(articles))
    return run_kb


def test_the_command_says_all_and_exits_with_1_when_something_is_wrong(ran: Callable[..., Ran], root: Path) -> None:
    (root / ".kb" / "catalog.sqlite3").write_bytes(b"nonsense")
    told = ran("doctor", "--format", "json")
    answer = json.loads(told.out)
    assert (told.code, answer["well"]) == (1, False)
    assert (answer["findings"][0]["code"], answer["findings"][0]["severity"]) == ("catalog", "error")
    assert {"name": "kb", "value": kb.__version__} in answer["facts"]
    lines = [json.loads(line) for line in ran("doctor").out.splitlines()]
    assert lines == answer["findings"]
    table = ran("doctor", "--format", "table")
    assert "kb backup list" in table.out
    assert table.err.splitlines()[-1].endswith(" to look after")


def test_the_command_needs_a_knowledge_base(run_kb: Callable[..., Ran], tmp_path: Path) -> None:
    told = run_kb("doctor", KB_HOME=str(tmp_path / "nowhere"))
    assert (told.code, told.out) == (10, "")
