"""What an operation on documents works on."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from kb.catalog import Catalog, StoredCollection
    from kb.chunks import Chunking
    from kb.embed import Encoder


@dataclass(frozen=True, slots=True)
class Target:
    """A collection that is open for writing.

    Attributes:
        catalog: Where its documents are.
        collection: Its stored declaration.
        chunking: How its texts are divided.
        encoder: Returns its model, loaded and compared with the stored fingerprint at the first call.
        follow: Makes the index take over what has been committed; called after every commit.
        who: The user that revisions are recorded for.
    """

    catalog: Catalog
    collection: StoredCollection
    chunking: Chunking
    encoder: Callable[[], Encoder]
    follow: Callable[[], None]
    who: str


def current_user() -> str:
    """Return whom revisions and jobs are recorded for: ``KB_WHO``, else the name of the user."""
    given = os.environ.get("KB_WHO")
    if given:
        return given
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
