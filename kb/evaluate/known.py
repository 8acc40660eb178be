"""Queries of which it is known whether they have an answer: from a file, and as somebody has judged them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kb import catalog as cat
from kb.embed import check_vectors
from kb.errors import FilterError, SourceError
from kb.evaluate.best_scores import Probe, best_documents
from kb.filters import check, parse
from kb.sources import open_source

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from kb.catalog import Connection
    from kb.filters import Filter
    from kb.schema import Schema
    from kb.sources import Row
    from kb.write import Target


@dataclass(frozen=True, slots=True)
class KnownQuery:
    """A query, whether any document answers it, and the checked filter it is asked with."""

    text: str
    has_answer: bool
    filter: Filter | None = None


def read_known(path: str | os.PathLike[str], schema: Schema) -> list[KnownQuery]:
    """Read queries from a file with ``query``, ``relevant`` (a list of ids; empty for no answer) and maybe ``where``.

    Args:
        path: JSON Lines, or any other input that holds lists; ``-`` for standard input.
        schema: What filters are checked against.

    Raises:
        SourceError: The file cannot be read, or one of its rows is no such query.
    """
    source = open_source(str(path))
    return [_known(source.name, row, schema) for row in source.rows()]


def _known(name: str, row: Row, schema: Schema) -> KnownQuery:
    where = f"{name}, line {row.line}"
    if row.problem is not None:
        raise SourceError(f"{where}: {row.problem}")
    text, relevant, filter = (row.values.get(key) for key in ("query", "relevant", "where"))
    if not isinstance(text, str) or not text.strip():
        raise SourceError(f"{where} has no 'query'", hint=_SHAPE)
    if not isinstance(relevant, list):
        raise SourceError(f"{where} has no list 'relevant'", hint=_SHAPE)
    if filter is None:
        return KnownQuery(text.strip(), bool(relevant))
    try:
        return KnownQuery(text.strip(), bool(relevant), check(parse(str(filter)), schema))
    except FilterError as error:
        raise SourceError(f"{where}: {error}", hint=error.hint) from None


_SHAPE = 'each row is a query: {"query": "…", "relevant": ["id", …]}; an empty list means that there is no answer'


def stored_known(connection: Connection, target: Target) -> list[KnownQuery]:
    """Return the queries whose documents have been judged, as far as the judgements say whether there is an answer.

    A query has one if a document that was said to answer it still exists. It has none if none was, and the document
    that is nearest to it was said not to answer it.
    """
    judged = cat.judged_texts(connection, target.collection.id)
    answered = [KnownQuery(one.text, has_answer=True) for one in judged if one.answers]
    return answered + _without_answer(connection, target, [one for one in judged if not one.answers and not one.gone])


def _without_answer(connection: Connection, target: Target, judged: Sequence[cat.JudgedText]) -> list[KnownQuery]:
    if not judged:
        return []
    vectors = target.encoder().encode_queries([one.text for one in judged])
    checked = check_vectors(vectors, len(judged), target.collection.dimension)
    *_, found = best_documents(connection, target.collection, [Probe(vector) for vector in checked])
    keys = cat.keys_of(connection, np.unique(found.seqs).tolist())
    return [
        KnownQuery(one.text, has_answer=False)
        for one, seq in zip(judged, found.seqs.tolist(), strict=True)
        if keys.get(seq) in one.wrong
    ]
