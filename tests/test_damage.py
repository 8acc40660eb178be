"""A damaged catalog: noticed, only read from then on, and what can be saved of it is named and saved."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

import kb
import kb.maintain
from kb.catalog import ADVICE, FOREIGN, RESTORE, soundness
from kb.catalog.soundness import LIMIT, find_damage
from kb.curate import Entry
from kb.errors import CatalogDamagedError, DamagedError, KBError
from kb.restoring import restore
from tests.conftest import ROOT, FakeEncoder, Ran, make

PAGE: Final = 4096
FLIPS: Final = int(os.environ.get("KB_FLIPS", "120"))
DOCUMENTS: Final = 60


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed knowledge base with free pages and deep indexes, and nothing that waits."""
    from tests.conftest import CONFIG

    root = tmp_path_factory.mktemp("sound") / "base"
    root.mkdir()
    (root / "config.toml").write_text(CONFIG)
    with kb.open(root, encoders={"fake": FakeEncoder()}) as base:
        articles = base.collection("articles")
        for number in range(DOCUMENTS + 20):
            body = f"All about number{number}. " + f"word{number} " * 60
            articles.upsert(make(articles, f"a{number:03}", body=body))
        articles.delete(*[f"a{number:03}" for number in range(DOCUMENTS, DOCUMENTS + 20)])
        base.back_up("one")
    with closing(sqlite3.connect(f"file:{root}/.kb/catalog.sqlite3?immutable=1", uri=True)) as database:
        assert database.execute("PRAGMA page_size").fetchone() == (PAGE,)
    return root


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "copy")


def catalog_of(root: Path) -> Path:
    return root / ".kb" / "catalog.sqlite3"


def answers(root: Path) -> dict[str, object]:
    with kb.open(root, encoders={"fake": FakeEncoder()}) as base:
        try:
            found = asked(base)
        except KBError as error:
            if base.damage is None:
                raise
            raise CatalogDamagedError(base.damage) from error
        if base.damage is not None:
            raise CatalogDamagedError(base.damage)  # as every command ends: nobody is to rely on what was shown
        return found


def shown(entry: Entry) -> tuple[object, ...]:
    return entry.id, entry.text, entry.fields, entry.revision, entry.updated


def asked(base: kb.KnowledgeBase) -> dict[str, object]:
    articles = base.collection("articles")
    found: dict[str, object] = {}
    for mode in ("semantic", "keyword"):
        for query in ("number7", "word12"):
            hits = articles.search(query, mode=mode, limit=5)
            found[f"{mode} {query}"] = [(h.id, round(h.score, 5), h.text, h.fields) for h in hits]
    found["filter"] = [h.id for h in articles.search("number7", where='category = "ml"', limit=3)]
    found["list"] = [shown(one) for one in articles.entries()]
    found["get"] = shown(articles.entry("a007"))
    found["count"] = articles.count()
    found["history"] = articles.history("a030")
    return found


def damaged_page(root: Path, *kinds: tuple[str, str]) -> list[int]:
    """Return the pages of tables and indexes by name and kind."""
    with closing(sqlite3.connect(f"file:{catalog_of(root)}?immutable=1", uri=True)) as database:
        query = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY pageno"
        return [page for kind in kinds for (page,) in database.execute(query, kind)]


def spoil(root: Path, page: int) -> None:
    with catalog_of(root).open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xff" * 16)


