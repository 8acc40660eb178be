"""A plan: what an import would do to every document, written down to be looked at and then done exactly so."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kb.catalog import Counts, Reject
from kb.errors import ConflictError, SourceError
from kb.ingest.request import ImportRequest

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

_VERSION: Final = 1


class Outcome(NamedTuple):
    """What becomes of one document.

    Attributes:
        id: The document's id.
        action: ``new``, ``updated``, ``fields_only``, ``unchanged``, ``conflict`` or ``vanished``.
    """

    id: str
    action: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What an import would do.

    Attributes:
        collection: Into which collection.
        schema: The collection's declaration at the time, as canonical JSON.
        change: The number of the last write to the collection that the plan knows of.
        request: What was asked for, with the fingerprints of the files.
        counts: The totals.
        vanished: How many documents of the source are not in the input; they are deleted only by a sync.
        outcomes: Of every row that is no reject, in the order of the input; then of the vanished documents.
        rejects: The rows that would be rejected.
        made: When, in UTC.
        notes: What looked wrong, one sentence each.
        refused: Why the import could not be done like this, or None.
    """

    collection: str
    schema: str
    change: int
    request: ImportRequest
    counts: Counts
    vanished: int
    outcomes: tuple[Outcome, ...]
    rejects: tuple[Reject, ...]
    made: str
    notes: tuple[str, ...] = ()
    refused: str | None = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON, one line a document; replaces what is there only when it is complete."""
        target = Path(path)
        temporary = target.with_name(target.name + ".part")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.writelines(self._lines())
            temporary.replace(target)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            what = f"the plan cannot be written to {target}: {error.strerror}"
            raise SourceError(what, unchanged="nothing was written") from None

    def _lines(self) -> Iterator[str]:
        head = {
            "kb_plan": _VERSION,
            "collection": self.collection,
            "made": self.made,
            "change": self.change,
            "totals": {f.name: getattr(self.counts, f.name) for f in fields(Counts)} | {"vanished": self.vanished},
            "notes": self.notes,
            "refused": self.refused,
            "request": json.loads(self.request.to_json()),
            "schema": json.loads(self.schema),
        }
        yield _json(head)[:-1] + ',\n"rejected": ['
        yield ",".join("\n" + _json(asdict(one)) for one in self.rejects)
        yield '],\n"documents": ['
        for number, one in enumerate(self.outcomes):
            yield ("," if number else "") + "\n" + _json({"id": one.id, "action": one.action})
        yield "\n]}\n"


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Return a plan that ``save`` wrote.

    Raises:
        SourceError: The file cannot be read, or is no plan of this release.
    """
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        if raw["kb_plan"] != _VERSION:
            raise SourceError(f"{path} is a plan of another release of kb", hint="make it again: kb import … --plan")
        return _plan(raw)
    except OSError as error:
        raise SourceError(f"the plan {path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        what = f"{path} is not a plan of kb"
        raise SourceError(what, unchanged="nothing was imported", hint="make it again: kb import … --plan") from None


def _plan(raw: dict[str, Any]) -> Plan:
    totals = dict(raw["totals"])
    vanished = totals.pop("vanished")
    return Plan(
        collection=raw["collection"],
        schema=json.dumps(raw["schema"], ensure_ascii=False, sort_keys=True),
        change=raw["change"],
        request=ImportRequest.from_json(json.dumps(raw["request"])),
        counts=Counts(**totals),
        vanished=vanished,
        outcomes=tuple(Outcome(one["id"], one["action"]) for one in raw["documents"]),
        rejects=tuple(Reject(**one) for one in raw["rejected"]),
        made=raw["made"],
        notes=tuple(raw["notes"]),
        refused=raw["refused"],
    )


def check_plan(plan: Plan, *, collection: str, schema: str, change: int) -> None:
    """Refuse a plan that the collection has moved on from.

    Raises:
        ConflictError: It cannot be done, or was made for another collection, another schema or an older state of the
            documents.
    """
    if plan.refused is not None:
        raise ConflictError(
            f"the plan cannot be done: {plan.refused}",
            unchanged="nothing was imported",
            hint="mend the input, or make it again with other options: --max-delete, --on-conflict",
        )
    moved = None
    if plan.collection != collection:
        moved = f"the plan is for '{plan.collection}', not for '{collection}'"
    elif plan.schema != schema:
        moved = f"the fields of '{collection}' have changed since the plan was made"
    elif plan.change != change:
        moved = f"'{collection}' has been written to since the plan was made"
    if moved is not None:
        raise ConflictError(moved, unchanged="nothing was imported", hint="make the plan again: kb import … --plan")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
