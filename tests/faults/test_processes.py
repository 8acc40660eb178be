"""Several processes on one knowledge base at once: one owner, or all of them behind a server."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

import kb
from kb.errors import LockedError, UnreachableError
from kb.file_lock import is_held
from kb.schema import content_hash
from kb.search import semantic
from kb.write import deciding
from tests.conftest import CONFIG, ROOT, FakeEncoder, make
from tests.faults import sharer

SECONDS: Final = float(os.environ.get("KB_SOAK_SECONDS", "10"))
WORKERS: Final = 4
HASHING: Final = CONFIG.replace('"fake"', '"hashing-256"')


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.toml").write_text(HASHING)
    return folder


def start(*arguments: object, program: str = "kb", **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", program, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        assert process is None or process.poll() is None, process.communicate() if process else ""
        time.sleep(0.02)


@contextmanager
def served(root: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Serve the index of a knowledge base meanwhile; the process must end in order."""
    process = start("index", "serve", "--kb", root, *arguments)
    try:
        line = process.stderr.readline()  # type: ignore[union-attr]
        assert line.startswith("the index is served at 127.0.0.1:"), line + process.stderr.read()  # type: ignore[union-attr]
        yield process
        process.terminate()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 143, err
        assert err.endswith("stopping the server…\nthe server is stopped\n"), err
    finally:
        process.kill()
        process.communicate()


def server_pid(root: Path) -> int:
    """Return the process that has the folder open: the child of ``kb index serve``."""
    parent = json.loads((root / ".kb" / "server.json").read_text())["pid"]
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(children[0])


def prepare(root: Path) -> None:
    with kb.open(root) as base:
        schema = base.collection().schema
        rows = [schema.document(row, textual=False, separators={}) for row in sharer.common()]
        base.collection().upsert(*rows)


def work(root: Path, folder: Path, *, turn: float) -> list[dict[str, Any]]:
    """Let all workers work, and return what they have counted."""
    workers = [start(root, folder, number, SECONDS, turn, program="tests.faults.sharer") for number in range(WORKERS)]
    done = [one.communicate(timeout=SECONDS * 10 + 120) for one in workers]
    assert "".join(err for _, err in done) == ""
    assert [one.returncode for one in workers] == [0] * WORKERS
    return [json.loads(out) for out, _ in done]


def acknowledged(folder: Path, number: int) -> list[list[str]]:
    path = folder / f"worker{number}.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def check(root: Path, folder: Path) -> int:
    """Hold the knowledge base against every worker's own log; return how many writes were acknowledged."""
    total = 0
    with kb.open(root) as base:
        assert list(base.verify(full=True)) == []
        collection = base.collection()
        titles: dict[str, str] = {}
        for number in range(WORKERS):
            fields: dict[str, str] = {}
            for op, key, value in acknowledged(folder, number):
                total += 1
                if op in ("put", "keep"):
                    titles[key] = value
                elif op == "delete":
                    del titles[key]
                else:
                    fields[key] = value
                    names = [entry.fields[sharer.FIELDS[number]] for entry in collection.history(key) if entry.fields]
                    assert value in names or [value] in names
            for key, value in fields.items():
                found = getattr(collection.get(key), sharer.FIELDS[number])
                assert found == ([value] if sharer.FIELDS[number] == "tags" else value), (key, found, value)
        shared = {f"shared{n}" for n in range(sharer.SHARED)}
        stored = {document.id: document.title for document in collection.list(limit=None)}
        # A write that was refused is no acknowledged one, and has left nothing.
        assert {key: title for key, title in stored.items() if key not in shared} == titles
        assert [job.status for job in base.jobs() if job.status != "done"] == []
    return total


