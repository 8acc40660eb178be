"""Keeps Python's search for cyclic garbage from taking a sixth of an import's time."""

from __future__ import annotations

import gc
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_THRESHOLDS: Final = (50_000, 20, 100)

_guard = threading.Lock()
_before: list[tuple[int, int, int]] = []
"""The thresholds of the process, once for each import that is running: they are the process's, not a thread's."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let the collector run seldom meanwhile: rows and documents form no cycles, and every batch makes many of them."""
    with _guard:
        _before.append(_before[0] if _before else gc.get_threshold())
        if _before[0][0]:  # 0: the caller has switched the collector off
            gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        with _guard:
            last = _before.pop()
            if not _before:
                gc.set_threshold(*last)
