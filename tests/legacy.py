"""Catalogs as every earlier release wrote them: frozen, in plain SQL, with nothing of today's code.

The figures were taken from catalogs that those releases made themselves, all from one history: an import of six rows
into ``CONFIG``, one of them rejected (``ROWS``), then a change of a field (a3), of a text (a5) and a deletion (a6).
"""

from __future__ import annotations

import base64
import json
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from tests.conftest import CONFIG as ARTICLES
from tests.conftest import article

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005")
VERSION: Final = "0.1.0"
"""The release that wrote them all."""

CONFIG: Final = ARTICLES.replace('"fake"', '"hashing-256"\nchunk_tokens = 16\nchunk_overlap = 4')
ROWS: Final = (
    article("a1"),
    article("a2", body="apples and pears " * 10),
    article("a3", author="heron", tags=[]),
    article("a4", rating=9),
    article("a5", category="nlp"),
    article("a6"),
)

AT: Final = "2026-01-02T03:04:05.000006Z"
JOB: Final = "20260102-030405-e01ad5"
SPACE: Final = "857d0a770c5213b37ec0b53ba1401049"
RECIPE_HASH: Final = "05766f7b18da344dc7bacaf957019d10"

_TABLES_0001: Final = """
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY
    (version_num));
CREATE TABLE catalog_info (name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (name));
CREATE TABLE collections (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, schema TEXT NOT
    NULL, recipe TEXT NOT NULL, dimension INTEGER NOT NULL, fingerprint BLOB NOT NULL, generation_id INTEGER,
    change INTEGER DEFAULT '0' NOT NULL, created TEXT NOT NULL, UNIQUE (name));
CREATE TABLE vectors (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, space TEXT NOT NULL, text_hash BLOB NOT
    NULL, vector BLOB NOT NULL, UNIQUE (space, text_hash));
CREATE TABLE documents (seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, collection_id INTEGER NOT NULL, "key"
    TEXT NOT NULL, fields TEXT NOT NULL, text TEXT NOT NULL, fields_hash BLOB NOT NULL, text_hash BLOB NOT NULL,
    revision INTEGER NOT NULL, change INTEGER NOT NULL, updated TEXT NOT NULL, FOREIGN KEY(collection_id)
    REFERENCES collections (id) ON DELETE CASCADE, UNIQUE (collection_id, "key"));
CREATE INDEX documents_change ON documents (collection_id, change);
CREATE TABLE generations (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, collection_id INTEGER NOT NULL, name
    TEXT NOT NULL, recipe_hash TEXT NOT NULL, state TEXT NOT NULL, created TEXT NOT NULL, CONSTRAINT
    generation_state CHECK (state IN ('building', 'active', 'retired')), FOREIGN KEY(collection_id) REFERENCES
    collections (id) ON DELETE CASCADE, UNIQUE (name));
CREATE TABLE index_queue (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, collection_id
    INTEGER NOT NULL, "key" TEXT NOT NULL, chunks_before INTEGER NOT NULL, FOREIGN KEY(collection_id) REFERENCES
    collections (id) ON DELETE CASCADE);
CREATE TABLE jobs (id TEXT NOT NULL, collection_id INTEGER NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL,
    request TEXT NOT NULL, read INTEGER DEFAULT '0' NOT NULL, new INTEGER DEFAULT '0' NOT NULL, updated INTEGER
    DEFAULT '0' NOT NULL, fields_only INTEGER DEFAULT '0' NOT NULL, unchanged INTEGER DEFAULT '0' NOT NULL,
    rejected INTEGER DEFAULT '0' NOT NULL, embedded INTEGER DEFAULT '0' NOT NULL, rejects_path TEXT,
    rejects_bytes INTEGER DEFAULT '0' NOT NULL, pid INTEGER NOT NULL, who TEXT NOT NULL, started TEXT NOT NULL,
    seconds FLOAT DEFAULT '0' NOT NULL, error TEXT, PRIMARY KEY (id), CONSTRAINT job_status CHECK (status IN
    ('running', 'done', 'partial', 'failed', 'interrupted')), FOREIGN KEY(collection_id) REFERENCES collections
    (id) ON DELETE CASCADE);
CREATE TABLE revisions (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, collection_id INTEGER NOT NULL, "key"
    TEXT NOT NULL, document_seq INTEGER NOT NULL, revision INTEGER NOT NULL, action TEXT NOT NULL, change
    INTEGER NOT NULL, at TEXT NOT NULL, who TEXT NOT NULL, job_id TEXT, "before" TEXT, CONSTRAINT
    revision_action CHECK (action IN ('add', 'update', 'fields_only', 'delete', 'restore')), FOREIGN
    KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE, UNIQUE (collection_id, "key", revision));
CREATE INDEX revisions_deleted ON revisions (collection_id, change) WHERE action = 'delete';
CREATE TABLE chunks (document_seq INTEGER NOT NULL, ordinal INTEGER NOT NULL, start INTEGER NOT NULL, "end"
    INTEGER NOT NULL, vector_id INTEGER NOT NULL, PRIMARY KEY (document_seq, ordinal), FOREIGN KEY(document_seq)
    REFERENCES documents (seq) ON DELETE CASCADE, FOREIGN KEY(vector_id) REFERENCES vectors (id)) WITHOUT ROWID;
CREATE INDEX chunks_vector ON chunks (vector_id);
CREATE TABLE rejects (job_id TEXT NOT NULL, file TEXT NOT NULL, number INTEGER NOT NULL, line INTEGER NOT NULL,
    reason TEXT NOT NULL, PRIMARY KEY (job_id, file, number), FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE
    CASCADE) WITHOUT ROWID;
"""

