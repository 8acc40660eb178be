"""The index of a knowledge base behind a server: running one, and seeing where the index is and whether it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kb.errors import UnreachableError, UsageError
from kb.index import Ownership, reach
from kb.index_config import IndexMode
from kb.knowledge_base import KnowledgeBase
from kb.write import inspect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kb.config import Settings
    from kb.index import Served


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """Where the vector index is, and who has it open.

    Attributes:
        mode: As configured.
        shared: Whether several processes may write now.
        server: Host and port of its server, or None.
        answers: Whether that answers; None where there is none.
        why: Why it does not, or None.
        owner: The process that owns the knowledge base, or runs its server, or None.
    """

    mode: str
    shared: bool
    server: str | None
    answers: bool | None
    why: str | None
    owner: str | None


def serve_index(settings: Settings, *, port: int | None, is_stopped: Callable[[], bool]) -> Iterator[Served]:
    """Keep a Chroma server running on the index; as ``kb.index.server.serve``.

    Raises:
        UsageError: The configuration says that the index is elsewhere.
        LockedError: Another process owns the knowledge base.
        DamagedError: There is an index without its catalog, or the catalog is damaged.
    """
    if settings.index.is_elsewhere:
        where = settings.index.host or "Chroma Cloud"
        raise UsageError(
            f"the index of this knowledge base is at {where}: it is served there",
            unchanged="nothing was started",
            hint="take host, or the mode, out of [index] to serve it from here",
        )
    from kb.index.server import serve

    with KnowledgeBase(settings) as base:
        base.own()  # makes the catalog: an index without one would count as damaged
    yield from serve(settings.storage, inspect, port=port or settings.index.port, is_stopped=is_stopped)


def index_status(settings: Settings) -> IndexStatus:
    """Return where the index is and whether it answers; nothing is opened or taken."""
    ownership = Ownership(settings.storage, inspect, settings.index)
    owner = ownership.holder()
    address = ownership.sharing.address()
    if address is None:
        is_missing = settings.index.mode is not IndexMode.EMBEDDED
        why = "kb index serve is not running" if is_missing else None
        named = None if owner is None else str(owner)
        return IndexStatus(settings.index.mode, ownership.is_shared, None, False if is_missing else None, why, named)
    why = None
    try:
        reach(address)
    except UnreachableError as error:
        why = str(error)
    return IndexStatus(
        settings.index.mode,
        ownership.is_shared,
        f"{address.host}:{address.port}",
        why is None,
        why,
        None if owner is None else str(owner),
    )
