"""The job that builds another generation of a collection: what it was asked for, its steps, and how it ends."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.catalog import Counts, Job, JobStatus
from kb.declaration import changed_recipe
from kb.errors import KBError, UsageError
from kb.failpoints import failpoint
from kb.ingest import Progress, cancelling
from kb.write import fill_generation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from kb.catalog import StoredCollection
    from kb.config import CollectionSettings
    from kb.evaluate import Gate
    from kb.write import Filling

KIND: Final = "reembed"
"""The kind of the jobs that build generations."""


@dataclass(frozen=True, slots=True)
class ReembedRequest:
    """How another generation is to be made; None keeps what serves.

    Attributes:
        model: The model id.
        template: The text template.
        chunk_tokens: The most tokens of a chunk.
        chunk_overlap: How many tokens of the chunk before go with it.
        max_rate: The most texts to embed in a second; None for as many as possible.
        query_model: The id of the model that embeds queries; empty for the same one.
    """

    model: str | None = None
    template: str | None = None
    chunk_tokens: int | None = None
    chunk_overlap: int | None = None
    max_rate: float | None = None
    query_model: str | None = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: The rate is not above 0.
        """
        if self.max_rate is not None and not self.max_rate > 0:
            raise UsageError(f"the rate must be above 0, not {self.max_rate}")

    @property
    def names_a_recipe(self) -> bool:
        """Whether anything of the recipe is named."""
        return self != ReembedRequest(max_rate=self.max_rate)


def request_from(stored: StoredCollection, declared: CollectionSettings | None) -> ReembedRequest:
    """Return what makes a stored collection what its declaration says; names no recipe where it is that already."""
    if declared is None:
        return ReembedRequest()
    recipe, served = changed_recipe(stored, declared), stored.recipe
    cut = (recipe.chunk_tokens, recipe.chunk_overlap) != (served.chunk_tokens, served.chunk_overlap)
    return ReembedRequest(
        recipe.model if recipe.model != served.model else None,
        recipe.template if recipe.template != served.template else None,
        recipe.chunk_tokens if cut else None,
        declared.chunk_overlap if cut else None,
        query_model=recipe.query_model if recipe.query_model != served.query_model else None,
    )


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What a job of this kind was asked for: the number of its generation, and the rate."""

    generation: int
    max_rate: float | None = None

    def to_json(self) -> str:
        """Return the request as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BuildRequest:
        """Return the request that ``to_json`` wrote."""
        return cls(**json.loads(text))


def new_job(filling: Filling, request: BuildRequest) -> Job:
    """Record the start of a job that builds a generation."""
    with filling.target.catalog.write() as connection:
        return cat.add_job(connection, filling.serving.id, kind=KIND, request=request.to_json(), who=filling.target.who)


def build_steps(filling: Filling, job: Job, compare: Callable[[], Gate], *, is_resumed: bool) -> Generator[Progress]:
    """Bring a generation up to date as a job, step by step; the last step carries the finished job.

    Closing or dropping the steps interrupts the job.

    Args:
        filling: The generation.
        job: As ``new_job`` returned it, or an earlier run left it.
        compare: Compares the generation, once it is complete, with the one that serves.
        is_resumed: Whether there was an earlier run.

    Raises:
        EncoderError: The model failed; the job has failed, can be resumed, and nothing that serves was touched.
    """
    run = _Run(filling, replace(job, status=JobStatus.RUNNING, error=None, pid=os.getpid()))
    cancelling.began(run.catalog, run.job, is_resumed=is_resumed)
    try:
        yield run.progress()
        for filled in fill_generation(filling, max_rate=BuildRequest.from_json(job.request).max_rate):
            run.count(Counts(filled.documents, unchanged=filled.documents, embedded=filled.embedded))
            yield run.progress()
            cancelling.check(run.catalog, run.job)
        failpoint("gen_built")
        gate = compare()
        with run.catalog.write() as connection:
            cat.save_gate(connection, filling.generation.id, gate.to_json())
        run.end(JobStatus.DONE, None)
    except cancelling.StopJobError as stopped:
        run.end(stopped.status, None)
    except GeneratorExit:  # whoever ran the job has stopped asking for more
        run.end(JobStatus.INTERRUPTED, None)
        raise
    except KBError as error:
        run.end(JobStatus.FAILED, str(error))
        raise
    except BaseException as error:
        run.end(JobStatus.INTERRUPTED, f"{type(error).__name__}: {error}")
        raise
    finally:
        cancelling.ended(run.catalog, run.job)
    yield run.progress()


class _Run:
    """The state of one run of the job."""

    def __init__(self, filling: Filling, job: Job) -> None:
        self.catalog = filling.target.catalog
        self._filling = filling
        self._began = time.monotonic() - job.seconds
        with self.catalog.read() as connection:
            waiting = cat.count_waiting(connection, filling.generation)
        self.job = replace(job, total=job.counts.read + waiting, position=job.counts.read)

    def progress(self) -> Progress:
        return Progress(self.job, self.job.position, self.job.total)

    def count(self, more: Counts) -> None:
        """Note what has been done; documents that were edited meanwhile are taken over again, and count again."""
        counts = self.job.counts + more
        total = max(self.job.total or 0, counts.read)
        seconds = time.monotonic() - self._began
        self.job = replace(self.job, counts=counts, position=counts.read, total=total, seconds=seconds)
        with self.catalog.write() as connection:
            cat.save_job(connection, self.job)

    def end(self, status: JobStatus, error: str | None) -> None:
        """Record the end; whoever shut the catalog has done so already."""
        self.job = replace(self.job, status=status, error=error, seconds=time.monotonic() - self._began)
        with self.catalog.writing:
            if not self.catalog.is_shut:
                with self.catalog.write() as connection:
                    cat.save_job(connection, self.job)
