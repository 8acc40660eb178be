"""Several generations of one collection: their recipes, and the chunks and texts of those that do not serve."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Migrate."""
    op.create_table(
        "new_generations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("recipe_hash", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("schema", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("changed", sa.Text(), nullable=False),
        sa.Column("gate", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('building', 'active', 'retired')", name="generation_state"),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sqlite_autoincrement=True,
    )
    op.execute(
        "INSERT INTO new_generations SELECT g.id, g.collection_id, g.name, g.recipe_hash, g.state, g.created,"
        ' c.recipe, c."schema", c.dimension, c.fingerprint, g.created, NULL'
        " FROM generations AS g JOIN collections AS c ON c.id = g.collection_id ORDER BY g.id"
    )
    op.drop_table("generations")
    op.rename_table("new_generations", "generations")
    op.create_table(
        "other_chunks",
        sa.Column("generation_id", sa.Integer(), nullable=False),
        sa.Column("document_seq", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("start", sa.Integer(), nullable=False),
        sa.Column("end", sa.Integer(), nullable=False),
        sa.Column("vector_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["generation_id"], ["generations.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["document_seq"], ["documents.seq"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["vector_id"], ["vectors.id"]),
        sa.PrimaryKeyConstraint("generation_id", "document_seq", "ordinal"),
        sqlite_with_rowid=False,
    )
    op.create_index("other_chunks_document", "other_chunks", ["document_seq"])
    op.create_index("other_chunks_vector", "other_chunks", ["vector_id", "generation_id"])
    op.create_table(
        "other_texts",
        sa.Column("generation_id", sa.Integer(), nullable=False),
        sa.Column("document_seq", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("text_hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["generation_id"], ["generations.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["document_seq"], ["documents.seq"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("generation_id", "document_seq"),
        sqlite_with_rowid=False,
    )
    op.create_index("other_texts_document", "other_texts", ["document_seq"])
