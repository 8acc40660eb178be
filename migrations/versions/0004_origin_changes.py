"""What jobs changed in the origins of documents, so that undoing one sets them back; the divided texts of a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Migrate."""
    op.add_column("jobs", sa.Column("divided", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("most_chunks", sa.Integer(), server_default="0", nullable=False))
    op.create_table(
        "origin_changes",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("fields_hash", sa.LargeBinary(), nullable=True),
        sa.Column("origin_job_id", sa.Text(), nullable=True),
        sa.Column("first_job_id", sa.Text(), nullable=True),
        sa.Column("left_job_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "source", "key"),
        sqlite_with_rowid=False,
    )
