"""One filter, three readings: Python, SQL over the stored JSON, and Chroma's ``where`` select the same documents."""

from __future__ import annotations

import itertools
import json
import random
import warnings
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, Text, event, insert, select

from kb.catalog.filter_sql import register_functions, to_sql
from kb.filters import (
    And,
    Between,
    Comparison,
    Contains,
    Filter,
    Has,
    In,
    IsNull,
    Not,
    Op,
    Or,
    StartsWith,
    check,
    field,
    matches,
    parse,
)
from kb.filters.language import MAX_CHARACTERS
from kb.index.filter_where import DOCUMENT_KEY, MAX_CONDITIONS, to_where
from kb.index.values import index_value
from kb.schema import Document, Field, FieldType, Scalar, build_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

with warnings.catch_warnings():
    # What chromadb's own imports warn of is none of our business.
    warnings.simplefilter("ignore")
    import chromadb
    from chromadb.config import Settings

_F = FieldType
_SCHEMA = build_schema(
    [
        Field("kind", _F.STR, choices=("nlp", "ml", "straße")),
        Field("name", _F.STR),
        Field("author", _F.STR, required=False),
        Field("body", _F.TEXT, required=False),
        Field("stars", _F.INT),
        Field("größe", _F.INT, required=False),
        Field("rating", _F.FLOAT),
        Field("score2", _F.FLOAT, required=False),
        Field("ok", _F.BOOL),
        Field("draft", _F.BOOL, required=False),
        Field("published", _F.DATE),
        Field("seen", _F.DATE, required=False),
        Field("created", _F.DATETIME),
        Field("changed", _F.DATETIME, required=False),
        Field("tags", _F.STR, many=True),
        Field("numbers", _F.INT, many=True),
        Field("weights", _F.FLOAT, many=True),
        Field("flags", _F.BOOL, many=True),
        Field("days", _F.DATE, many=True),
        Field("times", _F.DATETIME, many=True),
    ],
    text="{kind}",
)

_STRINGS: Final = (
    *(
        "",
        "a",
        "A",
        "ab",
        "b",
        "z",
        "nlp",
        "ß",
        "SS",
        "ss",
        "straße",
        "STRASSE",
        "İ",
        "i̇",
        "i",
        "ı",
        "ſ",
        "é",
        "e\u0301",
    ),
    *(
        "ΐ",
        "Σς",
        "\U0001f600",
        "\uffff",
        "\x7f",
        "\n",
        "%",
        "_",
        "'",
        '"',
        "\\",
        "' OR 1=1 --",
        " a",
        "1",
        "1.0",
        "true",
    ),
    *("null", "2024-01-31", "[]", "ﬁ", "\u200d", "\ufeff"),
)
_INTS: Final = (
    *(
        0,
        1,
        -1,
        2,
        3,
        -3,
        10,
        2**31,
        2**53,
        2**53 + 1,
        -(2**53) - 1,
        2**62,
        2**63 - 1,
        2**63 - 2,
        -(2**63),
        -(2**63) + 1,
    ),
)
_FLOATS: Final = (
    *(0.0, -0.0, 1.0, 1.5, -1.5, 2.0, 0.1, 0.30000000000000004, 3.0, 5e-324, -5e-324, 2.5, -2.5, 1e16, 1e22, 1e300),
    *(2.0**53, 2.0**63, -(2.0**63), 1.7976931348623157e308, -1.7976931348623157e308, 9007199254740994.0),
)
_DATES: Final = (date.min, date.max, date(999, 12, 31), date(1969, 12, 31), date(1970, 1, 1), date(2024, 1, 31))
_TIMES: Final = tuple(
    datetime.fromisoformat(f"{text}+00:00")
    for text in (
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59.999999",
        "1970-01-01T00:00:00",
        "1969-12-31T23:59:59.999999",
        "2024-01-31T00:00:00",
        "2024-01-31T12:00:00.000001",
        "0987-06-05T04:03:02.000001",
    )
)
_ANY_STRING = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)
_EAST = timezone(timedelta(hours=2))
_VALUES: Final[dict[FieldType, st.SearchStrategy[Any]]] = {
    _F.STR: st.sampled_from(_STRINGS) | _ANY_STRING,
    _F.TEXT: st.sampled_from(_STRINGS) | _ANY_STRING,
    _F.INT: st.sampled_from(_INTS) | st.integers(-(2**63), 2**63 - 1),
    _F.FLOAT: st.sampled_from(_FLOATS) | st.floats(allow_nan=False, allow_infinity=False),
    _F.BOOL: st.booleans(),
    _F.DATE: st.sampled_from(_DATES) | st.dates(),
    _F.DATETIME: st.sampled_from(_TIMES) | st.datetimes(timezones=st.just(UTC)),
}
_POOLS: Final[dict[FieldType, Sequence[Any]]] = {
    _F.STR: _STRINGS,
    _F.TEXT: _STRINGS,
    _F.INT: _INTS,
    _F.FLOAT: _FLOATS,
    _F.BOOL: (True, False),
    _F.DATE: _DATES,
    _F.DATETIME: _TIMES,
}
_ZONES = st.sampled_from([None, UTC, _EAST])
_MIDDLE_TIMES = st.datetimes(timezones=_ZONES).filter(lambda time: 1 < time.year < 9999)
# Operands that are cast: a float for an int, an int for a float, a string for a date, a time in another zone.
_OPERANDS: Final[dict[FieldType, st.SearchStrategy[Any]]] = {
    **_VALUES,
    _F.INT: _VALUES[_F.INT] | _VALUES[_F.FLOAT] | st.integers(-4, 4).map(lambda n: n / 2),
    _F.FLOAT: _VALUES[_F.FLOAT] | _VALUES[_F.INT],
    _F.DATE: _VALUES[_F.DATE] | _VALUES[_F.DATE].map(str),
    _F.DATETIME: _VALUES[_F.DATETIME] | _VALUES[_F.DATE] | _VALUES[_F.DATE].map(str) | _MIDDLE_TIMES,
}


