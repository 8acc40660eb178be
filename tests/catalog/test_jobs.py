"""Jobs and rejects in the catalog."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from kb import catalog as cat
from kb.catalog.jobs import MAX_STORED_REJECTS
from kb.schema import Field, FieldType, Recipe, build_schema

DONE = cat.Counts(read=7, new=1, updated=1, fields_only=1, unchanged=2, rejected=2, embedded=2)


@pytest.fixture
def connection(tmp_path: Path):
    catalog = cat.open_catalog(tmp_path / cat.FILE_NAME, version="0")
    with catalog.write() as opened:
        schema = build_schema([Field("body", FieldType.TEXT)])
        cat.add_collection(opened, "articles", schema, Recipe("{body}", 256, 32, "m"), dimension=2, fingerprint=b"")
        yield opened
    catalog.close()


def added(connection: cat.Connection) -> cat.Job:
    return cat.add_job(connection, 1, kind="import", request='{"a": 1}', who="me")


def test_a_new_job_runs_in_this_process_and_has_counted_nothing(connection):
    job = added(connection)
    assert job == cat.Job(
        id=job.id,
        collection="articles",
        kind="import",
        status=cat.JobStatus.RUNNING,
        request='{"a": 1}',
        counts=cat.Counts(),
        rejects=None,
        rejects_bytes=0,
        pid=os.getpid(),
        who="me",
        started=job.started,
        seconds=0.0,
        error=None,
    )


def test_a_job_is_found_as_it_was_saved(connection):
    job = replace(
        added(connection), status=cat.JobStatus.PARTIAL, counts=DONE, rejects="r.csv", rejects_bytes=9, seconds=1.5
    )
    cat.save_job(connection, job)
    assert cat.find_job(connection, job.id) == job
    assert cat.find_job(connection, "missing") is None


def test_faults_H11_an_error_of_any_length_is_kept_short(connection):
    job = replace(added(connection), status=cat.JobStatus.FAILED, error="x" * 100_000)
    cat.save_job(connection, job)
    assert cat.find_job(connection, job.id).error == "x" * 2_000


def test_the_newest_jobs_are_listed_first(connection):
    ids = [added(connection).id for _ in range(5)]
    assert [job.id for job in cat.list_jobs(connection)] == ids[::-1]
    assert [job.id for job in cat.list_jobs(connection, limit=2)] == ids[:2:-1]


def test_only_running_jobs_are_interrupted(connection):
    jobs = {status: added(connection) for status in cat.JobStatus}
    for status, job in jobs.items():
        cat.save_job(connection, replace(job, status=status))
    cat.interrupt_running(connection)
    found = {status: cat.find_job(connection, job.id).status for status, job in jobs.items()}
    assert found == {**{s: s for s in cat.JobStatus}, cat.JobStatus.RUNNING: cat.JobStatus.INTERRUPTED}


def test_counts_are_added_figure_by_figure():
    assert DONE + cat.Counts(read=1, rejected=1) == replace(DONE, read=8, rejected=3)
    assert DONE.read == DONE.new + DONE.updated + DONE.fields_only + DONE.unchanged + DONE.rejected


def test_rejects_are_kept_in_the_order_of_the_input(connection):
    job = added(connection)
    given = [cat.Reject("b.csv", 1, 2, "x"), cat.Reject("a.csv", 10, 11, "y"), cat.Reject("a.csv", 9, 30, "z")]
    cat.add_rejects(connection, job.id, given)
    cat.add_rejects(connection, job.id, [])
    assert cat.get_rejects(connection, job.id) == [given[2], given[1], given[0]]
    assert cat.get_rejects(connection, "missing") == []


def test_faults_limits_ten_thousand_rejects_of_a_job_are_kept(connection):
    job, other = added(connection), added(connection)
    rows = [cat.Reject("f", n, n, "r") for n in range(1, MAX_STORED_REJECTS + 2)]
    cat.add_rejects(connection, job.id, rows[:-2])
    cat.add_rejects(connection, job.id, rows[-2:])
    cat.add_rejects(connection, job.id, [cat.Reject("g", 1, 1, "r")])
    cat.add_rejects(connection, other.id, [cat.Reject("g", 1, 1, "r")])
    kept = cat.get_rejects(connection, job.id)
    assert (len(kept), kept[-1].number) == (10_000, 10_000)
    assert len(cat.get_rejects(connection, other.id)) == 1
