"""What surrounds a knowledge base fails: writes, open files, rights, the folder itself, SQLite, the clock."""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

import kb
from kb.errors import KBError, NoKnowledgeBaseError
from kb.index import FOLDER
from tests.conftest import CONFIG, ROOT, FakeEncoder, Ran, article, make

SOAK: Final = bool(os.environ.get("KB_SOAK"))


@pytest.fixture
def stored(root: Path) -> Path:
    """A knowledge base that child processes can open, with ten documents."""
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))
    with kb.open(root) as base:
        articles = base.collection()
        articles.upsert(*(make(articles, f"a{n}", rating=0.0) for n in range(10)))
    return root


WRITER: Final = """
import sys, kb
def fail(kind, error, _trace):
    print(f"{'KBError' if issubclass(kind, kb.KBError) else kind.__name__}: {error}", file=sys.stderr)
sys.excepthook = fail
with kb.open(sys.argv[1]) as base:
    articles = base.collection()
    for n in range(1, 6):
        articles.update("a1", rating=n / 2)
        articles.update("a2", body=f"words {n}")
        print("ack", n, flush=True)
"""
"""Says what has been acknowledged, so that nobody has to guess."""


def child(root: Path, *before: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*before, sys.executable, "-c", WRITER, str(root)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=False,
    )


def check_acknowledged(root: Path, done: subprocess.CompletedProcess[str]) -> int:
    """Assert that what was acknowledged is there, and nothing that was not tried; return how much that is."""
    acknowledged = max([0, *(int(line.split()[1]) for line in done.stdout.splitlines())])
    with kb.open(root) as base:
        articles = base.collection()
        rating = articles.get("a1").rating
        assert rating in {acknowledged / 2, (acknowledged + 1) / 2}, done.stderr
        text = articles.get("a2").body
        assert text in ({f"words {acknowledged}", f"words {acknowledged + 1}"} if acknowledged else {
            "words 1", "The body of article a2."
        })  # fmt: skip
        assert [hit.id for hit in articles.search(f"Title of a2 {text}", limit=1)] == ["a2"]
        assert list(base.verify(full=True)) == []
    return acknowledged


