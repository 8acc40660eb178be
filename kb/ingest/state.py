"""What one run of an import carries from batch to batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kb.ingest.doubts import Doubts
from kb.ingest.resolving import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kb.catalog import Job, Reject
    from kb.ingest.plan import Outcome
    from kb.ingest.request import ImportRequest
    from kb.schema import Document
    from kb.sources import RejectWriter, Row, Source
    from kb.write import Target

FIRST_BATCH: Final = 64
_LINE_BITS: Final = 40


@dataclass
class Rehearsal:
    """What a run remembers that writes nothing.

    Attributes:
        texts: The hashes of the texts that would have been embedded.
        outcomes: What would become of every row that is no reject, in the order of the input; kept for a plan only.
        rejects: The rows that would be rejected, likewise.
    """

    texts: set[bytes] = field(default_factory=set)
    outcomes: list[Outcome] | None = None
    rejects: list[Reject] = field(default_factory=list)


@dataclass
class Batch:
    """Rows of one input that are committed together.

    ``rows`` are those of the documents and ``rejected`` those of the rejects, in the same order; ``file`` is the input
    as rejects name it.
    """

    file: str
    read: int = 0
    size: int = 0
    documents: list[Document] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    rejected: list[Row] = field(default_factory=list)


@dataclass
class Run:
    """The state of one run of an import.

    ``rehearsal`` is None unless it is a dry run; ``seen`` has, by the hash of its id, where each document stands that
    was read, also by an earlier run; ``kept_rejects`` are those of an atomic import, which are recorded after its
    transaction; ``cells`` names, for the present input, the column that fills each field; ``refused`` says why a
    rehearsed sync would be refused.
    """

    target: Target
    request: ImportRequest
    job: Job
    rejects_folder: Path
    rehearsal: Rehearsal | None
    skip: int
    began: float
    sources: Sequence[Source]
    seen: dict[int, int] = field(default_factory=dict)
    writer: RejectWriter | None = None
    first_rejects: list[Reject] = field(default_factory=list)
    read: int = 0
    tally: Tally = field(default_factory=Tally)
    batch_rows: int = FIRST_BATCH
    doubts: Doubts = field(init=False)
    cells: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    refused: str | None = None
    kept_rejects: list[Reject] = field(default_factory=list)

    def at(self, number: int, line: int) -> int:
        """Return a line of an input, from 0, as one number: there may be a million to remember."""
        return number << _LINE_BITS | line

    def place(self, at: int, *, reading: int | None = None) -> str:
        """Return in words where something stands, with the name of the input where it is not the one to think of.

        Args:
            at: What ``at`` returned.
            reading: The input that is being read; None when all have been.
        """
        number, line = divmod(at, 1 << _LINE_BITS)
        known = number == reading or len(self.sources) == 1
        return self.sources[number].place(line) + ("" if known else f" of {self.request.files[number]}")

    @property
    def is_whole(self) -> bool:
        """Whether it is one transaction."""
        return self.request.policy.atomic and self.rehearsal is None

    def __post_init__(self) -> None:
        """Look at rows by the schema of the collection."""
        self.doubts = Doubts(self.target.collection.schema)
