"""Keeps Python's search for cyclic garbage from taking a sixth of an import's time."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_THRESHOLDS: Final = (50_000, 20, 100)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let the collector run seldom meanwhile: rows and documents form no cycles, and every batch makes many of them."""
    before = gc.get_threshold()
    if before[0] == 0:  # the caller has switched it off
        yield
        return
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
