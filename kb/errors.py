"""Every error that ``kb`` raises on purpose, one class per situation.

A message has three parts: what happened, what is unchanged, and what to do next. ``str(error)`` is the first
part alone, on one line; surfaces print the other two below it. Each class carries the stable ``code`` that
appears in JSON, the ``exit_code`` of the command line and the ``http_status`` of the server.

    KBError
    ├── UsageError                 the call itself is wrong; nothing was tried
    │   ├── ConfigError            config.toml or a KB_* variable
    │   ├── SchemaError            the declaration of a collection
    │   ├── FilterError            a filter; carries the position
    │   └── QueryError             a search request
    ├── SourceError                an input file that cannot be read as a whole
    │   └── SourceChangedError     … or that changed while it was read
    ├── DocumentError              one document that does not fit its schema
    ├── EncoderError               a model that fails, or answers nonsense
    ├── ConflictError              the document or job is not in the state that the call needs
    │   └── SupersededError        … because another generation of the collection serves now
    ├── NotFoundError              a document, collection, revision or job that does not exist
    ├── NoKnowledgeBaseError       no config.toml here or above
    ├── LockedError                another process, or another handle, owns the knowledge base
    │   └── ReadOnlyError          … or nobody can: nothing may be written there
    │   └── UnreachableError       the server of the vector index does not answer, or refuses
    ├── DamagedError               stored data that contradicts itself
    │   └── CatalogDamagedError    … in the catalog, which nothing else can be rebuilt from
    ├── MismatchError              the data is sound, but was made by something else
    │   ├── ModelMismatchError     another embedding model
    │   ├── SchemaMismatchError    another schema or recipe
    │   └── NewerCatalogError      a newer release of kb
    ├── ModelNotFoundError         weights that cannot be resolved, or are not the ones they claim to be
    └── LimitError                 over a stated limit, or out of disk space
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class KBError(Exception):
    """The root of all deliberate errors.

    Args:
        what: What happened, in one sentence without a full stop at the end.
        unchanged: What is still as it was, e.g. ``"nothing was imported"``; empty when it goes without saying.
        hint: What to do next; empty when there is nothing to do.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, what: str, *, unchanged: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.unchanged = unchanged
        self.hint = hint


class UsageError(KBError):
    """The call is wrong in itself; nothing was tried."""

    code = "usage"
    exit_code = 2
    http_status = 422


class ConfigError(UsageError):
    """``config.toml`` or a ``KB_*`` variable cannot be used."""

    code = "config"


class SchemaError(UsageError):
    """A collection is declared in a way that cannot work."""

    code = "schema"


class FilterError(UsageError):
    """A filter is malformed or does not fit the schema.

    Args:
        position: Zero-based offset into the filter text, or None for a filter built from Python objects.
    """

    code = "filter"

    def __init__(self, what: str, *, position: int | None = None, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.position = position


class QueryError(UsageError):
    """A search request is out of range or empty."""

    code = "query"


class SourceError(KBError):
    """An input cannot be read as a whole: missing, wrong format, wrong encoding."""

    code = "source"
    http_status = 400


class SourceChangedError(SourceError):
    """An input is no longer the one that the job started with."""

    code = "source_changed"
    http_status = 409


class DocumentError(KBError):
    """One document does not fit its schema; all its problems are in the message.

    Args:
        problems: One entry per problem, each naming its field first.
    """

    code = "document"
    http_status = 422

    def __init__(self, what: str, *, problems: tuple[str, ...], unchanged: str = "", hint: str = "") -> None:
        super().__init__(what, unchanged=unchanged, hint=hint)
        self.problems = problems


class EncoderError(KBError):
    """A model failed or returned vectors that cannot be stored."""

    code = "encoder"


class ConflictError(KBError):
    """The document or job is not in the state that the call needs."""

    code = "conflict"
    http_status = 409


class SupersededError(ConflictError):
    """Another generation of the collection serves now; what was begun with the former one can be done again."""

    code = "superseded"


class NotFoundError(KBError):
    """A named document, collection, revision or job does not exist."""

    code = "not_found"
    exit_code = 4
    http_status = 404


class NoKnowledgeBaseError(KBError):
    """There is no ``config.toml`` here or in any folder above."""

    code = "no_knowledge_base"
    exit_code = 10
    http_status = 404


class LockedError(KBError):
    """Another process, or another handle of this process, owns the knowledge base."""

    code = "locked"
    exit_code = 11
    http_status = 423


class ReadOnlyError(LockedError):
    """The knowledge base lies where this user may not write; reading and searching work all the same."""

    code = "read_only"
    exit_code = 1
    http_status = 403


class UnreachableError(LockedError):
    """The server that has the vector index open does not answer, or refuses; the catalog is there all the same."""

    code = "unreachable"
    http_status = 503


class DamagedError(KBError):
    """Stored data contradicts itself."""

    code = "damaged"
    exit_code = 12


class CatalogDamagedError(DamagedError):
    """The catalog is damaged, or its disk fails; from then on it is only read.

    Args:
        is_lasting: Whether it still is when the knowledge base is opened again.
    """

    code = "catalog_damaged"

    def __init__(self, what: str, *, unchanged: str = "", hint: str = "", is_lasting: bool = True) -> None:
        super().__init__(what, unchanged=unchanged, hint=hint)
        self.is_lasting = is_lasting


class MismatchError(KBError):
    """The data is sound, but was made by something else than what is used now."""

    code = "mismatch"
    exit_code = 13
    http_status = 409


class ModelMismatchError(MismatchError):
    """The embedding model is not the one that made the collection's vectors."""

    code = "model_mismatch"


class SchemaMismatchError(MismatchError):
    """The declared schema or recipe differs from the stored one in a way that needs a migration."""

    code = "schema_mismatch"


class NewerCatalogError(MismatchError):
    """The catalog was written by a newer release."""

    code = "newer_catalog"


class ModelNotFoundError(KBError):
    """A model id resolves to nothing usable, or to weights with the wrong checksum."""

    code = "model_not_found"
    exit_code = 13
    http_status = 424


class LimitError(KBError):
    """A stated limit was exceeded or the disk is full."""

    code = "limit"
    exit_code = 14
    http_status = 507


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a hint that names the valid spelling closest to ``name``.

    Args:
        name: What was given.
        valid: What would have been accepted, in the order to list it.

    Returns:
        ``"did you mean 'x'? valid: …"`` when something is close, otherwise only the list (at most 20 names).
    """
    names = list(valid)
    close = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.6)
    listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    if not close:
        return f"valid: {listed}" if names else ""
    match = next(n for n in names if n.lower() == close[0])
    return f"did you mean '{match}'? valid: {listed}"
