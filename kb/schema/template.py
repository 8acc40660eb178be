"""The text template: which fields make up the text that is embedded, and in what order."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kb.errors import SchemaError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kb.schema.fields import Field, Value


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """A parsed template such as ``"{title}\\n\\n{body}"``.

    Attributes:
        source: The template as declared.
        parts: Pairs of literal text and the field name that follows it (None at the end), in order.
    """

    source: str
    parts: tuple[tuple[str, str | None], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that the template uses, in order of first use."""
        return tuple(dict.fromkeys(name for _, name in self.parts if name is not None))

    def render(self, fields: Mapping[str, Field], values: Mapping[str, Value]) -> str:
        """Return the document's text, without white space at either end; a missing value renders as nothing."""
        pieces: list[str] = []
        for literal, name in self.parts:
            pieces.append(literal)
            if name is not None:
                pieces.append(fields[name].format(values.get(name)))
        return "".join(pieces).strip()


def parse_template(source: str, fields: Mapping[str, Field]) -> TextTemplate:
    """Return the parsed template after checking every name in it.

    Raises:
        SchemaError: A brace is unbalanced, a name is not a field, or no field is used.
    """
    parts = template_parts(source, "text template")
    for _, name in parts:
        if name is not None and name not in fields:
            raise SchemaError(
                f"the text template {source!r} names '{name}', which is not a field", hint=nearest(name, fields)
            )
    if all(name is None for _, name in parts):
        raise SchemaError(f"the text template {source!r} uses no field", hint=nearest("", fields))
    return TextTemplate(source, parts)


def template_parts(source: str, what: str) -> tuple[tuple[str, str | None], ...]:
    """Return the pairs of literal text and the name in braces that follows it (None at the end), in order.

    Args:
        source: The template.
        what: What it is, for messages.

    Raises:
        SchemaError: A brace is unbalanced, or more than a name stands in a pair of braces.
    """
    try:
        parsed = list(string.Formatter().parse(source))
    except ValueError as error:
        raise SchemaError(
            f"the {what} {source!r} is malformed: {error}", hint="write a literal brace as {{ or }}"
        ) from None
    for _, name, spec, conversion in parsed:
        if name is not None and (spec or conversion):
            raise SchemaError(f"the {what} {source!r} formats '{name}'", hint=f"write only the name: {{{name}}}")
    return tuple((literal, name) for literal, name, _, _ in parsed)
