"""``Collection``: one collection of an open knowledge base, as methods of one line each where that is possible."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from kb import curate, ingest
from kb.analysis import Analysis
from kb.errors import UsageError
from kb.generations import Generations
from kb.ingest import FieldMapping, ImportRequest, Plan, Policy, Progress, UnknownColumns, last_of
from kb.schema import Document, lookup_id
from kb.sources import ExportFormat, Format, Reading
from kb.write import Put, add, put

if TYPE_CHECKING:
    import pandas as pd

    from kb.catalog import Job
    from kb.curate import DeletedEntry, Entry, HistoryEntry
    from kb.embed import Estimate
    from kb.filters import Filter
    from kb.ingest import PreviewedRow
    from kb.schema import Value

_LOG = logging.getLogger("kb")

OnProgress = Callable[[Progress], None]


class Collection(Analysis, Generations):
    """One collection of an open knowledge base."""

    def import_file(
        self,
        *files: str | os.PathLike[str],
        mapping: Mapping[str, str] | None = None,
        split: Mapping[str, str] | None = None,
        input: str | None = None,
        encoding: str | None = None,
        unknown_columns: UnknownColumns | str = UnknownColumns.ERROR,
        fail_empty: bool = False,
        dry_run: bool = False,
        progress: OnProgress | None = None,
    ) -> Job:
        """Import files as one job and return it; ``run_import`` takes everything that can be said about an import.

        Args:
            files: Paths; ``-`` is standard input.
            mapping: By input column, the field (or ``id``) that it fills.
            split: By list field, what separates the items in one cell.
            input: The format, e.g. ``csv``; None to go by the file's name.
            encoding: Of text; None for UTF-8.
            unknown_columns: ``error`` or ``ignore``.
            fail_empty: Whether no rows at all is an error.
            dry_run: Do everything but embed and write.
            progress: Called after every commit.

        Raises:
            SourceError, EncoderError: A file cannot be read, or the model failed; rows committed before stay.
            LockedError: Another process owns the knowledge base.
        """
        request = ImportRequest(
            tuple(os.fspath(file) for file in files),
            Reading(None if input is None else Format(input), encoding),
            FieldMapping(dict(mapping or {}), split=dict(split or {}), unknown_columns=UnknownColumns(unknown_columns)),
            Policy(fail_empty=fail_empty),
        )
        return self.run_import(request, dry_run=dry_run, progress=progress)

    def run_import(self, request: ImportRequest, *, dry_run: bool = False, progress: OnProgress | None = None) -> Job:
        """Import what a request names as one job and return it; as ``import_file``."""
        return last_of(self.import_steps(request, dry_run=dry_run), progress)

    def import_frame(
        self,
        frame: object,
        *,
        mapping: FieldMapping | Mapping[str, str] | None = None,
        unknown_columns: UnknownColumns | str = UnknownColumns.ERROR,
        dry_run: bool = False,
        progress: OnProgress | None = None,
    ) -> Job:
        """Import a data frame of pandas or Arrow, one document a row; as ``import_file``. An index is not read."""
        fields = mapping
        if not isinstance(fields, FieldMapping):
            fields = FieldMapping(dict(fields or {}), unknown_columns=UnknownColumns(unknown_columns))
        with self._importing(dry_run=dry_run) as (target, folder):
            steps = ingest.import_frame(
                target, frame, ImportRequest((), mapping=fields), rejects_folder=folder, dry_run=dry_run
            )
            return last_of(steps, progress)

    def import_steps(self, request: ImportRequest, *, dry_run: bool = False) -> Generator[Progress]:
        """Import files step by step; as ``import_file``. Closing or dropping the steps interrupts the job.

        An atomic import keeps a transaction from its second step to its last: one thread must ask for all of them, and
        cannot write anything else meanwhile; other threads that write wait for the end.

        Raises:
            UsageError: An atomic import was stepped by another thread; nothing was imported.
        """
        if not request.files:
            raise UsageError("no file to import is named")
        with self._importing(dry_run=dry_run) as (target, folder):
            yield from ingest.import_files(target, request, rejects_folder=folder, dry_run=dry_run)

    def plan_import(self, request: ImportRequest) -> Plan:
        """Return what an import would do to every document; nothing is embedded or written."""
        with self._importing(dry_run=True) as (target, folder):
            return ingest.plan_import(target, request, rejects_folder=folder)

    def apply_steps(self, plan: Plan) -> Generator[Progress]:
        """Do what a plan says step by step, or refuse; as ``apply_plan``, in steps as ``import_steps``."""
        with self._importing(dry_run=False) as (target, folder):
            yield from ingest.apply_plan(target, plan, rejects_folder=folder)

    def apply_plan(self, plan: Plan, *, progress: OnProgress | None = None) -> Job:
        """Do exactly what a plan says and return the job.

        Raises:
            ConflictError, SourceChangedError: The collection or a file has changed since; nothing was imported.
        """
        return last_of(self.apply_steps(plan), progress)

    def estimate_import(self, request: ImportRequest, rehearsed: Job | None = None) -> Estimate | None:
        """Return what an import would cost; None where it costs nothing, or nobody knows. See ``estimate_cost``.

        Args:
            request: As for ``run_import``.
            rehearsed: What a dry run of it has found; without one, it is done now.
        """
        encoder, chunking = self._previewing()

        def texts() -> int:
            return (rehearsed or self.run_import(request, dry_run=True)).counts.embedded

        return ingest.estimate_cost(self.schema, request, texts, encoder=encoder, chunking=chunking)

    def preview_import(self, request: ImportRequest, limit: int) -> Iterator[PreviewedRow]:
        """Show what the first rows of an import would become. Writes nothing, and reads no further.

        Args:
            request: As for ``run_import``.
            limit: How many rows; at least 1.

        Raises:
            UsageError, SourceError: As ``run_import``, before the first row.
        """
        encoder, chunking = self._previewing()
        yield from ingest.preview_rows(self.schema, request, limit, encoder=encoder, chunking=chunking)

    def import_request(self, name: str) -> ImportRequest:
        """Return what ``[imports.NAME]`` of the configuration asks for; for ``run_import`` and ``preview_import``.

        Raises:
            UsageError: There is no such import, or it cannot work.
        """
        return ingest.request_of(ingest.named_import(self._base.settings, name))

    def add(self, *documents: Document) -> Put:
        """Add documents that must not exist yet, all or none.

        Raises:
            ConflictError: One of them exists.
            DocumentError: One of them does not fit the schema.
        """
        return add(self.target(), [self.schema.check(document) for document in documents])

    def upsert(self, *documents: Document) -> Put:
        """Add documents, or replace those that exist, all or none.

        Raises:
            DocumentError: One of them does not fit the schema.
        """
        return put(self.target(), [self.schema.check(document) for document in documents])

    def update(self, key: str, /, **changes: Value) -> Put:
        """Change some fields of a document; None takes a value away. Only changed text is embedded.

        Raises:
            NotFoundError: There is no such document.
            DocumentError: The changed document does not fit the schema; nothing was changed.
        """
        return self.change(key, changes, textual=False)

    def change(
        self, key: str, changes: Mapping[str, object], *, textual: bool, separators: Mapping[str, str] | None = None
    ) -> Put:
        """Change fields given by name; as ``update``, with values as text when ``textual``."""
        self._existing(key)
        return curate.update(self.target(), lookup_id(key), changes, textual=textual, separators=separators or {})

    def delete(self, *keys: str) -> list[str]:
        """Delete documents and return the ids of those that existed, in the order given. They can be restored."""
        return curate.delete(self.target(), [lookup_id(key) for key in keys]) if self._place() else []

    def deleted(self) -> Sequence[DeletedEntry]:
        """Return the documents that are deleted and can be restored, the last one first."""
        place = self._place()
        return curate.deleted(*place) if place else []

    def restore(self, *keys: str, revision: int | None = None) -> Put:
        """Bring deleted documents back, or set one back to what it was after a revision.

        Raises:
            NotFoundError: An id never existed, or has no such revision.
            ConflictError: A document is not deleted, and no revision is named.
        """
        for key in keys:
            self._existing(key)
        return curate.restore(self.target(), [lookup_id(key) for key in keys], revision=revision)

    def get(self, key: str) -> Document:
        """Return a document.

        Raises:
            NotFoundError: There is none of that id.
        """
        return self.entry(key).document

    def entry(self, key: str) -> Entry:
        """Return a document with its text, revision and time; as ``get``."""
        return curate.get(*self._existing(key), lookup_id(key))

    def entries(
        self,
        where: Filter | str | None = None,
        *,
        sort: str | None = None,
        descending: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Entry]:
        """Return documents with their text, revision and time; as ``list``."""
        checked = self.filter(where)
        if sort is not None and sort not in ("id", "updated"):
            self.schema.field(sort)
        place = self._place()
        if place is None:
            return []
        return curate.list_entries(*place, checked, sort=sort, descending=descending, limit=limit, offset=offset)

    def list(
        self,
        where: Filter | str | None = None,
        *,
        sort: str | None = None,
        descending: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> Sequence[Document]:
        """Return documents.

        Args:
            where: A filter, as text or as an object.
            sort: A field, ``id`` or ``updated``; None for the id. Ties by id; missing values last.
            descending: From the largest value down.
            limit: The most documents; None for all.
            offset: How many of the sorted documents to skip.
        """
        found = self.entries(where, sort=sort, descending=descending, limit=limit, offset=offset)
        return [entry.document for entry in found]

    def keys(self, where: Filter | str | None = None) -> Sequence[str]:
        """Return the ids of the documents that satisfy a filter, sorted."""
        checked, place = self.filter(where), self._place()
        return curate.matching_keys(*place, checked) if place else []

    def count(self, where: Filter | str | None = None) -> int:
        """Return how many documents satisfy a filter."""
        checked, place = self.filter(where), self._place()
        return curate.count(*place, checked) if place else 0

    def export(
        self,
        file: str | os.PathLike[str] | BinaryIO,
        where: Filter | str | None = None,
        *,
        format: ExportFormat | str | None = None,
        fields: Sequence[str] | None = None,
        raw: bool = False,
        force: bool = False,
    ) -> int:
        """Write documents by id, as they are at one moment, and return how many; importing them changes nothing.

        Args:
            file: A path, or a stream that takes bytes. A file is there when it is complete, or not at all.
            where: A filter, as text or as an object.
            format: ``csv``, ``jsonl`` or ``parquet``; None to go by the end of the file's name.
            fields: Which fields, in this order; None for all in declared order.
            raw: Leave in CSV what a spreadsheet would run as a formula; without, an apostrophe stands before it.
            force: Replace a file that is there.

        Raises:
            UsageError: No format is known, or a field is named twice.
            SchemaError: A field does not exist.
            ConflictError: The file exists.
            LimitError: There is no space left; nothing of the file stays.
        """
        format = None if format is None else ExportFormat(format)
        checked = self.filter(where)
        return curate.export(
            self._place(), self.schema, checked, file, format=format, fields=fields, raw=raw, force=force
        )

    def to_frame(self, where: Filter | str | None = None, *, fields: Sequence[str] | None = None) -> pd.DataFrame:
        """Return documents by id as a data frame of typed columns; ``import_frame`` reads it back without a change."""
        checked = self.filter(where)
        return curate.to_frame(self._place(), self.schema, checked, fields=fields)

    def history(self, key: str) -> Sequence[HistoryEntry]:
        """Return a document's revisions, oldest first; also those of a deleted one.

        Raises:
            NotFoundError: There never was such a document.
        """
        return curate.history(*self._existing(key), lookup_id(key))