@pytest.mark.parametrize("keep_time", [False, True], ids=["changed", "rotten"])
def test_faults_A18_flipped_bytes_are_never_answered_from_in_silence(
    sound: Path, tmp_path: Path, keep_time: bool
) -> None:
    expected = answers(shutil.copytree(sound, tmp_path / "expected"))
    random_ = random.Random(18)
    root = shutil.copytree(sound, tmp_path / "copy")
    whole = catalog_of(sound).read_bytes()
    outcomes: dict[str, int] = {}
    for number in range(FLIPS if not keep_time else FLIPS // 4):
        data = bytearray(whole)
        # The header, a page that is free, and pages of everything else.
        place = number if number < 100 and number % 5 == 0 else random_.randrange(len(data))
        for at in range(place, min(len(data), place + random_.choice((1, 1, 4, 64)))):
            data[at] ^= random_.randrange(1, 256)
        shutil.rmtree(root)
        shutil.copytree(sound, root)
        before = catalog_of(root).stat()
        catalog_of(root).write_bytes(data)
        if keep_time:  # a disk that rots does not tell the time of it
            os.utime(catalog_of(root), ns=(before.st_atime_ns, before.st_mtime_ns))
        try:
            found = answers(root)
        except DamagedError as error:
            assert error.exit_code == 12
            assert str(error)
            outcomes["refused"] = outcomes.get("refused", 0) + 1
            continue
        outcomes["right"] = outcomes.get("right", 0) + 1
        differing = [name for name in expected if found[name] != expected[name]]
        assert keep_time or differing == [], (number, place, differing)
        # What has no fingerprint, such as the time of a change, can only be told by the file's own hash.
        assert found["get"][:3] == expected["get"][:3]  # type: ignore[index]
    if not keep_time:
        assert outcomes["refused"] >= 0.9 * FLIPS


@pytest.fixture
def killed(sound: Path, tmp_path: Path) -> Path:
    """A knowledge base whose last ten writes are in the log alone: the process that made them was killed."""
    root = shutil.copytree(sound, tmp_path / "killed")
    program = (
        "import kb, os, signal; from tests.conftest import FakeEncoder, make\n"
        f"base = kb.open({str(root)!r}, encoders={{'fake': FakeEncoder()}})\n"
        "articles = base.collection('articles')\n"
        "for n in range(10): articles.upsert(make(articles, f'new{n}', body=f'about new{n}'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert ran.returncode == -signal.SIGKILL
    return root


def test_faults_A12_flipped_bytes_in_the_log_lose_no_acknowledged_write_in_silence(
    killed: Path, tmp_path: Path
) -> None:
    log = killed / ".kb" / "catalog.sqlite3-wal"
    whole = log.read_bytes()
    expected = answers(shutil.copytree(killed, tmp_path / "expected"))
    assert expected["count"] == DOCUMENTS + 10
    random_ = random.Random(12)
    frame = PAGE + 24
    last = len(whole) - 2 * frame
    places = [*range(0, 32, 4), *(32 + random_.randrange(last - 32) for _ in range(24))]
    root = tmp_path / "copy"
    refused = 0
    for place in places:
        data = bytearray(whole)
        data[place] ^= random_.randrange(1, 256)
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(killed, root)
        (root / ".kb" / "catalog.sqlite3-shm").unlink(missing_ok=True)
        (root / ".kb" / "catalog.sqlite3-wal").write_bytes(data)
        try:
            found = answers(root)
        except DamagedError as error:
            assert "its write-ahead log is damaged" in str(error)
            refused += 1
            continue
        assert {n: v for n, v in found.items() if v != expected[n]} == {}, place
    assert refused > len(places) / 2


@pytest.mark.parametrize("cut", [1, 100, PAGE, PAGE + 24, 2 * PAGE])
def test_faults_A12_a_write_that_was_cut_short_is_passed_over(killed: Path, cut: int) -> None:
    log = killed / ".kb" / "catalog.sqlite3-wal"
    os.truncate(log, log.stat().st_size - cut)
    (killed / ".kb" / "catalog.sqlite3-shm").unlink(missing_ok=True)
    with kb.open(killed, encoders={"fake": FakeEncoder()}) as base:
        assert base.damage is None
        assert base.collection("articles").count() in (DOCUMENTS + 9, DOCUMENTS + 10)
        assert list(base.verify(full=True)) == []


def test_faults_A12_a_log_that_is_being_written_to_is_no_leftover(
    base: kb.KnowledgeBase, articles: kb.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    articles.add(make(articles))
    frames = soundness._readable_frames

    def while_others_write(path: Path) -> int:
        found = frames(path)
        for n in range(3):
            articles.add(make(articles, f"during{n}"))
        return found

    monkeypatch.setattr(soundness, "_readable_frames", while_others_write)
    assert find_damage(base.settings.storage / "catalog.sqlite3", in_use=False) is None


def test_faults_A12_a_last_write_with_a_wrong_checksum_is_told(killed: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = killed / ".kb" / "catalog.sqlite3-wal"
    data = bytearray(log.read_bytes())
    data[-1] ^= 1
    log.write_bytes(data)
    (killed / ".kb" / "catalog.sqlite3-shm").unlink(missing_ok=True)
    with caplog.at_level(logging.WARNING, "kb"):
        assert find_damage(catalog_of(killed), in_use=False) is None
    assert caplog.messages == [
        f"the last write to {catalog_of(killed)} was cut short and is not there; it had not been acknowledged, unless "
        "the disk has failed since"
    ]


def test_faults_A18_a_damaged_table_is_named_its_documents_saved_and_every_write_refused(
    copy: Path, tmp_path: Path, run_kb: Callable[..., Ran]
) -> None:
    from tests.conftest import CONFIG

    (copy / "config.toml").write_text(CONFIG)
    listed = answers(shutil.copytree(copy, tmp_path / "sound"))["list"]
    everything = {key: fields for key, _, fields, *_ in listed}  # type: ignore[attr-defined]
    leaf = damaged_page(copy, ("documents", "leaf"))[1]
    spoil(copy, leaf)
    with kb.open(copy, encoders={"fake": FakeEncoder()}) as base:
        articles = base.collection("articles")
        problems = list(base.verify())
        assert (problems[0].code, problems[0].id) == ("integrity", "documents")
        assert problems[0].message.startswith("the table documents is damaged: ")
        lost = base.unreadable()
        assert 0 < len(lost) < DOCUMENTS
        assert problems[1].message == f"{DOCUMENTS - len(lost)} of {DOCUMENTS} documents can be read"
        assert problems[1].command == "kb export -c articles -o FILE"
        assert [(one.code, one.id) for one in problems[2:]] == [("unreadable", key) for key in lost]
        assert articles.export(str(tmp_path / "saved.jsonl")) == DOCUMENTS - len(lost)
        saved = [json.loads(line) for line in (tmp_path / "saved.jsonl").read_text().splitlines()]
        assert sorted([one["id"] for one in saved] + lost) == sorted(everything)
        assert all(one["body"] == everything[one["id"]]["body"] for one in saved)
        before = catalog_of(copy).read_bytes()
        for write in (
            lambda: articles.upsert(make(articles, "b1")),
            lambda: articles.update("a001", rating=1),
            lambda: articles.delete("a001"),
            lambda: articles.import_file(tmp_path / "saved.jsonl"),
        ):
            with pytest.raises(CatalogDamagedError) as caught:
                write()
            assert str(caught.value).startswith(f"{catalog_of(copy)} is only read: ")
            assert (caught.value.unchanged, caught.value.hint) == ("nothing was written", ADVICE)
            assert caught.value.exit_code == 12
    assert catalog_of(copy).read_bytes() == before
    with pytest.raises(CatalogDamagedError, match="is damaged"):
        kb.maintain.create_backup(copy, copy / ".kb")
    assert restore(copy / ".kb" / "backups" / "one", tmp_path / "new").manifest.collections[0].documents == DOCUMENTS


def test_faults_A18_the_commands_say_what_is_wrong_and_end_with_12(
    copy: Path, tmp_path: Path, run_kb: Callable[..., Ran]
) -> None:
    spoil(copy, damaged_page(copy, ("documents", "leaf"))[0])
    for command in (["verify"], ["export"], ["stats"], ["get", "a059"], ["update", "a001", "rating=1"], ["list"]):
        ran = run_kb(*command, "--kb", str(copy))
        assert ran.code == 12, (command, ran)
        assert "Traceback" not in ran.err
        assert ran.err.splitlines()[-1] == f"  {ADVICE}"
    ran = run_kb("export", "--kb", str(copy))
    assert "documents cannot be read: a000, a001" in ran.err


@pytest.mark.parametrize("table", ["sqlite_autoindex_documents_1", "chunks", "vectors", "revisions", "jobs"])
def test_faults_A18_damage_elsewhere_leaves_the_documents_to_be_saved(copy: Path, tmp_path: Path, table: str) -> None:
    spoil(copy, damaged_page(copy, (table, "leaf"))[0])
    with kb.open(copy, encoders={"fake": FakeEncoder()}) as base:
        named = {problem.id for problem in base.verify() if problem.code == "integrity"}
        assert named == {"documents" if "documents" in table else table}
        assert base.collection("articles").export(str(tmp_path / "saved.jsonl")) == DOCUMENTS
        assert base.unreadable() == []


def test_a_damaged_catalog_is_read_whatever_is_declared_by_now(copy: Path) -> None:
    page = damaged_page(copy, ("revisions", "leaf"))[-1]
    spoil(copy, page)
    config = copy / "config.toml"
    config.write_text(
        config.read_text().replace(
            "[collections.articles.fields]", '[collections.articles.fields]\nextra = { type = "str", required = false }'
        )
    )
    with kb.open(copy, encoders={"fake": FakeEncoder()}) as base:
        assert base.damage is not None
        articles = base.collection()
        assert articles.count() == DOCUMENTS
        assert [entry.id for entry in articles.entries(limit=2)] == ["a000", "a001"]


def test_the_doctor_finds_a_damaged_catalog_before_and_after_it_was_noticed(copy: Path) -> None:
    spoil(copy, damaged_page(copy, ("revisions", "leaf"))[-1])
    path = catalog_of(copy)
    before = {one.name: one.read_bytes() for one in path.parent.iterdir() if one.is_file()}
    (first,) = (one for one in kb.maintain.examine(copy).findings if one.code == "catalog")
    assert {one.name: one.read_bytes() for one in path.parent.iterdir() if one.is_file()} == before
    assert first.message.startswith(f"{path} is damaged, and only read: ")
    assert (str(first.severity), first.command) == ("error", "kb backup list")
    with kb.open(copy, encoders={"fake": FakeEncoder()}) as base:
        assert base.damage is not None
    assert first in kb.maintain.examine(copy).findings


def test_faults_A18_damage_that_shows_while_reading_stops_all_writes(copy: Path) -> None:
    with kb.open(copy, encoders={"fake": FakeEncoder()}) as base:
        articles = base.collection("articles")
        with base.own().write() as connection:
            connection.exec_driver_sql("UPDATE documents SET text = text || 'x' WHERE key = 'a001'")
        with pytest.raises(CatalogDamagedError, match=r"^the text of the document 'a001' is not what was stored$"):
            articles.get("a001")
        assert articles.get("a002") is not None
        with pytest.raises(CatalogDamagedError, match=r"is only read: the text of the document 'a001'"):
            articles.delete("a002")
    assert (copy / ".kb" / "catalog.damaged").exists()
    with kb.open(copy, encoders={"fake": FakeEncoder()}) as base:
        assert base.damage == "the text of the document 'a001' is not what was stored"
        assert base.unreadable() == ["a001"]


def test_another_process_writes_no_more_either(copy: Path) -> None:
    with kb.open(copy, encoders={"fake": FakeEncoder()}) as base:
        articles = base.collection("articles")
        articles.update("a001", rating=1)
        (copy / ".kb" / "catalog.damaged").write_text("{}")
        with pytest.raises(CatalogDamagedError, match="another process has found it damaged"):
            articles.update("a001", rating=2)


def test_a_sound_file_in_the_place_of_a_damaged_one_is_taken(copy: Path, sound: Path) -> None:
    spoil(copy, damaged_page(copy, ("documents", "leaf"))[0])
    with kb.open(copy) as base:
        assert base.damage is not None
    shutil.copyfile(sound / ".kb" / "backups" / "one" / "catalog.sqlite3", catalog_of(copy))
    with kb.open(copy) as base:
        assert base.damage is None
    assert not (copy / ".kb" / "catalog.damaged").exists()


def test_a_catalog_that_something_else_has_written_to_is_only_read_until_verify_has_looked_through_it(
    copy: Path,
) -> None:
    with closing(sqlite3.connect(catalog_of(copy))) as database, database:
        database.execute("UPDATE documents SET updated = '2020' WHERE key = 'a001'")
    with kb.open(copy, encoders={"fake": FakeEncoder()}) as base:
        assert base.damage == FOREIGN
        with pytest.raises(CatalogDamagedError, match=FOREIGN):
            base.collection("articles").delete("a001")
        assert list(base.verify()) == []
        assert base.damage is None
        assert base.collection("articles").delete("a001") == ["a001"]
    with kb.open(copy) as base:
        assert base.damage is None


def test_an_opening_reads_the_file_only_when_it_has_changed(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> str:
        raise AssertionError("the file is read")

    monkeypatch.setattr("kb.catalog.soundness._hash", read)
    monkeypatch.setattr("kb.catalog.soundness._structure", read)
    path = catalog_of(copy)
    assert find_damage(path, in_use=False) is None
    os.utime(path)
    assert find_damage(path, in_use=True) is None
    with pytest.raises(AssertionError, match="the file is read"):
        find_damage(path, in_use=False)
    os.truncate(path, LIMIT + PAGE)
    assert find_damage(path, in_use=False) == FOREIGN
    (copy / ".kb" / "catalog.closed").unlink()
    assert find_damage(path, in_use=False) is None


def test_a_touched_catalog_is_the_same(copy: Path) -> None:
    os.utime(catalog_of(copy))
    assert find_damage(catalog_of(copy), in_use=False) is None


@pytest.mark.parametrize("how", ["move", "delete", "replace", "folder"])
def test_faults_B10_a_catalog_that_is_moved_away_while_open_is_neither_made_anew_nor_written(
    copy: Path, how: str
) -> None:
    path = catalog_of(copy)
    with kb.open(copy, encoders={"fake": FakeEncoder()}) as base:
        articles = base.collection("articles")
        articles.update("a001", rating=1)
        if how == "move":
            path.rename(copy / "moved")
        elif how == "delete":
            path.unlink()
        elif how == "replace":
            (copy / ".kb" / "backups" / "one" / "catalog.sqlite3").rename(path)
        else:
            (copy / ".kb").rename(copy / "moved")
        for use in (lambda: articles.get("a001"), lambda: articles.update("a001", rating=2)):
            with pytest.raises(KBError) as caught:
                use()
            gone = f"{path} is no longer the file that was opened: it was moved, deleted or replaced"
            assert str(caught.value) in (gone, f"{path} is only read: {gone}")
            assert caught.value.exit_code == 12
    assert path.exists() == (how == "replace")
    if how in ("move", "delete"):
        with pytest.raises(DamagedError, match="is missing or empty"):
            kb.open(copy)


def test_faults_A18_a_file_that_cannot_be_read_at_all_says_how_to_go_on(copy: Path) -> None:
    catalog_of(copy).write_bytes(b"\0" * 100_000)
    with pytest.raises(CatalogDamagedError) as caught:
        kb.open(copy)
    assert (str(caught.value), caught.value.hint) == (
        f"{catalog_of(copy)} is damaged: file is not a database",
        RESTORE,
    )


def test_faults_A18_unreadable_names_of_tables_are_damage(copy: Path) -> None:
    path = catalog_of(copy)
    data = path.read_bytes()
    place = data.index(b"catalog_info")
    path.write_bytes(data[:place] + b"\xb2" * 12 + data[place + 12 :])
    with pytest.raises(CatalogDamagedError) as caught:
        kb.open(copy)
    assert str(caught.value).startswith(f"{path} is damaged: ")