@pytest.mark.slow
def test_faults_C4_C8_C10_four_processes_share_a_knowledge_base_behind_a_server(root: Path, tmp_path: Path) -> None:
    prepare(root)
    with served(root):
        counts = work(root, tmp_path, turn=SECONDS)
        assert sum(one.get("refused", 0) for one in counts) == 0, counts
        # An exact answer is given where another process keeps the index busy for long.
        assert sum(one.get("degraded", 0) for one in counts) < sum(one["searched"] for one in counts) / 2, counts
        assert sum(one.get("looked", 0) for one in counts) > 0, counts
        assert sum(one.get("chroma", 0) for one in counts) > 0, counts
        assert check(root, tmp_path) > 0
    assert check(root, tmp_path) > 0


@pytest.mark.slow
def test_faults_C1_C4_C10_four_processes_take_turns_in_owning_a_knowledge_base(root: Path, tmp_path: Path) -> None:
    prepare(root)
    counts = work(root, tmp_path, turn=1.0)
    assert sum(one["written"] for one in counts) > 0, counts
    assert sum(one.get("refused", 0) for one in counts) > 0, counts
    assert max(one["slowest"] for one in counts) < 10
    assert check(root, tmp_path) > 0


def test_two_processes_see_each_others_writes_behind_a_server(root: Path) -> None:
    prepare(root)
    with served(root), kb.open(root) as base:
        collection = base.collection()
        assert base.other_owner() is None
        other = start("update", "shared0", "title=heron", "--kb", root)
        assert (other.wait(60), other.communicate()[1]) == (0, "")
        assert [hit.id for hit in collection.search("heron", mode="keyword")] == ["shared0"]
        collection.update("shared1", title="egret")
        found = start("search", "egret", "--mode", "keyword", "--format", "json", "--kb", root)
        out, err = found.communicate(timeout=60)
        assert [hit["id"] for hit in json.loads(out)["hits"]] == ["shared1"], err
        assert json.loads(out)["report"]["degraded"] is None
        assert list(base.verify(full=True)) == []


def test_behind_a_server_nothing_is_purged_in_part(root: Path) -> None:
    prepare(root)
    with kb.open(root) as base:
        key = base.collection().keys()[0]
        base.collection().delete(key)
    with served(root), kb.open(root) as base:
        plan = base.plan_purge(key)
        with pytest.raises(LockedError) as caught:
            base.purge(plan)
        assert caught.value.unchanged == "nothing was changed"
        assert base.plan_purge().unfinished is None
        base.collection().restore(key)
        assert base.collection().get(key).id == key


def search(base: kb.KnowledgeBase, monkeypatch: pytest.MonkeyPatch, text: str) -> kb.Hits:
    """Search by meaning as in a collection that is too large to compare everything."""
    with monkeypatch.context() as patched:
        patched.setattr(semantic, "SMALL", 0)
        return base.collection().search(text, mode="semantic", limit=3)


