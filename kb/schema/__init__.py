"""Schemas: declared fields, typed documents, text templates, fingerprints. Nothing here reads files or databases."""

from __future__ import annotations

from kb.schema.changes import differences
from kb.schema.document import Document, Text
from kb.schema.fields import (
    Exact,
    Field,
    FieldType,
    Scalar,
    StoredScalar,
    StoredValue,
    Value,
    json_datetime,
    parse_type,
    split_list,
)
from kb.schema.ids import lookup_id, normal_id
from kb.schema.recipe import Recipe, content_hash
from kb.schema.schema import Rendered, Schema, build_schema, schema_of, with_template
from kb.schema.template import TextTemplate, template_parts

__all__ = [
    "Document",
    "Exact",
    "Field",
    "FieldType",
    "Recipe",
    "Rendered",
    "Scalar",
    "Schema",
    "StoredScalar",
    "StoredValue",
    "Text",
    "TextTemplate",
    "Value",
    "build_schema",
    "content_hash",
    "differences",
    "json_datetime",
    "lookup_id",
    "normal_id",
    "parse_type",
    "schema_of",
    "split_list",
    "template_parts",
    "with_template",
]
