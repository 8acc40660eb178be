"""What the doctor sees of a catalog, of the models that it needs, and of the room beside it."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.embed import resolve
from kb.errors import KBError
from kb.index import FOLDER, WORDS_FOLDER
from kb.maintain.backup import list_backups
from kb.maintain.finding import Fact, Finding, Severity
from kb.maintain.stats import disk_bytes
from kb.write import MOST_WAITING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kb.catalog import Glance, GlancedCollection
    from kb.config import Settings

RESTORE: Final = "kb backup list"

_LEAST_FREE: Final = 64 * 1024 * 1024
"""What the write-ahead log may grow to before it is folded into the catalog."""


def look(storage: Path, settings: Settings | None, *, owned: bool) -> Iterator[Fact | Finding]:
    """Yield what a look at the catalog and beside it tells.

    Args:
        storage: Its folder; may not exist.
        settings: None where the configuration cannot be read: then the models are not looked for.
        owned: Whether somebody owns it, who may be on the way of bringing the index up to date.
    """
    path = storage / cat.FILE_NAME
    if not path.exists() or path.stat().st_size == 0:
        if (storage / FOLDER).exists():
            message = f"{path} is missing or empty, but there is an index beside it"
            yield Finding("catalog", Severity.ERROR, message, RESTORE)
        return
    try:
        found = cat.glance(path)
    except (sqlite3.DatabaseError, TypeError, ValueError, OSError) as error:
        yield Finding("catalog", Severity.ERROR, f"{path} cannot be read: {error}", RESTORE)
        return
    by = found.info.get("kb_version", "?")
    yield Fact("catalog", f"revision {found.revision}, by kb {by}, {disk_bytes(path) / 1e6:,.1f} MB")
    if found.is_newer:
        message = f"the catalog was written by kb {by}, which is newer than this one"
        yield Finding("catalog", Severity.ERROR, message, f"pip install 'kb>={by}'")
        return
    damage = cat.look_for_damage(path, in_use=owned)
    if damage == cat.FOREIGN:
        yield Finding("catalog", Severity.WARNING, f"{path} is only read: {damage}", "kb verify")
    elif damage is not None:
        yield Finding("catalog", Severity.ERROR, f"{path} is damaged, and only read: {damage}", RESTORE)
    if found.is_older:
        message = "the catalog is of an earlier release: the next opening copies and migrates it"
        yield Finding("catalog", Severity.NOTE, message)
    for one in found.collections:
        yield from _collection(one, owned=owned)
    if settings is not None:
        yield from _models(found, settings)
    yield from _room(storage, found)
    yield from _care(storage, found.info)


def _collection(one: GlancedCollection, *, owned: bool) -> Iterator[Fact | Finding]:
    size = f"{one.documents:,} documents, {one.chunks:,} chunks, model {one.model}, {one.dimension} dimensions"
    yield Fact(f"collection {one.name}", size)
    for target, number in one.waiting.items():
        message = f"the index of {target} of '{one.name}' is behind by {number:,}; searches are right meanwhile"
        severity = Severity.NOTE if owned else Severity.WARNING
        yield Finding("queue", severity, message, "kb rebuild" if number > MOST_WAITING else "kb verify")
    if one.refused:
        message = f"documents of '{one.name}' that an index refuses, and that are compared exactly: {one.refused:,}"
        yield Finding("queue", Severity.WARNING, message, f"kb verify -c {one.name}")
    if not one.has_fingerprint:
        message = f"the catalog does not remember what the model of '{one.name}' answers: no other can be told from it"
        yield Finding("model", Severity.ERROR, message, RESTORE)


def _models(found: Glance, settings: Settings) -> Iterator[Fact | Finding]:
    ids = {name for one in found.collections for name in (one.model, one.query_model) if name}
    for model in sorted(ids):
        server = settings.models[model].server if model in settings.models else None
        if server is not None:
            yield Fact(f"model {model}", f"asked at {server.url}")
            continue
        try:
            resolved = resolve(model, settings.models, download=False)
        except KBError as error:
            yield Finding("model", Severity.ERROR, str(error), error.hint)
            continue
        checked = {True: "checksum as on record", False: "another checksum", None: "no checksum on record"}
        where = "built in" if resolved.path is None else f"{resolved.path}, {checked[resolved.verified]}"
        yield Fact(f"model {model}", where)


def _room(storage: Path, found: Glance) -> Iterator[Fact | Finding]:
    free = shutil.disk_usage(storage).free
    index = disk_bytes(storage / FOLDER) + disk_bytes(storage / WORDS_FOLDER)
    # Chroma keeps a vector in its graph and, until the graph is written, in its log; and a row for each chunk.
    needed = max(index, sum(one.chunks * (8 * one.dimension + 2_000) for one in found.collections))
    yield Fact("disk", f"{free / 1e6:,.0f} MB free; a rebuild of the index needs about {needed / 1e6:,.0f} MB")
    if free < _LEAST_FREE:
        message = f"only {free / 1e6:,.0f} MB are free beside {storage}: a write may find no room"
        yield Finding("disk", Severity.ERROR, message, "kb gc --dry-run")
    elif free < needed:
        message = f"{free / 1e6:,.0f} MB are free, but a rebuild of the index needs about {needed / 1e6:,.0f} MB"
        yield Finding("disk", Severity.WARNING, message, "kb gc --dry-run")


def _care(storage: Path, info: Mapping[str, str]) -> Iterator[Fact | Finding]:
    verified = _time(info.get(cat.LAST_VERIFY))
    yield Fact("last verify", _shown(verified))
    if verified is None:
        yield Finding("verify", Severity.NOTE, "it has never been verified", "kb verify")
    backups = list_backups(storage)
    times = [_time(one.manifest.created) for one in backups if one.manifest is not None]
    latest = max((time for time in times if time), default=None)
    yield Fact("last backup", _shown(latest))
    for one in backups:
        if one.manifest is None:
            yield Finding("backup", Severity.WARNING, one.problem, f"kb backup verify {one.path.name}")
    if latest is None:
        yield Finding("backup", Severity.NOTE, "there is no backup", "kb backup create")


def _time(value: object) -> str | None:
    """Return a time in UTC as text that sorts; None for what is none."""
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError):
        return None


def _shown(time: str | None) -> str:
    return time or "never"
