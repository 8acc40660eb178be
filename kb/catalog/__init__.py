"""The catalog: the SQL database that holds every fact; the sole user of SQLAlchemy's engine and of Alembic."""

from __future__ import annotations

from sqlalchemy import Connection

from kb.catalog.collections import (
    StoredCollection,
    add_collection,
    current_change,
    delete_collection,
    find_collection,
    list_collections,
    next_change,
    replace_schema,
)
from kb.catalog.documents import (
    Revision,
    StoredChunk,
    StoredDocument,
    StoredState,
    count_chunks,
    count_documents,
    delete_documents,
    first_chunks,
    get_chunks,
    get_documents,
    get_documents_by_seq,
    get_revisions,
    insert_documents,
    insert_revisions,
    keys_of,
    last_revisions,
    last_update,
    next_seq,
    page_documents,
    replace_chunks,
    select_documents,
    select_keys,
    select_seqs,
    seqs_of,
    stored_states,
    touched_since,
    update_documents,
)
from kb.catalog.engine import FILE_NAME, Catalog, copy_catalog, now, open_catalog
from kb.catalog.filter_sql import to_sql
from kb.catalog.jobs import (
    Counts,
    Job,
    JobStatus,
    Reject,
    add_job,
    add_rejects,
    find_job,
    get_rejects,
    interrupt_running,
    list_jobs,
    save_job,
)
from kb.catalog.queue import TARGETS, VECTORS, QueuedDocument, QueuePart, enqueue, forget, oldest, pending
from kb.catalog.vectors import ChunkVectors, chunk_vectors, get_vectors, insert_vectors, known_vectors
