"""What the catalog needs of SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Final

from kb.errors import KBError

_OLDEST: Final = (3, 35, 0)
"""The first with RETURNING."""


def check_sqlite() -> None:
    """Look whether the SQLite of this Python can hold a catalog.

    Raises:
        KBError: It is too old, or was built without its JSON functions.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        what = f"this Python has SQLite {sqlite3.sqlite_version}; kb needs {'.'.join(map(str, _OLDEST))} or later"
    else:
        try:
            with closing(sqlite3.connect(":memory:")) as connection:
                connection.execute("SELECT json_extract('{}', '$')")
        except sqlite3.OperationalError:
            what = f"the SQLite {sqlite3.sqlite_version} of this Python was built without JSON functions"
        else:
            return
    raise KBError(what, unchanged="nothing was opened", hint="use a Python that brings a newer SQLite along")
