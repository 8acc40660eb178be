"""Atomic imports that are stepped, abandoned and closed: one transaction between the steps, whoever ends it."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import kb
from kb.catalog import Counts, Job, JobStatus
from kb.errors import ConflictError, KBError, UsageError
from tests.conftest import article, make

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from kb.ingest import Progress
    from tests.conftest import FakeEncoder


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[[bool], kb.ImportRequest]:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(article(f"a{n}", title=f"number{n}.")) + "\n" for n in range(300)))
    return lambda atomic: kb.ImportRequest((str(path),), policy=kb.Policy(atomic=atomic))


@pytest.fixture
def steps(articles: kb.Collection, request_of: Callable[[bool], kb.ImportRequest]) -> Generator[Generator[Progress]]:
    """An atomic import with one batch written and not committed."""
    found = articles.import_steps(request_of(True))
    assert [next(found).job.counts.read for _ in range(2)] == [0, 64]
    yield found
    found.close()


def in_thread(do: Callable[[], Any]) -> Any:
    """Return what another thread returns or raises."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(do())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it hangs"
    return outcome[0]


def is_as_before(root: Path, encoder: FakeEncoder, *, read: int = 0, status: JobStatus = JobStatus.INTERRUPTED) -> None:
    """Hold a closed knowledge base against its only job, which can be resumed."""
    with kb.open(root, encoders={"fake": encoder}) as base:
        (job,) = base.jobs()
        assert (job.status, job.counts.new, base.collection().count()) == (status, read, read)
        assert list(base.verify(full=True)) == []
        assert base.resume(job.id).counts == Counts(read=300, new=300, embedded=300)


# Threads.


def test_an_atomic_import_is_stepped_by_one_thread(
    base: kb.KnowledgeBase, articles: kb.Collection, steps: Generator[Progress]
) -> None:
    error = in_thread(lambda: next(steps))
    assert isinstance(error, UsageError)
    assert (str(error), error.unchanged, error.hint) == (
        "an import with --atomic was stepped by another thread than the one that began it",
        "nothing was imported (--atomic)",
        "ask for all its steps in one thread, or use run_import in a thread of its own",
    )
    (job,) = base.jobs()
    assert (job.status, job.error, articles.count()) == (JobStatus.FAILED, str(error), 0)
    articles.upsert(make(articles, "mine"))
    assert isinstance(in_thread(lambda: articles.upsert(make(articles, "theirs"))), tuple)
    assert base.resume(job.id).counts.new == 300
    assert list(base.verify(full=True)) == []


def test_an_atomic_import_may_be_begun_by_one_thread_and_run_by_another(
    articles: kb.Collection, request_of: Callable[[bool], kb.ImportRequest]
) -> None:
    steps = articles.import_steps(request_of(True))
    next(steps)
    last = in_thread(lambda: [*steps][-1])
    assert not isinstance(last, BaseException)
    assert (last.job.status, articles.count()) == (JobStatus.DONE, 300)


def test_steps_of_other_imports_may_be_asked_for_by_any_thread(
    articles: kb.Collection, request_of: Callable[[bool], kb.ImportRequest]
) -> None:
    steps = articles.import_steps(request_of(False))
    next(steps)
    assert not isinstance(in_thread(lambda: next(steps)), BaseException)
    assert [*steps][-1].job.status is JobStatus.DONE


# Abandoned.


@pytest.mark.parametrize("where", ["here", "in another thread"])
@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_an_atomic_import_that_is_abandoned_is_rolled_back(
    how: str,
    where: str,
    base: kb.KnowledgeBase,
    articles: kb.Collection,
    request_of: Callable[[bool], kb.ImportRequest],
) -> None:
    kept = [articles.import_steps(request_of(True))]
    for step in kept[0]:
        if step.job.counts.read:
            break

    def abandon() -> None:
        kept[0].close() if how == "closed" else kept.clear()
        gc.collect()

    assert (abandon() if where == "here" else in_thread(abandon)) is None
    (job,) = base.jobs()
    assert (job.status, job.counts, articles.count()) == (JobStatus.INTERRUPTED, Counts(), 0)
    assert isinstance(in_thread(lambda: articles.upsert(make(articles, "theirs"))), tuple)
    assert articles.keys() == ["theirs"]


@pytest.mark.parametrize("where", ["here", "in another thread"])
@pytest.mark.parametrize("then", ["dropped", "closed", "stepped"])
def test_closing_rolls_back_an_atomic_import_that_nobody_goes_on_with(
    then: str, where: str, base: kb.KnowledgeBase, steps: Generator[Progress], root: Path, encoder: FakeEncoder
) -> None:
    assert (base.close() if where == "here" else in_thread(base.close)) is None
    if then == "closed":
        steps.close()
    elif then == "stepped":
        with pytest.raises(UsageError, match=r"^the knowledge base is closed$") as raised:
            next(steps)
        assert raised.value.unchanged == "nothing was imported (--atomic)"
    is_as_before(root, encoder)


@pytest.mark.parametrize("where", ["here", "in another thread"])
def test_closing_ends_an_import_that_nobody_goes_on_with(
    where: str,
    base: kb.KnowledgeBase,
    articles: kb.Collection,
    request_of: Callable[[bool], kb.ImportRequest],
    root: Path,
    encoder: FakeEncoder,
) -> None:
    steps = articles.import_steps(request_of(False))
    for step in steps:
        if step.job.counts.read:
            break
    assert (base.close() if where == "here" else in_thread(base.close)) is None
    with pytest.raises(UsageError, match=r"^the knowledge base is closed$"):
        next(steps)
    is_as_before(root, encoder, read=64)


