"""What ``kb doctor`` says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"  # something does not work, or will not
    WARNING = "warning"  # it works, and should not be left so
    NOTE = "note"  # nothing is wrong


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the doctor has noticed.

    Attributes:
        code: Stable, one word: what was looked at.
        severity: How bad it is.
        message: What was found, in one sentence without a full stop.
        command: What mends it, or tells more; empty where that is not a command.
    """

    code: str
    severity: Severity
    message: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that was looked up: its name and its value, for people to read."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything that the doctor has looked at.

    Attributes:
        facts: What there is, whether it is well or not.
        findings: What is worth knowing, the worst first.
    """

    facts: tuple[Fact, ...]
    findings: tuple[Finding, ...]

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.severity is Severity.NOTE for finding in self.findings)