def _operands(declared: Field, *, listed: bool) -> st.SearchStrategy[Scalar]:
    if declared.choices is not None and listed:
        return st.sampled_from(declared.choices)
    return _OPERANDS[declared.type]


def _leaves(declared: Field) -> st.SearchStrategy[Filter]:
    name = st.just(declared.name)
    listed, free = _operands(declared, listed=True), _operands(declared, listed=False)
    several = st.lists(listed, min_size=1, max_size=4).map(tuple)
    forms: list[st.SearchStrategy[Filter]] = [st.builds(IsNull, name)]
    if declared.many:
        return st.one_of(*forms, st.builds(Has, name, several, st.sampled_from(["any", "all"])))
    forms += [st.builds(Comparison, name, st.sampled_from([Op.EQ, Op.NE]), listed), st.builds(In, name, several)]
    if declared.type is not _F.BOOL:
        order = st.sampled_from([Op.LT, Op.LE, Op.GT, Op.GE])
        forms += [st.builds(Comparison, name, order, free), st.builds(Between, name, free, free)]
    if declared.is_string:
        forms += [st.builds(Contains, name, free), st.builds(StartsWith, name, free)]
    return st.one_of(*forms)


def _compound(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    parts = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(inner, st.builds(Not, inner), st.builds(And, parts), st.builds(Or, parts))


_LEAVES = st.sampled_from([*_SCHEMA.fields.values(), Field("id", _F.STR)]).flatmap(_leaves)
_FILTERS = _compound(_compound(_compound(_LEAVES)))


@st.composite
def _documents(draw: st.DrawFn) -> list[Document]:
    documents = []
    for number in range(draw(st.integers(1, 4))):
        raw: dict[str, object] = {"id": f"{draw(st.sampled_from(['a', 'ß', '1', 'é']))}{number}"}
        for declared in _SCHEMA.fields.values():
            one = st.sampled_from(declared.choices) if declared.choices else _VALUES[declared.type]
            if declared.many:
                raw[declared.name] = draw(st.lists(one, max_size=2))
            elif declared.required or draw(st.booleans()):
                raw[declared.name] = draw(one)
        documents.append(_SCHEMA.document(raw, textual=False, separators={}))
    return documents


def _many_documents(number: int) -> list[Document]:
    """Documents whose values are drawn from the pools, so that operands often meet an equal value."""
    chance = random.Random(20240131)
    documents = []
    for i in range(number):
        raw: dict[str, object] = {"id": f"{chance.choice(['a', 'ß', '1', 'é'])}{i}"}
        for declared in _SCHEMA.fields.values():
            pool = declared.choices or _POOLS[declared.type]
            if declared.many:
                raw[declared.name] = chance.choices(pool, k=chance.randrange(4))
            elif declared.required or chance.random() < 0.6:
                raw[declared.name] = chance.choice(pool)
        documents.append(_SCHEMA.document(raw, textual=False, separators={}))
    return documents


_TABLE = Table("documents", MetaData(), Column("key", Text, primary_key=True), Column("fields", Text))


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlalchemy.Connection]:
    """An empty table ``documents`` in memory."""
    engine = sqlalchemy.create_engine("sqlite://")
    event.listen(engine, "connect", lambda dbapi, _record: register_functions(dbapi))
    with engine.connect() as opened:
        _TABLE.metadata.create_all(opened)
        yield opened
    engine.dispose()


