"""Schemas declared as Python classes."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal, Optional, Union

import annotated_types
import pydantic
import pytest

import kb
from kb.errors import DocumentError, SchemaError
from kb.schema import Field, FieldType, build_schema, schema_of


def field_of(annotation: object, *default: object) -> Field:
    made = pydantic.create_model(
        "Made", __base__=kb.Document, body=(kb.Text, ...), f=(annotation, *(default or (...,)))
    )
    return schema_of(made).fields["f"]


class Article(kb.Document):
    text_template = "{title}: {body}"

    title: str
    body: kb.Text
    category: Literal["ml", "nlp"]
    published: date
    seen: datetime | None = None
    author: Optional[str] = None  # noqa: UP045
    tags: list[str] = []  # noqa: RUF012 - as users write it
    rating: Annotated[float, annotated_types.Ge(0), annotated_types.Le(5)] | None = None
    pages: int = pydantic.Field(default=1, ge=1)
    free: bool = False


def test_a_class_declares_the_same_schema_as_fields_do():
    declared = build_schema(
        [
            Field("title", FieldType.STR),
            Field("body", FieldType.TEXT),
            Field("category", FieldType.STR, choices=("ml", "nlp")),
            Field("published", FieldType.DATE),
            Field("seen", FieldType.DATETIME, required=False),
            Field("author", FieldType.STR, required=False),
            Field("tags", FieldType.STR, many=True, required=False, default=[]),
            Field("rating", FieldType.FLOAT, required=False, minimum=0, maximum=5),
            Field("pages", FieldType.INT, required=False, minimum=1, default=1),
            Field("free", FieldType.BOOL, required=False, default=False),
        ],
        text="{title}: {body}",
    )
    assert schema_of(Article) == declared
    assert schema_of(Article).model is Article


def test_documents_are_instances_of_the_class():
    made = schema_of(Article).document(
        {"id": "a1", "title": "T", "body": "B", "category": "ml", "published": "2024-01-31"},
        textual=False,
        separators={},
    )
    assert made == Article(id="a1", title="T", body="B", category="ml", published=date(2024, 1, 31))
    assert type(made) is Article


def test_a_given_template_wins_over_the_class_and_prose_is_the_default():
    class Plain(kb.Document):
        summary: kb.Text
        body: kb.Text

    assert schema_of(Article, text="{title}").template.source == "{title}"
    assert schema_of(Plain).template.source == "{summary}\n\n{body}"


@pytest.mark.parametrize(
    ("annotation", "declared"),
    [
        (str, Field("f", FieldType.STR)),
        (kb.Text, Field("f", FieldType.TEXT)),
        (int, Field("f", FieldType.INT)),
        (float, Field("f", FieldType.FLOAT)),
        (bool, Field("f", FieldType.BOOL)),
        (date, Field("f", FieldType.DATE)),
        (datetime, Field("f", FieldType.DATETIME)),
        (str | None, Field("f", FieldType.STR, required=False)),
        (kb.Text | None, Field("f", FieldType.TEXT, required=False)),
        (Literal["a", "b"] | None, Field("f", FieldType.STR, required=False, choices=("a", "b"))),
        (Literal[1, 2], Field("f", FieldType.INT, choices=(1, 2))),
        (Literal[True], Field("f", FieldType.BOOL, choices=(True,))),
        (list[date], Field("f", FieldType.DATE, many=True)),
        (list[Literal["a", "b"]], Field("f", FieldType.STR, many=True, choices=("a", "b"))),
        (Annotated[list[str], "ignored"], Field("f", FieldType.STR, many=True)),
        (Annotated[int, pydantic.Field(ge=1, le=9)], Field("f", FieldType.INT, minimum=1, maximum=9)),
        (Annotated[int, annotated_types.Interval(ge=1, le=9)], Field("f", FieldType.INT, minimum=1, maximum=9)),
        (list[Annotated[int, annotated_types.Ge(1)]], Field("f", FieldType.INT, many=True, minimum=1)),
        (Annotated[int | None, annotated_types.Le(9)], Field("f", FieldType.INT, required=False, maximum=9)),
    ],
)
def test_annotations_become_field_types(annotation, declared):
    assert field_of(annotation) == declared


@pytest.mark.parametrize(
    "annotation",
    [
        bytes,
        dict[str, int],
        Any,
        object,
        str | int,
        Union[str, int, None],  # noqa: UP007
        list[list[str]],
        list[str | None],
        tuple[str, ...],
        set[str],
        list,
        type(None),
        kb.Document,
    ],
)
def test_other_annotations_are_refused(annotation):
    with pytest.raises(SchemaError) as caught:
        field_of(annotation)
    assert str(caught.value).startswith("the field 'f' is annotated as ")
    assert str(caught.value).endswith(", which is not a field type")
    assert caught.value.hint == (
        "use str, kb.Text, int, float, bool, date, datetime, Literal[...] of them, list[...] or X | None"
    )


@pytest.mark.parametrize(
    ("annotation", "shown"),
    [
        (Annotated[str, pydantic.Field(min_length=3)], "MinLen(min_length=3)"),
        (Annotated[int, annotated_types.Gt(0)] | None, "Gt(gt=0)"),
        (list[Annotated[float, annotated_types.Lt(1)]], "Lt(lt=1)"),
    ],
)
def test_constraints_that_an_import_would_not_check_are_refused(annotation, shown):
    with pytest.raises(SchemaError) as caught:
        field_of(annotation)
    assert str(caught.value) == f"the field 'f' has the constraint {shown}, which a schema does not know"
    assert caught.value.hint == "use ge and le, Literal[...], or leave it out"


@pytest.mark.parametrize("annotation", [Literal["a", 1], Literal["a", None]])
def test_choices_of_several_types_are_refused(annotation):
    with pytest.raises(SchemaError, match=r"^the field 'f' offers (1|None), which is not of type str$"):
        field_of(annotation)


def test_a_value_may_be_left_out_of_an_optional_field_without_a_default():
    class Signed(kb.Document):
        body: kb.Text
        author: str | None

    schema = schema_of(Signed)
    left_out = schema.document({"id": "a", "body": "B"}, textual=False, separators={})
    assert left_out == schema.document({"id": "a", "body": "B", "author": None}, textual=False, separators={})
    assert left_out == schema.check(Signed(id="a", body="B", author=None))
    assert left_out.author is None


def test_a_list_without_a_default_may_be_left_out_and_is_empty():
    class Tagged(kb.Document):
        body: kb.Text
        tags: list[str]

    assert schema_of(Tagged).document({"id": "a", "body": "B"}, textual=False, separators={}).tags == []


def test_an_optional_list_is_stored_the_same_after_loading():
    class Tagged(kb.Document):
        body: kb.Text
        tags: list[str] | None = None

    schema = schema_of(Tagged)
    rendered = schema.render(schema.check(Tagged(id="a", body="B")))
    assert schema.render(schema.check(schema.load("a", rendered.fields))) == rendered


def test_defaults_are_values_of_their_own():
    schema = schema_of(Article)
    values = {"id": "a1", "title": "T", "body": "B", "category": "ml", "published": "2024-01-31"}
    schema.document(values, textual=False, separators={}).tags.append("x")
    assert schema.document(values, textual=False, separators={}).tags == []


def test_a_class_is_strict_and_closed():
    with pytest.raises(pydantic.ValidationError, match=r"3 validation errors"):
        Article(id="a1", title=1, body="B", category="ml", published="2024-01-31", extra=1)
    with pytest.raises(pydantic.ValidationError, match=r"finite number"):
        Article(id="a", title="T", body="B", category="ml", published=date(2024, 1, 31), rating=float("nan"))


def test_a_document_of_a_class_is_checked_by_the_schema_too():
    made = Article(id=" a1 ", title="T", body="B\x00", category="ml", published=date(2024, 1, 31))
    with pytest.raises(DocumentError, match=r"^document ' a1 ': body: 'B\\x00' contains a NUL character$"):
        schema_of(Article).check(made)
    assert schema_of(Article).check(made.model_copy(update={"body": "B"})).id == "a1"


def test_columns_named_like_methods_can_be_declared_in_a_class():
    with pytest.warns(UserWarning, match=r"shadows an attribute in parent"):

        class Export(kb.Document):
            body: kb.Text
            json: str
            copy: int

    schema = schema_of(Export)
    made = schema.check(Export(id="a", body="B", json="{}", copy=3))
    assert schema.load("a", schema.render(made).fields).__dict__ == {"id": "a", "body": "B", "json": "{}", "copy": 3}