def test_closing_while_the_progress_is_told_rolls_back(
    base: kb.KnowledgeBase,
    articles: kb.Collection,
    request_of: Callable[[bool], kb.ImportRequest],
    root: Path,
    encoder: FakeEncoder,
) -> None:
    with pytest.raises(UsageError, match=r"^the knowledge base is closed$"):
        articles.run_import(request_of(True), progress=lambda step: step.job.counts.read and base.close())
    is_as_before(root, encoder)


def test_closing_waits_for_the_batch_of_an_atomic_import_and_no_longer(
    base: kb.KnowledgeBase,
    articles: kb.Collection,
    request_of: Callable[[bool], kb.ImportRequest],
    root: Path,
    encoder: FakeEncoder,
) -> None:
    reached, opened = threading.Event(), threading.Event()
    encode, batches = encoder.encode_documents, []

    def wait(texts: list[str]) -> object:
        batches.append(len(texts))
        if len(batches) == 1:
            reached.set()
            assert opened.wait(60)
        return encode(texts)

    articles.upsert(make(articles, "first"))
    articles.delete("first")
    encoder.encode_documents = wait  # type: ignore[method-assign, assignment]
    ended: list[Job | KBError] = []

    def run() -> None:
        try:
            ended.append(articles.run_import(request_of(True)))
        except KBError as error:
            ended.append(error)

    importing = threading.Thread(target=run)
    importing.start()
    assert reached.wait(60)
    closing = threading.Thread(target=base.close)
    closing.start()
    while not base._catalog or not base._catalog.is_closing:
        pass
    opened.set()
    for thread in (importing, closing):
        thread.join(60)
        assert not thread.is_alive(), "it hangs"
    assert len(batches) == 1
    encoder.encode_documents = encode  # type: ignore[method-assign]
    (end,) = ended
    assert end.status is JobStatus.INTERRUPTED if isinstance(end, Job) else str(end) == "the knowledge base is closed"
    is_as_before(root, encoder)


@pytest.mark.parametrize("atomic", [True, False])
def test_a_program_that_ends_with_an_abandoned_import_says_nothing(
    atomic: bool, root: Path, request_of: Callable[[bool], kb.ImportRequest]
) -> None:
    program = f"""
import kb
from tests.conftest import FakeEncoder
base = kb.open({str(root)!r}, encoders={{"fake": FakeEncoder()}})
steps = base.collection().import_steps(kb.ImportRequest({request_of(atomic).files!r}, policy=kb.Policy(atomic={atomic})))
next(steps)
next(steps)
"""
    command = [sys.executable, "-X", "dev", "-c", program]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    with kb.open(root) as base:
        assert base.jobs()[0].status is JobStatus.INTERRUPTED


# Two who want the same job.


def test_a_job_is_resumed_by_one_of_two_threads(
    base: kb.KnowledgeBase, articles: kb.Collection, request_of: Callable[[bool], kb.ImportRequest]
) -> None:
    steps = articles.import_steps(request_of(False))
    next(steps)
    next(steps)
    steps.close()
    (job,) = base.jobs()
    # Both have looked at it before either begins.
    from kb.ingest import resume_import

    first, second, third = (
        resume_import(articles.target(), job, rejects_folder=base.rejects_folder()) for _ in range(3)
    )
    next(first)
    for late in (second, third):
        with pytest.raises(ConflictError) as raised:
            next(late)
        assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
            f"the job {job.id} has just been resumed, cancelled or undone by somebody else",
            "nothing was imported",
            f"kb jobs show {job.id}",
        )
        for _ in first:
            pass
    assert base.job(job.id).counts == Counts(read=300, new=300, embedded=300)


def test_a_job_that_is_cancelled_while_it_is_about_to_be_resumed_stays_cancelled(
    base: kb.KnowledgeBase, articles: kb.Collection, request_of: Callable[[bool], kb.ImportRequest]
) -> None:
    steps = articles.import_steps(request_of(True))
    next(steps)
    steps.close()
    (job,) = base.jobs()
    from kb.ingest import resume_import

    resumed = resume_import(articles.target(), job, rejects_folder=base.rejects_folder())
    cancelled = base.cancel(job.id)
    with pytest.raises(ConflictError, match=r"has just been resumed, cancelled or undone by somebody else$"):
        next(resumed)
    assert base.job(job.id) == cancelled


def test_an_atomic_import_that_is_interrupted_after_its_commit_is_resumed_with_its_figures(
    base: kb.KnowledgeBase,
    articles: kb.Collection,
    request_of: Callable[[bool], kb.ImportRequest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(base, "follow", stop)
        with pytest.raises(KeyboardInterrupt):
            articles.run_import(request_of(True))
    (job,) = base.jobs()
    assert (job.status, articles.count()) == (JobStatus.INTERRUPTED, 300)
    resumed = base.resume(job.id)
    assert (resumed.status, resumed.counts) == (JobStatus.DONE, Counts(read=300, new=300, embedded=300))
    articles.search("anything")
    assert list(base.verify(full=True)) == []
