"""What jobs and their rejects say in the words of documents: found, and blanked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, update

from kb.catalog.jobs import JobStatus
from kb.catalog.tables import jobs, rejects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

BLANK: Final = "(purged)"
"""What stands where a purged document was quoted."""


@dataclass(frozen=True, slots=True)
class Quotation:
    """What one job quotes.

    Attributes:
        job: Its id.
        in_job: Whether its request, error or warnings do.
        rejects: Which of its rejects do, by file and number.
    """

    job: str
    in_job: bool
    rejects: tuple[tuple[str, int], ...]


def quotations(connection: Connection, collection_id: int, quotes: Callable[[str], bool]) -> list[Quotation]:
    """Return the jobs of a collection that quote something.

    Args:
        connection: In a transaction.
        collection_id: The collection.
        quotes: Whether a text does.
    """
    found = []
    columns = (jobs.c.id, jobs.c.request, jobs.c.error, jobs.c.warnings)
    for row in connection.execute(select(*columns).where(jobs.c.collection_id == collection_id)).all():
        strings = [row.error or "", *json.loads(row.warnings), *_strings(json.loads(row.request))]
        query = select(rejects.c.file, rejects.c.number, rejects.c.reason).where(rejects.c.job_id == row.id)
        quoting = tuple((one.file, one.number) for one in connection.execute(query) if quotes(one.reason))
        in_job = any(quotes(one) for one in strings)
        if in_job or quoting:
            found.append(Quotation(row.id, in_job, quoting))
    return found


def blank(connection: Connection, found: Sequence[Quotation], quotes: Callable[[str], bool]) -> None:
    """Blank what is quoted. A job that could be resumed, and whose request it was part of, is cancelled."""
    for one in found:
        for file, number in one.rejects:
            at = (rejects.c.job_id == one.job, rejects.c.file == file, rejects.c.number == number)
            connection.execute(update(rejects).where(*at).values(reason=BLANK))
        row = connection.execute(select(jobs).where(jobs.c.id == one.job)).first()
        if row is None or not one.in_job:
            continue
        request = json.dumps(_blanked(json.loads(row.request), quotes))
        status = JobStatus(row.status)
        if request != json.dumps(json.loads(row.request)) and status.is_resumable:
            status = JobStatus.CANCELLED
        said = [BLANK if quotes(warning) else warning for warning in json.loads(row.warnings)]
        error = BLANK if row.error is not None and quotes(row.error) else row.error
        values = {"request": request, "status": status, "error": error}
        connection.execute(
            update(jobs).where(jobs.c.id == one.job).values(warnings=json.dumps(said, ensure_ascii=False), **values)
        )


def forget_reject_file(connection: Connection, path: str) -> None:
    """Note that a reject file is gone; a job that is resumed begins a new one."""
    connection.execute(update(jobs).where(jobs.c.rejects_path == path).values(rejects_path=None, rejects_bytes=0))


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _strings(part)]


def _blanked(value: Any, quotes: Callable[[str], bool]) -> Any:
    if isinstance(value, str):
        return BLANK if quotes(value) else value
    if isinstance(value, dict):
        return {name: _blanked(part, quotes) for name, part in value.items()}
    return [_blanked(part, quotes) for part in value] if isinstance(value, list) else value
