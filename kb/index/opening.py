"""Opening the vector index: what was not closed in order is looked at first, and put aside where it is damaged."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kb.errors import DamagedError
from kb.index.quarantine import quarantine
from kb.index.seal import FOLDER, break_seal, count_stop, forget_stops, is_newer, why_unsafe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kb.index.chroma import VectorIndex

_LOG: Final = logging.getLogger("kb")

MAX_STOPS: Final = 3
"""After so many stops in a row without closing, an index is not opened again: it may be what ends the process."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at an index has found.

    Attributes:
        damage: What is wrong with it, or None where it is sound.
        hindrance: Why nothing can be said, or None: something else than the index is in the way.
    """

    damage: str | None = None
    hindrance: str | None = None


def open_safely(storage: Path, inspect: Callable[[], Verdict]) -> VectorIndex:
    """Return the open index; what is damaged is moved to ``quarantine/`` and replaced by an empty one.

    Args:
        storage: The folder of the knowledge base; the caller holds its lock.
        inspect: Looks at the index in another process.

    Raises:
        DamagedError: Nothing can be opened or put aside; what is there was left alone.
    """
    from kb.index.chroma import VectorIndex

    _check_writable(storage)
    try:
        reason = why_unsafe(storage)
        newer = is_newer(storage)
        stops = 0 if reason is None else count_stop(storage)
        break_seal(storage)
    except OSError as error:
        raise DamagedError(
            f"the vector index cannot be opened: {error}",
            unchanged="the index was left as it is; the catalog holds every document and vector",
            hint="kb doctor says what is in the way",
        ) from error
    if newer:
        set_aside(storage, f"{reason}, a later one than this")
    elif stops >= MAX_STOPS:
        set_aside(storage, f"{reason} {MAX_STOPS} times in a row")
    elif reason is not None:
        _settle(storage, reason, inspect())
    try:
        return VectorIndex(storage)
    except DamagedError as error:
        # A look from outside before it is blamed: a full disk fails like this as well.
        _settle(storage, str(error), inspect())
        return VectorIndex(storage)


def set_aside(storage: Path, reason: str) -> Path:
    """Move the index into ``quarantine/``, and say so."""
    path = quarantine(storage, storage / FOLDER)
    forget_stops(storage)
    _LOG.warning(
        "the vector index %s: it was moved to %s and is built again from the catalog",
        reason,
        path.relative_to(storage),
    )
    return path


def _settle(storage: Path, reason: str, verdict: Verdict) -> None:
    if verdict.hindrance is not None:
        raise DamagedError(
            f"the vector index {reason}, and cannot be looked at: {verdict.hindrance}",
            unchanged="the index was left as it is; the catalog holds every document and vector",
            hint="remove what is in the way, or build it again: kb rebuild",
        )
    if verdict.damage is not None:
        set_aside(storage, f"{reason} and is damaged ({verdict.damage})")


def _check_writable(storage: Path) -> None:
    """Refuse what Chroma could not write to, which it always does: that is no damage."""
    folder = storage / FOLDER
    for path in (folder, *folder.rglob("*")) if folder.is_dir() else ():
        if not os.access(path, os.W_OK):
            raise DamagedError(
                f"the vector index cannot be written to: no right to write {path}",
                unchanged="the index was left as it is; the catalog holds every document and vector",
                hint=f"chmod -R u+rwX {folder}",
            )
