"""From the annotations of a ``Document`` subclass to fields."""

from __future__ import annotations

import types
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Union, get_args, get_origin

import annotated_types

from kb.errors import SchemaError
from kb.schema.document import TEXT_MARKER
from kb.schema.fields import Field, FieldType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic.fields import FieldInfo

_TYPES: Final[dict[type, FieldType]] = {
    str: FieldType.STR,
    int: FieldType.INT,
    float: FieldType.FLOAT,
    bool: FieldType.BOOL,
    date: FieldType.DATE,
    datetime: FieldType.DATETIME,
}


def field_of(name: str, info: FieldInfo) -> Field:
    """Return the field that one annotated attribute declares.

    Raises:
        SchemaError: The annotation is none of the field types, ``Literal``, ``list`` or optional forms of them.
    """
    annotation, metadata = _unwrap(info.annotation, _flat(info.metadata))
    optional = False
    if get_origin(annotation) in (Union, types.UnionType):
        members = [a for a in get_args(annotation) if a is not type(None)]
        optional = len(members) < len(get_args(annotation))
        if len(members) != 1:
            raise _unsupported(name, info.annotation)
        annotation, metadata = _unwrap(members[0], metadata)
    many = get_origin(annotation) is list
    if many:
        annotation, metadata = _unwrap(get_args(annotation)[0], metadata)
    choices = None
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        annotation = type(choices[0])
    kind = _TYPES.get(annotation) if isinstance(annotation, type) else None
    if kind is None:
        raise _unsupported(name, info.annotation)
    _refuse_other_constraints(name, metadata)
    if TEXT_MARKER in metadata:
        kind = FieldType.TEXT
    default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
    return Field(
        name,
        kind,
        many,
        required=info.is_required() and not optional,
        choices=choices,
        minimum=next((m.ge for m in metadata if isinstance(m, annotated_types.Ge)), None),  # type: ignore[arg-type]
        maximum=next((m.le for m in metadata if isinstance(m, annotated_types.Le)), None),  # type: ignore[arg-type]
        default=default,
    )


def _unwrap(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    """Take ``Annotated`` off, adding what it carried to the metadata."""
    extra = getattr(annotation, "__metadata__", ())
    if not extra:
        return annotation, metadata
    # pydantic.Field(ge=…) inside Annotated is a FieldInfo that carries the constraints in turn.
    flat = _flat(m for e in extra for m in (e.metadata if hasattr(e, "metadata") else [e]))
    return get_args(annotation)[0], [*metadata, *flat]


def _flat(metadata: Iterable[Any]) -> list[Any]:
    """Return the constraints one by one: an interval stands for its two bounds."""
    return [m for e in metadata for m in (e if isinstance(e, annotated_types.GroupedMetadata) else [e])]


def _refuse_other_constraints(name: str, metadata: list[Any]) -> None:
    """Refuse what a class would check and an import of a file would not: the schema knows bounds only."""
    for constraint in metadata:
        if isinstance(constraint, annotated_types.BaseMetadata) and not isinstance(
            constraint, (annotated_types.Ge, annotated_types.Le)
        ):
            what = f"the field '{name}' has the constraint {constraint!r}, which a schema does not know"
            raise SchemaError(what, hint="use ge and le, Literal[...], or leave it out")


def _unsupported(name: str, annotation: Any) -> SchemaError:
    return SchemaError(
        f"the field '{name}' is annotated as {annotation}, which is not a field type",
        hint="use str, kb.Text, int, float, bool, date, datetime, Literal[...] of them, list[...] or X | None",
    )
