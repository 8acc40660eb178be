"""Queries that hardly any collection answers: everyday life, in the words of somebody who lives it.

They name nothing that an encyclopaedia, a manual or an archive of news would explain. What a collection scores best for
them is what it scores for a query that it has no answer to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kb.evaluate.unrelated.english import ENGLISH
from kb.evaluate.unrelated.french import FRENCH
from kb.evaluate.unrelated.german import GERMAN
from kb.evaluate.unrelated.italian import ITALIAN
from kb.evaluate.unrelated.portuguese import PORTUGUESE
from kb.evaluate.unrelated.spanish import SPANISH

if TYPE_CHECKING:
    from collections.abc import Mapping

UNRELATED: Final[Mapping[str, tuple[str, ...]]] = {
    "english": ENGLISH,
    "french": FRENCH,
    "german": GERMAN,
    "italian": ITALIAN,
    "portuguese": PORTUGUESE,
    "spanish": SPANISH,
}
"""By the language of a collection."""


def unrelated(language: str) -> tuple[str, ...]:
    """Return the queries in a language of collections; English ones where it has none of its own."""
    return UNRELATED.get(language, ENGLISH)