def traced(*options: str) -> tuple[str, ...]:
    """Return the words before a command whose system calls shall fail, or skip where they cannot be made to."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    words = ("strace", "-f", "-qq", "-o", "/dev/null", *options)
    tried = subprocess.run([*words, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no right to trace a process: {tried.stderr.decode().strip()}")
    return words


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 201) if SOAK else (1, 3, 6, 10, 15, 21))
@pytest.mark.parametrize("code", ["EIO", "ENOSPC"])
def test_faults_B5_a_write_of_the_catalog_that_fails_is_never_acknowledged_and_lost(
    stored: Path, number: int, code: str
) -> None:
    path = stored / ".kb" / "catalog.sqlite3"
    files = [word for suffix in ("", "-wal", "-shm") for word in ("-P", f"{path}{suffix}")]
    done = child(stored, *traced(*files, "-e", f"inject=pwrite64,write,ftruncate:error={code}:when={number}"))
    assert done.returncode == 0 or done.stderr.splitlines()[-1].startswith("KBError: "), done.stderr
    check_acknowledged(stored, done)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 101, 5) if SOAK else (1, 8, 30))
def test_faults_B2_B5_a_write_of_the_index_that_fails_costs_nothing(stored: Path, number: int) -> None:
    path = stored / ".kb" / FOLDER / "chroma.sqlite3"
    files = [word for suffix in ("", "-wal", "-journal") for word in ("-P", f"{path}{suffix}")]
    done = child(stored, *traced(*files, "-e", f"inject=pwrite64,write:error=ENOSPC:when={number}+"))
    assert (done.returncode, check_acknowledged(stored, done)) == (0, 5), done.stderr


@pytest.fixture
def mount() -> Iterator[Callable[..., None]]:
    """Mount something on a folder until the test has ended."""
    mounted: list[Path] = []

    def mount(folder: Path, *arguments: str) -> None:
        done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"no right to mount a file system: {done.stderr.decode().strip()}")
        if folder not in mounted:
            mounted.append(folder)

    yield mount
    for folder in reversed(mounted):
        subprocess.run(["umount", str(folder)], check=True)


def test_faults_B2_a_full_disk_under_the_index_leaves_exact_answers(
    stored: Path, tmp_path: Path, run_kb: Callable[..., Ran], mount: Callable[..., None]
) -> None:
    folder, small = stored / ".kb" / FOLDER, tmp_path / "small"
    small.mkdir()
    mount(small, "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs")
    shutil.move(folder, small / FOLDER)
    folder.symlink_to(small / FOLDER)  # only the disk of the index is full
    rows = tmp_path / "in.jsonl"
    rows.write_text(
        "".join(json.dumps(article(f"b{n}", body=f"unique{n} " + "word " * 200)) + "\n" for n in range(600))
    )
    ran = run_kb("import", str(rows), "--format", "json")
    assert (ran.code, json.loads(ran.out)["new"], "Traceback" in ran.err) == (0, 600, False), ran.err
    text = json.loads(run_kb("get", "b599").out)["text"]
    answer = json.loads(run_kb("search", text, "-k", "1", "--mode", "semantic", "--format", "json").out)
    assert [(hit["id"], hit["score"]) for hit in answer["hits"]] == [("b599", 1.0)]
    mount(small, "-o", "remount,size=200m")
    assert run_kb("verify", "--full").code == 0


@pytest.mark.parametrize("limit", [6, 10, 18, 64])
def test_faults_B7_too_few_files_are_an_error_of_ours(stored: Path, run_kb: Callable[..., Ran], limit: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kb", "update", "a1", "rating=3", "--kb", str(stored)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RUST_BACKTRACE": "0"},
        check=False,
    )
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        assert json.loads(done.stdout)["fields_only"] == 1
    else:
        assert done.returncode == 1
        assert "Too many open files" in done.stderr
        assert done.stderr.endswith(
            f"this process may have {limit} files open at once: raise the limit with ulimit -n\n"
        )
    rating = json.loads(run_kb("get", "a1").out)["fields"]["rating"]
    assert rating == (3.0 if done.returncode == 0 else 0.0)
    assert run_kb("verify", "--full").code == 0
    assert done.returncode == 0 or limit < 64


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_faults_B7_the_error_names_the_limit(
    code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kb.cli.main import run

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code), "file")

    monkeypatch.setattr("kb.cli.options.Shared.open", fail)
    assert run(["stats"]) == 1
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert capsys.readouterr().err.splitlines() == [
        f"error: file: {os.strerror(code)}",
        f"  this process may have {limit} files open at once: raise the limit with ulimit -n",
    ]


def test_faults_B7_opening_and_closing_leaks_no_file(root: Path) -> None:
    counts = set()
    for number in range(1_000 if SOAK else 40):
        with kb.open(root, encoders={"fake": FakeEncoder()}) as base:
            articles = base.collection()
            articles.upsert(make(articles, f"a{number % 5}", rating=number % 5))
            articles.search("body")
        if number >= 10:  # libraries open what they keep
            counts.add(len(os.listdir("/proc/self/fd")))
    assert len(counts) == 1, counts


def without_power() -> None:
    """Let root be bound by the permissions of files, as anybody else is: before a command begins."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.parametrize("how", ["rights", "mount"])
