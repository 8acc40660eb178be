"""What the index alone still holds of a collection whose catalog is gone: its documents, as rows to import."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kb.errors import DamagedError, NotFoundError, UsageError, nearest
from kb.index import FOLDER, Ownership, VectorIndex, field_value, record_id
from kb.maintain.storage import RECOVERING
from kb.sources import replacing
from kb.write import inspect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kb.index import Generation, Record
    from kb.schema import Schema, Value

_PAGE: Final = 1_000
_OURS: Final = ("document", "chunk")
"""The metadata of a record that are no fields."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was written.

    Attributes:
        collection: Which one.
        documents: How many.
        incomplete: Ids of those that lack a part of their text.
        without: Fields that the index does not hold, and that could not be told from the text.
    """

    collection: str
    documents: int
    incomplete: tuple[str, ...]
    without: tuple[str, ...]


def recover(
    storage: Path, schemas: Mapping[str, Schema], collection: str | None, file: Path, *, force: bool = False
) -> Recovered:
    """Write the documents that the vector index holds as JSON Lines that ``kb import`` reads.

    The index is copied first, and the copy is read: opening an index writes to it. It holds the text, if it was let
    keep it, and every field but prose; of prose what the text template shows is told from the text.

    Args:
        storage: The folder with the index.
        schemas: The declared collections.
        collection: Which one; None when there is only one.
        file: Where to.
        force: Replace a file that is there.

    Raises:
        NotFoundError: There is no index, or no such collection in it.
        LockedError: Another process uses it.
        DamagedError: It cannot be read either: another process has tried.
    """
    if not (storage / FOLDER).is_dir():
        raise NotFoundError(f"there is no index in {storage}", hint="kb backup list shows the backups")
    with _copied(storage) as copy:
        _check_readable(copy)
        index = VectorIndex(copy)
        try:
            generations = _generations(index)
            name = _chosen(generations, collection)
            documents = 0
            incomplete: list[str] = []
            without: set[str] = set()
            with replacing(str(file), force=force) as stream:
                for key, chunks in _documents(generations[name]):
                    if None in chunks or None in [chunk.text for chunk in chunks if chunk is not None]:
                        incomplete.append(key)
                    row, missing = _row(key, [chunk for chunk in chunks if chunk is not None], schemas.get(name))
                    without |= missing
                    stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                    documents += 1
        finally:
            index.close()
    return Recovered(name, documents, tuple(incomplete), tuple(sorted(without)))


@contextmanager
def _copied(storage: Path) -> Iterator[Path]:
    """Yield a folder with a copy of the index, made while nobody writes to it."""
    ownership = Ownership(storage, inspect)
    ownership.take_alone()
    try:
        with tempfile.TemporaryDirectory(prefix=RECOVERING, dir=storage) as folder:
            shutil.copytree(storage / FOLDER, Path(folder) / FOLDER)
            yield Path(folder)
    finally:
        ownership.close()


def _check_readable(copy: Path) -> None:
    """Have another process read all of it first, which it may crash or keep busy.

    Raises:
        DamagedError: It does, or cannot read it.
    """
    descriptor = os.open(copy, os.O_RDONLY | os.O_CLOEXEC)
    try:
        verdict = inspect(copy, descriptor)
    finally:
        os.close(descriptor)
    if (found := verdict.damage or verdict.hindrance) is not None:
        raise DamagedError(
            f"the index cannot be read: {found}",
            unchanged="nothing was written; the index was left as it is",
            hint="an older one may lie in quarantine/: move it to chroma/ in a copy of the folder, and recover that",
        )


def _generations(index: VectorIndex) -> dict[str, Generation]:
    """Return, by collection, the generation that has the most records; the later one where several have."""
    best: dict[str, tuple[int, Generation]] = {}
    for name in sorted(index.names()):
        generation, _ = index.generation(name, created_by={})
        collection = generation.collection or name
        count = generation.count()
        if collection not in best or count >= best[collection][0]:
            best[collection] = count, generation
    return {collection: generation for collection, (_, generation) in best.items()}


def _chosen(generations: Mapping[str, Generation], collection: str | None) -> str:
    names = sorted(generations)
    if collection is None and len(names) == 1:
        return names[0]
    if collection is None and names:
        raise UsageError(
            "the index holds several collections",
            unchanged="nothing was written",
            hint=f"name one with -c: {', '.join(names)}",
        )
    if collection is None or collection not in generations:
        wanted = "" if collection is None else f" '{collection}'"
        raise NotFoundError(f"the index holds no collection{wanted}", hint=nearest(collection or "", names))
    return collection


def _documents(generation: Generation) -> Iterator[tuple[str, list[Record | None]]]:
    """Yield the id and the chunks of each document, by id; None stands for a chunk that is not there."""
    numbers: dict[str, list[int]] = {}
    for record in generation.ids():
        key, _, number = record.rpartition("#")
        if number.isdecimal():
            numbers.setdefault(key, []).append(int(number))
    keys = sorted(numbers)
    for start in range(0, len(keys), _PAGE):
        some = keys[start : start + _PAGE]
        found = generation.get([record_id(key, number) for key in some for number in numbers[key]])
        for key in some:
            yield key, [found.get(record_id(key, number)) for number in range(max(numbers[key]) + 1)]


def _row(key: str, chunks: Sequence[Record], schema: Schema | None) -> tuple[dict[str, Any], set[str]]:
    """Return a document as an object to import, and the fields that could not be recovered."""
    held = chunks[0].metadata
    text = "".join(chunk.text or "" for chunk in chunks)
    if schema is None:
        return {"id": key, **{n: v for n, v in held.items() if n not in _OURS}, "text": text}, set()
    values: dict[str, Value] = {}
    for name, declared in schema.fields.items():
        if declared.is_metadata:
            values[name] = field_value(declared, held.get(name))
    values |= _told_from(text, schema, values)
    missing = {name for name in schema.fields if name not in values}
    row: dict[str, Any] = {"id" if schema.key in schema.fields else schema.key: key}
    for name, value in values.items():
        stored = schema.fields[name].store_value(value)
        if stored is not None:
            row[name] = stored
    return row, missing


def _told_from(text: str, schema: Schema, known: Mapping[str, Value]) -> dict[str, Value]:
    """Return the one field of the template that is not known, where the text shows it between those that are."""
    unknown = [name for _, name in schema.template.parts if name is not None and name not in known]
    if len(unknown) != 1:
        return {}
    before, after = "", ""
    is_before = True
    for literal, name in schema.template.parts:
        shown = literal + ("" if name is None or name in unknown else schema.fields[name].format(known[name]))
        before, after = (before + shown, after) if is_before else (before, after + shown)
        is_before = is_before and name not in unknown
    before, after = before.lstrip(), after.rstrip()
    if not (text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after)):
        return {}
    return {unknown[0]: text[len(before) : len(text) - len(after)]}
