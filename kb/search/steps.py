"""Pages of what Chroma proposes, as slices of one order.

Chroma's answer is approximate: asked for more, it also finds a document that belonged further up, and would shift all
that follow. So the places are settled in steps, the same for every page: the first ten by a look that is ten deep, the
next forty by one that is fifty deep, and so on; what a deeper look finds late stands where that look begins.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from kb.search.answer import in_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from kb.search.answer import Answer
    from kb.search.query import Explanation
    from kb.search.rank import Placed
    from kb.search.searchable import Asked

STEPS: Final = (10, 50, 200, 1_000, 5_000)
"""How deep the looks are; the last one is the deepest that a second look over a page of 1,000 asks for."""


def find_in_steps(one: Asked, find: Callable[[Asked], Answer]) -> Answer:
    """Return an answer whose order down to ``query.depth`` is the same whatever that depth is.

    Args:
        one: The query.
        find: Looks for the best documents, down to the depth that it is given.
    """
    found = find(replace(one, depth=STEPS[0]))
    for before, depth in pairwise(STEPS):
        if one.query.depth <= before or len(found.placed) < before:
            break
        found = _continued(replace(found, settled=in_order(one, found, before)), find(replace(one, depth=depth)))
    return found


def _continued(before: Answer, after: Answer) -> Answer:
    """Return the deeper answer, with the places of the one before as they are."""
    settled = {placed.best.seq for placed in before.settled}

    def explain(placed: Placed, text: str) -> Explanation:
        return (before if placed.best.seq in settled else after).explain(placed, text)

    return replace(after, settled=before.settled, explain=explain)
