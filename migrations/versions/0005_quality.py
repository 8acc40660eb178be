"""What keyword and hybrid search, judged queries and calibrated thresholds need."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Migrate."""
    op.create_table(
        "samples",
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("vectors", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("collection_id"),
    )
    op.create_table(
        "judgements",
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("relevant", sa.Integer(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("collection_id", "query", "key"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "calibrations",
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("recipe_hash", sa.Text(), nullable=False),
        sa.Column("strict", sa.Float(), nullable=False),
        sa.Column("normal", sa.Float(), nullable=False),
        sa.Column("loose", sa.Float(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("collection_id", "recipe_hash"),
        sqlite_with_rowid=False,
    )
    op.add_column("collections", sa.Column("language", sa.Text(), nullable=False, server_default="english"))
    # An index of words joins the one of vectors: it has everything still to take over.
    op.execute(
        "INSERT INTO index_queue (target, collection_id, key, chunks_before)"
        " SELECT 'words', collection_id, key, 0 FROM documents ORDER BY seq"
    )
