"""What the tests of several formats share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from kb.errors import SourceChangedError

if TYPE_CHECKING:
    from pathlib import Path

    from kb.sources import Source

CHANGES: Final = ("grow", "truncate", "rewrite", "remove")
_PAGE: Final = 4096
"""An SQLite file grows by pages."""


def check_change_is_noticed(source: Source, path: Path, change: str) -> None:
    """Assert that a file that changes after its first row was read ends the reading."""
    rows = source.rows()
    next(rows)
    size = path.stat().st_size
    if change == "remove":
        path.unlink()
    elif change == "rewrite":
        path.write_bytes(bytes(size))
    else:
        os.truncate(path, size + _PAGE if change == "grow" else size // 2)
    with pytest.raises(SourceChangedError, match="changed while it was read: "):
        source.check_unchanged()
    with pytest.raises(SourceChangedError, match="changed while it was read: "):
        list(rows)
