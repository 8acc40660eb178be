"""What surrounds a knowledge base: releases of what it stands on, variables that change them, other processes."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kb.maintain.finding import Fact, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHROMADB: Final = ((1, 5, 9), (1, 6))
"""The releases of chromadb that the suite is run with: from the first to before the second."""

_PACKAGES: Final = (
    *("chromadb", "tantivy", "sqlalchemy", "alembic", "numpy", "pandas", "pyarrow", "torch", "sentence-transformers"),
    *("onnxruntime", "pydantic"),
)
_HARMLESS: Final = frozenset(("CHROMA_API_KEY", "CHROMA_TENANT", "CHROMA_DATABASE", "CHROMA_SERVER_NOFILE"))
_FALSE: Final = frozenset(("", "0", "false", "no", "off"))


def versions(own: str) -> Iterator[Fact]:
    """Yield the releases of what is installed; imports none of it.

    Args:
        own: The release of kb.
    """
    yield Fact("kb", own)
    yield Fact("python", f"{platform.python_version()} on {platform.system()} {platform.release()}")
    yield Fact("sqlite", sqlite3.sqlite_version)
    for name in _PACKAGES:
        yield Fact(name, _installed(name) or "not installed")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def chromadb_findings(installed: str | None = None) -> Iterator[Finding]:
    """Yield what is wrong with the release of chromadb.

    Args:
        installed: Its number; None to look it up.
    """
    found = installed or _installed("chromadb")
    first, after = (".".join(map(str, numbers)) for numbers in CHROMADB)
    command = f"pip install 'chromadb>={first},<{after}'"
    if found is None:
        yield Finding("chromadb", Severity.ERROR, "chromadb is not installed: there is no vector index", command)
    elif not CHROMADB[0] <= _numbers(found) < CHROMADB[1]:
        message = f"chromadb {found} is not one of those that kb is tried with, from {first} to before {after}"
        yield Finding("chromadb", Severity.WARNING, message, command)


def _numbers(found: str) -> tuple[int, ...]:
    return tuple(int(part) for part in found.split(".")[:3] if part.isdigit())


def variable_findings(environment: Mapping[str, str], folder: Path) -> Iterator[Finding]:
    """Yield the variables that change how chromadb works; it reads them, and a file ``.env`` of the current folder.

    Args:
        environment: The variables.
        folder: The current folder.
    """
    for name in sorted(environment):
        if finding := _variable(name, environment[name], f"unset {name}", "the variable"):
            yield finding
    try:
        lines = (folder / ".env").read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        name, _, value = line.strip().removeprefix("export ").partition("=")
        if finding := _variable(name.strip().upper(), value.strip(), "", f"{folder / '.env'}, which chromadb reads,"):
            yield finding


def _variable(name: str, value: str, command: str, what: str) -> Finding | None:
    if name == "ANONYMIZED_TELEMETRY" and value.strip("'\"").lower() not in _FALSE:
        message = f"{what} asks chromadb for telemetry ({name}); kb switches it off all the same"
        return Finding("telemetry", Severity.NOTE, message, command)
    if name.startswith("CHROMA_OTEL_") and value:
        return Finding("telemetry", Severity.WARNING, f"{what} makes chromadb report its calls ({name})", command)
    if (name.startswith("CHROMA_") or name in ("ALLOW_RESET", "PERSIST_DIRECTORY")) and name not in _HARMLESS:
        return Finding("chromadb", Severity.WARNING, f"{what} changes how chromadb works ({name})", command)
    return None


def holders(path: Path, processes: Path = Path("/proc")) -> list[int]:
    """Return the ids of other processes that have a file open, as far as this user may see; sorted.

    Args:
        path: The file, as a real path.
        processes: Where the kernel shows them.
    """
    found = set()
    for folder in processes.glob("[0-9]*/fd"):
        try:
            if any(os.readlink(link) == str(path) for link in folder.iterdir()):  # noqa: PTH115 - a text, no path
                found.add(int(folder.parent.name))
        except OSError:  # it has ended, or is another user's
            continue
    return sorted(found - {os.getpid()})