def test_faults_B8_where_nothing_may_be_written_reading_works(
    stored: Path, tmp_path: Path, mount: Callable[..., None], how: str
) -> None:
    storage = stored / ".kb"
    before = {path: path.read_bytes() for path in storage.rglob("*") if path.is_file()}
    if how == "mount":
        mount(storage, "--bind", str(storage))
        mount(storage, "-o", "remount,bind,ro")
    else:
        for path in (storage, *storage.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "kb", *arguments, "--kb", str(stored)],
            preexec_fn=without_power,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )

    try:
        for arguments in (["list"], ["get", "a1"], ["stats"], ["jobs"], ["history", "a1"], ["export", "--to", "jsonl"]):
            ran = run(*arguments)
            assert (ran.returncode, "Traceback" in ran.stderr) == (0, False), (arguments, ran.stderr)
        for mode in ("semantic", "keyword", "hybrid"):
            ran = run("search", "body of a7", "-k", "1", "--mode", mode, "--format", "json")
            assert (ran.returncode, "Traceback" in ran.stderr) == (0, False), ran.stderr
            assert [hit["id"] for hit in json.loads(ran.stdout)["hits"]] == ["a7"]
        rows = tmp_path / "in.jsonl"
        rows.write_text(json.dumps(article("new")) + "\n")
        for arguments in (["update", "a1", "rating=1"], ["delete", "a1", "--yes"], ["import", str(rows)]):
            ran = run(*arguments)
            assert (ran.returncode, ran.stdout) == (1, ""), (arguments, ran)
            assert ran.stderr.startswith(f"error: {storage}"), ran.stderr
            assert " cannot be written by this user\n  nothing was written; searching and reading work\n" in ran.stderr
            assert "chmod u+w " in ran.stderr
        ran = run("doctor", "--format", "json")
        assert ran.returncode == 1
        assert "storage" in {finding["code"] for finding in json.loads(ran.stdout)["findings"]}
        assert {path: path.read_bytes() for path in storage.rglob("*") if path.is_file()} == before
    finally:
        if how == "rights":
            for path in (storage, *storage.rglob("*")):
                path.chmod(path.stat().st_mode | 0o200)


@pytest.mark.parametrize("what", ["moved", "deleted", "replaced"])
def test_faults_B10_a_folder_that_goes_while_it_is_open_takes_no_writes(
    root: Path, encoder: FakeEncoder, tmp_path: Path, what: str
) -> None:
    storage = root / ".kb"
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection()
        articles.upsert(make(articles))
        if what == "moved":
            storage.rename(tmp_path / "elsewhere")
        else:
            shutil.copytree(storage, tmp_path / "elsewhere")
            shutil.rmtree(storage)
        if what == "replaced":
            shutil.copytree(tmp_path / "elsewhere", storage)
        for write in (lambda: articles.update("a1", rating=1.0), lambda: articles.delete("a1")):
            with pytest.raises(NoKnowledgeBaseError) as caught:
                write()
            assert (str(caught.value), caught.value.unchanged, caught.value.hint) == (
                f"{storage}/catalog.sqlite3 has been moved, deleted or replaced while it was open",
                "nothing was written",
                "close the knowledge base, and open it where it lies now",
            )
        assert storage.exists() == (what == "replaced")
    shutil.rmtree(storage, ignore_errors=True)
    (tmp_path / "elsewhere").rename(storage)
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert base.collection().get("a1").rating == 4.5
        assert list(base.verify(full=True)) == []


@pytest.mark.parametrize("name", ["with space", "ünïcode 日本", "new\nline", "per%cent", "quo'te", "n" * 200, "-dash"])
def test_faults_B11_odd_paths_hold_a_whole_knowledge_base(tmp_path: Path, name: str, encoder: FakeEncoder) -> None:
    root = tmp_path / name
    root.mkdir()
    (root / "config.toml").write_text(CONFIG)
    link = tmp_path / "link"
    link.symlink_to(root, target_is_directory=True)
    for path in (root, link):
        with kb.open(path, encoders={"fake": encoder}) as base:
            articles = base.collection()
            articles.upsert(make(articles, body="glaciers"))
            for mode in ("semantic", "keyword", "hybrid"):
                assert [hit.id for hit in articles.search("glaciers", mode=mode)] == ["a1"]
            assert list(base.verify(full=True)) == []


@pytest.mark.parametrize(
    "environment",
    [{"HOME": "/nowhere"}, {"TMPDIR": "/nowhere"}, {"HOME": "", "XDG_CACHE_HOME": "", "TMPDIR": ""}],
)
def test_faults_B12_neither_home_nor_temporary_folder_is_needed(
    stored: Path, run_kb: Callable[..., Ran], tmp_path: Path, environment: dict[str, str]
) -> None:
    rows = tmp_path / "in.jsonl"
    rows.write_text(json.dumps(article("new")) + "\n")
    for arguments in (["import", str(rows)], ["search", "body", "-k", "1"], ["verify", "--full"]):
        ran = run_kb(*arguments, **environment)
        assert (ran.code, "Traceback" in ran.err) == (0, False), ran.err


