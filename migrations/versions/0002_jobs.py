"""What jobs need to be planned, followed, cancelled and undone; where documents came from."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Migrate."""
    # SQLite cannot change a constraint: the table is copied. Foreign keys are off meanwhile, or dropping the old one
    # would delete all rejects.
    with op.batch_alter_table("jobs", recreate="always") as batch:
        batch.drop_constraint("job_status", type_="check")
        batch.add_column(sa.Column("source", sa.Text(), nullable=True))
        batch.add_column(sa.Column("conflicts", sa.Integer(), server_default="0", nullable=False))
        batch.add_column(sa.Column("removed", sa.Integer(), server_default="0", nullable=False))
        batch.add_column(sa.Column("position", sa.Integer(), server_default="0", nullable=False))
        batch.add_column(sa.Column("total", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("warnings", sa.Text(), server_default="[]", nullable=False))
        batch.create_check_constraint(
            "job_status", "status IN ('running', 'done', 'partial', 'failed', 'interrupted', 'cancelled')"
        )
    op.create_table(
        "origins",
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("fields_hash", sa.LargeBinary(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("first_job_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("collection_id", "source", "key"),
        sqlite_with_rowid=False,
    )
    _regroup_requests()


def _regroup_requests() -> None:
    """Lay what an import was asked for out as this release reads it."""
    connection = op.get_bind()
    for job_id, text in connection.execute(sa.text("SELECT id, request FROM jobs")).fetchall():
        old = json.loads(text)
        new = {
            "files": old["files"],
            "reading": {"format": old["input"], "encoding": old["encoding"]},
            "mapping": {"columns": old["mapping"], "split": old["split"], "unknown_columns": old["unknown_columns"]},
            "policy": {"fail_empty": old["fail_empty"]},
            "fingerprints": old["fingerprints"],
        }
        connection.execute(
            sa.text("UPDATE jobs SET request = :request WHERE id = :id"),
            {"request": json.dumps(new, ensure_ascii=False), "id": job_id},
        )
