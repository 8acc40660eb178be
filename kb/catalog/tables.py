"""The tables of the catalog. The Alembic scripts in ``migrations/`` create them; a test holds the two equal."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

HEAD: Final = "0006"
"""The Alembic revision that this release reads and writes."""

metadata: Final = MetaData()

catalog_info: Final = Table(
    "catalog_info",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

collections: Final = Table(
    "collections",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("schema", Text, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("generation_id", Integer),
    Column("change", Integer, nullable=False, server_default="0"),
    Column("created", Text, nullable=False),
    Column("language", Text, nullable=False, server_default="english"),
    sqlite_autoincrement=True,
)

generations: Final = Table(
    "generations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False, unique=True),
    Column("recipe_hash", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created", Text, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("schema", Text, nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("changed", Text, nullable=False),
    Column("gate", Text),
    CheckConstraint("state IN ('building', 'active', 'retired')", name="generation_state"),
    sqlite_autoincrement=True,
)

documents: Final = Table(
    "documents",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("key", Text, nullable=False),
    Column("fields", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("fields_hash", LargeBinary, nullable=False),
    Column("text_hash", LargeBinary, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("change", Integer, nullable=False),
    Column("updated", Text, nullable=False),
    UniqueConstraint("collection_id", "key"),
    Index("documents_change", "collection_id", "change"),
    sqlite_autoincrement=True,
)

vectors: Final = Table(
    "vectors",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("space", Text, nullable=False),
    Column("text_hash", LargeBinary, nullable=False),
    Column("vector", LargeBinary, nullable=False),
    Index("vectors_text", "text_hash"),
    sqlite_autoincrement=True,
)

chunks: Final = Table(
    "chunks",
    metadata,
    Column("document_seq", ForeignKey("documents.seq", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("vector_id", ForeignKey("vectors.id"), nullable=False),
    Index("chunks_vector", "vector_id"),
    sqlite_with_rowid=False,
)

other_chunks: Final = Table(
    "other_chunks",
    metadata,
    Column("generation_id", ForeignKey("generations.id", ondelete="CASCADE"), primary_key=True),
    Column("document_seq", ForeignKey("documents.seq", ondelete="CASCADE"), primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("vector_id", ForeignKey("vectors.id"), nullable=False),
    Index("other_chunks_document", "document_seq"),
    Index("other_chunks_vector", "vector_id", "generation_id"),
    sqlite_with_rowid=False,
)
"""The chunks of generations that do not serve; those of the one that does are ``chunks``."""

other_texts: Final = Table(
    "other_texts",
    metadata,
    Column("generation_id", ForeignKey("generations.id", ondelete="CASCADE"), primary_key=True),
    Column("document_seq", ForeignKey("documents.seq", ondelete="CASCADE"), primary_key=True),
    Column("text", Text, nullable=False),
    Column("text_hash", LargeBinary, nullable=False),
    Index("other_texts_document", "document_seq"),
    sqlite_with_rowid=False,
)
"""The texts of generations whose template is not the one of the generation that serves."""

revisions: Final = Table(
    "revisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("key", Text, nullable=False),
    Column("document_seq", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("action", Text, nullable=False),
    Column("change", Integer, nullable=False),
    Column("at", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("job_id", Text),
    Column("before", Text),
    UniqueConstraint("collection_id", "key", "revision"),
    CheckConstraint("action IN ('add', 'update', 'fields_only', 'delete', 'restore')", name="revision_action"),
    Index("revisions_deleted", "collection_id", "change", sqlite_where=text("action = 'delete'")),
    sqlite_autoincrement=True,
)

index_queue: Final = Table(
    "index_queue",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("target", Text, nullable=False),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("key", Text, nullable=False),
    Column("chunks_before", Integer, nullable=False),
    Column("refusal", Text),
    Index("index_queue_refused", "collection_id", "target", "key", sqlite_where=text("refusal IS NOT NULL")),
    sqlite_autoincrement=True,
)

jobs: Final = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("read", Integer, nullable=False, server_default="0"),
    Column("new", Integer, nullable=False, server_default="0"),
    Column("updated", Integer, nullable=False, server_default="0"),
    Column("fields_only", Integer, nullable=False, server_default="0"),
    Column("unchanged", Integer, nullable=False, server_default="0"),
    Column("rejected", Integer, nullable=False, server_default="0"),
    Column("embedded", Integer, nullable=False, server_default="0"),
    Column("rejects_path", Text),
    Column("rejects_bytes", Integer, nullable=False, server_default="0"),
    Column("pid", Integer, nullable=False),
    Column("who", Text, nullable=False),
    Column("started", Text, nullable=False),
    Column("seconds", Float, nullable=False, server_default="0"),
    Column("error", Text),
    Column("source", Text),
    Column("conflicts", Integer, nullable=False, server_default="0"),
    Column("removed", Integer, nullable=False, server_default="0"),
    Column("position", Integer, nullable=False, server_default="0"),
    Column("total", Integer),
    Column("warnings", Text, nullable=False, server_default="[]"),
    Column("divided", Integer, nullable=False, server_default="0"),
    Column("most_chunks", Integer, nullable=False, server_default="0"),
    CheckConstraint(
        "status IN ('running', 'done', 'partial', 'failed', 'interrupted', 'cancelled')", name="job_status"
    ),
)

origins: Final = Table(
    "origins",
    metadata,
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True),
    Column("source", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("fields_hash", LargeBinary, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("first_job_id", Text, nullable=False),
    sqlite_with_rowid=False,
)

origin_changes: Final = Table(
    "origin_changes",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("source", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("revision", Integer),
    Column("fields_hash", LargeBinary),
    Column("origin_job_id", Text),
    Column("first_job_id", Text),
    Column("left_job_id", Text),
    sqlite_with_rowid=False,
)

rejects: Final = Table(
    "rejects",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("file", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("line", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    sqlite_with_rowid=False,
)

samples: Final = Table(
    "samples",
    metadata,
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True),
    Column("space", Text, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("vectors", LargeBinary, nullable=False),
)

judgements: Final = Table(
    "judgements",
    metadata,
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True),
    Column("query", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("relevant", Integer, nullable=False),
    Column("at", Text, nullable=False),
    Column("who", Text, nullable=False),
    sqlite_with_rowid=False,
)

calibrations: Final = Table(
    "calibrations",
    metadata,
    Column("collection_id", ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True),
    Column("recipe_hash", Text, primary_key=True),
    Column("strict", Float, nullable=False),
    Column("normal", Float, nullable=False),
    Column("loose", Float, nullable=False),
    Column("details", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("who", Text, nullable=False),
    sqlite_with_rowid=False,
)