@pytest.mark.parametrize("environment", [{"LANG": "C", "LC_ALL": "C"}, {"LANG": "xx_YY.CP1252", "PYTHONUTF8": "0"}])
def test_faults_B13_files_are_utf_8_in_any_locale(
    stored: Path, run_kb: Callable[..., Ran], tmp_path: Path, environment: dict[str, str]
) -> None:
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows.write_bytes(json.dumps(article("ä", title="naïve 日本 🙂"), ensure_ascii=False).encode() + b"\n")
    assert run_kb("import", str(rows), **environment).code == 0
    assert run_kb("export", "-o", str(out), "--where", 'id = "ä"', **environment).code == 0
    assert "naïve 日本 🙂" in out.read_bytes().decode()


def test_faults_B15_an_old_sqlite_is_refused_before_anything_is_opened(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    with pytest.raises(KBError) as caught:
        kb.open(root)
    assert (str(caught.value), caught.value.unchanged, caught.value.hint) == (
        "this Python has SQLite 3.34.1; kb needs 3.35.0 or later",
        "nothing was opened",
        "use a Python that brings a newer SQLite along",
    )
    assert not (root / ".kb").exists()
    monkeypatch.undo()
    kb.open(root).close()


def test_faults_B15_an_sqlite_without_json_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        def execute(self, _query: str) -> None:
            raise sqlite3.OperationalError("no such function: json_extract")

        def close(self) -> None:
            pass

    with monkeypatch.context() as patch, pytest.raises(KBError, match="was built without JSON functions$"):
        patch.setattr(sqlite3, "connect", lambda *_: Bare())
        kb.open(root)


@pytest.mark.slow
def test_faults_B16_a_machine_without_network_does_everything(stored: Path, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to take the network away")
    rows = tmp_path / "in.jsonl"
    rows.write_text(json.dumps(article("new", body="glaciers")) + "\n")
    for arguments in (["import", str(rows)], ["search", "glaciers", "-k", "1"], ["verify"], ["doctor"]):
        done = subprocess.run(
            ["unshare", "-n", sys.executable, "-m", "kb", *arguments, "--kb", str(stored)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=100,
            check=False,
        )
        assert (done.returncode in (0, 1), "Traceback" in done.stderr) == (True, False), done.stderr
        if arguments[0] == "search":
            assert json.loads(done.stdout.splitlines()[0])["id"] == "new"


def test_faults_B17_a_model_that_has_gone_is_refused_before_any_write(
    stored: Path, run_kb: Callable[..., Ran], tmp_path: Path
) -> None:
    config = (stored / "config.toml").read_text()
    before = (stored / ".kb" / "catalog.sqlite3").read_bytes()
    (stored / "config.toml").write_text(config.replace('"hashing-256"', f'"{tmp_path}/gone"'))
    for arguments in (["update", "a1", "body=other"], ["search", "body"], ["add", "id=z", "title=z", "body=z"]):
        ran = run_kb(*arguments)
        assert (ran.code, ran.out, "Traceback" in ran.err) == (13, "", False), ran
    assert (stored / ".kb" / "catalog.sqlite3").read_bytes() == before


def test_faults_A22_a_clock_that_jumps_disorders_nothing(
    root: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    jumps = itertools.cycle([timedelta(0), timedelta(days=-400), timedelta(days=4_000), timedelta(hours=-1)])

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return begun + next(jumps)

    monkeypatch.setattr("kb.catalog.engine.datetime", Clock)
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection()
        for number in range(8):
            articles.upsert(make(articles, "a1", body=f"version {number}"))
        articles.delete("a1")
        articles.restore("a1")
        revisions = articles.history("a1")
        assert [revision.revision for revision in revisions] == list(range(1, 11))
        assert len({revision.at for revision in revisions}) > 2
        assert articles.get("a1").body == "version 7"
        articles.restore("a1", revision=3)
        assert articles.get("a1").body == "version 2"
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert [hit.id for hit in base.collection().search("version 2")] == ["a1"]
        assert list(base.verify(full=True)) == []
