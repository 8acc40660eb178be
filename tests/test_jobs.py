"""Jobs of an open knowledge base: listing and pruning, cancelling, and what closing does to a running one."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import kb
from kb import catalog as cat
from kb.catalog import Connection, Job, JobStatus
from kb.catalog.jobs import KEPT_JOBS
from kb.catalog.tables import jobs, rejects
from kb.cli.stopping import stoppable
from kb.errors import ConflictError, EncoderError, LimitError, LockedError, UsageError
from kb.index.lock import acquire
from kb.ingest import ImportRequest, cancelling
from tests.conftest import FakeEncoder, Ran, article, make


def save(path: Path, number: int) -> Path:
    path.write_text("".join(json.dumps(article(f"a{n}", title=f"number{n}.")) + "\n" for n in range(number)))
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return save(tmp_path / "in.jsonl", 300)


@pytest.fixture
def failed(articles: kb.Collection, encoder: FakeEncoder, rows: Path) -> Job:
    encoder.dies_on = "number200."
    with pytest.raises(EncoderError):
        articles.import_file(rows)
    encoder.dies_on = None
    return articles._base.jobs()[0]


class Gate:
    """Lets the model compute one batch after another, when it is told to."""

    def __init__(self, encoder: FakeEncoder) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.encode = encoder.encode_documents
        encoder.encode_documents = self.wait  # type: ignore[method-assign]

    def wait(self, texts: list[str]) -> object:
        self.reached.set()
        assert self.opened.wait(60)
        return self.encode(texts)


@pytest.fixture
def gate(articles: kb.Collection, encoder: FakeEncoder) -> Gate:
    articles.upsert(make(articles, "first"))
    return Gate(encoder)


class Import(threading.Thread):
    """An import in a thread of its own; ``error`` is what it raised."""

    def __init__(self, articles: kb.Collection, path: Path) -> None:
        super().__init__()
        self.articles, self.path = articles, path
        self.job: Job | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.job = self.articles.import_file(self.path)
        except BaseException as error:
            self.error = error


@pytest.fixture
def running(articles: kb.Collection, gate: Gate, rows: Path) -> Iterator[Import]:
    thread = Import(articles, rows)
    thread.start()
    assert gate.reached.wait(60)
    yield thread
    gate.opened.set()
    thread.join()


# Listing and pruning.


def fill(base: kb.KnowledgeBase, number: int, **values: object) -> list[str]:
    """Store jobs that have ended, the oldest first."""
    ids = [f"20200101-000000-{n:06x}" for n in range(number)]
    row = {"collection_id": 1, "kind": "import", "status": "done", "pid": 1, "who": "me", **values}
    row.setdefault("request", ImportRequest(("in.csv",), fingerprints=("x",)).to_json())
    with base.own().write() as connection:
        connection.execute(
            jobs.insert(), [{**row, "id": id, "started": f"2020-01-01T00:00:00.{n:06}Z"} for n, id in enumerate(ids)]
        )
    return ids


def test_faults_H11_ten_thousand_jobs_are_listed_and_pruned(
    base: kb.KnowledgeBase, articles: kb.Collection, rows: Path
) -> None:
    articles.upsert(make(articles))
    ids = fill(base, 10_000)
    with base.own().write() as connection:
        connection.execute(rejects.insert().values(job_id=ids[0], file="f", number=1, line=1, reason="r"))
        connection.execute(jobs.update().where(jobs.c.id == ids[1]).values(status="running"))
    assert base.count_jobs() == 10_000
    assert [job.id for job in base.jobs(limit=20)] == ids[:-21:-1]
    job = articles.import_file(rows)
    kept = [found.id for found in base.jobs(limit=None)]
    assert kept == [job.id, *ids[:-KEPT_JOBS:-1], ids[1]]
    assert base.count_jobs(status=JobStatus.DONE) == KEPT_JOBS == 1_000
    with base.own().read() as connection:
        assert connection.execute(rejects.select()).all() == []


def test_faults_H11_revisions_keep_the_number_of_a_pruned_job(
    base: kb.KnowledgeBase, articles: kb.Collection, tmp_path: Path
) -> None:
    job = articles.import_file(save(tmp_path / "in.jsonl", 1))
    fill(base, 1)
    with base.own().write() as connection:
        for n in range(KEPT_JOBS):
            row = {"id": f"x{n:04}", "collection_id": 1, "kind": "import", "status": "failed", "request": "{}"}
            connection.execute(jobs.insert().values(**row, pid=1, who="me", started=f"9999-{n:04}"))
    newest = articles.import_file(tmp_path / "in.jsonl")
    assert base.count_jobs() == KEPT_JOBS
    assert [entry.job for entry in articles.history("a0")] == [job.id]
    with pytest.raises(kb.errors.NotFoundError, match=f"^there is no job '{job.id}'$"):
        base.undo(job.id)
    assert base.job(newest.id) == newest


def test_faults_H11_a_huge_error_is_shown_in_short(root: Path, run_kb: Callable[..., Ran], tmp_path: Path) -> None:
    path = save(tmp_path / "in.jsonl", 1)
    assert run_kb("import", str(path), "-q").code == 0
    with kb.open(root) as base:
        (id,) = fill(base, 1, status="failed", error="x" * 1_000_000)
    assert len(run_kb("jobs", "list", "--format", "table").out) < 1_000
    shown = run_kb("jobs", "show", id, "--format", "table", COLUMNS="80").out
    assert "x…" in shown
    assert len(shown) < 3_000


def test_jobs_are_listed_by_what_they_are_seen_as(base: kb.KnowledgeBase, failed: Job) -> None:
    with base.own().write() as connection:
        connection.execute(jobs.update().values(status="running"))
    # Nobody runs it: this process owns the knowledge base, and does something else.
    assert [job.status for job in base.jobs()] == [JobStatus.INTERRUPTED]
    assert base.jobs(status=JobStatus.INTERRUPTED) == [replace(failed, status=JobStatus.INTERRUPTED)]
    assert (base.count_jobs(status=JobStatus.INTERRUPTED), base.count_jobs(status=JobStatus.RUNNING)) == (1, 0)
    assert base.resume(failed.id).status is JobStatus.DONE


# Cancelling.


def test_faults_C12_a_job_of_another_thread_is_cancelled(
    base: kb.KnowledgeBase, articles: kb.Collection, running: Import, gate: Gate
) -> None:
    (job,) = base.jobs()
    assert base.cancel(job.id).status is JobStatus.RUNNING
    gate.opened.set()
    cancelled = base.cancel(job.id, wait=60)
    running.join()
    assert (running.error, running.job) == (None, cancelled)
    assert (cancelled.status, cancelled.counts.new) == (JobStatus.CANCELLED, 64)
    assert articles.count() == 65
    assert list((base.settings.storage / "cancel").iterdir()) == []
    assert list(base.verify(full=True)) == []


def test_a_failed_job_is_cancelled(base: kb.KnowledgeBase, failed: Job) -> None:
    assert base.cancel(failed.id) == base.job(failed.id) == replace(failed, status=JobStatus.CANCELLED)
    with pytest.raises(ConflictError) as raised:
        base.resume(failed.id)
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        f"the job {failed.id} is cancelled: it cannot be resumed",
        "nothing was imported",
        "import the same data again: rows that are in already are skipped as unchanged",
    )


def test_a_finished_job_is_not_cancelled(base: kb.KnowledgeBase, articles: kb.Collection, rows: Path) -> None:
    job = articles.import_file(rows)
    with pytest.raises(ConflictError) as raised:
        base.cancel(job.id)
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        f"the job {job.id} is already done",
        "nothing was cancelled",
        f"kb jobs undo {job.id} takes back what it did",
    )
    assert not (base.settings.storage / "cancel").exists()


def test_an_interrupted_job_is_cancelled_by_the_owner_only(
    base: kb.KnowledgeBase, failed: Job, root: Path, encoder: FakeEncoder
) -> None:
    base.close()
    lock = acquire(root / ".kb")
    with kb.open(root, encoders={"fake": encoder}) as other:
        with pytest.raises(LockedError):
            other.cancel(failed.id)
        lock.release()
        assert other.cancel(failed.id).status is JobStatus.CANCELLED


def test_an_old_request_does_not_cancel_what_is_resumed(base: kb.KnowledgeBase, failed: Job) -> None:
    from kb.ingest import cancelling

    cancelling.request(base.settings.storage, failed.id)
    assert base.resume(failed.id).status is JobStatus.DONE
    assert not cancelling.is_requested(base.settings.storage, failed.id)


def test_a_job_whose_beginning_cannot_be_committed_does_not_count_as_running(
    base: kb.KnowledgeBase, failed: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = base.catalog
    assert catalog is not None
    write = catalog.write

    @contextmanager
    def without_room() -> Iterator[Connection]:
        with write() as connection:
            yield connection
            raise LimitError("no space left")

    monkeypatch.setattr(catalog, "write", without_room)
    with pytest.raises(LimitError):
        cancelling.began(catalog, failed, is_resumed=True)
    assert catalog.running == {}
    assert cancelling.alive(base.settings.storage) == set()


def test_a_running_job_is_not_resumed(base: kb.KnowledgeBase, running: Import) -> None:
    (job,) = base.jobs()
    with pytest.raises(ConflictError, match=f"^the job {job.id} is running$"):
        base.resume(job.id)


def test_what_is_resumed_begins_where_it_stopped(base: kb.KnowledgeBase, failed: Job) -> None:
    first, *_ = steps = list(base.resume_steps(failed.id))
    assert failed.counts.read < 300
    assert (first.job.counts.read, first.position) == (failed.counts.read, failed.position)
    assert steps[-1].job.counts.read == 300


# Closing.


def test_faults_C12_closing_lets_the_batch_finish_and_interrupts_the_job(
    base: kb.KnowledgeBase, root: Path, encoder: FakeEncoder, running: Import, gate: Gate
) -> None:
    closing = threading.Thread(target=base.close)
    closing.start()
    gate.opened.set()
    closing.join()
    running.join()
    assert isinstance(running.error, UsageError)
    assert str(running.error) == "the knowledge base is closed"
    with kb.open(root, encoders={"fake": encoder}) as again:
        (job,) = again.jobs()
        assert (job.status, job.counts.new, again.collection().count()) == (JobStatus.INTERRUPTED, 64, 65)
        assert again.resume(job.id).counts.new == 300
        assert list(again.verify(full=True)) == []


def test_faults_C12_closing_ends_an_import_that_nobody_goes_on_with(
    base: kb.KnowledgeBase, articles: kb.Collection, root: Path, encoder: FakeEncoder, rows: Path
) -> None:
    steps = articles.import_steps(ImportRequest((str(rows),)))
    assert [next(steps).job.counts.read for _ in range(2)] == [0, 64]
    base.close()
    steps.close()
    with kb.open(root, encoders={"fake": encoder}) as again:
        (job,) = again.jobs()
        assert (job.status, job.counts.new) == (JobStatus.INTERRUPTED, 64)


def test_faults_C12_no_thread_is_left(base: kb.KnowledgeBase, articles: kb.Collection, rows: Path) -> None:
    before = set(threading.enumerate())
    articles.import_file(rows)
    base.undo(base.jobs()[0].id)
    base.close()
    assert set(threading.enumerate()) <= before


# A full disk.


def test_faults_B1_a_job_that_could_not_even_record_its_failure_is_resumed(
    base: kb.KnowledgeBase, articles: kb.Collection, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    articles.upsert(make(articles, "first"))
    write, catalog = cat.Catalog.write, base.own()
    full = threading.Event()

    def fail(self: cat.Catalog) -> object:
        if full.is_set() and not self.is_writing:
            raise LimitError("no space left", unchanged="nothing of this write was kept")
        return write(self)

    monkeypatch.setattr(cat.Catalog, "write", fail)
    with pytest.raises(LimitError):
        articles.import_file(rows, progress=lambda step: step.job.counts.read and full.set())
    assert (base.jobs()[0].status, articles.count()) == (JobStatus.INTERRUPTED, 65)
    full.clear()
    assert catalog.running == {}
    assert base.resume(base.jobs()[0].id).counts.new == 300


# Signals at the command line.


def test_handlers_are_installed_only_while_a_job_runs() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stoppable("") as stop:
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) is not before[0]
        signal.raise_signal(signal.SIGTERM)
        assert (stop.is_wanted, stop.exit_code) == (True, 143)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(SystemExit, match="^143$"):
            signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable("") as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop.is_wanted
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_has_no_handlers() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def run() -> None:
        with stoppable("") as stop:
            seen.append((stop.is_wanted, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, before)]
