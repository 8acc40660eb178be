"""Generations of a collection: another model, template or chunking, built beside what serves. Methods of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.catalog import JobStatus
from kb.declaration import (
    as_stored,
)
from kb.errors import ConflictError
from kb.evaluate import Gate
from kb.failpoints import failpoint
from kb.ingest import cancelling, last_of
from kb.recipes import Recipes
from kb.reembedding import KIND, BuildRequest, ReembedRequest, build_steps, new_job
from kb.write import fill_generation, refresh_sample

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from kb.catalog import Catalog, Job, StoredCollection, StoredGeneration
    from kb.ingest import Progress
    from kb.recipes import Wanted

LAST: Final = 1_000
"""The most documents that a promotion takes over by itself, while writers wait."""

_KEEP: Final = ReembedRequest()


@dataclass(frozen=True, slots=True)
class GenerationStatus:
    """How one generation of a collection stands.

    Attributes:
        generation: The generation, its recipe and when it was begun.
        waiting: How many documents it has still to take over.
        gate: How its answers differ from those of the generation that served when it was built; None before.
        job: The last job that built it, as long as that is known.
    """

    generation: StoredGeneration
    waiting: int
    gate: Gate | None
    job: Job | None


class Generations(Recipes):
    """A collection whose vectors can be made anew, by another recipe, while the present ones serve."""

    def reembed(self, request: ReembedRequest = _KEEP, *, progress: Callable[[Progress], None] | None = None) -> Job:
        """Build another generation beside the one that serves, or go on building it, and return the job.

        Nothing that is searched changes before ``promote``. What is written meanwhile goes to both.

        Args:
            request: What is to be different; without a recipe, the generation that is being built is gone on with, or,
                where there is none, the present recipe is done again with what its model is now.
            progress: Called after every step.

        Raises:
            ConflictError: Another generation is being built, or the new one would be like the one that serves.
            LimitError: There is no room for it.
            ModelMismatchError: The model is not the one that the generation was begun with.
            EncoderError: The model failed; what was built stays, and the job can be resumed.
            LockedError: Another process owns the knowledge base.
        """
        return last_of(self.reembed_steps(request), progress)

    def reembed_steps(self, request: ReembedRequest = _KEEP) -> Generator[Progress]:
        """Build another generation step by step; as ``reembed``. Closing or dropping the steps interrupts the job."""
        catalog, stored = self._writable()
        self._check_no_build(catalog, stored)
        generation = self._going_on(catalog, stored, request)
        if generation is None:
            wanted = self._wanted(stored, request)
            estimate = self._estimated(catalog, stored, wanted.collection, lambda: wanted.encoder, None, probe=False)
            estimate.check()
            generation = self._begun(catalog, stored, wanted)
        filling = self._filling(catalog, stored, generation)
        filling.target.encoder()  # another model than before is refused before anything is recorded
        earlier = self._last_job(catalog, generation)
        if earlier is not None and earlier.status.is_resumable:
            job = replace(earlier, request=BuildRequest(generation.id, request.max_rate).to_json())
        else:
            earlier, job = None, new_job(filling, BuildRequest(generation.id, request.max_rate))
        yield from build_steps(filling, job, self._comparison(catalog, filling), is_resumed=earlier is not None)

    def resume_reembed(self, job: Job) -> Generator[Progress]:
        """Go on with an interrupted or failed job that builds a generation, step by step.

        Raises:
            ConflictError: It has ended for good, or its generation was promoted or discarded.
        """
        catalog, stored = self._writable()
        request = BuildRequest.from_json(job.request)
        with catalog.read() as connection:
            generation = cat.building(connection, stored.id)
        if not job.status.is_resumable or generation is None or generation.id != request.generation:
            raise ConflictError(
                f"the job {job.id} has nothing left to build",
                unchanged="nothing was done",
                hint=f"kb reembed -c {self.name} goes on with what is being built, --status shows it",
            )
        filling = self._filling(catalog, stored, generation)
        filling.target.encoder()
        yield from build_steps(filling, job, self._comparison(catalog, filling), is_resumed=True)

    def generations(self) -> Sequence[GenerationStatus]:
        """Return how the generations of the collection stand, in the order in which they were begun."""
        place = self._present()
        if place is None:
            return []
        catalog, stored = place
        with catalog.read() as connection:
            found = cat.list_generations(connection, stored.id)
            waiting = [cat.count_waiting(connection, one) for one in found]
        return [
            GenerationStatus(
                one,
                number,
                None if one.gate is None else Gate.from_json(one.gate),
                self._last_job(catalog, one),
            )
            for one, number in zip(found, waiting, strict=True)
        ]

    def promote(self) -> StoredGeneration:
        """Let the generation that was built serve, in one transaction, and return it.

        Raises:
            ConflictError: None was built, it is not complete, or a job writes to the collection.
            EncoderError: Its model failed on what was written since; nothing was changed.
        """
        catalog, stored = self._writable()
        with catalog.read() as connection:
            generation = cat.building(connection, stored.id)
            waiting = 0 if generation is None else cat.count_waiting(connection, generation)
        if generation is None:
            raise ConflictError(
                f"no generation of '{self.name}' waits to be promoted",
                unchanged="nothing was changed",
                hint=f"build one: kb reembed -c {self.name} --model NAME",
            )
        if generation.gate is None or waiting > LAST:
            raise ConflictError(
                f"the generation '{generation.name}' is not complete: {waiting:,} documents wait",
                unchanged="nothing was changed",
                hint=f"go on building it: kb reembed -c {self.name}",
            )
        return self._serve(catalog, stored, generation)

    def rollback(self) -> StoredGeneration:
        """Let the generation that served before serve again, and return it; it takes over first what it has missed.

        Raises:
            ConflictError: There is none any more, or a job writes to the collection.
        """
        catalog, stored = self._writable()
        with catalog.read() as connection:
            former = cat.retired(connection, stored.id)
        if not former:
            raise ConflictError(
                f"no generation of '{self.name}' has served before",
                unchanged="nothing was changed",
                hint=f"kb reembed -c {self.name} --status shows what there is",
            )
        return self._serve(catalog, stored, former[0])

    def discard(self) -> str:
        """Delete the generation that is being built, or waits to be promoted, and return its name.

        Raises:
            ConflictError: There is none, or a job is building it.
        """
        catalog, stored = self._writable()
        with catalog.writing:
            self._check_no_build(catalog, stored)
            with catalog.write() as connection:
                generation = cat.building(connection, stored.id)
                if generation is None:
                    raise ConflictError(f"no generation of '{self.name}' is being built", unchanged="nothing was done")
                cat.drop_generation(connection, generation.id)
        self._base.indexes.drop_generation(generation.name)
        return generation.name

    def _serve(self, catalog: Catalog, stored: StoredCollection, generation: StoredGeneration) -> StoredGeneration:
        """Let a generation serve once it has everything; what little is left is taken over while writers wait."""
        self._check_no_job(catalog, stored)
        filling = self._filling(catalog, stored, generation)
        for _ in fill_generation(filling):
            pass
        with self._base.indexes.exclusive():
            self._check_no_job(catalog, stored)
            for _ in fill_generation(filling):
                pass
            with catalog.write() as connection:
                cat.check_serving(connection, stored)
                if cat.count_waiting(connection, generation):
                    raise ConflictError(
                        f"documents of '{self.name}' are being written at this moment",
                        unchanged="nothing was changed",
                        hint="do it again",
                    )
                promoted = cat.promote(connection, stored, generation)
                failpoint("gen_before_flip")
        failpoint("after_flip")
        self._stored = promoted
        self._declared = as_stored(self._declared, promoted)
        self._follow(promoted)
        refresh_sample(catalog, promoted)
        with catalog.read() as connection:
            return next(one for one in cat.list_generations(connection, stored.id) if one.id == generation.id)

    def _writable(self) -> tuple[Catalog, StoredCollection]:
        self._base.own()
        return self._stored_place()

    def _check_no_job(self, catalog: Catalog, stored: StoredCollection) -> None:
        """Make sure that no job writes to the collection.

        Raises:
            ConflictError: One does.
        """
        running = self._running(catalog, stored)
        if running:
            raise ConflictError(
                f"the job {running[0].id} ({running[0].kind}) is writing to '{self.name}'",
                unchanged="nothing was changed",
                hint=f"wait for it, or end it: kb jobs cancel {running[0].id}",
            )

    def _check_no_build(self, catalog: Catalog, stored: StoredCollection) -> None:
        running = [job for job in self._running(catalog, stored) if job.kind == KIND]
        if running:
            raise ConflictError(
                f"the job {running[0].id} is building a generation of '{self.name}'",
                unchanged="nothing was done",
                hint=f"wait for it, or end it: kb jobs cancel {running[0].id}",
            )

    def _running(self, catalog: Catalog, stored: StoredCollection) -> list[Job]:
        with catalog.read() as connection:
            found = cat.list_jobs(connection, status=JobStatus.RUNNING, alive=cancelling.alive(catalog.path.parent))
        return [job for job in found if job.collection == stored.name]

    def _last_job(self, catalog: Catalog, generation: StoredGeneration) -> Job | None:
        """Return the last job that built a generation and was not cancelled; None when there is none."""
        with catalog.read() as connection:
            found = cat.list_jobs(connection, alive=cancelling.alive(catalog.path.parent))
        own = [j for j in found if j.kind == KIND and BuildRequest.from_json(j.request).generation == generation.id]
        return next(iter(own), None)

    def _begun(self, catalog: Catalog, stored: StoredCollection, wanted: Wanted) -> StoredGeneration:
        with catalog.writing, catalog.write() as connection:
            cat.check_serving(connection, stored)
            made = wanted.collection
            return cat.add_generation(
                connection,
                stored,
                made.schema,
                made.recipe,
                dimension=made.dimension,
                fingerprint=made.fingerprint,
            )
