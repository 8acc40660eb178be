"""Progress is data: what a long operation tells whoever runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kb.catalog import Job, Reject


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import has come, as of its last commit.

    Attributes:
        job: The job with its counts; the last progress of an import carries the finished job.
        position: How much of the input has been read, in the unit of ``Source.total``.
        total: How much there is, in the same unit; None when that is unknown.
        notes: What a reader should know that no count says, e.g. that a file is empty.
        rejects: The first few rows that this run rejected.
    """

    job: Job
    position: int
    total: int | None
    notes: tuple[str, ...] = ()
    rejects: tuple[Reject, ...] = ()


def last_of(steps: Iterator[Progress], on_progress: Callable[[Progress], None] | None) -> Job:
    """Run a long operation to its end and return its job, telling of every step."""
    job = None
    for step in steps:
        job = step.job
        if on_progress is not None:
            on_progress(step)
    assert job is not None
    return job
