"""Fields as the catalog stores their declarations: JSON objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kb.schema.fields import Field, Scalar, parse_type

if TYPE_CHECKING:
    from collections.abc import Mapping


def field_to_json(declared: Field) -> dict[str, object]:
    """Return the declaration of a field as a JSON object."""
    raw: dict[str, object] = {"name": declared.name, "type": declared.spelled, "required": declared.required}
    if declared.choices is not None:
        raw["choices"] = [declared.store(choice) for choice in declared.choices]
    for name in ("minimum", "maximum", "separator"):
        if getattr(declared, name) is not None:
            raw[name] = getattr(declared, name)
    if declared.default is not None:
        raw["default"] = declared.store_value(declared.default)
    return raw


def field_from_json(raw: Mapping[str, Any]) -> Field:
    """Return the field that ``field_to_json`` wrote."""
    kind, many = parse_type(raw["type"])
    bare = Field(raw["name"], kind, many)
    choices: tuple[Scalar, ...] | None = tuple(bare.load(c) for c in raw["choices"]) if "choices" in raw else None
    return Field(
        raw["name"],
        kind,
        many,
        required=raw["required"],
        choices=choices,
        minimum=raw.get("minimum"),
        maximum=raw.get("maximum"),
        default=bare.load_value(raw["default"]) if "default" in raw else None,
        separator=raw.get("separator"),
    )
