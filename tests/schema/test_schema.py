"""Schemas: declarations that are refused, and the way from raw values to documents."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.errors import DocumentError, SchemaError
from kb.schema import Field, FieldType, Schema, build_schema, content_hash, normal_id

BODY = Field("body", FieldType.TEXT)
ARTICLE = build_schema(
    [
        Field("title", FieldType.STR),
        BODY,
        Field("category", FieldType.STR, choices=("ml", "nlp")),
        Field("published", FieldType.DATE),
        Field("seen", FieldType.DATETIME, required=False),
        Field("tags", FieldType.STR, many=True, separator=";"),
        Field("sizes", FieldType.INT, many=True),
        Field("rating", FieldType.FLOAT, required=False, minimum=0, maximum=5),
        Field("pages", FieldType.INT, required=False),
        Field("free", FieldType.BOOL, required=False, default=False),
    ],
    key="number",
    text="{title}\n\n{body}",
)
TEXTUAL = {
    "id": " a1 ",
    "title": "T",
    "body": "B",
    "category": "ml",
    "published": "2024-01-31",
    "seen": "2024-01-31T12:00:00+01:00",
    "tags": "x; y ;;",
    "sizes": "[1, 2]",
    "rating": "4",
    "pages": "007",
    "free": "yes",
}
TYPED = {
    "id": "a1",
    "title": "T",
    "body": "B",
    "category": "ml",
    "published": date(2024, 1, 31),
    "seen": datetime(2024, 1, 31, 11, tzinfo=UTC),
    "tags": ["x", "y"],
    "sizes": [1, 2],
    "rating": 4.0,
    "pages": 7,
    "free": True,
}


def document(schema: Schema, /, **values: object):
    return schema.document(values, textual=False, separators={})


def problems(schema: Schema, /, *, textual: bool = False, **values: object) -> tuple[str, ...]:
    with pytest.raises(DocumentError) as caught:
        schema.document({"id": "a1", **values}, textual=textual, separators={})
    return caught.value.problems


def article_problems(*, textual: bool = False, **changes: object) -> tuple[str, ...]:
    valid = {"title": "T", "body": "B", "category": "ml", "published": "2024-01-31"}
    return problems(ARTICLE, textual=textual, **{**valid, **changes})


def refusal(*fields: Field, text: str | None = "{body}") -> tuple[str, str]:
    with pytest.raises(SchemaError) as caught:
        build_schema([BODY, *fields], text=text)
    return str(caught.value), caught.value.hint


def test_text_becomes_typed_values():
    made = ARTICLE.document(TEXTUAL, textual=True, separators={})
    assert made.__dict__ == TYPED
    assert {name: type(value) for name, value in made.__dict__.items()} == {n: type(v) for n, v in TYPED.items()}


def test_json_values_become_the_same_document_as_text():
    raw = {**TYPED, "published": "2024-01-31", "seen": "2024-01-31T11:00:00Z", "rating": 4}
    assert document(ARTICLE, **raw) == ARTICLE.document(TEXTUAL, textual=True, separators={})


def test_a_given_separator_wins_over_the_declared_one():
    made = ARTICLE.document(
        {**TEXTUAL, "tags": "x,y;z", "sizes": "1+2"}, textual=True, separators={"tags": ",", "sizes": "+"}
    )
    assert (made.tags, made.sizes) == (["x", "y;z"], [1, 2])


def test_what_is_left_out_is_none_an_empty_list_or_the_default():
    made = document(ARTICLE, id=1, title="T", body="B", category="ml", published=date(2024, 1, 31))
    assert (made.seen, made.tags, made.rating, made.free) == (None, [], None, False)


def test_empty_text_means_missing_and_empty_json_does_not():
    assert article_problems(textual=True, title="", body="") == ("title: is missing", "body: is missing")
    assert document(ARTICLE, **{**TYPED, "title": ""}).title == ""


def test_faults_E14_null_words_stay_literally_in_text():
    made = ARTICLE.document({**TEXTUAL, "title": "None", "body": "N/A", "tags": "NULL;-"}, textual=True, separators={})
    assert (made.title, made.body, made.tags) == ("None", "N/A", ["NULL", "-"])


def test_faults_F8_all_problems_of_a_document_are_reported_together():
    with pytest.raises(DocumentError) as caught:
        document(
            ARTICLE,
            id="a1",
            body=7,
            category="x",
            published="01/02/2024",
            tags=["a", 1],
            rating=6.5,
            pages="5",
            free=1,
            titel="T",
        )
    assert caught.value.problems == (
        "published: '01/02/2024' is not an ISO date (write 2024-01-31)",
        f"titel: unknown field; did you mean 'title'? valid: {', '.join(ARTICLE.fields)}",
        "title: is missing",
        "body: input should be a valid string, got 7",
        "category: input should be 'ml' or 'nlp', got 'x'",
        "tags[1]: input should be a valid string, got 1",
        "rating: input should be less than or equal to 5, got 6.5",
        "pages: input should be a valid integer, got '5'",
        "free: input should be a valid boolean, got 1",
    )
    assert str(caught.value) == "document 'a1': " + "; ".join(caught.value.problems)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"pages": True}, "pages: input should be a valid integer, got True"),
        ({"pages": 1.0}, "pages: input should be a valid integer, got 1.0"),
        ({"rating": True}, "rating: input should be a valid number, got True"),
        ({"rating": "4"}, "rating: input should be a valid number, got '4'"),
        ({"free": "true"}, "free: input should be a valid boolean, got 'true'"),
        ({"title": 5}, "title: input should be a valid string, got 5"),
        ({"title": None}, "title: is missing"),
        ({"published": 20240131}, "published: input should be a valid date, got 20240131"),
        ({"published": datetime(2024, 1, 31, 12, tzinfo=UTC)}, None),
        ({"tags": "x"}, "tags: input should be a valid list, got 'x'"),
        ({"rating": float("nan")}, "rating: nan is not a finite number"),
        ({"rating": -0.1}, "rating: input should be greater than or equal to 0, got -0.1"),
    ],
)
def test_faults_F8_values_are_never_turned_into_another_type(changes, problem):
    found = article_problems(**changes)
    if problem is None:
        assert len(found) == 1
        assert found[0].startswith("published: ")
    else:
        assert found == (problem,)


def test_faults_F8_ten_problems_are_shown_and_all_are_kept():
    fields = [Field(f"f{n}", FieldType.INT) for n in range(12)]
    with pytest.raises(DocumentError) as caught:
        document(build_schema([*fields, BODY]), id="a1")
    assert len(caught.value.problems) == 13
    listed = "; ".join(f"f{n}: is missing" for n in range(10))
    assert str(caught.value) == f"document 'a1': {listed}; and 3 more"


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_faults_F3_integers_beyond_64_bits_are_refused(value):
    assert article_problems(pages=value) == (f"pages: {value} is outside the 64-bit range",)
    assert article_problems(pages=str(value), textual=True) == (f"pages: '{value}' is outside the 64-bit range",)


def test_faults_F3_an_integer_too_long_to_print_is_refused():
    assert len(article_problems(pages=10**5000)) == 1
    assert article_problems(pages=10**5000)[0].endswith("is outside the 64-bit range")
    with pytest.raises(DocumentError, match=r"64|512"):
        document(ARTICLE, **{**TYPED, "id": 10**5000})


def test_faults_F5_lone_surrogates_are_refused_in_every_place():
    assert article_problems(title="a\ud800") == ("title: 'a\\ud800' is not valid Unicode at character 1",)
    assert article_problems(tags=["a", "\ud800"]) == ("tags: ['a', '\\ud800'] is not valid Unicode at character 0",)
    assert article_problems(id="\udc00") == ("number: is not valid Unicode at character 0",)
    assert len(article_problems(**{"\ud800": 1})) == 1


@pytest.mark.parametrize("value", [{"a": 1}, [["a"]], ["a", 1], ["a", None], [{"a": 1}]])
def test_faults_F9_nested_and_mixed_values_are_refused(value):
    found = article_problems(tags=value)
    assert len(found) >= 1
    assert {problem.partition(":")[0].partition("[")[0] for problem in found} == {"tags"}


def test_faults_F9_a_list_cell_is_a_json_array_of_scalars_or_has_a_separator():
    assert article_problems(textual=True, sizes="1;2") == (
        'sizes: \'1;2\' is not a list (write ["a", "b"], or give the field a separator)',
    )
    assert article_problems(textual=True, sizes="[[1]]") == (
        'sizes: \'[[1]]\' is not a list (write ["a", "b"], or give the field a separator)',
    )
    assert article_problems(textual=True, sizes="[" * 100_000)[0].startswith("sizes: '[[[[")
    assert article_problems(textual=True, sizes="[1, 2.5]") == ("sizes: '[1, 2.5]' is not a whole number",)
    assert ARTICLE.document({**TEXTUAL, "sizes": "[]"}, textual=True, separators={}).sizes == []


@pytest.mark.parametrize(
    "name",
    ["", "$and", "#document", "chroma:document", "a b", "a-b", "1a", "_hidden", "class", "None", "x" * 129, "a\x00"],
)
def test_faults_F10_names_that_cannot_name_a_field_are_refused(name):
    assert refusal(Field(name, FieldType.STR)) == (
        f"'{name}' cannot name a field",
        "use letters, digits and _, a letter first; map the column: --map 'COLUMN=field'",
    )


def test_the_id_is_not_declared():
    assert refusal(Field("id", FieldType.STR)) == (
        "the id is always there, it is not declared as a field",
        "leave it out",
    )


@pytest.mark.parametrize("name", ["document", "chunk", "score", "model_dump", "model_fields", "model_config"])
def test_faults_F10_reserved_names_are_refused(name):
    assert refusal(Field(name, FieldType.STR)) == (
        f"the field name '{name}' is reserved",
        f"choose another name and map the column: --map {name}=NAME",
    )


@pytest.mark.parametrize(
    "name",
    [
        *(n for n in dir(pydantic.BaseModel) if not n.startswith(("_", "model_"))),
        *("model", "model_name", "größe", "標題", "x" * 128, "text_template", "text", "date", "match", "self", "key"),
    ],
)
def test_faults_F10_any_other_identifier_can_name_a_field(name):
    schema = build_schema([BODY, Field(name, FieldType.STR, required=False)], text=f"{{{name}}} {{body}}")
    made = document(schema, id="a", body="B", **{name: "v"})
    rendered = schema.render(made)
    assert rendered.text == "v B"
    assert schema.load("a", rendered.fields).__dict__ == {"id": "a", "body": "B", name: "v"}
    assert schema.check(made) == made


def test_faults_F11_a_document_may_have_nothing_but_text():
    schema = build_schema([BODY])
    assert schema.render(document(schema, id="a", body="B"))[:3] == ("a", '{"body":"B"}', "B")


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u00a0\u2003\u3000", "\x1f\x85"])
def test_faults_F12_text_of_white_space_only_is_refused(text):
    assert problems(build_schema([BODY]), body=text) == (
        "text: the template '{body}' renders as nothing but white space",
    )


def test_faults_F12_a_rendered_text_may_have_one_megabyte():
    schema = build_schema([BODY, Field("title", FieldType.STR)], text="{title} {body}")
    assert len(schema.text(document(schema, id="a", title="t", body="x" * (2**20 - 2)))) == 2**20
    assert problems(schema, title="t", body="x" * (2**20 - 1)) == (
        "text: is 1,048,577 bytes long; the limit is 1,048,576",
    )
    assert problems(schema, title="t", body="x" * (2**20 + 1)) == (
        f"body: '{'x' * 49}…' is 1,048,577 bytes long; the limit is 1,048,576",
    )


@pytest.mark.parametrize("text", ["👩‍👩‍👧‍👦👍🏽", "\u202eabc\u202c", "שלום", "e\u0301"])
def test_faults_F12_emoji_and_bidi_text_is_kept_as_it_is(text):
    schema = build_schema([BODY])
    rendered = schema.render(document(schema, id="a", body=text))
    assert schema.load("a", rendered.fields).body == rendered.text == text


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (" a1\n", "a1"),
        (17, "17"),
        ("Cafe\u0301", "Café"),
        ("x" * 512, "x" * 512),
        ("é" * 256, "é" * 256),
        (" " + "x" * 512 + " ", "x" * 512),
        ("a/b?c#d%e f", "a/b?c#d%e f"),
        ("👍🏽", "👍🏽"),
        ("שלום", "שלום"),
        ("A", "A"),
        ("a", "a"),
    ],
)
def test_faults_E18_ids_have_one_stored_form(raw, key):
    assert normal_id(raw) == key


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (None, "the id is missing"),
        ("", "the id is empty"),
        (" \t\u2003", "the id is empty"),
        (True, "the id True is neither a string nor a whole number"),
        (1.0, "the id 1.0 is neither a string nor a whole number"),
        (["a"], "the id ['a'] is neither a string nor a whole number"),
        ("a\nb", "the id 'a\\nb' holds a control character"),
        ("a\x7fb", "the id 'a\\x7fb' holds a control character"),
        ("a\x85b", "the id 'a\\x85b' holds a control character"),
        ("a\x00b", "contains a NUL character"),
        ("x" * 513, "is 513 bytes long; the limit is 512"),
        ("é" * 256 + "x", "is 513 bytes long; the limit is 512"),
        ("x" * 10_000, "is 10,000 bytes long; the limit is 512"),
    ],
)
def test_faults_E18_other_ids_are_refused(raw, message):
    with pytest.raises(ValueError) as caught:
        normal_id(raw)
    assert str(caught.value) == message


@given(st.text(max_size=200))
def test_faults_E18_the_stored_form_of_an_id_is_stable(raw):
    try:
        key = normal_id(raw)
    except ValueError:
        return
    assert normal_id(key) == key == key.strip()


def test_the_id_is_named_by_its_input_column_and_reported_first():
    with pytest.raises(DocumentError) as caught:
        document(ARTICLE, title="T", body="B", category="ml", published="2024-01-31", pages="x")
    assert caught.value.problems == ("number: the id is missing", "pages: input should be a valid integer, got 'x'")
    assert str(caught.value) == "; ".join(caught.value.problems)


def test_changes_replace_values_and_none_takes_them_away():
    before = document(ARTICLE, **TYPED)
    after = ARTICLE.with_changes(before, {"rating": None, "tags": ["z"], "free": None}, textual=False, separators={})
    assert after.__dict__ == {**TYPED, "rating": None, "tags": ["z"], "free": False}
    assert before.__dict__ == TYPED


def test_changes_given_as_text_are_parsed():
    changes = {"rating": "", "pages": "8", "tags": "a|b"}
    after = ARTICLE.with_changes(document(ARTICLE, **TYPED), changes, textual=True, separators={"tags": "|"})
    assert after.__dict__ == {**TYPED, "rating": None, "pages": 8, "tags": ["a", "b"]}


def test_a_change_of_the_id_or_to_an_invalid_document_is_refused():
    before = document(ARTICLE, **TYPED)
    with pytest.raises(DocumentError) as caught:
        ARTICLE.with_changes(before, {"id": "a2", "pages": "x", "titel": "T"}, textual=True, separators={})
    assert caught.value.problems[:2] == (
        "id: cannot be changed; add a document under the new id and delete this one",
        "pages: 'x' is not a whole number",
    )
    assert caught.value.problems[2].startswith("titel: unknown field; did you mean 'title'?")
    with pytest.raises(DocumentError, match=r"^document 'a1': title: is missing$"):
        ARTICLE.with_changes(before, {"title": None}, textual=False, separators={})


def test_stored_fields_are_canonical_and_load_to_the_same_document():
    made = document(ARTICLE, **{**TYPED, "title": "Größe", "rating": None})
    rendered = ARTICLE.render(made)
    assert rendered.fields == (
        '{"title":"Größe","body":"B","category":"ml","published":"2024-01-31","seen":"2024-01-31T11:00:00.000000Z",'
        '"tags":["x","y"],"sizes":[1,2],"pages":7,"free":true}'
    )
    assert (rendered.id, rendered.text) == ("a1", "Größe\n\nB")
    assert rendered.fields_hash == content_hash(rendered.fields)
    assert rendered.text_hash == content_hash("Größe\n\nB")
    assert ARTICLE.load("a1", rendered.fields).__dict__ == made.__dict__


def test_content_hash_tells_apart_how_strings_are_divided():
    assert len({content_hash("ab"), content_hash("a", "b"), content_hash("ab", ""), content_hash("", "ab")}) == 4


def test_a_document_changed_in_python_is_checked_again():
    made = document(ARTICLE, **TYPED)
    made.rating = 7
    with pytest.raises(
        DocumentError, match=r"^document 'a1': rating: input should be less than or equal to 5, got 7.0$"
    ):
        ARTICLE.check(made)


def test_a_schema_survives_json():
    fields = [
        *ARTICLE.fields.values(),
        Field("level", FieldType.INT, choices=(1, 2), default=1),
        Field("days", FieldType.DATE, many=True, default=[date(2024, 1, 31)], separator=" "),
        Field("until", FieldType.DATETIME, required=False, default=datetime(2024, 1, 31, tzinfo=UTC)),
        Field("ratio", FieldType.FLOAT, required=False, minimum=0.5),
    ]
    schema = build_schema(fields, key="number", text="{body}")
    again = Schema.from_json(schema.to_json())
    assert again == schema
    assert list(again.fields) == [f.name for f in fields]
    assert again.to_json() == schema.to_json()
    assert document(again, **TYPED).__dict__ == document(schema, **TYPED).__dict__


def test_the_default_template_joins_the_prose_fields():
    schema = build_schema([Field("a", FieldType.TEXT), Field("b", FieldType.STR), Field("c", FieldType.TEXT)])
    assert schema.template.source == "{a}\n\n{c}"
    with pytest.raises(SchemaError) as caught:
        build_schema([Field("b", FieldType.STR), Field("c", FieldType.TEXT, many=True)])
    assert str(caught.value) == "no text template is given and no field has the type 'text'"
    assert caught.value.hint == 'say what is to be embedded, e.g. text = "{title}"'


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (Field("f", FieldType.STR, minimum=1), "the field 'f' has bounds, but its type is str"),
        (Field("f", FieldType.BOOL, maximum=1), "the field 'f' has bounds, but its type is bool"),
        (Field("f", FieldType.STR, separator=";"), "the field 'f' has a separator, but its type is str"),
        (Field("f", FieldType.STR, choices=("a", 1)), "the field 'f' offers 1, which is not of type str"),
        (Field("f", FieldType.FLOAT, choices=(1,)), "the field 'f' offers 1, which is not of type float"),
        (Field("f", FieldType.INT, choices=(True,)), "the field 'f' offers True, which is not of type int"),
        (Field("body", FieldType.STR), "the field 'body' is declared twice"),
    ],
)
def test_declarations_that_cannot_work_are_refused(declared, message):
    assert refusal(declared)[0] == message


@pytest.mark.parametrize(
    "declared",
    [
        Field("f", FieldType.STR, choices=("a", "b"), default="c"),
        Field("f", FieldType.INT, default="c"),
        Field("f", FieldType.INT, minimum=0, default=-1),
        Field("f", FieldType.STR, many=True, default="c"),
        Field("f", FieldType.INT, minimum=5, maximum=0),
    ],
)
def test_defaults_and_bounds_that_no_document_can_satisfy_are_refused(declared):
    assert "'f'" in refusal(declared)[0]


def test_64_fields_are_the_limit():
    many = [Field(f"f{n}", FieldType.STR, required=False) for n in range(64)]
    assert refusal(*many) == ("65 fields are declared; the limit is 64", "")
    assert len(build_schema(many, text="{f0}").fields) == 64


def test_an_unknown_field_is_refused_with_the_nearest():
    with pytest.raises(SchemaError) as caught:
        build_schema([BODY, Field("rating", FieldType.FLOAT)]).field("ratng")
    assert (str(caught.value), caught.value.hint) == (
        "unknown field 'ratng'",
        "did you mean 'rating'? valid: body, rating",
    )


def test_every_document_of_the_sample_fits_its_schema():
    from kb.config import load_settings

    root = Path(__file__).parents[2]
    schema = load_settings(root, {}).collections["articles"].schema
    rows = [json.loads(line) for line in (root / "data" / "articles.jsonl").read_text().splitlines()]
    assert len({document(schema, **row).id for row in rows}) == len(rows) > 100
