"""What a new declaration changes for stored documents."""

from __future__ import annotations

import pytest

from kb.schema import Field, FieldType, build_schema, differences

BODY = Field("body", FieldType.TEXT)
STR, INT = FieldType.STR, FieldType.INT


def found(before: list[Field], after: list[Field]) -> list[str]:
    return differences(build_schema([BODY, *before]), build_schema([BODY, *after]))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], []),
        ([], [Field("f", STR, required=False)]),
        ([], [Field("f", STR, many=True)]),
        ([Field("f", STR)], [Field("f", STR, required=False)]),
        ([Field("f", STR, many=True)], [Field("f", STR, many=True, separator=";")]),
        ([Field("f", STR, choices=("a",))], [Field("f", STR, choices=("b", "a"))]),
        ([Field("f", STR, choices=("a",))], [Field("f", STR)]),
        ([Field("f", INT, minimum=1, maximum=5)], [Field("f", INT, minimum=0, maximum=6)]),
        ([Field("f", INT, minimum=1, maximum=5)], [Field("f", INT)]),
        ([Field("a", STR), Field("b", STR)], [Field("b", STR), Field("a", STR)]),
        ([Field("f", STR)], [Field("f", STR, default="x")]),
    ],
)
def test_what_stored_documents_fit_anyway_is_no_difference(before, after):
    assert found(before, after) == []


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([Field("f", STR)], [], "the field 'f' is gone"),
        ([], [Field("f", STR)], "the field 'f' is new and required"),
        ([Field("f", STR)], [Field("f", INT)], "the field 'f' was str and is int"),
        ([Field("f", STR)], [Field("f", STR, many=True)], "the field 'f' was str and is list[str]"),
        ([Field("f", STR, required=False)], [Field("f", STR)], "the field 'f' is required now"),
        (
            [Field("f", STR, choices=("a", "b"))],
            [Field("f", STR, choices=("a", "c"))],
            "the field 'f' offers fewer choices",
        ),
        ([Field("f", STR)], [Field("f", STR, choices=("a",))], "the field 'f' offers fewer choices"),
        ([Field("f", INT)], [Field("f", INT, minimum=0)], "the field 'f' has narrower bounds"),
        ([Field("f", INT, maximum=5)], [Field("f", INT, maximum=4)], "the field 'f' has narrower bounds"),
        ([Field("f", INT, minimum=0)], [Field("f", INT, minimum=1)], "the field 'f' has narrower bounds"),
    ],
)
def test_what_stored_documents_may_not_fit_is_named(before, after, message):
    assert found(before, after) == [message]


def test_all_differences_are_named_the_template_first():
    before = build_schema([BODY, Field("a", STR), Field("b", INT)], text="{body}")
    after = build_schema([BODY, Field("b", STR), Field("c", STR)], text="{b} {body}")
    assert differences(before, after) == [
        "the text template was '{body}' and is '{b} {body}'",
        "the field 'a' is gone",
        "the field 'b' was int and is str",
        "the field 'c' is new and required",
    ]
