"""Opening an input for inspection: finding the records inside a JSON document, and suggesting an encoding."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from kb.errors import SourceError
from kb.ingest.inspect.encodings import readable_as
from kb.sources import Format, SeveralSource, open_source
from kb.sources.input import Input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.sources import Reading, Source

_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}:,]', re.DOTALL)


def open_inputs(files: Sequence[str], reading: Reading) -> tuple[Source, Reading]:
    """Return the inputs as one, and how they are read.

    That is as said, with the path to the records of a JSON document if it has one.

    Args:
        files: What ``expand_inputs`` returned; at least one.
        reading: How to read them.

    Raises:
        SourceError: One cannot be read; when the encoding is to blame, the hint shows what others make of it.
        UsageError: They differ in format, encoding or columns.
    """
    first, found = _open(files[0], reading)
    if len(files) == 1:
        return first, found
    return SeveralSource([first, *(_open(path, found)[0] for path in files[1:])]), found


def _open(path: str, reading: Reading) -> tuple[Source, Reading]:
    if path == "-":
        return open_source(path, reading), reading
    found = records_path(path, reading)
    if found is not None:
        reading = replace(reading, records=found)
    try:
        return open_source(path, reading), reading
    except SourceError as error:
        raise _explained(path, error) from None


def records_path(path: str, reading: Reading) -> str | None:
    """Return the path to the first list of objects inside a JSON object, e.g. ``response.items``, or None.

    Args:
        path: A file; only its first megabyte is looked at.
        reading: How it is read; a path that is given already is not looked for.
    """
    named = PurePath(path.lower().removesuffix(".gz").removesuffix(".zst")).suffix == ".json"
    if reading.records is not None or not (reading.format is Format.JSON or (reading.format is None and named)):
        return None
    try:
        text = Input(path).head.decode(reading.encoding or "utf-8-sig", "replace")
    except (SourceError, LookupError):
        return None
    if not text.lstrip().startswith("{"):
        return None
    return _first_list(text)


def _first_list(text: str) -> str | None:
    keys: list[str] = []  # of the objects that are open
    opened: list[str] = []
    before = last_string = ""
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign == "{":
            if before == "[":
                return ".".join(keys) or None if "[" not in opened[:-1] else None
            opened.append(sign)
            keys.append("")
        elif sign == "[":
            if "[" in opened:
                return None
            opened.append(sign)
        elif sign in "]}" and opened:
            if opened.pop() == "{":
                keys.pop()
        elif sign == ":" and keys:
            keys[-1] = last_string
        elif sign.startswith('"'):
            last_string = sign[1:-1]
        before = sign
    return None


def _explained(path: str, error: SourceError) -> SourceError:
    if "--encoding" not in error.hint:
        return error
    previews = readable_as(Input(path).head)
    if not previews:
        return error
    lines = [f"--encoding {p.encoding}: “{p.text}”" for p in previews]
    hint = "\n".join(["these encodings can read it; add the one that reads well:", *lines])
    return SourceError(error.what, hint=hint)
