"""Undoing imports of a source: what the next import from it knows is what it knew before, and after a redo what it knew."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import kb
from kb.catalog import Counts, Job, JobStatus
from kb.catalog.tables import documents, origins
from kb.errors import ConflictError, EncoderError
from tests.conftest import article, make

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import FakeEncoder


class Origin(NamedTuple):
    """A row of the table, with what it means that a row has this revision."""

    source: str
    key: str
    revision: int
    fields_hash: bytes
    job: str
    first_job: str
    is_in_step: bool


def rows_of(base: kb.KnowledgeBase) -> dict[tuple[str, str], Origin]:
    query = (
        origins.select()
        .add_columns(documents.c.revision.label("now"))
        .select_from(origins.outerjoin(documents, documents.c.key == origins.c.key))
    )
    with base.own().read() as connection:
        return {
            (row.source, row.key): Origin(
                row.source,
                row.key,
                row.revision,
                row.fields_hash,
                row.job_id,
                row.first_job_id,
                row.revision == row.now,
            )
            for row in connection.execute(query)
        }


def meaning(found: dict[tuple[str, str], Origin]) -> dict[tuple[str, str], Any]:
    """Return the rows without their numbers, but with whether they are those of the documents."""
    return {place: one._replace(revision=0) for place, one in found.items()}


def without_jobs(found: dict[tuple[str, str], Origin]) -> dict[tuple[str, str], Any]:
    """Return what they mean, whichever of the earlier imports has seen them last: that is not noted."""
    return {place: one._replace(job="") for place, one in meaning(found).items()}


def revisions(base: kb.KnowledgeBase) -> dict[str, int]:
    return {entry.id: entry.revision for entry in base.collection().entries()}


class Feed:
    """Imports documents, each given by its id and the number of its version."""

    def __init__(self, articles: kb.Collection, folder: Path) -> None:
        self.articles, self.folder, self.number = articles, folder, 0

    def brings(self, source: str | None, versions: dict[str, int], **policy: Any) -> Job:
        self.number += 1
        path = self.folder / f"{self.number}.jsonl"
        rows = [article(key, body=f"The text of version {n} of {key}.") for key, n in versions.items()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        policy = {"on_conflict": kb.ingest.request.OnConflict.THEIRS, "max_delete": 1.0} | policy
        request = kb.ImportRequest((str(path),), policy=kb.Policy(source=source, **policy))
        return self.articles.run_import(request)


@pytest.fixture
def feed(articles: kb.Collection, tmp_path: Path) -> Feed:
    return Feed(articles, tmp_path)


def is_undone_and_redone(base: kb.KnowledgeBase, job: Job, before: dict[tuple[str, str], Origin]) -> None:
    """Hold the whole table against what it was before and after the job, three times."""
    after, stood = rows_of(base), revisions(base)
    for _ in range(3):
        undone = base.undo(job.id)
        assert without_jobs(rows_of(base)) == without_jobs(before)
        redone = base.undo(undone.id)
        found, stand = rows_of(base), revisions(base)
        assert meaning(found) == meaning(after)
        untouched = [place for place in after if stood.get(place[1]) == stand.get(place[1])]
        assert {place: found[place] for place in untouched} == {place: after[place] for place in untouched}
        assert (undone.source, redone.source) == (job.source, job.source)
    assert list(base.verify(full=True)) == []


def test_an_import_of_new_and_of_claimed_documents_is_undone_and_redone(
    base: kb.KnowledgeBase, articles: kb.Collection, feed: Feed
) -> None:
    feed.brings(None, {"same": 1, "other": 1})
    job = feed.brings("feed", {"same": 1, "other": 2, "new": 1})
    assert job.counts == Counts(read=3, new=1, updated=1, unchanged=1, embedded=2)
    is_undone_and_redone(base, job, {})


def test_a_later_import_of_the_same_source_is_undone_and_redone(base: kb.KnowledgeBase, feed: Feed) -> None:
    feed.brings("feed", {"same": 1, "other": 1})
    before = rows_of(base)
    job = feed.brings("feed", {"same": 1, "other": 2, "new": 1})
    is_undone_and_redone(base, job, before)


def test_a_sync_is_undone_and_redone(base: kb.KnowledgeBase, articles: kb.Collection, feed: Feed) -> None:
    feed.brings("feed", {"same": 1, "changed": 1, "gone": 1, "shared": 1, "deleted": 1})
    feed.brings("elsewhere", {"shared": 1, "changed": 1})
    articles.delete("deleted")
    before = rows_of(base)
    job = feed.brings("feed", {"same": 1, "changed": 2, "new": 1}, sync=True)
    assert job.counts == Counts(read=3, new=1, updated=1, unchanged=1, embedded=2, removed=1)
    assert sorted(rows_of(base)) == [
        ("elsewhere", "changed"),
        ("elsewhere", "shared"),
        ("feed", "changed"),
        ("feed", "new"),
        ("feed", "same"),
    ]
    is_undone_and_redone(base, job, before)


def test_an_import_over_edits_is_undone_and_redone(base: kb.KnowledgeBase, articles: kb.Collection, feed: Feed) -> None:
    feed.brings("feed", {"edited": 1, "alike": 1, "deleted": 1, "kept": 1})
    articles.update("edited", title="By hand")
    articles.update("alike", body="The text of version 2 of alike.")
    articles.delete("deleted")
    before = rows_of(base)
    job = feed.brings("feed", {"edited": 2, "alike": 2, "deleted": 2, "kept": 1})
    assert job.counts == Counts(read=4, new=1, updated=1, unchanged=2, embedded=2)
    is_undone_and_redone(base, job, before)
    base.undo(job.id)
    # As much of a conflict as before the job.
    with pytest.raises(ConflictError, match=r"^the document 'edited' on line 1 was edited since its last import"):
        feed.brings("feed", {"edited": 3}, on_conflict=kb.ingest.request.OnConflict.FAIL)
    again = feed.brings("feed", {"edited": 1, "alike": 1, "deleted": 1, "kept": 1})
    assert again.counts == Counts(read=4, unchanged=4)


def test_an_interrupted_import_is_undone_and_redone(base: kb.KnowledgeBase, feed: Feed, encoder: FakeEncoder) -> None:
    feed.brings("feed", {f"a{n}": 1 for n in range(100)})
    before = rows_of(base)
    encoder.dies_on = "version 2 of a70."
    with pytest.raises(EncoderError):
        feed.brings("feed", {f"a{n}": 1 + n % 2 for n in range(100)} | {"a70": 2})
    (job, _) = base.jobs()
    assert (job.status, job.counts.updated) == (JobStatus.FAILED, 32)
    is_undone_and_redone(base, job, before)


def test_what_a_later_import_has_brought_stays_known(base: kb.KnowledgeBase, feed: Feed) -> None:
    first = feed.brings("feed", {"a": 1})
    job = feed.brings("feed", {"a": 2, "b": 1, "c": 1})
    later = feed.brings("feed", {"a": 2, "b": 1, "d": 1})
    undone = base.undo(job.id)
    assert {(one.key, one.job, one.first_job, one.is_in_step) for one in rows_of(base).values()} == {
        ("a", later.id, first.id, True),
        ("d", later.id, later.id, True),
    }
    base.undo(undone.id)
    assert {(one.key, one.job, one.first_job, one.is_in_step) for one in rows_of(base).values()} == {
        ("a", later.id, first.id, True),
        ("b", later.id, job.id, True),
        ("c", job.id, job.id, True),
        ("d", later.id, later.id, True),
    }


@pytest.mark.parametrize("order", [(1, 0), (0, 1)])
def test_when_all_imports_are_undone_nothing_has_been_brought(
    order: tuple[int, int], base: kb.KnowledgeBase, articles: kb.Collection, feed: Feed
) -> None:
    articles.add(make(articles, "hand", body="The text of version 1 of hand."))
    jobs = [feed.brings("feed", {"hand": 1, "one": 1}), feed.brings("feed", {"hand": 1, "two": 1})]
    for place in order:
        base.undo(jobs[place].id)
    assert (rows_of(base), articles.keys()) == ({}, ["hand"])
    # So that a sync does not delete what a person has made.
    assert feed.brings("feed", {"new": 1}, sync=True).counts.removed == 0


def test_an_import_that_is_resumed_after_another_of_its_source_deletes_nothing_that_it_has_read(
    base: kb.KnowledgeBase, articles: kb.Collection, feed: Feed, encoder: FakeEncoder
) -> None:
    versions = {f"a{n}": 1 for n in range(700)}
    encoder.dies_on = "version 1 of a64."
    with pytest.raises(EncoderError):
        feed.brings("feed", versions, sync=True, max_delete=0.1)
    encoder.dies_on = None
    (job,) = base.jobs()
    assert job.counts.new == 64
    feed.brings("feed", versions, sync=True)
    resumed = base.resume(job.id)
    assert (resumed.status, resumed.counts.removed, articles.count()) == (JobStatus.DONE, 0, 700)


@pytest.mark.parametrize("seed", range(12))
def test_any_history_is_undone_and_redone(
    seed: int, base: kb.KnowledgeBase, articles: kb.Collection, feed: Feed
) -> None:
    draw = random.Random(seed)
    keys = [f"k{n}" for n in range(6)]
    for _ in range(6):
        before = rows_of(base)
        source = draw.choice(["feed", "elsewhere", None])
        versions = {key: draw.randrange(3) for key in draw.sample(keys, draw.randrange(1, 5))}
        job = feed.brings(source, versions, sync=source is not None and draw.random() < 0.5)
        if base.undo_plan(job.id).touched:
            is_undone_and_redone(base, job, before)
        for key in draw.sample(articles.keys(), min(2, articles.count())):
            if draw.random() < 0.5:
                articles.update(key, body=f"The text of version {draw.randrange(4)} of {key}.")
            elif draw.random() < 0.3:
                articles.delete(key)
