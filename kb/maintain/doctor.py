"""Examines a knowledge base from outside: also one that cannot be opened, or that another process has open.

Nothing is written, locked, migrated or mended.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kb import __version__, config
from kb import catalog as cat
from kb.errors import KBError
from kb.index import is_held, read_note, read_owner
from kb.maintain import doctor_catalog, doctor_index, surroundings
from kb.maintain.filesystem import brief_life, file_system_of, hazard
from kb.maintain.finding import Examination, Fact, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kb.config import Settings

_ORDER: Final = tuple(Severity)


def examine(root: Path, settings: Settings | None = None) -> Examination:
    """Return what there is, and what is wrong with it.

    Args:
        root: The folder with ``config.toml``.
        settings: What it says; None to read it.
    """
    facts: list[Fact] = [*surroundings.versions(__version__), Fact("knowledge base", str(root))]
    findings: list[Finding] = []
    if settings is None:
        try:
            settings = config.load_settings(root)
        except KBError as error:
            findings.append(_config_finding(error))
    storage = _storage(root) if settings is None else settings.storage
    for part in (
        _place(storage),
        _owner(storage),
        doctor_catalog.look(storage, settings, owned=_is_owned(storage)),
        doctor_index.look(storage),
        surroundings.chromadb_findings(),
        surroundings.variable_findings(os.environ, _here()),
    ):
        for one in part:
            (facts if isinstance(one, Fact) else findings).append(one)  # type: ignore[arg-type]
    findings.sort(key=lambda finding: _ORDER.index(finding.severity))
    return Examination(tuple(facts), tuple(findings))


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/")


def _config_finding(error: KBError) -> Finding:
    hint = f" ({error.hint})" if error.hint and not error.hint.startswith("chmod") else ""
    command = error.hint if error.hint.startswith("chmod") else "kb config"
    return Finding("config", Severity.ERROR, f"{error}{hint}", command)


def _storage(root: Path) -> Path:
    """Return where the storage most likely is, when the configuration does not tell."""
    return (root / (os.environ.get("KB_STORAGE_PATH") or config.DEFAULT_STORAGE)).resolve()


def _place(storage: Path) -> Iterator[Fact | Finding]:
    system = file_system_of(storage)
    yield Fact("storage", f"{storage} ({system.type or 'unknown file system'} on {system.mount})")
    if found := hazard(storage) or brief_life(storage):
        yield Finding("file system", Severity.WARNING, found)
    if not storage.exists():
        yield Finding("storage", Severity.NOTE, f"there is no {storage} yet: nothing has been stored", "kb import FILE")
        return
    if system.is_read_only:
        yield Finding("storage", Severity.WARNING, f"{system.mount} is mounted read-only: nothing can be written")
        return
    for path in (storage, storage / cat.FILE_NAME):
        if not path.exists():
            continue
        if not os.access(path, os.R_OK):
            yield Finding("storage", Severity.ERROR, f"{path} cannot be read by this user", f"chmod u+r {path}")
        elif not os.access(path, os.W_OK):
            yield Finding("storage", Severity.WARNING, f"{path} cannot be written by this user", f"chmod u+w {path}")
    others = storage.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    if others:
        message = f"{storage} is open to other users of this machine"
        yield Finding("storage", Severity.WARNING, message, f"chmod 700 {storage}")


def _is_owned(storage: Path) -> bool:
    try:
        return is_held(storage)
    except OSError:
        return False


def _owner(storage: Path) -> Iterator[Fact | Finding]:
    try:
        held = is_held(storage)
    except OSError as error:
        yield Finding("lock", Severity.WARNING, f"the lock cannot be looked at: {error.strerror} ({error.filename})")
        return
    owner = read_owner(storage) if held else None
    if owner is not None and owner.pid == os.getpid():
        yield Fact("owner", "this process")
        return
    yield Fact("owner", str(owner or "another process") if held else "nobody")
    served = read_note(storage) if held else None
    if served is not None:
        message = (
            f"kb index serve (process {served.pid}) serves the index at {served.host}:{served.port}: all processes "
            "search and write through it; rebuild and purge have to wait until it is stopped"
        )
        yield Finding("lock", Severity.NOTE, message, "kb index status")
    elif held:
        message = f"owned by {owner or 'another process'}: searching works, writing has to wait"
        yield Finding("lock", Severity.NOTE, message)