_TABLES_0002: Final = """
CREATE TABLE jobs (id TEXT NOT NULL, collection_id INTEGER NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL,
    request TEXT NOT NULL, read INTEGER DEFAULT '0' NOT NULL, new INTEGER DEFAULT '0' NOT NULL, updated INTEGER
    DEFAULT '0' NOT NULL, fields_only INTEGER DEFAULT '0' NOT NULL, unchanged INTEGER DEFAULT '0' NOT NULL,
    rejected INTEGER DEFAULT '0' NOT NULL, embedded INTEGER DEFAULT '0' NOT NULL, rejects_path TEXT,
    rejects_bytes INTEGER DEFAULT '0' NOT NULL, pid INTEGER NOT NULL, who TEXT NOT NULL, started TEXT NOT NULL,
    seconds FLOAT DEFAULT '0' NOT NULL, error TEXT, source TEXT, conflicts INTEGER DEFAULT '0' NOT NULL, removed
    INTEGER DEFAULT '0' NOT NULL, position INTEGER DEFAULT '0' NOT NULL, total INTEGER, warnings TEXT DEFAULT
    '[]' NOT NULL, PRIMARY KEY (id), CONSTRAINT job_status CHECK (status IN ('running', 'done', 'partial',
    'failed', 'interrupted', 'cancelled')), FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE
    CASCADE);
CREATE TABLE origins (collection_id INTEGER NOT NULL, source TEXT NOT NULL, "key" TEXT NOT NULL, revision
    INTEGER NOT NULL, fields_hash BLOB NOT NULL, job_id TEXT NOT NULL, first_job_id TEXT NOT NULL, PRIMARY KEY
    (collection_id, source, "key"), FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE)
    WITHOUT ROWID;
"""

_TABLES_0003: Final = """
CREATE TABLE index_queue (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, collection_id
    INTEGER NOT NULL, "key" TEXT NOT NULL, chunks_before INTEGER NOT NULL, refusal TEXT, FOREIGN
    KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE);
CREATE INDEX index_queue_refused ON index_queue (collection_id, target, "key") WHERE refusal IS NOT NULL;
CREATE TABLE vectors (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, space TEXT NOT NULL, text_hash BLOB NOT
    NULL, vector BLOB NOT NULL);
CREATE INDEX vectors_text ON vectors (text_hash);
"""

