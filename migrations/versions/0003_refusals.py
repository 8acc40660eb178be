"""Documents that an index refuses stay in its queue, with the reason; a smaller index over the texts of vectors."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Migrate."""
    op.add_column("index_queue", sa.Column("refusal", sa.Text(), nullable=True))
    op.create_index(
        "index_queue_refused",
        "index_queue",
        ["collection_id", "target", "key"],
        sqlite_where=sa.text("refusal IS NOT NULL"),
    )
    _reindex_vectors()


def _reindex_vectors() -> None:
    """Index vectors by the hash of their text alone: with the space before it, every write touched twice the pages.

    SQLite cannot drop a constraint: the table is copied.
    """
    op.create_table(
        "new_vectors",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("text_hash", sa.LargeBinary(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.execute("INSERT INTO new_vectors SELECT id, space, text_hash, vector FROM vectors ORDER BY id")
    # A number is never given twice, not even that of a vector that is gone.
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'new_vectors'")
    op.execute("INSERT INTO sqlite_sequence SELECT 'new_vectors', seq FROM sqlite_sequence WHERE name = 'vectors'")
    op.drop_table("vectors")
    op.rename_table("new_vectors", "vectors")
    op.create_index("vectors_text", "vectors", ["text_hash"])
