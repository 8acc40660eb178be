"""What a new declaration changes for documents that were stored under an old one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kb.schema.fields import Field
    from kb.schema.schema import Schema


def differences(old: Schema, new: Schema) -> list[str]:
    """Return what keeps stored documents from fitting the new declaration; empty when they fit as they are.

    A new optional field, a field that becomes optional, more choices and wider bounds need nothing.
    """
    found = []
    if old.template.source != new.template.source:
        found.append(f"the text template was {old.template.source!r} and is {new.template.source!r}")
    for name, before in old.fields.items():
        after = new.fields.get(name)
        if after is None:
            found.append(f"the field '{name}' is gone")
        else:
            found += _field_differences(before, after)
    for name, after in new.fields.items():
        if name not in old.fields and after.required and not after.many:
            found.append(f"the field '{name}' is new and required")
    return found


def _field_differences(before: Field, after: Field) -> list[str]:
    name = before.name
    if before.spelled != after.spelled:
        return [f"the field '{name}' was {before.spelled} and is {after.spelled}"]
    found = []
    if after.required and not before.required and not after.many:
        found.append(f"the field '{name}' is required now")
    if (after.choices is not None and not set(before.choices or ()) <= set(after.choices)) or (
        after.choices is not None and before.choices is None
    ):
        found.append(f"the field '{name}' offers fewer choices")
    lower = after.minimum is not None and (before.minimum is None or after.minimum > before.minimum)
    upper = after.maximum is not None and (before.maximum is None or after.maximum < before.maximum)
    if lower or upper:
        found.append(f"the field '{name}' has narrower bounds")
    return found
