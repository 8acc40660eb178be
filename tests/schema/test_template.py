"""The text template."""

from __future__ import annotations

from datetime import date

import pytest

from kb.errors import SchemaError
from kb.schema import Field, FieldType
from kb.schema.template import parse_template

FIELDS = {
    "title": Field("title", FieldType.STR),
    "tags": Field("tags", FieldType.STR, many=True),
    "published": Field("published", FieldType.DATE),
    "rating": Field("rating", FieldType.FLOAT),
    "free": Field("free", FieldType.BOOL),
}
VALUES = {"title": "T", "tags": ["a", "b"], "published": date(2024, 1, 31), "rating": 4.5, "free": True}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{title}", "T"),
        ("{title}{title}", "TT"),
        ("{title}: {tags} ({published}, {rating}, {free})", "T: a, b (2024-01-31, 4.5, true)"),
        ("{{{title}}}", "{T}"),
        ("\n {title}\n\n", "T"),
        ("before {title} after", "before T after"),
    ],
)
def test_a_template_renders_fields_as_text(source, text):
    assert parse_template(source, FIELDS).render(FIELDS, VALUES) == text


def test_a_value_is_never_taken_for_a_template():
    assert parse_template("{title}", FIELDS).render(FIELDS, {"title": "{rating} {{ {"}) == "{rating} {{ {"


def test_a_missing_value_renders_as_nothing():
    assert parse_template("{title}\n\n{rating}", FIELDS).render(FIELDS, {"title": "T", "rating": None}) == "T"


def test_names_are_listed_once_in_the_order_of_use():
    assert parse_template("{rating} {title} {rating}", FIELDS).names == ("rating", "title")


VALID = "valid: title, tags, published, rating, free"


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        (
            "{titel}",
            "the text template '{titel}' names 'titel', which is not a field",
            f"did you mean 'title'? {VALID}",
        ),
        ("{}", "the text template '{}' names '', which is not a field", VALID),
        ("{0}", "the text template '{0}' names '0', which is not a field", VALID),
        ("{title.real}", "the text template '{title.real}' names 'title.real', which is not a field", None),
        ("{tags[0]}", "the text template '{tags[0]}' names 'tags[0]', which is not a field", None),
        ("{rating:.1f}", "the text template '{rating:.1f}' formats 'rating'", "write only the name: {rating}"),
        ("{title!r}", "the text template '{title!r}' formats 'title'", "write only the name: {title}"),
        (
            "{title",
            "the text template '{title' is malformed: expected '}' before end of string",
            "write a literal brace as {{ or }}",
        ),
        (
            "a } b",
            "the text template 'a } b' is malformed: Single '}' encountered in format string",
            "write a literal brace as {{ or }}",
        ),
        ("no field", "the text template 'no field' uses no field", VALID),
        ("", "the text template '' uses no field", VALID),
    ],
)
def test_a_template_that_cannot_work_is_refused(source, message, hint):
    with pytest.raises(SchemaError) as caught:
        parse_template(source, FIELDS)
    assert str(caught.value) == message
    assert hint is None or caught.value.hint == hint