@pytest.fixture(scope="module")
def new_collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Sequence[Document]], Any]]:
    """Makes a Chroma collection of documents; never the same one twice, since deleting one leaks into the next."""
    client: Any = chromadb.PersistentClient(
        tmp_path_factory.mktemp("chroma"), settings=Settings(anonymized_telemetry=False)
    )
    numbers = itertools.count()

    def make(documents: Sequence[Document]) -> Any:
        collection = client.create_collection(f"readings-{next(numbers)}", embedding_function=None)
        metadatas = [
            {
                DOCUMENT_KEY: document.id,
                **{
                    name: value
                    for name, declared in _SCHEMA.fields.items()
                    if (value := index_value(declared, document.__dict__.get(name))) is not None
                },
            }
            for document in documents
        ]
        ids = [document.id for document in documents]
        collection.add(ids=ids, embeddings=[[1.0, float(i)] for i in range(len(ids))], metadatas=metadatas)
        return collection

    yield make
    client.close()


def _store(connection: sqlalchemy.Connection, documents: Sequence[Document]) -> None:
    connection.execute(_TABLE.delete())
    rendered = [_SCHEMA.render(document) for document in documents]
    connection.execute(insert(_TABLE), [{"key": one.id, "fields": one.fields} for one in rendered])


def _assert_agree(
    given_filter: Filter, documents: Sequence[Document], connection: sqlalchemy.Connection, collection: Any
) -> tuple[int, bool]:
    """Return how many documents match, and whether Chroma could say the filter."""
    text = str(given_filter)
    checked = check(given_filter, _SCHEMA)
    if len(text) <= MAX_CHARACTERS:
        assert parse(text) == given_filter
        assert check(parse(text), _SCHEMA) == checked
    expected = {document.id for document in documents if matches(checked, document)}
    found = set(connection.scalars(select(_TABLE.c.key).where(to_sql(given_filter, _SCHEMA))))
    assert found == expected, f"SQL reads differently: {text}"
    where = to_where(given_filter, _SCHEMA)
    if where is not None:
        found = set(collection.get(where=where, include=[])["ids"])
        assert found == expected, f"Chroma reads differently: {text}\nas {where}"
    return len(expected), where is not None


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(_documents(), st.lists(_FILTERS, min_size=1, max_size=3))
def test_faults_G5_G6_three_readings_agree_on_any_documents(
    connection: sqlalchemy.Connection,
    new_collection: Callable[[Sequence[Document]], Any],
    documents: list[Document],
    filters: list[Filter],
) -> None:
    _store(connection, documents)
    collection = new_collection(documents)
    for given_filter in filters:
        _assert_agree(given_filter, documents, connection, collection)


def test_faults_G5_G6_three_readings_agree_on_many_documents(
    connection: sqlalchemy.Connection, new_collection: Callable[[Sequence[Document]], Any]
) -> None:
    documents = _many_documents(200)
    collection = new_collection(documents)
    _store(connection, documents)
    seen: list[tuple[int, bool]] = []

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_FILTERS)
    def agree(given_filter: Filter) -> None:
        seen.append(_assert_agree(given_filter, documents, connection, collection))

    agree()
    # Agreement about nothing would prove nothing.
    assert sum(0 < count < len(documents) for count, _ in seen) > 100
    assert sum(expressible for _, expressible in seen) > 50