_TABLES_0004: Final = """
CREATE TABLE jobs (id TEXT NOT NULL, collection_id INTEGER NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL,
    request TEXT NOT NULL, read INTEGER DEFAULT '0' NOT NULL, new INTEGER DEFAULT '0' NOT NULL, updated INTEGER
    DEFAULT '0' NOT NULL, fields_only INTEGER DEFAULT '0' NOT NULL, unchanged INTEGER DEFAULT '0' NOT NULL,
    rejected INTEGER DEFAULT '0' NOT NULL, embedded INTEGER DEFAULT '0' NOT NULL, rejects_path TEXT,
    rejects_bytes INTEGER DEFAULT '0' NOT NULL, pid INTEGER NOT NULL, who TEXT NOT NULL, started TEXT NOT NULL,
    seconds FLOAT DEFAULT '0' NOT NULL, error TEXT, source TEXT, conflicts INTEGER DEFAULT '0' NOT NULL, removed
    INTEGER DEFAULT '0' NOT NULL, position INTEGER DEFAULT '0' NOT NULL, total INTEGER, warnings TEXT DEFAULT
    '[]' NOT NULL, divided INTEGER DEFAULT '0' NOT NULL, most_chunks INTEGER DEFAULT '0' NOT NULL, PRIMARY KEY
    (id), CONSTRAINT job_status CHECK (status IN ('running', 'done', 'partial', 'failed', 'interrupted',
    'cancelled')), FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE);
CREATE TABLE origin_changes (job_id TEXT NOT NULL, source TEXT NOT NULL, "key" TEXT NOT NULL, revision INTEGER,
    fields_hash BLOB, origin_job_id TEXT, first_job_id TEXT, left_job_id TEXT, PRIMARY KEY (job_id, source,
    "key"), FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE) WITHOUT ROWID;
"""

_TABLES_0005: Final = """
CREATE TABLE collections (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, schema TEXT NOT
    NULL, recipe TEXT NOT NULL, dimension INTEGER NOT NULL, fingerprint BLOB NOT NULL, generation_id INTEGER,
    change INTEGER DEFAULT '0' NOT NULL, created TEXT NOT NULL, language TEXT DEFAULT 'english' NOT NULL, UNIQUE
    (name));
CREATE TABLE samples (collection_id INTEGER NOT NULL, space TEXT NOT NULL, chunks INTEGER NOT NULL, vectors BLOB
    NOT NULL, PRIMARY KEY (collection_id), FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE
    CASCADE);
CREATE TABLE judgements (collection_id INTEGER NOT NULL, "query" TEXT NOT NULL, "key" TEXT NOT NULL, relevant
    INTEGER NOT NULL, at TEXT NOT NULL, who TEXT NOT NULL, PRIMARY KEY (collection_id, "query", "key"), FOREIGN
    KEY(collection_id) REFERENCES collections (id) ON DELETE CASCADE) WITHOUT ROWID;
CREATE TABLE calibrations (collection_id INTEGER NOT NULL, recipe_hash TEXT NOT NULL, strict FLOAT NOT NULL,
    normal FLOAT NOT NULL, loose FLOAT NOT NULL, details TEXT NOT NULL, at TEXT NOT NULL, who TEXT NOT NULL,
    PRIMARY KEY (collection_id, recipe_hash), FOREIGN KEY(collection_id) REFERENCES collections (id) ON DELETE
    CASCADE) WITHOUT ROWID;
"""

