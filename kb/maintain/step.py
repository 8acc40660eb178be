"""What the operations that look after the disk tell of themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an operation that is about to begin: what it does, and which of how many it is, from 1."""

    what: str
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What an operation came to.

    Attributes:
        bytes_before, bytes_after: What the storage took, backups excepted.
        seconds: How long it took.
    """

    bytes_before: int
    bytes_after: int
    seconds: float
