"""Backups: made while in use, checked without restoring, restored into a new folder only."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import kb
from kb.config import INCOMPLETE
from kb.errors import ConflictError, DamagedError, KBError, LimitError, LockedError, NotFoundError, UsageError
from kb.maintain import Backup, backup, check_backup, create_backup, find_backup, list_backups
from kb.restoring import restore
from tests.conftest import CONFIG, ROOT, FakeEncoder, Ran, article, make


@pytest.fixture
def filled(root: Path, encoder: FakeEncoder) -> Path:
    """A knowledge base of 30 documents, closed."""
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        for number in range(30):
            articles.upsert(make(articles, f"a{number}", body=f"All about number{number}."))
        articles.update("a3", rating=1.0)
        articles.delete("a4")
    return root


def made(root: Path, name: str | None = "one") -> Backup:
    return create_backup(root, root / ".kb", name)


def answers(root: Path) -> list[object]:
    """What a knowledge base answers; the model is asked for queries only."""
    encoder = FakeEncoder()
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        found: list[object] = [
            [(h.id, h.score, h.text, h.fields) for h in articles.search("number7", mode=mode, limit=5)]
            for mode in ("semantic", "keyword", "hybrid")
        ]
        found += [
            [(e.id, e.text, e.fields, e.revision, e.updated) for e in articles.entries()],
            articles.history("a3"),
            articles.deleted(),
            base.jobs(),
        ]
        assert list(base.verify(full=True)) == []
    assert encoder.texts == []
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_restored_backup_answers_like_the_original_and_its_index_needs_no_model(filled: Path, tmp_path: Path) -> None:
    backed = made(filled)
    before = contents(backed.path)
    restored = restore(backed.path, tmp_path / "new")
    assert (restored.root, restored.storage, restored.notes) == (tmp_path / "new", tmp_path / "new" / ".kb", ())
    assert sorted(contents(tmp_path / "new")) == [".kb/catalog.sqlite3", "config.toml"]
    assert (tmp_path / "new" / "config.toml").read_text() == CONFIG
    assert answers(tmp_path / "new") == answers(filled)
    assert contents(backed.path) == before


def test_a_backup_says_what_it_holds(filled: Path) -> None:
    backed = made(filled)
    assert backed.path == filled / ".kb" / "backups" / "one"
    assert sorted(path.name for path in backed.path.iterdir()) == ["catalog.sqlite3", "config.toml", "manifest.json"]
    manifest = backed.manifest
    assert manifest == check_backup(backed.path)
    assert manifest is not None
    assert (manifest.name, manifest.kb, manifest.storage, manifest.vectors, manifest.jobs) == (
        *("one", kb.__version__, ".kb"),
        *(30, 0),
    )
    (counts,) = manifest.collections
    assert (counts.name, counts.documents, counts.chunks, counts.revisions) == ("articles", 29, 29, 32)
    assert {oct(path.stat().st_mode & 0o777) for path in backed.path.iterdir()} == {"0o600"}


def test_backups_are_listed_oldest_first_with_those_that_cannot_be_used(filled: Path) -> None:
    assert list_backups(filled / ".kb") == []
    with kb.open(filled, encoders={"fake": FakeEncoder()}) as base:
        names = [base.back_up("zz").path.name, base.back_up().path.name, base.back_up().path.name]
        assert [one.path.name for one in base.backups()] == names
    (filled / ".kb" / "backups" / names[1] / "manifest.json").unlink()
    found = list_backups(filled / ".kb")
    assert [one.path.name for one in found] == [names[1], names[0], names[2]]
    assert found[0].problem == (
        f"the backup {filled}/.kb/backups/{names[1]} cannot be used: manifest.json cannot be read: "
        "No such file or directory"
    )


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b", ".hidden", "-x", "a" * 101, "ü", "a\n", "x.part"])
def test_faults_I5_a_name_that_is_a_path_is_refused(filled: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(filled, name)
    assert caught.value.unchanged == "nothing was written"
    assert not (filled / ".kb" / "backups").exists()


def test_a_backup_replaces_no_other(filled: Path) -> None:
    made(filled)
    with pytest.raises(ConflictError, match=r"^there is a backup 'one' already$"):
        made(filled)


def test_there_is_nothing_to_back_up_before_the_first_document(root: Path) -> None:
    with pytest.raises(NotFoundError, match=r"^there is nothing to back up: no catalog in "):
        made(root)
    assert not (root / ".kb").exists()


def test_a_backup_is_found_by_its_name_or_its_folder(filled: Path, tmp_path: Path) -> None:
    backed = made(filled)
    moved = shutil.copytree(backed.path, tmp_path / "elsewhere")
    assert find_backup(filled / ".kb", "one") == backed.path
    assert find_backup(None, str(moved)) == moved
    with pytest.raises(NotFoundError) as caught:
        find_backup(filled / ".kb", "on")
    assert (str(caught.value), caught.value.hint) == ("there is no backup 'on'", "did you mean 'one'? valid: one")


def start(root: Path, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "kb", *arguments],
        env={**os.environ, "KB_HOME": str(root), "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[bytes]) -> Ran:
    out, err = process.communicate(timeout=120)
    return Ran(process.returncode, out.decode(), err.decode())


def test_a_backup_of_a_running_import_holds_whole_batches(
    root: Path, tmp_path: Path, run_kb: Callable[..., Ran]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(article(f"d{n}", body=f"body {n}")) + "\n" for n in range(4_000)))
    importing = start(root, "import", str(rows), "-q")
    names: list[str] = []
    while importing.poll() is None:
        if (root / ".kb" / "catalog.sqlite3").exists():
            names.append(made(root, f"b{len(names)}").path.name)
    assert ended(importing).code == 0
    assert len(names) >= 2
    held = []
    for name in names:
        manifest = check_backup(root / ".kb" / "backups" / name)
        held.append(sum(counts.documents for counts in manifest.collections))
    assert held == sorted(held)
    assert any(0 < documents < 4_000 for documents in held)
    middle = next(name for name, documents in zip(names, held, strict=True) if documents)
    new = restore(root / ".kb" / "backups" / middle, tmp_path / "new").root
    ran = run_kb("verify", "--full", "--kb", str(new))
    assert (ran.code, ran.out, ran.err) == (0, "", "no differences\n")
    (job,) = json.loads(run_kb("jobs", "--kb", str(new), "--format", "json").out)
    assert job["status"] in ("interrupted", "done")
    assert run_kb("import", str(rows), "-q", "--kb", str(new)).code == 0
    assert run_kb("list", "--kb", str(new), "--limit", "9999").out.count("\n") == 4_000


def test_a_backup_beside_a_write_of_this_process_holds_what_was_committed(filled: Path) -> None:
    with kb.open(filled, encoders={"fake": FakeEncoder()}) as base:
        catalog = base.own()
        with catalog.write() as connection:
            connection.exec_driver_sql("DELETE FROM documents")
            manifest = base.back_up("beside").manifest
        assert manifest is not None
        assert manifest.collections[0].documents == 29


@pytest.mark.parametrize("place", ["backup_begun", "backup_copied", "backup_complete"])
def test_faults_A7_a_killed_backup_has_no_name_and_is_cleared_away_by_the_next(
    root: Path, filled: Path, run_kb: Callable[..., Ran], place: str
) -> None:
    assert run_kb("backup", "create", "--name", "one", KB_FAILPOINT=place).code == -signal.SIGKILL
    folder = root / ".kb" / "backups"
    assert [path.name for path in folder.iterdir()] == [".one.part"]
    assert (run_kb("backup", "list").out, list_backups(root / ".kb")) == ("", [])
    ran = run_kb("backup", "create", "--name", "two")
    assert (ran.code, [path.name for path in folder.iterdir()]) == (0, ["two"])
    assert run_kb("backup", "verify", "two").code == 0


RESTORING = ["restore_begun", "restore_copied", "restore_complete", "restore_renamed"]


@pytest.mark.parametrize("place", RESTORING)
def test_faults_A8_a_killed_restore_is_not_usable_and_says_so(
    filled: Path, tmp_path: Path, run_kb: Callable[..., Ran], place: str
) -> None:
    backed = made(filled)
    before = contents(backed.path)
    target = tmp_path / "new"
    assert run_kb("backup", "restore", "one", str(target), KB_FAILPOINT=place).code == -signal.SIGKILL
    left = target if place == "restore_renamed" else tmp_path / "new.incomplete"
    assert left.is_dir()
    assert target.exists() == (left == target)
    for command in (["list"], ["search", "x"], ["verify"], ["backup", "create"]):
        ran = run_kb(*command, "--kb", str(left))
        assert (ran.code, ran.out) == (12, "")
        assert ran.err.splitlines() == [
            f"error: {left} is an incomplete restore",
            "  the backup that it was made from is untouched",
            "  restore again into new: kb backup restore NAME|PATH NEWDIR",
        ]
    assert run_kb("list", cwd=left, KB_HOME="").code == 12
    assert contents(backed.path) == before
    assert run_kb("backup", "restore", "one", str(target)).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "new"]
    assert run_kb("verify", "--kb", str(target)).code == 0


def change(place: Path, edit: Callable[[dict[str, object]], object]) -> None:
    """Edit a manifest and let its hash fit again, as somebody would who knows how."""
    from kb.maintain.manifest import _hash_of

    raw = json.loads((place / "manifest.json").read_text())
    edit(raw)
    del raw["sha256"]
    (place / "manifest.json").write_text(json.dumps({**raw, "sha256": _hash_of(raw)}))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def poison(place: Path) -> None:
    (place / "chroma").mkdir()
    (place / "chroma" / "index_metadata.pickle").write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")


def linked(place: Path) -> None:
    (place / "config.toml").rename(place.parent / "outside.toml")
    (place / "config.toml").symlink_to(place.parent / "outside.toml")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: (p / "catalog.sqlite3").unlink(), "'catalog.sqlite3' is missing"),
    "no config": (lambda p: (p / "config.toml").unlink(), "'config.toml' is missing"),
    "extra": (lambda p: (p / "more.txt").write_text("x"), "'more.txt' does not belong to it"),
    "log": (lambda p: (p / "catalog.sqlite3-wal").write_text("x"), "'catalog.sqlite3-wal' does not belong to it"),
    "poisoned index": (poison, "'chroma' does not belong to it"),
    "link": (linked, "'config.toml' is not an ordinary file"),
    "fifo": (
        lambda p: ((p / "config.toml").unlink(), os.mkfifo(p / "config.toml")),
        "'config.toml' is not an ordinary file",
    ),
    "flipped": (lambda p: flip(p / "catalog.sqlite3"), "'catalog.sqlite3' is not what was backed up: its hash differs"),
    "config flipped": (lambda p: flip(p / "config.toml"), "'config.toml' is not what was backed up: its hash differs"),
    "edited manifest": (
        lambda p: (p / "manifest.json").write_text((p / "manifest.json").read_text().replace("29", "30")),
        "manifest.json has been changed since it was made",
    ),
    "counts that fit no catalog": (
        lambda p: change(p, lambda raw: raw.update(vectors=7)),
        "its catalog does not hold what the manifest says",
    ),
    "a path for a name": (
        lambda p: change(p, lambda raw: raw["files"][0].update(name="../../etc/passwd")),  # type: ignore[index]
        "manifest.json names other files than catalog.sqlite3 and config.toml",
    ),
    "a file twice": (
        lambda p: change(p, lambda raw: raw["files"].append(raw["files"][0])),  # type: ignore[attr-defined]
        "manifest.json names other files than catalog.sqlite3 and config.toml",
    ),
    "no manifest": (lambda p: (p / "manifest.json").write_text("[]"), "manifest.json is no manifest: "),
    "deep manifest": (lambda p: (p / "manifest.json").write_text("[" * 100_000), "manifest.json is no manifest: "),
    "huge manifest": (
        lambda p: os.truncate(p / "manifest.json", 10**12),
        "manifest.json is not what a backup has there",
    ),
    "huge catalog": (lambda p: os.truncate(p / "catalog.sqlite3", 10**12), "'catalog.sqlite3' has 1,000,000,000,000 "),
}


@pytest.mark.parametrize("case", BAD)
def test_faults_I5_I6_I7_a_backup_that_is_not_as_it_was_made_is_refused(
    filled: Path, tmp_path: Path, case: str
) -> None:
    place = shutil.copytree(made(filled).path, tmp_path / "backup")
    spoil, why = BAD[case]
    spoil(place)
    for use in (check_backup, lambda folder: restore(folder, tmp_path / "new")):
        with pytest.raises(DamagedError) as caught:
            use(place)
        assert str(caught.value).startswith(f"the backup {place} cannot be used: {why}")
        assert caught.value.unchanged == "nothing was restored from it"
        assert caught.value.exit_code == 12
    assert not list(tmp_path.glob("new*"))
    assert not list(tmp_path.rglob("canary"))


@pytest.mark.parametrize("storage", ["../../outside", "/tmp/outside", "..", ".", "config.toml", "a\\b", "x\ny"])
def test_faults_I5_a_manifest_cannot_place_the_catalog_outside_the_new_folder(
    filled: Path, tmp_path: Path, storage: str
) -> None:
    place = shutil.copytree(made(filled).path, tmp_path / "backup")
    change(place, lambda raw: raw.update(storage=storage))
    assert restore(place, tmp_path / "new").storage == tmp_path / "new" / ".kb"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "base", "new"]


def test_a_restore_touches_nothing_that_is_there(filled: Path, tmp_path: Path) -> None:
    place = made(filled).path
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(full)
    file = tmp_path / "file"
    file.write_text("x")
    (tmp_path / "empty").mkdir()
    for target in (full, link, file, filled):
        with pytest.raises(ConflictError) as caught:
            restore(place, target)
        assert caught.value.unchanged == "it was not touched; nothing was restored"
    with pytest.raises(UsageError, match=r"is inside the backup$"):
        restore(place, place / "new")
    assert contents(full) == {"mine.txt": b"mine"}
    assert restore(place, tmp_path / "empty").root == tmp_path / "empty"
    assert not (tmp_path / "empty" / INCOMPLETE).exists()


def test_a_storage_path_inside_becomes_relative_and_one_outside_moves_inside(
    root: Path, tmp_path: Path, encoder: FakeEncoder
) -> None:
    for storage, says in ((root / "data" / "kb", "data/kb"), (tmp_path / "far", ".kb")):
        (root / "config.toml").write_text(CONFIG.replace('path = ".kb"', f'path = "{storage}"  # mine'))
        with kb.open(root, encoders={"fake": encoder}) as base:
            base.collection("articles").upsert(make(base.collection("articles")))
            place = base.back_up("one").path
        new = tmp_path / f"new-{storage.name}"
        restored = restore(place, new)
        assert (new / "config.toml").read_text() == CONFIG.replace('path = ".kb"', f'path = "{says}"  # mine')
        assert restored.storage == new / says
        outside = f"the original kept its catalog outside its folder; this one keeps it in {new / says}"
        assert restored.notes == ((outside,) if says == ".kb" else ())
        assert (new / says / "catalog.sqlite3").is_file()


def test_a_restored_job_does_not_go_on_in_the_reject_file_of_the_original(
    root: Path, tmp_path: Path, run_kb: Callable[..., Ran]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(article(f"d{n}", rating=9 if n == 1 else 1)) + "\n" for n in range(3)))
    assert run_kb("import", str(rows), "-q").code == 3
    restored = restore(made(root).path, tmp_path / "new")
    with closing(sqlite3.connect(restored.storage / "catalog.sqlite3")) as database:
        ((path,),) = database.execute("SELECT rejects_path FROM jobs").fetchall()
    assert Path(path).parent == restored.storage / "rejects"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 3 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no right to mount a file system: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_faults_B3_a_full_disk_leaves_nothing_of_a_backup_or_a_restore(
    filled: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = made(filled).path
    (filled / ".kb" / "backups").rename(filled / "kept")
    (filled / ".kb" / "backups").symlink_to(small)
    (small / "ballast").write_bytes(b"x" * 3_000_000)
    place = filled / "kept" / place.name

    def attempt(why: str) -> None:
        with pytest.raises(LimitError) as caught:
            made(filled, "two")
        assert str(caught.value).startswith(f"no space left for a backup in {filled}/.kb/backups: {why}")
        assert caught.value.unchanged == "nothing of the backup stays; the knowledge base was not touched"
        with pytest.raises(LimitError) as caught:
            restore(place, small / "new")
        assert str(caught.value).startswith(f"no space left to restore into {small}/new: {why}")
        assert [path.name for path in small.iterdir()] == ["ballast"]

    attempt("0.")
    monkeypatch.setattr(backup, "_check_space", lambda *_: None)
    monkeypatch.setattr("kb.maintain.restore._check_space", lambda *_: None)
    attempt("the disk is full")
    (small / "ballast").unlink()
    assert made(filled, "two").path.is_dir()


def test_two_backups_are_not_made_at_once(filled: Path) -> None:
    made(filled)

    def while_copying(_left: int, _pages: int) -> None:
        with pytest.raises(LockedError, match=r"^another backup is being made in "):
            made(filled, "three")

    create_backup(filled, filled / ".kb", "two", on_pages=while_copying)
    assert [one.path.name for one in list_backups(filled / ".kb")] == ["one", "two"]


def test_ctrl_c_while_copying_leaves_nothing(filled: Path) -> None:
    def interrupt(_left: int, _pages: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_backup(filled, filled / ".kb", "two", on_pages=interrupt)
    assert list((filled / ".kb" / "backups").iterdir()) == []


def test_a_damaged_catalog_is_not_backed_up(filled: Path) -> None:
    path = filled / ".kb" / "catalog.sqlite3"
    data = bytearray(path.read_bytes())
    data[8192:12288] = b"\xff" * 4096
    path.write_bytes(data)
    with pytest.raises(KBError) as caught:
        made(filled)
    assert (caught.value.exit_code, caught.value.unchanged) == (12, "no backup was made")
    assert list((filled / ".kb" / "backups").iterdir()) == []


def test_the_commands_make_list_check_and_restore(filled: Path, tmp_path: Path, run_kb: Callable[..., Ran]) -> None:
    ran = run_kb("backup", "create", "--name", "one", "--format", "table")
    assert (ran.code, ran.out.partition(",")[0]) == (0, "backed up 29 documents of 1 collection as one")
    assert json.loads(run_kb("backup", "list").out)["documents"] == 29
    assert run_kb("backup").out == run_kb("backup", "list").out
    ran = run_kb("backup", "verify", "one", "--format", "table")
    assert ran.out == "one is as it was made: 29 documents of 1 collection\n"
    ran = run_kb("backup", "restore", "one", str(tmp_path / "new"), "--format", "table")
    assert ran.out == f"restored 29 documents of 1 collection into {tmp_path}/new\n"
    assert ran.err == f"look at it with: kb verify --kb {tmp_path}/new\n"
    flip(filled / ".kb" / "backups" / "one" / "catalog.sqlite3")
    for command in (["verify", "one"], ["restore", "one", str(tmp_path / "newer")]):
        ran = run_kb("backup", *command)
        assert (ran.code, ran.out) == (12, "")
        assert ran.err.splitlines()[0].endswith("'catalog.sqlite3' is not what was backed up: its hash differs")