_SCHEMA: Final = (
    '{"fields": [{"name": "title", "required": true, "type": "str"}, {"name": "body", "required": true, "'
    'type": "text"}, {"choices": ["ml", "nlp"], "name": "category", "required": true, "type": "str"}, {"n'
    'ame": "published", "required": true, "type": "date"}, {"name": "author", "required": false, "type": '
    '"str"}, {"name": "tags", "required": true, "separator": ";", "type": "list[str]"}, {"maximum": 5, "m'
    'inimum": 0, "name": "rating", "required": false, "type": "float"}], "key": "id", "text": "{title}\\n\\'
    'n{body}"}'
)
_RECIPE: Final = (
    '{"chunk_overlap": 4, "chunk_tokens": 16, "document_prompt": "", "model": "hashing-256", "query_promp'
    't": "", "template": "{title}\\n\\n{body}", "weights": 0}'
)
_FINGERPRINT: Final = (
    "eNpjYKAeYFWO2wfEdgyjgK4AFOakhDsonqhj7z1bMvTshWBM91KSdkBmEiOGDJxnLdtHjF+Q3eU8S82e+vGH3530tmfRD2Wq5GGg"
    "Oftwyy3eR237SHUHre2lrh8W22ELO0rMwSc2wH7dNwTiYx96usKX3gdreN/p+bZ3MIbvnZ4yO3LkcMmji4H4hMwhx31A8X3khjkl"
    "7iHg1n1Y3GCLTGOXQ7gHm5vRxfCZhU/NYEr/hPIDpXFETPogRy25YQwAP2SB2A=="
)
_VECTORS: Final = (
    (
        1,
        "b17a06c6b7ab8744cf91eb811104522d",
        "eNqrFeayY6AiqBXm2scwAKBWuMuOFLVAd9oPBX9R4j5quZnUsBrOAJp27AZjmgG6jWT7AIBgD/s=",
    ),
    (
        2,
        "6ce54c5d742bb6c28c9265cfadd7868d",
        "eNpjYMAEc2U+7GUgAwD12THQAMyVKbClQK8dFnfagjCV3biPgU4AaBfJ8fNIUGw/wzACwPjbNzjcUWBHzXiiNwAAkxMWMA==",
    ),
    (3, "58403b6d07abba0f7e6e235be7203f0d", "eNpjYKAeuKvwy45hkIG7ClV2dLJnH8MgBjuExfYzDCMATGv7RlL6ohUAAJ23DCo="),
    (4, "7433402a57852ad7ceba4c2211f402fd", "eNpjYKAeCN7OZs8wyEDw9jY7Otmzj2EQA2Dc7GcYRmCw+EdyvrHdUA5HAK9cCjM="),
    (
        5,
        "5ff0f79bcc4da62506eb17adf2ffc46b",
        "eNqrFeayY8ABavHI4dGzj2EAQK1wlx0Wt9jjUotLbjD4C1e4kxMfo4D26Wyw5AWg20i2DwBcJg77",
    ),
    (
        6,
        "a66481caa9345a6bcc008a46433f6185",
        "eNqrFeayY4CCWiQ2uQBoxj6GAQC1wl12pKgFutN+sPmLGuGPZJY9wyigelyQls7omxeAbiPZPgBnjA77",
    ),
    (
        7,
        "7e227769eb610cd120c9e49b4b1815f2",
        "eNqrFeayY6AiqBXm2scwAKBWuMuOFLVAd9qT4uaB8tdQjBegXfuHq99JS2f0TTNAt5FsHwDzjhD7",
    ),
    (8, "5b1889b1efa6bd2c54e5bdbe6fdc86e5", "eNpjYCAdvGG9uI+BAvCGNdCOYQAB0P12IDxY3EMrPzKMggFNo0Az9g32uAUA79ERAQ=="),
)
"""Number, hash of the text, and the 256 float32 packed."""

_DOCUMENTS: Final = (
    (
        1,
        "a1",
        '{"title":"Title of a1","body":"The body of article a1.","category":"ml","published":"2024-01-31","tags":["x"],"rating":4.5}',
        "Title of a1\n\nThe body of article a1.",
        "dab660fd070b7ddcc6832da3bcff578c",
        "b17a06c6b7ab8744cf91eb811104522d",
        1,
        1,
    ),
    (
        2,
        "a2",
        '{"title":"Title of a2","body":"apples and pears apples and pears apples and pears apples and pears apples and pears apples and pears apples and pears apples and pears apples and pears apples and pears ","category":"ml","published":"2024-01-31","tags":["x"],"rating":4.5}',
        "Title of a2\n\napples and pears apples and pears apples and pears apples and pears apples and pears apples and pears apples and pears apples and pears apples and pears apples and pears",
        "f954b4c8d23adccd08d1d235a14c7ef6",
        "5689ccf86e5e83127445bf65380afe05",
        1,
        1,
    ),
    (
        3,
        "a3",
        '{"title":"Title of a3","body":"The body of article a3.","category":"ml","published":"2024-01-31","author":"heron","tags":[],"rating":2.0}',
        "Title of a3\n\nThe body of article a3.",
        "b6a5a82af877b3787ec258e2f1ddefdf",
        "5ff0f79bcc4da62506eb17adf2ffc46b",
        2,
        2,
    ),
    (
        4,
        "a5",
        '{"title":"Title of a5","body":"Other words.","category":"nlp","published":"2024-01-31","tags":["x"],"rating":4.5}',
        "Title of a5\n\nOther words.",
        "cb06c28484c999d4a5ada611e56f5194",
        "5b1889b1efa6bd2c54e5bdbe6fdc86e5",
        2,
        3,
    ),
)
"""seq, key, fields, text, hash of the fields, hash of the text, revision, change."""

