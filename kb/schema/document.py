"""The ``Document`` base class and the markers for declaring a schema as a Python class."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

import pydantic


class _TextMarker:
    """Marks a string field as prose (type ``text``)."""


TEXT_MARKER: Final = _TextMarker()

Text = Annotated[str, TEXT_MARKER]
"""The type of a prose field in a class: ``body: kb.Text``."""


class Document(pydantic.BaseModel):
    """One typed record; subclass it to declare a collection in Python.

    Validation is strict: a value is never turned into another type. The text that is embedded is made from
    ``text_template`` (default: the ``kb.Text`` fields, a blank line between them).

    Attributes:
        id: The key, unique in the collection; 1 to 512 bytes, NFC-normalised and without white space at either end.
    """

    model_config = pydantic.ConfigDict(
        extra="forbid", strict=True, validate_default=True, protected_namespaces=(), allow_inf_nan=False
    )

    text_template: ClassVar[str | None] = None

    id: str