def test_faults_G5_every_bound_agrees_with_every_number(
    connection: sqlalchemy.Connection, new_collection: Callable[[Sequence[Document]], Any]
) -> None:
    documents = _many_documents(200)
    collection = new_collection(documents)
    _store(connection, documents)
    bounds = [-(2**63), -3, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2**53 + 1, 2.0**53, 2**63 - 1, 2.0**63, -(2.0**63), 1e300]
    for name, op, bound in itertools.product(("stars", "größe", "rating", "score2"), Op, bounds):
        condition = Comparison(name, op, bound)
        assert (to_where(condition, _SCHEMA) is not None) == (name in ("stars", "größe"))
        for given_filter in (condition, ~condition):
            _assert_agree(given_filter, documents, connection, collection)
    # A list of both types must not become a list of floats.
    _assert_agree(field("stars").is_in([0.0, 2**53 + 1]), documents, connection, collection)
    _assert_agree(field("numbers").has_any([0.5, 2**53 + 1]), documents, connection, collection)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('kind = "nlp"', {"kind": {"$eq": "nlp"}}),
        ('not kind != "nlp"', {"kind": {"$eq": "nlp"}}),
        ('kind not in ("nlp", "ml")', {"kind": {"$nin": ["nlp", "ml"]}}),
        ('id in ("a", "b")', {"document": {"$in": ["a", "b"]}}),
        ("stars < 1.5", {"stars": {"$lt": 2}}),
        ("stars <= 1.5", {"stars": {"$lte": 1}}),
        ("stars > 1.5", {"stars": {"$gt": 1}}),
        ("stars >= 1.5", {"stars": {"$gte": 2}}),
        ("stars = 1.5", {"document": {"$eq": ""}}),
        ("stars != 1.5", {"document": {"$ne": ""}}),
        ("stars in (1, 1.5, 2.0)", {"stars": {"$in": [1, 2]}}),
        ("stars < 1e30", {"stars": {"$gte": -(2**63)}}),
        ("stars between 1 and 2", {"$and": [{"stars": {"$gte": 1}}, {"stars": {"$lte": 2}}]}),
        ("not stars between 1.5 and 2", {"$or": [{"stars": {"$lt": 2}}, {"stars": {"$gt": 2}}]}),
        ("score2 is not null", {"score2": {"$gte": -1.7976931348623157e308}}),
        ("published >= 2024-01-31", {"published": {"$gte": 20240131}}),
        ("created = 1970-01-01T00:00:00.000001", {"created": {"$eq": 1}}),
        ('tags has "a"', {"tags": {"$contains": "a"}}),
        ('tags has all ("a", "b")', {"$and": [{"tags": {"$contains": "a"}}, {"tags": {"$contains": "b"}}]}),
        ('not tags has any ("a", "b")', {"$and": [{"tags": {"$not_contains": "a"}}, {"tags": {"$not_contains": "b"}}]}),
        ("draft is null", {"draft": {"$nin": [True, False]}}),
        ("größe is not null", {"größe": {"$gte": -(2**63)}}),
        ("kind is null", {"document": {"$eq": ""}}),
        ('not (kind = "ml" or ok = true)', {"$and": [{"kind": {"$ne": "ml"}}, {"ok": {"$ne": True}}]}),
        # What Chroma cannot say, or not exactly.
        ("rating > 4", None),
        ("rating = 4", None),
        ("rating in (4, 5)", None),
        ("weights has 0.5", None),
        ('name contains "a"', None),
        ('name starts with "a"', None),
        ('name > "a"', None),
        ("author is null", None),
        ("author is not null", None),
        ("größe is null", None),
        ("tags is null", None),
        ("not größe < 3", None),
        ("not seen between 2024-01-01 and 2024-12-31", None),
        ('kind = "ml" and name contains "a"', None),
        ('kind = "ml" or tags is null', None),
    ],
)
def test_where_says_exactly_the_filter_or_nothing(text: str, where: dict[str, object] | None) -> None:
    assert to_where(parse(text), _SCHEMA) == where


def test_chroma_still_rounds_floats(new_collection: Callable[[Sequence[Document]], Any]) -> None:
    """The reason for asking Chroma nothing about floats; when this fails, ``to_where`` may learn to."""
    long, short = 0.20938417613145166, 0.2093841761314517
    assert long < short
    raw = {"kind": "ml", "name": "", "stars": 1, "rating": long, "ok": True}
    times = {"published": "2024-01-31", "created": "2024-01-31"}
    collection = new_collection([_SCHEMA.document({"id": "a", **raw, **times}, textual=False, separators={})])
    assert collection.get("a")["metadatas"][0]["rating"] == short
    assert collection.get(where={"rating": {"$lt": short}})["ids"] == []


