"""Undoing jobs: documents become what they were before, with their history, their origins and their vectors."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

import kb
from kb.catalog import Counts, Job, JobStatus
from kb.errors import ConflictError, EncoderError, NotFoundError, SchemaMismatchError
from kb.schema import build_schema
from tests.conftest import CONFIG, FakeEncoder, article, make


def save(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def contents(articles: kb.Collection) -> dict[str, dict[str, Any]]:
    return {entry.id: entry.document.model_dump() for entry in articles.entries()}


def actions(articles: kb.Collection, key: str) -> list[tuple[int, str, str | None]]:
    return [(entry.revision, entry.action, entry.job) for entry in articles.history(key)]


def is_sound(base: kb.KnowledgeBase) -> bool:
    return list(base.verify(full=True)) == []


@pytest.fixture
def imported(articles: kb.Collection, tmp_path: Path) -> tuple[dict[str, dict[str, Any]], Job]:
    """Two old documents, and an import that changes one's text and another's fields, and adds two."""
    articles.upsert(make(articles, "text"), make(articles, "fields"), make(articles, "same"))
    before = contents(articles)
    rows = [
        article("text", body="Another body."),
        article("fields", rating=1.0),
        article("same"),
        article("new1"),
        article("new2"),
    ]
    job = articles.import_file(save(tmp_path / "in.jsonl", rows))
    assert job.counts == Counts(read=5, new=2, updated=1, fields_only=1, unchanged=1, embedded=3)
    return before, job


def test_an_import_is_undone_and_the_undo_as_well(
    base: kb.KnowledgeBase, articles: kb.Collection, encoder: FakeEncoder, imported: Any
) -> None:
    before, job = imported
    after = contents(articles)
    calls = len(encoder.texts)
    plan = base.undo_plan(job.id)
    assert (plan.deleted, plan.restored, plan.changed, plan.as_before, plan.conflicts) == (2, 0, 2, 0, 0)
    undone = base.undo(job.id)
    assert (undone.kind, undone.status, json.loads(undone.request)) == (
        "undo",
        JobStatus.DONE,
        {"job": job.id, "force": False},
    )
    assert undone.counts == Counts(read=2, updated=1, fields_only=1, removed=2)
    assert contents(articles) == before
    assert [hit.id for hit in articles.search("Another body.", min_score=0.99)] == []
    again = base.undo(undone.id)
    assert again.counts == Counts(read=4, new=2, updated=1, fields_only=1)
    assert contents(articles) == after
    assert base.undo(again.id).counts == undone.counts
    assert contents(articles) == before
    assert len(encoder.texts) == calls
    assert [found.kind for found in base.jobs()] == ["undo", "undo", "undo", "import"]
    assert is_sound(base)


def test_the_history_shows_what_was_undone(base: kb.KnowledgeBase, articles: kb.Collection, imported: Any) -> None:
    _, job = imported
    undone = base.undo(job.id)
    assert actions(articles, "text") == [(1, "add", None), (2, "update", job.id), (3, "restore", undone.id)]
    assert actions(articles, "new1") == [(1, "add", job.id), (2, "delete", undone.id)]
    assert actions(articles, "same") == [(1, "add", None)]
    assert [entry.id for entry in articles.deleted()] == ["new2", "new1"]


def test_a_job_is_undone_once(base: kb.KnowledgeBase, imported: Any) -> None:
    _, job = imported
    base.undo(job.id)
    with pytest.raises(ConflictError) as raised:
        base.undo(job.id)
    assert (str(raised.value), raised.value.unchanged) == (
        f"there is nothing to undo of the job {job.id}: 4 documents as before it",
        "nothing was undone",
    )


def test_a_job_that_was_redone_is_undone_by_its_own_name(
    base: kb.KnowledgeBase, articles: kb.Collection, imported: Any
) -> None:
    before, job = imported
    base.undo(base.undo(job.id).id)
    base.undo(job.id)
    assert contents(articles) == before


def test_a_job_that_changed_nothing_is_not_undone(
    base: kb.KnowledgeBase, articles: kb.Collection, tmp_path: Path
) -> None:
    articles.upsert(make(articles))
    job = articles.import_file(save(tmp_path / "in.jsonl", [article()]))
    with pytest.raises(ConflictError, match=f"^there is nothing to undo of the job {job.id}: it changed no document$"):
        base.undo(job.id)


def test_an_unknown_job_is_not_found(base: kb.KnowledgeBase, imported: Any) -> None:
    with pytest.raises(NotFoundError, match="^there is no job 'nope'$"):
        base.undo("nope")


def test_documents_that_were_changed_since_are_kept_unless_forced(
    base: kb.KnowledgeBase, articles: kb.Collection, imported: Any
) -> None:
    before, job = imported
    articles.update("text", body="By hand.")
    articles.delete("new1")
    articles.delete("new2")
    articles.restore("new2")
    edited = contents(articles)
    plan = base.undo_plan(job.id)
    assert (plan.deleted, plan.changed, plan.as_before, plan.conflicts, plan.some) == (1, 2, 1, 1, ("text",))
    with pytest.raises(ConflictError) as raised:
        base.undo(job.id)
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        f"something else has since changed 1 document that the job {job.id} touched: text",
        "nothing was undone",
        "kb history text shows by whom; --force sets back those, too",
    )
    assert (contents(articles), len(base.jobs())) == (edited, 1)
    forced = base.undo(job.id, force=True)
    assert contents(articles) == before
    base.undo(forced.id)
    assert contents(articles) == edited
    assert is_sound(base)


def test_five_conflicts_are_named_and_all_counted(
    base: kb.KnowledgeBase, articles: kb.Collection, tmp_path: Path
) -> None:
    job = articles.import_file(save(tmp_path / "in.jsonl", [article(f"a{n}") for n in range(7)]))
    for n in range(7):
        articles.update(f"a{n}", rating=0.0)
    with pytest.raises(ConflictError) as raised:
        base.undo(job.id)
    what = f"something else has since changed 7 documents that the job {job.id} touched: a0, a1, a2, a3, a4, …"
    assert str(raised.value) == what


def test_a_change_back_is_no_change(base: kb.KnowledgeBase, articles: kb.Collection, imported: Any) -> None:
    before, job = imported
    articles.update("fields", rating=3.0)
    articles.update("fields", rating=1.0)
    base.undo(job.id)
    assert contents(articles) == before


def test_undoing_is_all_or_nothing(
    base: kb.KnowledgeBase, articles: kb.Collection, encoder: FakeEncoder, imported: Any
) -> None:
    _, job = imported
    undone = base.undo(job.id)
    before, revisions = contents(articles), actions(articles, "text")
    with base.own().write() as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        connection.exec_driver_sql(
            "DELETE FROM vectors WHERE id NOT IN (SELECT vector_id FROM chunks)"
        )  # as a purge does
    encoder.dies_on = "Another"
    with pytest.raises(EncoderError):
        base.undo(undone.id)
    assert (contents(articles), actions(articles, "text"), len(base.jobs())) == (before, revisions, 2)
    assert is_sound(base)
    encoder.dies_on = None
    assert base.undo(undone.id).counts == Counts(read=4, new=2, updated=1, fields_only=1, embedded=3)
    assert is_sound(base)


def test_an_interrupted_or_failed_job_is_undone_and_ends_there(
    base: kb.KnowledgeBase, articles: kb.Collection, encoder: FakeEncoder, tmp_path: Path
) -> None:
    path = save(tmp_path / "in.jsonl", [article(f"a{n}", title=f"number{n}.") for n in range(300)])
    encoder.dies_on = "number200."
    with pytest.raises(EncoderError):
        articles.import_file(path)
    encoder.dies_on = None
    (job,) = base.jobs()
    assert job.status is JobStatus.FAILED
    assert base.undo(job.id).counts.removed == job.counts.new == articles.count() + job.counts.new
    assert base.job(job.id) == replace(job, status=JobStatus.CANCELLED)
    with pytest.raises(ConflictError, match=f"^the job {job.id} is cancelled: it cannot be resumed$"):
        base.resume(job.id)


def test_a_running_job_is_not_undone(base: kb.KnowledgeBase, articles: kb.Collection, tmp_path: Path) -> None:
    request = kb.ImportRequest((str(save(tmp_path / "in.jsonl", [article()])),))
    steps = articles.import_steps(request)
    job = next(steps).job
    with pytest.raises(ConflictError) as raised:
        base.undo(job.id)
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        f"the job {job.id} is running",
        "nothing was undone",
        f"first: kb jobs cancel {job.id}",
    )
    steps.close()


def test_documents_must_fit_the_present_schema(
    base: kb.KnowledgeBase, articles: kb.Collection, imported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, job = imported
    before = contents(articles)
    schema = articles.schema
    fields = [replace(f, maximum=4.0) if f.name == "rating" else f for f in schema.fields.values() if f.name != "tags"]
    smaller = build_schema(fields, key=schema.key, text=schema.template.source)
    target = articles.target()
    changed = replace(target, collection=replace(target.collection, schema=smaller))
    monkeypatch.setattr(articles, "target", lambda: changed)
    with pytest.raises(SchemaMismatchError) as raised:
        base.undo(job.id)
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        f"the schema does not fit 2 documents that the job {job.id} replaced or deleted: "
        "text: there is no field 'tags' any more, fields: there is no field 'tags' any more",
        "nothing was undone",
        "put the declaration of the fields back",
    )
    assert contents(articles) == before


# Any history.

KEYS = st.sampled_from([f"k{number}" for number in range(6)])
BODIES = st.sampled_from(["apple", "pear", "plum", "fig"])
RATINGS = st.none() | st.sampled_from([0.5, 2.0])
ROWS = st.dictionaries(KEYS, st.tuples(BODIES, RATINGS), min_size=1, max_size=4)
Content = tuple[str, float | None]


class UndoMachine(RuleBasedStateMachine):
    """``live`` is what must be there; ``touched`` has, by job, what each document was before and after it."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="kb-undo-"))
        (self.root / "config.toml").write_text(CONFIG)
        self.base = kb.open(self.root, encoders={"fake": FakeEncoder()})
        self.articles = self.base.collection()
        self.live: dict[str, Content] = {}
        self.touched: dict[str, dict[str, tuple[Content | None, Content | None]]] = {}

    def becomes(self, job: str, changes: dict[str, Content | None]) -> None:
        self.touched[job] = {k: (self.live.get(k), new) for k, new in changes.items() if self.live.get(k) != new}
        for key, new in changes.items():
            if new is None:
                self.live.pop(key, None)
            else:
                self.live[key] = new

    @initialize(target=jobs, rows=ROWS)
    def begin(self, rows: dict[str, Content]) -> str:
        return self.load(rows)

    @rule(target=jobs, rows=ROWS)
    def import_rows(self, rows: dict[str, Content]) -> str:
        return self.load(rows)

    def load(self, rows: dict[str, Content]) -> str:
        found = [article(key, title="t", body=body, rating=rating) for key, (body, rating) in rows.items()]
        job = self.articles.import_file(save(self.root / "in.jsonl", found)).id
        self.becomes(job, dict(rows))
        return job

    @rule(key=KEYS, body=BODIES)
    def edit(self, key: str, body: str) -> None:
        if key in self.live:
            self.articles.update(key, body=body)
            self.live[key] = (body, self.live[key][1])

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.articles.delete(key)
        self.live.pop(key, None)

    @rule(target=jobs, job=jobs, force=st.booleans())
    def undo(self, job: str, force: bool) -> str:
        touched = self.touched[job]
        wanted = {key: before for key, (before, _) in touched.items() if self.live.get(key) != before}
        conflicts = [key for key in wanted if self.live.get(key) != touched[key][1]]
        try:
            undone = self.base.undo(job, force=force)
        except ConflictError as error:
            assert not wanted or (conflicts and not force), error
            return job
        assert wanted
        assert force or not conflicts
        deleted = sum(before is None for before in wanted.values())
        assert (undone.counts.removed, undone.counts.read) == (deleted, len(wanted) - deleted)
        self.becomes(undone.id, wanted)
        return undone.id

    @invariant()
    def holds_what_it_should(self) -> None:
        found = {e.id: (e.fields["body"], e.fields["rating"]) for e in self.articles.entries()}
        assert found == self.live

    def teardown(self) -> None:
        try:
            assert list(self.base.verify(full=True)) == []
            for job in self.touched:
                assert self.base.job(job).status is JobStatus.DONE
        finally:
            self.base.close()
            shutil.rmtree(self.root)


TestUndo = UndoMachine.TestCase
TestUndo.settings = settings(
    max_examples=40,
    stateful_step_count=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking 20 steps would take minutes
    suppress_health_check=[HealthCheck.too_slow],
)