_CHUNKS: Final = (
    (1, 0, 0, 36, 1),
    (2, 0, 0, 88, 2),
    (2, 1, 88, 156, 3),
    (2, 2, 156, 182, 4),
    (3, 0, 0, 36, 5),
    (4, 0, 0, 25, 8),
)
_REVISIONS: Final = (
    ("a1", 1, 1, "add", 1, True, None),
    ("a2", 2, 1, "add", 1, True, None),
    ("a3", 3, 1, "add", 1, True, None),
    ("a5", 4, 1, "add", 1, True, None),
    ("a6", 5, 1, "add", 1, True, None),
    (
        "a3",
        3,
        2,
        "fields_only",
        2,
        False,
        '{"title":"Title of a3","body":"The body of article a3.","category":"ml","published":"2024-01-31","author":"heron","tags":[],"rating":4.5}',
    ),
    (
        "a5",
        4,
        2,
        "update",
        3,
        False,
        '{"title":"Title of a5","body":"The body of article a5.","category":"nlp","published":"2024-01-31","tags":["x"],"rating":4.5}',
    ),
    (
        "a6",
        5,
        2,
        "delete",
        4,
        False,
        '{"title":"Title of a6","body":"The body of article a6.","category":"ml","published":"2024-01-31","tags":["x"],"rating":4.5}',
    ),
)
"""key, document_seq, revision, action, change, whether by the job, before."""

_REQUEST_0001: Final = (
    '{"files": ["FILE"], "input": null, "encoding": null, "mapping": {}, "split": {}, "unknown_columns": "error", '
    '"fail_empty": false, "fingerprints": ["SourceFingerprint(size=1044, mtime_ns=1795401373656119006, '
    "digest='773e0fc5ed6bfe6d5aaf2fd62b65e6ca')\"]}"
)
_REQUEST: Final = (
    '{"files": ["FILE"], "reading": {"format": null, "encoding": null, "delimiter": null, "quote": null, '
    '"header": true, "records": null, "sheet": null, "sql": null}, "mapping": {"columns": {}, "constants": {}, '
    '"templates": {}, "split": {}, "dates": {}, "key": [], "where": null, "nulls": [], "unknown_columns": "error"}, '
    '"policy": {"atomic": false, "max_errors": null, "max_error_share": null, "source": null, "sync": false, '
    '"max_delete": 0.1, "on_conflict": "fail", "fail_empty": false}, "fingerprints": ["SourceFingerprint(size=1044, '
    "mtime_ns=1795401377125170837, digest='773e0fc5ed6bfe6d5aaf2fd62b65e6ca')\"]}"
)
_REASON: Final = "rating: input should be less than or equal to 5, got 9.0"
_WARNING: Final = "1 row longer than the model's window: the longest is divided into 3 chunks, nothing is cut off"