def test_faults_G7_where_stays_below_the_depth_that_chroma_can_take(
    new_collection: Callable[[Sequence[Document]], Any],
) -> None:
    collection = new_collection(_many_documents(3))
    most = field("tags").has_any([f"t{i}" for i in range(MAX_CONDITIONS)])
    assert collection.get(where=to_where(most, _SCHEMA), include=[])["ids"] == []
    assert collection.get(where=to_where(~most, _SCHEMA), include=[])["ids"] != []
    assert to_where(field("tags").has_any([f"t{i}" for i in range(MAX_CONDITIONS + 1)]), _SCHEMA) is None


def test_faults_G7_largest_filter_is_within_the_limits_of_both_databases(
    connection: sqlalchemy.Connection, new_collection: Callable[[Sequence[Document]], Any]
) -> None:
    documents = _many_documents(20)
    collection = new_collection(documents)
    _store(connection, documents)
    parts = [field("größe").is_in(range(i * 1_000, (i + 1) * 1_000)) for i in range(10)]
    largest: Filter = Or((*parts, *(field("stars") == i + 20_000 for i in range(90))))
    _assert_agree(largest, documents, connection, collection)
    _assert_agree(~largest, documents, connection, collection)


def test_faults_G7_operands_are_bound_and_never_become_sql(connection: sqlalchemy.Connection) -> None:
    evil = "' OR 1=1; DROP TABLE documents; --"
    _store(connection, _many_documents(5))
    for condition in (field("name") == evil, field("name").contains(evil), field("tags").has(evil)):
        statement = select(_TABLE.c.key).where(to_sql(condition, _SCHEMA))
        assert evil not in str(statement.compile(connection))
        assert (
            evil in statement.compile(connection).params.values()
            or evil.casefold() in repr(statement.compile(connection).params).casefold()
        )
        connection.execute(statement)


@pytest.mark.parametrize(
    "text",
    [
        "stars = 3",
        "stars in (1, 2, 3)",
        "stars < 3",
        "stars >= 3",
        "stars between 1 and 3",
        "stars = 3 and not rating < 2",
    ],
)
def test_sql_uses_an_index_on_the_same_expression(text: str) -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        _TABLE.metadata.create_all(connection)
        connection.exec_driver_sql("CREATE INDEX by_stars ON documents (json_extract(fields, '$.stars'))")
        statement = select(_TABLE.c.key).where(to_sql(parse(text), _SCHEMA))
        compiled: Any = statement.compile(connection, compile_kwargs={"render_postcompile": True})
        operands = tuple(compiled.params[name] for name in compiled.positiontup)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", operands).all()
    engine.dispose()
    assert any("USING INDEX by_stars (<expr>" in row[-1] for row in plan), plan


def test_sql_reads_back_every_number_that_json_can_hold(connection: sqlalchemy.Connection) -> None:
    chance = random.Random(7)
    numbers = [*_FLOATS, *(chance.uniform(-5, 5) for _ in range(2_000)), *(chance.gauss(0, 1e200) for _ in range(500))]
    for number in numbers:
        text = json.dumps(number)
        assert connection.exec_driver_sql("SELECT json_extract(?, '$') = ?", (text, number)).scalar() == 1, text


def test_index_values_have_one_type_per_field_and_the_order_of_the_values() -> None:
    assert index_value(Field("x", _F.FLOAT), 3) == 3.0
    assert isinstance(index_value(Field("x", _F.FLOAT), 3), float)
    assert index_value(Field("x", _F.BOOL), True) is True
    assert index_value(Field("x", _F.DATE), date(1, 2, 3)) == 10203
    assert index_value(Field("x", _F.DATETIME), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)) == 253402300799999999
    assert index_value(Field("x", _F.DATETIME), datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)) == -1
    assert index_value(Field("x", _F.DATE, many=True), [date(2024, 1, 31)]) == [20240131]
    assert index_value(Field("x", _F.STR, many=True), []) is None
    assert index_value(Field("x", _F.STR, required=False), None) is None