def test_a_server_that_is_killed_is_started_again_and_nothing_is_lost(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(root)
    with served(root) as process, kb.open(root) as base:
        collection = base.collection()
        os.kill(server_pid(root), signal.SIGKILL)
        assert collection.upsert(make(collection, "written", title="cormorant")).actions == ("new",)
        entry = collection.entry("written")
        hits = search(base, monkeypatch, entry.text)
        assert (hits[0].id, hits[0].score) == ("written", 1.0)
        assert process.stderr is not None
        assert process.stderr.readline() == "the server has ended with code -9; starting it again\n"
        assert process.stderr.readline().startswith("the index is served at 127.0.0.1:")
        wait_for(lambda: search(base, monkeypatch, entry.text).report.degraded is None)
        hits = search(base, monkeypatch, entry.text)
        assert (hits[0].id, hits.report.strategy) == ("written", "chroma")
        assert list(base.verify(full=True)) == []


def test_a_server_that_hangs_costs_an_exact_answer(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_INDEX_MODE", "server")
    monkeypatch.setenv("KB_INDEX_TIMEOUT", "0.5")
    prepare(root)
    with served(root), kb.open(root) as base:
        collection = base.collection()
        assert search(base, monkeypatch, "t").report.degraded is None
        pid = server_pid(root)
        os.kill(pid, signal.SIGSTOP)
        try:
            assert collection.upsert(make(collection, "written", title="cormorant")).actions == ("new",)
            hits = search(base, monkeypatch, collection.entry("written").text)
            assert (hits[0].id, hits[0].score, hits.report.strategy) == ("written", 1.0, "exact")
            assert hits.report.degraded is not None
            assert hits.report.degraded.startswith("the Chroma server at 127.0.0.1:")
            assert hits.report.degraded.endswith("; answered exactly from the catalog")
            status = start("index", "status", "--format", "json", "--kb", root)
            out, err = status.communicate(timeout=60)
            assert (status.returncode, json.loads(out)["answers"], err) == (11, False, "")
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: search(base, monkeypatch, "t").report.degraded is None)
        assert list(base.verify(full=True)) == []


def test_a_server_that_is_not_there_keeps_nobody_from_writing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_INDEX_MODE", "server")
    prepare(root)
    assert not (root / ".kb" / "chroma").exists()
    with kb.open(root) as base:
        hits = search(base, monkeypatch, "t")
        assert len(hits) == 3
        assert hits.report.degraded == (
            "the Chroma server of this knowledge base is not running; answered exactly from the catalog"
        )
        with pytest.raises(UnreachableError):
            list(base.verify())
        with served(root):
            assert search(base, monkeypatch, "t").report.degraded is None
            assert list(base.verify(full=True)) == []


@pytest.mark.parametrize("status", [401, 429, 503])
def test_a_server_that_refuses_costs_an_exact_answer_and_shows_no_key(
    root: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with answering(status) as (port, keys):
        monkeypatch.setenv("KB_INDEX_MODE", "server")
        monkeypatch.setenv("KB_INDEX_HOST", "127.0.0.1")
        monkeypatch.setenv("KB_INDEX_PORT", str(port))
        monkeypatch.setenv("KB_INDEX_TOKEN", "very-secret")
        prepare(root)
        with kb.open(root) as base:
            hits = search(base, monkeypatch, "t")
            assert len(hits) == 3
            assert hits.report.degraded is not None
            assert hits.report.degraded.startswith(f"the Chroma server at 127.0.0.1:{port} does not answer: ")
            assert "secret" not in hits.report.degraded
        shown = start("config", "--format", "json", "--kb", root)
        out, err = shown.communicate(timeout=60)
        assert "secret" not in out + err
        assert keys == {"Bearer very-secret"}


@contextmanager
def answering(status: int) -> Iterator[tuple[int, set[str]]]:
    """Answer every request with one status; yield the port, and what was sent as a key."""
    keys: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.add(self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - the name that the library calls

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, keys
        finally:
            server.shutdown()
            thread.join()


def test_faults_C2_a_killed_server_frees_the_lock(root: Path) -> None:
    prepare(root)
    process = start("index", "serve", "--kb", root)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("the index is served at ")
    process.kill()
    process.communicate()
    # What has the folder open ends with it, and only then is the lock free.
    wait_for(lambda: not is_held(root / ".kb" / "lock"))
    with kb.open(root) as base:
        base.collection().update("shared0", title="heron")
        assert base.is_owner
        assert not (root / ".kb" / "server.json").exists()
        assert list(base.verify(full=True)) == []


def test_faults_C1_a_server_does_not_start_beside_an_owner(root: Path) -> None:
    prepare(root)
    with kb.open(root) as base:
        base.own()
        process = start("index", "serve", "--kb", root)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 11
        assert err.startswith(f"error: the knowledge base in {root / '.kb'} is owned by process {os.getpid()} on ")


def test_faults_C6_a_forked_child_gets_a_clear_error(root: Path) -> None:
    prepare(root)
    with kb.open(root) as base:
        collection = base.collection()
        collection.update("shared0", title="heron")
        told, tell = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: that is the point
            child = os.fork()
        if child == 0:
            _in_child(base, collection, root, tell)
        os.close(tell)
        with os.fdopen(told) as pipe:
            said = json.loads(pipe.read())
        assert os.waitpid(child, 0)[1] == 0
        refused = f"the knowledge base was opened by process {os.getpid()}, and this is a fork of it"
        assert said == {
            "search": refused,
            "count": refused,
            "upsert": refused,
            "jobs": refused,
            "close": None,
            "anew": f"the knowledge base in {root / '.kb'} is owned by process {os.getpid()}",
        }
        # Nothing of the parent's was closed.
        collection.update("shared1", title="egret")
        assert base.is_owner
        assert list(base.verify(full=True)) == []


def _in_child(base: kb.KnowledgeBase, collection: kb.Collection, root: Path, tell: int) -> None:
    """Say what becomes of each call; whatever happens, the child ends here."""
    try:
        signal.alarm(60)
        said: dict[str, str | None] = {}
        for name, call in {
            "search": lambda: collection.search("heron"),
            "count": collection.count,
            "upsert": lambda: collection.upsert(make(collection, "new")),
            "jobs": base.jobs,
            "close": base.close,
            "anew": lambda: _write_anew(root),
        }.items():
            try:
                call()
                said[name] = None
            except kb.KBError as error:
                said[name] = str(error).partition(" on ")[0]
        os.write(tell, json.dumps(said).encode())
        os._exit(0)
    finally:
        os._exit(1)


def _write_anew(root: Path) -> None:
    with kb.open(root) as base:
        assert base.collection().get("shared0").title == "heron"
        base.collection().update("shared0", title="spoonbill")


def test_faults_C2_a_forked_child_does_not_keep_the_lock_of_its_parent(root: Path) -> None:
    prepare(root)
    with kb.open(root) as base:
        base.own()
        waiting, go = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            os.close(go)
            os.read(waiting, 1)
            os._exit(0)
        os.close(waiting)
    assert not is_held(root / ".kb" / "lock")
    os.close(go)
    os.waitpid(child, 0)


def test_faults_C9_C10_a_write_that_was_overtaken_is_decided_again(
    root: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "config.toml").write_text(CONFIG)
    monkeypatch.setenv("KB_INDEX_MODE", "server")
    with kb.open(root, encoders={"fake": encoder}) as base:
        collection = base.collection()
        collection.upsert(make(collection, "a1", author="somebody"))
        plain, overtaken = encoder.encode_documents, []

        def overtaking(texts: Sequence[str]) -> np.ndarray:
            overtaken.append(texts)
            with sqlite3.connect(root / ".kb" / "catalog.sqlite3") as other:
                ((fields,),) = other.execute("SELECT fields FROM documents").fetchall()
                fields = fields.replace("somebody", "another")
                other.execute(
                    "UPDATE documents SET fields = ?, fields_hash = ?, revision = 2", (fields, content_hash(fields))
                )
                other.execute("UPDATE collections SET change = change + 1")
            other.close()
            return plain(texts)

        monkeypatch.setattr(encoder, "encode_documents", overtaking)
        put = collection.update("a1", title="a new title")
        assert (put.actions, put.embedded, len(overtaken)) == (("updated",), 1, 1)
        assert collection.get("a1").author == "another"
        assert collection.entry("a1").revision == 3


def test_a_write_that_is_overtaken_again_and_again_keeps_the_others_waiting(
    root: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "config.toml").write_text(CONFIG)
    monkeypatch.setenv("KB_INDEX_MODE", "server")
    with kb.open(root, encoders={"fake": encoder}) as base:
        collection = base.collection()
        collection.upsert(make(collection, "a1"))
        plain, looks = deciding._change, []

        def moving(target: object) -> int:
            looks.append(target)
            return plain(target) - 1  # type: ignore[arg-type]

        monkeypatch.setattr(deciding, "_change", moving)
        collection.update("a1", title="a new title")
        assert len(looks) == deciding.TRIES + 2
        assert collection.get("a1").title == "a new title"
        assert len(encoder.texts) == 2