def write_catalog(storage: Path, revision: str, *, queued: bool) -> Path:
    """Write the catalog of the release whose newest migration it is, and return its path.

    Args:
        storage: An existing folder.
        revision: One of ``REVISIONS``.
        queued: Whether the release was killed before its index had any of it.
    """
    path = storage / "catalog.sqlite3"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode = WAL")
        for table in _tables(revision):
            database.execute(table)
        _insert(database, "alembic_version", (revision,))
        _insert(database, "catalog_info", ("kb_version", VERSION))
        language = ("english",) if revision >= "0005" else ()
        _insert(
            database,
            "collections",
            (1, "articles", _SCHEMA, _RECIPE, 256, _unpacked(_FINGERPRINT), 1, 4, AT, *language),
        )
        _insert(database, "generations", (1, 1, "articles-g1", RECIPE_HASH, "active", AT))
        for number, text_hash, vector in _VECTORS:
            _insert(database, "vectors", (number, SPACE, bytes.fromhex(text_hash), _unpacked(vector)))
        for seq, key, fields, text, fields_hash, text_hash, number, change in _DOCUMENTS:
            hashes = bytes.fromhex(fields_hash), bytes.fromhex(text_hash)
            _insert(database, "documents", (seq, 1, key, fields, text, *hashes, number, change, AT))
        for chunk in _CHUNKS:
            _insert(database, "chunks", chunk)
        for place, (key, seq, number, action, change, by_job, before) in enumerate(_REVISIONS, start=1):
            job = JOB if by_job else None
            _insert(database, "revisions", (place, 1, key, seq, number, action, change, AT, "root", job, before))
        _insert_job(database, storage, revision)
        if revision >= "0002":
            _insert(database, "origins", (1, "feed", "a1", 1, bytes.fromhex(_DOCUMENTS[0][4]), JOB, JOB))
        if revision >= "0004":
            _insert(database, "origin_changes", (JOB, "feed", "a1", None, None, None, None, None))
        if revision >= "0005":
            drawn = b"".join(_unpacked(_VECTORS[number - 1][2]) for number in (1, 2, 5, 8))
            _insert(database, "samples", (1, SPACE, 6, drawn))
            _insert(database, "judgements", (1, "pears", "a2", 1, AT, "root"))
        if queued:
            _queue(database, revision)
    return path


def _tables(revision: str) -> list[str]:
    """Return the statements that make the tables and indexes of a revision: of each the last that there was."""
    made: dict[str, str] = {}
    for number, statements in zip(
        REVISIONS, (_TABLES_0001, _TABLES_0002, _TABLES_0003, _TABLES_0004, _TABLES_0005), strict=True
    ):
        if number <= revision:
            for statement in statements.split(";\n"):
                words = statement.split()
                if words:
                    made[words[2]] = statement
    fields = ("title", "category", "published", "author", "rating")
    indexes = [
        f"CREATE INDEX \"field_1_{name}\" ON documents(json_extract(fields, '$.{name}')) WHERE collection_id = 1"
        for name in fields
    ]
    return [*sorted(made.values(), key=lambda statement: statement.startswith("CREATE INDEX")), *indexes]


def _insert_job(database: sqlite3.Connection, storage: Path, revision: str) -> None:
    file = str(storage / "in.jsonl")
    request = (_REQUEST if revision >= "0002" else _REQUEST_0001).replace("FILE", file)
    rejects = str(storage / "rejects" / f"{JOB}-in.rejects.jsonl")
    row: tuple[Any, ...] = (JOB, 1, "import", "partial", request, 6, 5, 0, 0, 0, 1, 7, rejects, 228)
    row += (3098, "root", AT, 1.25, None)
    if revision >= "0002":
        row += (None, 0, 0, 1044, 1044, json.dumps([_WARNING]))
    if revision >= "0004":
        row += (1, 3)
    _insert(database, "jobs", row)
    _insert(database, "rejects", (JOB, file, 4, 4, _REASON))


def _queue(database: sqlite3.Connection, revision: str) -> None:
    refusal = (None,) if revision >= "0003" else ()
    targets = ("vectors", "words") if revision >= "0005" else ("vectors",)
    for target in targets:
        for key in ("a1", "a2", "a3", "a5", "a6"):
            _insert(database, "index_queue", (None, target, 1, key, 0, *refusal))


def _insert(database: sqlite3.Connection, table: str, row: tuple[Any, ...]) -> None:
    database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))
