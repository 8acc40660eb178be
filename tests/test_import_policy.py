"""What an import does about rows that are wrong, in conflict, or gone; and about doing all of it or nothing."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import kb
from kb.catalog import Counts, JobStatus
from kb.errors import ConflictError, EncoderError, SourceChangedError, SourceError, UsageError
from kb.ingest import Outcome, commit, load_plan
from kb.ingest.request import OnConflict
from tests.conftest import article, make

if TYPE_CHECKING:
    from pathlib import Path

    from kb.catalog import Job
    from tests.conftest import FakeEncoder


def rows(*numbers: int, **changes: object) -> list[dict[str, object]]:
    return [
        article(f"a{n}", body=f"Words{n % 7} about subject{n}. And topic{n} of theme{n % 11} too.", **changes)
        for n in numbers
    ]


def save(path: Path, *records: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def run(collection: kb.Collection, path: Path, *, dry_run: bool = False, **policy: Any) -> Job:
    return collection.run_import(kb.ImportRequest((str(path),), policy=kb.Policy(**policy)), dry_run=dry_run)


def titles(collection: kb.Collection) -> dict[str, str]:
    return {entry.id: entry.document.model_dump()["title"] for entry in collection.entries()}


def is_sound(collection: kb.Collection) -> bool:
    findings = list(collection._base.verify(full=True))
    assert findings == []
    return True


# All or nothing


def test_an_atomic_import_is_one_transaction(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.jsonl", *rows(*range(1, 201)))
    job = run(articles, path, atomic=True)
    assert (job.status, job.counts) == (JobStatus.DONE, Counts(read=200, new=200, embedded=200))
    assert len({entry.updated for entry in articles.entries()}) > 1  # several batches
    assert articles.search("Words0 about subject77. And topic77 of theme0 too.")[0].id == "a77"
    assert is_sound(articles)


def test_faults_E3_an_atomic_import_with_a_bad_row_leaves_everything_as_it_was(
    tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder
) -> None:
    articles.add(make(articles, "a1", title="Before"))
    bad = [*rows(*range(1, 200)), *rows(200, rating=9), *rows(201), *rows(202, category="x")]
    path = save(tmp_path / "in.jsonl", *bad)
    with pytest.raises(SourceError) as raised:
        run(articles, path, atomic=True)
    job = articles._base.jobs()[0]
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        "2 of 202 rows were rejected",
        "nothing was imported (--atomic)",
        f"mend them: {job.rejects}; then import the whole input again",
    )
    assert titles(articles) == {"a1": "Before"}
    assert job.status is JobStatus.FAILED
    assert [reject.line for reject in articles._base.rejects(job.id)] == [200, 202]
    assert is_sound(articles)


def test_an_atomic_import_that_was_refused_can_be_tried_again(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.jsonl", *rows(1), *rows(2, rating=9))
    for attempt in ("first", "again"):
        with pytest.raises(SourceError, match=r"^1 of 2 rows were rejected$"):
            if attempt == "first":
                run(articles, path, atomic=True)
            else:
                articles._base.resume(articles._base.jobs()[0].id)
        (job,) = articles._base.jobs()
        assert [reject.line for reject in articles._base.rejects(job.id)] == [2]
        assert (job.counts, articles.count()) == (Counts(read=1, rejected=1), 0)


def test_an_atomic_import_whose_model_fails_leaves_everything_as_it_was(
    tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder
) -> None:
    encoder.dies_on = "subject150."
    with pytest.raises(EncoderError):
        run(articles, save(tmp_path / "in.jsonl", *rows(*range(1, 200))), atomic=True)
    assert articles.count() == 0
    assert articles._base.jobs()[0].counts == Counts()
    encoder.dies_on = None
    job = articles._base.resume(articles._base.jobs()[0].id)
    assert (job.counts.new, articles.count()) == (199, 199)
    assert is_sound(articles)


def test_an_atomic_import_names_the_row_that_the_model_fails_on(
    tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder
) -> None:
    encoder.fail_on = "subject150."
    with pytest.raises(SourceError, match=r"^1 of 199 rows were rejected$"):
        run(articles, save(tmp_path / "in.jsonl", *rows(*range(1, 200))), atomic=True)
    (job,) = articles._base.jobs()
    assert [reject.line for reject in articles._base.rejects(job.id)] == [150]
    assert articles.count() == 0


def test_nobody_writes_into_an_atomic_import(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.jsonl", *rows(*range(1, 200)))
    steps = articles.import_steps(kb.ImportRequest((str(path),), policy=kb.Policy(atomic=True)))
    next(steps)
    next(steps)
    with pytest.raises(UsageError, match=r"^an import with --atomic is going on in this thread$"):
        articles.upsert(make(articles, "mine"))
    steps.close()
    assert articles.count() == 0
    articles.upsert(make(articles, "mine"))
    assert list(titles(articles)) == ["mine"]


# Rows that are wrong


def test_the_row_that_the_model_fails_on_is_found_and_rejected(
    tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder
) -> None:
    encoder.fail_on = "subject37."
    job = run(articles, save(tmp_path / "in.jsonl", *rows(*range(1, 101))))
    assert (job.status, job.counts.new, job.counts.rejected, job.counts.read) == (JobStatus.PARTIAL, 99, 1, 100)
    (reject,) = articles._base.rejects(job.id)
    assert (reject.line, reject.reason) == (37, "the model failed on it: the model failed on 'subject37.'")
    encoder.fail_on = None
    again = articles.import_file(str(job.rejects))
    assert (again.status, again.counts) == (JobStatus.DONE, Counts(read=1, new=1, embedded=1))
    assert is_sound(articles)


def test_an_import_that_is_killed_between_the_halves_of_a_batch_goes_on_where_it_was(
    tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = rows(*range(1, 41))
    records[30]["rating"] = records[36]["rating"] = 9
    path = save(tmp_path / "in.jsonl", *records)
    encoder.fail_on = "subject4."
    write, calls = commit._write, []

    def killed(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 7:  # the first half has been taken apart and is in
            raise KeyboardInterrupt
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(commit, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            run(articles, path)
    encoder.fail_on = None
    job = articles._base.resume(articles._base.jobs()[0].id)
    assert (job.counts.read, job.counts.new + job.counts.rejected) == (40, 40)
    lines = [reject.line for reject in articles._base.rejects(job.id)]
    assert {31, 37} <= set(lines) <= {4, 31, 37}
    assert len(lines) == job.counts.rejected
    assert articles.count() == job.counts.new
    with open(str(job.rejects)) as file:
        assert len(file.readlines()) == len(lines)


def test_a_model_that_dies_while_the_row_is_looked_for_rejects_no_row(
    tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder
) -> None:
    encoder.fail_on = "subject37."
    path = save(tmp_path / "in.jsonl", *rows(*range(1, 51)))
    encoder.dies_after = 4
    with pytest.raises(EncoderError):
        run(articles, path)
    assert articles._base.jobs()[0].counts.rejected == 0


@pytest.mark.parametrize("allowed", [0, 1])
def test_rows_that_the_model_fails_on_count_as_errors(
    allowed: int, tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder
) -> None:
    encoder.fail_on = "subject3"
    path = save(tmp_path / "in.jsonl", *rows(1, 3, 30, 4))
    with pytest.raises(SourceError, match=rf"^2 of 4 rows were rejected; {allowed} are allowed$"):
        run(articles, path, max_errors=allowed)


def test_a_model_that_fails_on_everything_rejects_no_row(
    tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder
) -> None:
    encoder.fail_on = ""
    with pytest.raises(EncoderError):
        run(articles, save(tmp_path / "in.jsonl", *rows(1, 2, 3)))
    assert (articles._base.jobs()[0].counts, articles.count()) == (Counts(), 0)


@pytest.mark.parametrize(("allowed", "read"), [(0, 51), (1, 61), (2, None)])
def test_an_import_stops_at_more_rejects_than_are_allowed(
    allowed: int, read: int | None, tmp_path: Path, articles: kb.Collection
) -> None:
    records = rows(*range(1, 201))
    records[50]["rating"] = records[60]["rating"] = 9
    path = save(tmp_path / "in.jsonl", *records)
    if read is None:
        assert run(articles, path, max_errors=allowed).counts == Counts(read=200, new=198, rejected=2, embedded=198)
        return
    with pytest.raises(SourceError) as raised:
        run(articles, path, max_errors=allowed)
    job = articles._base.jobs()[0]
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        f"{allowed + 1} of {read} rows were rejected; {allowed} are allowed",
        f"the {read - allowed - 1} rows before are in",
        f"kb jobs rejects {job.id} lists them",
    )
    assert (job.status, job.counts.read, articles.count()) == (JobStatus.FAILED, read, read - allowed - 1)
    assert is_sound(articles)


def test_an_import_stops_at_a_larger_share_of_rejects_than_is_allowed(tmp_path: Path, articles: kb.Collection) -> None:
    records = rows(*range(1, 11))
    records[3]["rating"] = 9
    path = save(tmp_path / "in.jsonl", *records)
    with pytest.raises(SourceError, match=r"^1 of 10 rows were rejected; 5 % are allowed$"):
        run(articles, path, max_error_share=0.05)
    assert run(articles, path, max_error_share=0.1).counts == Counts(read=10, unchanged=9, rejected=1)


# Sources


def test_what_was_edited_since_the_last_import_is_a_conflict(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.jsonl", *rows(1, 2, 3))
    run(articles, path, source="feed")
    articles.update("a2", title="Edited")
    # The source says what it said before: the edit stays, whatever the policy.
    for policy in OnConflict:
        assert run(articles, path, source="feed", on_conflict=policy).counts == Counts(read=3, unchanged=3)
    assert titles(articles)["a2"] == "Edited"

    save(path, *rows(1), *rows(2, title="New"), *rows(3, title="New"))
    with pytest.raises(ConflictError) as raised:
        run(articles, path, source="feed")
    assert (str(raised.value), raised.value.hint) == (
        "the document 'a2' on line 2 was edited since its last import from 'feed'",
        "--on-conflict keep leaves such documents alone, --on-conflict theirs replaces them",
    )
    assert titles(articles)["a3"] == "Title of a3"

    kept = run(articles, path, source="feed", on_conflict=OnConflict.KEEP)
    assert kept.counts == Counts(read=3, updated=1, unchanged=1, conflicts=1, embedded=1)
    assert titles(articles) == {"a1": "Title of a1", "a2": "Edited", "a3": "New"}
    replaced = run(articles, path, source="feed", on_conflict=OnConflict.THEIRS)
    assert replaced.counts == Counts(read=3, updated=1, unchanged=2, embedded=1)
    assert titles(articles)["a2"] == "New"
    assert run(articles, path, source="feed").counts == Counts(read=3, unchanged=3)


def test_a_deletion_is_an_edit(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.jsonl", *rows(1, 2))
    run(articles, path, source="feed")
    articles.delete("a2")
    assert run(articles, path, source="feed").counts == Counts(read=2, unchanged=2)
    save(path, *rows(1), *rows(2, title="New"))
    assert run(articles, path, source="feed", on_conflict=OnConflict.KEEP).counts.conflicts == 1
    assert list(titles(articles)) == ["a1"]
    assert run(articles, path, source="feed", on_conflict=OnConflict.THEIRS).counts.new == 1
    assert titles(articles)["a2"] == "New"


def test_an_edit_that_the_source_makes_too_is_no_conflict(tmp_path: Path, articles: kb.Collection) -> None:
    run(articles, save(tmp_path / "in.jsonl", *rows(1)), source="feed")
    articles.update("a1", title="Same")
    path = save(tmp_path / "in.jsonl", *rows(1, title="Same"))
    assert run(articles, path, source="feed").counts == Counts(read=1, unchanged=1)
    save(path, *rows(1, title="Later"))
    assert run(articles, path, source="feed").counts.updated == 1


def test_a_sync_deletes_what_vanished_from_its_source_and_nothing_else(tmp_path: Path, articles: kb.Collection) -> None:
    run(articles, save(tmp_path / "other.jsonl", *rows(100, 101)), source="other")
    articles.add(make(articles, "own"))
    path = save(tmp_path / "in.jsonl", *rows(*range(1, 21)))
    run(articles, path, source="feed", sync=True)
    save(path, *rows(*range(1, 19)))
    plain = run(articles, path, source="feed")
    assert (plain.counts, articles.count()) == (Counts(read=18, unchanged=18), 23)
    job = run(articles, path, source="feed", sync=True)
    assert (job.status, job.counts) == (JobStatus.DONE, Counts(read=18, unchanged=18, removed=2))
    assert sorted(titles(articles)) == sorted([*(f"a{n}" for n in [*range(1, 19), 100, 101]), "own"])
    assert {entry.id for entry in articles.deleted()} == {"a19", "a20"}
    articles.restore("a19")
    assert articles.get("a19").id == "a19"
    assert run(articles, path, source="feed", sync=True).counts == Counts(read=18, unchanged=18)
    assert is_sound(articles)


def test_a_sync_deletes_no_more_than_is_allowed(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.jsonl", *rows(*range(1, 11)))
    run(articles, path, source="feed", sync=True)
    save(path, *rows(*range(1, 8)), *rows(11))
    with pytest.raises(ConflictError) as raised:
        run(articles, path, source="feed", sync=True)
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        "3 of the 10 documents of 'feed' are not in the input any more; at most 10 % may be deleted",
        "no vanished document was deleted; the rows of the input are in",
        "if that is right: --max-delete 30%",
    )
    assert articles.count() == 11
    assert run(articles, path, source="feed", sync=True, max_delete=0.3).counts.removed == 3


def test_what_an_import_adds_does_not_raise_what_it_may_delete(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.jsonl", *rows(*range(1, 11)))
    run(articles, path, source="feed", sync=True)
    save(path, *rows(*range(100, 200)))
    with pytest.raises(ConflictError, match=r"^10 of the 10 documents of 'feed' are not in the input any more"):
        run(articles, path, source="feed", sync=True)


def test_a_document_of_two_sources_stays_with_the_other_one(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.jsonl", *rows(1, 2))
    run(articles, path, source="feed")
    run(articles, save(tmp_path / "other.jsonl", *rows(2)), source="other")
    save(path, *rows(1))
    assert run(articles, path, source="feed", sync=True, max_delete=0.5).counts.removed == 0
    assert sorted(titles(articles)) == ["a1", "a2"]


def test_an_undone_import_has_brought_nothing(tmp_path: Path, articles: kb.Collection) -> None:
    articles.add(make(articles, "hand"))
    wrong = run(articles, save(tmp_path / "wrong.jsonl", article("hand"), *rows(9)), source="feed")
    articles._base.undo(wrong.id)
    path = save(tmp_path / "in.jsonl", *rows(1))
    assert run(articles, path, source="feed", sync=True, max_delete=1.0).counts.removed == 0
    assert sorted(titles(articles)) == ["a1", "hand"]


def test_a_sync_from_an_empty_input_is_refused(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.jsonl", *rows(1))
    run(articles, path, source="feed", sync=True)
    save(path)
    with pytest.raises(UsageError) as raised:
        run(articles, path, source="feed", sync=True, max_delete=1.0)
    assert (str(raised.value), raised.value.unchanged) == (
        "the input of 'feed' has no rows; a sync from it would delete everything",
        "nothing was deleted",
    )
    assert articles.count() == 1


def test_a_sync_does_not_take_a_rejected_row_for_a_vanished_document(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.jsonl", *rows(1, 2))
    run(articles, path, source="feed", sync=True)
    save(path, *rows(1), *rows(2, rating=9))
    with pytest.raises(
        ConflictError, match=r"^documents that are not in the input any more: 1; rejected rows, which may be theirs: 1$"
    ):
        run(articles, path, source="feed", sync=True, max_delete=1.0)
    assert articles.count() == 2


def test_a_vanished_document_that_was_edited_stays_unless_the_source_wins(
    tmp_path: Path, articles: kb.Collection
) -> None:
    path = save(tmp_path / "in.jsonl", *rows(1, 2, 3))
    run(articles, path, source="feed", sync=True)
    articles.update("a2", title="Edited")
    save(path, *rows(1))
    with pytest.raises(ConflictError, match=r"^the document 'a2' has vanished from 'feed', but edited since"):
        run(articles, path, source="feed", sync=True, max_delete=1.0)
    kept = run(articles, path, source="feed", sync=True, max_delete=1.0, on_conflict=OnConflict.KEEP)
    assert (kept.counts.removed, sorted(titles(articles))) == (1, ["a1", "a2"])
    run(articles, path, source="feed", sync=True, max_delete=1.0, on_conflict=OnConflict.THEIRS)
    assert list(titles(articles)) == ["a1"]


def test_a_sync_needs_a_source(tmp_path: Path, articles: kb.Collection) -> None:
    with pytest.raises(UsageError, match=r"^a sync needs the name of its source$"):
        run(articles, save(tmp_path / "in.jsonl", *rows(1)), sync=True)


def test_a_dry_run_of_a_sync_tells_what_it_would_delete(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.jsonl", *rows(1, 2))
    run(articles, path, source="feed", sync=True)
    save(path, *rows(2))
    job = run(articles, path, dry_run=True, source="feed", sync=True, max_delete=0.5)
    assert (job.counts, articles.count()) == (Counts(read=1, unchanged=1, removed=1), 2)


# Plans


def planned(collection: kb.Collection, path: Path, **policy: Any) -> Any:
    return collection.plan_import(kb.ImportRequest((str(path),), policy=kb.Policy(**policy)))


def test_a_plan_tells_what_becomes_of_every_document_and_is_done_exactly_so(
    tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder
) -> None:
    path = save(tmp_path / "in.jsonl", *rows(1, 2, 3, 4, 5))
    run(articles, path, source="feed")
    articles.update("a4", title="Edited")
    texts = len(encoder.texts)
    save(
        path,
        *rows(1),
        *rows(2, title="New"),
        *rows(3, rating=1.0),
        *rows(4, title="New"),
        *rows(6),
        *rows(7, rating=9),
    )
    policy = {"source": "feed", "sync": True, "max_delete": 0.5, "on_conflict": OnConflict.KEEP}
    plan = planned(articles, path, **policy)
    plan.save(tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan
    assert plan.outcomes == (
        Outcome("a1", "unchanged"),
        Outcome("a2", "updated"),
        Outcome("a3", "fields_only"),
        Outcome("a4", "conflict"),
        Outcome("a6", "new"),
        Outcome("a5", "vanished"),
    )
    assert [(reject.line, reject.reason) for reject in plan.rejects] == [
        (6, "rating: input should be less than or equal to 5, got 9.0")
    ]
    assert (len(encoder.texts), articles.count()) == (texts, 5)


def test_a_plan_is_applied(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.jsonl", *rows(1, 2))
    run(articles, path, source="feed")
    save(path, *rows(2, title="New"), *rows(3))
    plan = planned(articles, path, source="feed", sync=True, max_delete=0.5)
    plan.save(tmp_path / "plan.json")
    job = articles.apply_plan(load_plan(tmp_path / "plan.json"))
    assert job.counts == plan.counts == Counts(read=2, new=1, updated=1, removed=1, embedded=2)
    assert titles(articles) == {"a2": "New", "a3": "Title of a3"}


def test_a_plan_that_would_fail_is_refused(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.jsonl", *rows(1, 2))
    run(articles, path, source="feed")
    articles.update("a1", title="Edited")
    save(path, *rows(1, title="New"))
    plan = planned(articles, path, source="feed")
    assert plan.notes == ("the import would be refused: 1 document was edited since the last import from 'feed'",)
    with pytest.raises(ConflictError) as raised:
        articles.apply_plan(plan)
    assert str(raised.value) == ("the plan cannot be done: 1 document was edited since the last import from 'feed'")
    again = planned(articles, path, source="feed", sync=True, on_conflict=OnConflict.THEIRS)
    with pytest.raises(ConflictError, match=r"^the plan cannot be done: 1 of the 2 documents of 'feed' are not in"):
        articles.apply_plan(again)
    assert titles(articles)["a1"] == "Edited"


@pytest.mark.parametrize("moved", ["base", "file", "collection"])
def test_a_plan_that_the_world_has_moved_on_from_is_refused(
    moved: str, tmp_path: Path, articles: kb.Collection
) -> None:
    path = save(tmp_path / "in.jsonl", *rows(1, 2))
    plan = planned(articles, path)
    expected: type[Exception] = ConflictError
    if moved == "base":
        articles.add(make(articles, "own"))
        message = "'articles' has been written to since the plan was made"
    elif moved == "file":
        save(path, *rows(1, 2, 3))
        expected, message = SourceChangedError, f"{path} has changed since the plan was made"
    else:
        plan = replace(plan, collection="other")
        message = "the plan is for 'other', not for 'articles'"
    count = articles.count()
    with pytest.raises(expected) as raised:
        articles.apply_plan(plan)
    assert (str(raised.value), raised.value.unchanged) == (message, "nothing was imported")  # type: ignore[attr-defined]
    assert articles.count() == count


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(SourceError, match=r"plan\.json is not a plan of kb$"):
        load_plan(tmp_path / "plan.json")


# Warnings


def test_what_looks_wrong_is_told(tmp_path: Path, articles: kb.Collection) -> None:
    twin = article("a2", title="Title of a1", body="Words1 about subject1. And topic1 of theme1 too.")
    garbled = article("a4", body="The caf\u00c3\u00a9 is open on all days of the week.")
    long = article("a5", body="Many words that go on and on. " * 200)
    job = run(articles, save(tmp_path / "in.jsonl", *rows(1), twin, article("a3", body="Short."), garbled, long))
    assert job.warnings == (
        "1 row with the same text as an earlier row, first on line 2 ('a2', as on line 1); both are in",
        "1 row with fewer than 10 characters of prose, first on line 3 ('Short.'); they are hard to find by meaning",
        "1 row with text that looks decoded with the wrong encoding, first on line 4 "
        "('The caf\u00c3\u00a9 is open on all days of the we…'); check --encoding",
        "1 row longer than the model's window: the longest is divided into 7 chunks, nothing is cut off",
    )
    assert articles._base.job(job.id) == job


def test_zeros_that_a_number_loses_and_mixed_columns_are_told(tmp_path: Path, articles: kb.Collection) -> None:
    lines = ["id,title,body,category,published,author,rating"]
    lines += [f"b{n},Title {n},Plenty of words about subject{n}.,ml,2024-01-31,{1000 + n},4.5" for n in range(60)]
    lines[8] = "b7,Title 7,Plenty of words about subject7.,ml,2024-01-31,nobody,004.5"
    path = tmp_path / "in.csv"
    path.write_text("\n".join(lines) + "\n")
    assert run(articles, path).warnings == (
        "1 row with leading zeros that the number in 'rating' has not kept, first on line 9 ('004.5'); "
        "declare it as str",
        "'author' holds mostly numbers, but 1 word, e.g. 'nobody'",
    )


@pytest.mark.parametrize("how", ["failed", "lost"])
def test_warnings_of_a_resumed_import_count_what_all_its_runs_saw(
    how: str, tmp_path: Path, root: Path, articles: kb.Collection, encoder: FakeEncoder
) -> None:
    lines = ["id,title,body,category,published,author,rating"]
    bodies = {
        10: "Many words that go on and on. " * 200,
        20: "Short.",
        30: "The caf\u00c3\u00a9 is open on all days of the week.",
        40: "Plenty of words about subject1.",
        110: "Other words that go on and on. " * 300,
        120: "Short.",
        130: "Another caf\u00c3\u00a9 is open on all days of the week.",
        140: "Plenty of words about subject1.",
    }
    for n in range(200):
        body = bodies.get(n, f"Plenty of words about subject{n}.")
        title = "A twin" if n in (1, 40, 140) else f"Title {n}."
        author, rating = ("nobody", "004.5") if n in (50, 150) else (str(1000 + n), "4.5")
        lines.append(f"b{n},{title},{body},ml,2024-01-31,{author},{rating}")
    path = tmp_path / "in.csv"
    path.write_text("\n".join(lines) + "\n")
    rehearsed = run(articles, path, dry_run=True)
    long = "longer than the model's window: the longest is divided into"
    if how == "failed":
        encoder.dies_on = "Title 90."
        with pytest.raises(EncoderError):
            run(articles, path)
        encoder.dies_on = None
        assert articles._base.jobs()[0].warnings[-1] == f"1 row {long} 7 chunks, nothing is cut off"
    else:
        steps = articles.import_steps(kb.ImportRequest((str(path),)))
        next(steps)
        next(steps)
        articles._base.close()
        steps.close()
    with kb.open(root, encoders={"fake": encoder}) if how == "lost" else nullcontext(articles._base) as base:
        (job,) = base.jobs()
        assert (job.counts.new, job.divided, job.most_chunks) == (64, 1, 7)
        resumed = base.resume(job.id)
        assert resumed.warnings == rehearsed.warnings
        assert base.job(job.id) == resumed
    assert resumed.warnings == (
        "2 rows with the same text as an earlier row, first on line 42 ('b40', as on line 3); both are in",
        "2 rows with fewer than 10 characters of prose, first on line 22 ('Short.'); they are hard to find by meaning",
        "2 rows with text that looks decoded with the wrong encoding, first on line 32 "
        "('The caf\u00c3\u00a9 is open on all days of the we…'); check --encoding",
        "2 rows with leading zeros that the number in 'rating' has not kept, first on line 52 ('004.5'); "
        "declare it as str",
        "'author' holds mostly numbers, but 2 words, e.g. 'nobody'",
        f"2 rows {long} {resumed.most_chunks} chunks, nothing is cut off",
    )
    assert resumed.most_chunks > 7


def test_warnings_of_an_atomic_import_that_is_tried_again_are_counted_once(
    tmp_path: Path, articles: kb.Collection
) -> None:
    long = article("a1", body="Many words that go on and on. " * 200)
    path = save(tmp_path / "in.jsonl", long, *rows(*range(2, 100)))
    steps = articles.import_steps(kb.ImportRequest((str(path),), policy=kb.Policy(atomic=True)))
    for _ in range(2):
        next(steps)
    steps.close()
    (job,) = articles._base.jobs()
    assert (job.status, job.counts, job.divided, job.warnings) == (JobStatus.INTERRUPTED, Counts(), 0, ())
    assert articles._base.resume(job.id).warnings == (
        "1 row longer than the model's window: the longest is divided into 7 chunks, nothing is cut off",
    )


@pytest.mark.parametrize("text", ["[]", "{}", "nonsense", '{"kb_plan": 1}'])
def test_whatever_is_no_plan_is_refused_in_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(SourceError) as raised:
        load_plan(tmp_path / "plan.json")
    assert str(raised.value) == f"{tmp_path}/plan.json is not a plan of kb"


def test_faults_H12_a_dry_run_tells_what_the_import_would_be_refused_for(
    tmp_path: Path, articles: kb.Collection
) -> None:
    path = save(tmp_path / "in.jsonl", *rows(1, 2))
    run(articles, path, source="feed")
    articles.update("a1", title="Edited")
    articles.update("a2", title="Edited")
    save(path, *rows(1, 2, title="New"))
    request = kb.ImportRequest((str(path),), policy=kb.Policy(source="feed"))
    *_, last = articles.import_steps(request, dry_run=True)
    told = "the import would be refused: 2 documents were edited since the last import from 'feed'"
    assert last.notes == (told,)
    save(path, *rows(3), {"id": "a4"})
    plan = planned(articles, path, atomic=True)
    assert plan.refused == "1 of 2 rows would be rejected (--atomic)"
    with pytest.raises(ConflictError, match=r"^the plan cannot be done: 1 of 2 rows would be rejected \(--atomic\)$"):
        articles.apply_plan(plan)
