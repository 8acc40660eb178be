"""Queries of which it is known whether they have an answer: from a file, and as somebody has judged them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kb import catalog as cat
from kb.embed import check_vectors
from kb.errors import FilterError
from kb.evaluate.best_scores import Probe, best_documents
from kb.evaluate.cases import read_queries
from kb.filters import check, parse

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from kb.catalog import Connection
    from kb.evaluate.cases import JudgedQuery
    from kb.filters import Filter
    from kb.schema import Schema
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
        path: As for ``read_queries``.
        schema: What filters are checked against.

    Raises:
        SourceError: The file cannot be read, or one of its rows is no such query.
        UsageError: It holds something else than queries.
        FilterError: A filter does not fit the schema; the message names the query.
    """
    return [KnownQuery(query.text, query.has_answer, _checked(query, schema)) for query in read_queries(path)]


def _checked(query: JudgedQuery, schema: Schema) -> Filter | None:
    if query.where is None:
        return None
    try:
        return check(parse(query.where), schema)
    except FilterError as error:
        raise FilterError(f"query {query.id}: {error}", position=error.position, hint=error.hint) from None


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
