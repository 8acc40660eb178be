"""Documents that an index refuses stay in its queue, with the reason."""

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
