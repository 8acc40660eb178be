"""The id of a document in its one stored form."""

from __future__ import annotations

import unicodedata
from typing import Final

from kb.schema.fields import check_string

MAX_ID_BYTES: Final = 512


def normal_id(raw: object) -> str:
    """Return the key in its one stored form: a string, NFC, no white space at either end.

    An int is accepted, since a JSON file often numbers its records.

    Raises:
        ValueError: It is missing, empty, longer than 512 bytes, or holds a control character.
    """
    if raw is None:
        raise ValueError("the id is missing")
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        raise ValueError(f"the id {quoted(raw)} is neither a string nor a whole number")
    if isinstance(raw, int) and raw.bit_length() > 4 * MAX_ID_BYTES:  # a digit takes more than three bits
        raise ValueError(f"the id is longer than {MAX_ID_BYTES} bytes")
    text = str(raw)
    text = check_string((text if text.isascii() else unicodedata.normalize("NFC", text)).strip(), MAX_ID_BYTES)
    if not text:
        raise ValueError("the id is empty")
    if not text.isprintable() and any(unicodedata.category(c) == "Cc" for c in text):
        raise ValueError(f"the id {quoted(text)} holds a control character")
    return text


def lookup_id(key: str) -> str:
    """Return an id as it is stored; one that cannot be stored stays as it is, and is not found."""
    try:
        return normal_id(key)
    except ValueError:
        return key


def quoted(raw: object) -> str:
    """Return a raw value for a message: as Python writes it, cut to 60 characters."""
    try:
        text = repr(raw)
    except ValueError:  # Python refuses to print an int of more than 4,300 digits
        return f"<{type(raw).__name__} too long to print>"
    return text if len(text) <= 60 else text[:50] + "…" + text[-1]
