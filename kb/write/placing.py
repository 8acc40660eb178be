"""Where the vectors of a generation are indexed: in the folder of the knowledge base, or on a server elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kb import __version__
from kb import catalog as cat
from kb.index import BASE

if TYPE_CHECKING:
    from kb.index import Generation, Ownership


class Placing:
    """Opens the index of a generation; one that the queue has not fed is made anew, with all documents waiting."""

    def __init__(self, ownership: Ownership) -> None:
        """Open nothing yet."""
        self._ownership = ownership
        self._base_id: str | None = None

    def existing(self, catalog: cat.Catalog, stored: cat.StoredCollection) -> Generation | None:
        """Return the open index of vectors, or None where it has to be made; raises as ``Ownership.generation``."""
        with catalog.read() as connection:
            is_here = cat.index_place(connection, stored.generation) == self._place
        return self._ownership.existing(stored.generation, base=self.base(catalog)) if is_here else None

    def opened(self, catalog: cat.Catalog, stored: cat.StoredCollection, target: str) -> Generation:
        """Return the open index of vectors; nobody else makes one meanwhile.

        Args:
            catalog: The truth.
            stored: The collection, as the generation has it.
            target: The queue that feeds it.
        """
        found = self.existing(catalog, stored)
        if found is not None:
            return found
        # Noted first: a kill leaves no empty index that counts as complete. Whatever became of an earlier one, the
        # catalog has all that it takes to fill this one; what another index has been fed with, this one lacks.
        with catalog.write() as connection:
            cat.enqueue_all(connection, stored.id, target)
        base = self.base(catalog)
        created_by = {
            "kb:collection": stored.name,
            "kb:model": stored.recipe.model,
            "kb:recipe": stored.recipe.hash,
            "kb:version": __version__,
            **({} if base is None else {BASE: base}),
        }
        generation, _ = self._ownership.generation(stored.generation, created_by=created_by, anew=True)
        with catalog.read() as connection:
            is_here = cat.index_place(connection, stored.generation) == self._place
        if not is_here:
            with catalog.write() as connection:
                cat.set_index_place(connection, stored.generation, self._place)
        return generation

    def base(self, catalog: cat.Catalog) -> str | None:
        """Return what tells our collections from those of others, where there may be any."""
        if self._ownership.sharing.place is None:
            return None
        if self._base_id is None:
            with catalog.write() as connection:
                self._base_id = cat.base_id(connection)
        return self._base_id

    @property
    def _place(self) -> str:
        return self._ownership.sharing.place or cat.FOLDER_PLACE
