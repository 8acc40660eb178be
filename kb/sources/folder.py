"""A folder of Markdown and text files as one source; and what the names on a command line stand for."""

from __future__ import annotations

import glob
import hashlib
import os
from collections import Counter
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from kb.sources.content import codec_name
from kb.sources.input import Input, SourceFingerprint, changed_error, fingerprint_of, source_error, unreadable
from kb.sources.markdown import note_row
from kb.sources.recognition import format_of_name
from kb.sources.source import Format

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kb.errors import SourceError
    from kb.sources.reading import Reading
    from kb.sources.row import Limits, Row

_SHOWN_KINDS: Final = 5


class FolderSource:
    """The Markdown and text files of a folder and the folders in it, in the order of their paths; a row each.

    Names that begin with a dot are left out, other kinds of files too, and a note tells of those. Folders that are
    symbolic links are not entered. See ``note_row`` for the values of a row.
    """

    textual = False

    def __init__(self, path: str, reading: Reading, limits: Limits) -> None:
        self.name = path
        self.format = Format.MARKDOWN
        self.rejects = Format.JSONL
        self.columns: tuple[str, ...] | None = None
        self.delimiter: str | None = None
        self.notes: list[str] = []
        self.position = 0
        self._limits = limits
        self._codec = codec_name(reading.encoding)
        self.encoding = self._codec
        try:
            names, others = _listed(path)
            if not names:
                raise _no_notes(path, others)
            self._names = names
            self._files = {name: fingerprint_of(os.path.join(path, name)) for name in names}
        except OSError as error:
            raise unreadable(error.filename or path, error) from None
        if others:
            self.notes.append(f"{path}: left out, for not being Markdown or text: {_counted(others)}")

    @property
    def total(self) -> int | None:
        """The number of files."""
        return len(self._files)

    def place(self, line: int) -> str:
        """Return in words which file the row of that number is."""
        return f"in {PurePath(self._names[line - 1]).as_posix()}"

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order; see ``Source.rows``."""
        self.check_unchanged()
        for number, (name, fingerprint) in enumerate(self._files.items(), start=1):
            opened = Input(os.path.join(self.name, name))
            if opened.fingerprint != fingerprint:
                raise changed_error(self.name, f"{name} was rewritten")
            self.position = number
            row = note_row(number, PurePath(name).as_posix(), opened, self._codec, self._limits)
            yield replace(row, file=name)
        self.check_unchanged()

    def fingerprint(self) -> SourceFingerprint | None:
        """Return what identifies the files as they were when the folder was opened."""
        digest = hashlib.blake2b(digest_size=16)
        for name, found in self._files.items():
            digest.update(f"{name}\0{found.size} {found.mtime_ns} {found.digest}\0".encode("utf-8", "surrogateescape"))
        size = sum(found.size for found in self._files.values())
        mtime_ns = max(found.mtime_ns for found in self._files.values())
        return SourceFingerprint(size, mtime_ns, digest.hexdigest())

    def check_unchanged(self) -> None:
        """Raise ``SourceChangedError`` when files have come, gone, or been written to."""
        try:
            names, _ = _listed(self.name)
            status = {name: os.stat(os.path.join(self.name, name)) for name in names}
        except OSError as error:
            raise changed_error(self.name, f"it cannot be read any more: {error.strerror}") from None
        for name in sorted(status.keys() ^ self._files.keys()):
            raise changed_error(self.name, f"{name} {'was added' if name in status else 'is gone'}")
        for name, found in self._files.items():
            if (status[name].st_size, status[name].st_mtime_ns) != (found.size, found.mtime_ns):
                raise changed_error(self.name, f"{name} was rewritten")


def expand_inputs(names: Sequence[str]) -> tuple[str, ...]:
    """Return the paths that names on a command line stand for, where the shell has not done it.

    A name with ``*``, ``?`` or ``[…]`` that is not the name of a file is a pattern; it stands for what it matches, in
    order, ``**`` for folders at any depth. Names that begin with a dot match only patterns that do. All other names,
    ``-`` among them, stand for themselves.

    Raises:
        SourceError: A pattern matches nothing.
    """
    paths: list[str] = []
    for name in names:
        if not is_pattern(name):
            paths.append(name)
            continue
        found = sorted(glob.glob(name, recursive=True))
        if not found:
            raise source_error(f"nothing matches {name}", "check the pattern; it starts at the current directory")
        paths += found
    return tuple(paths)


def is_pattern(name: str) -> bool:
    """Return whether a name on a command line is a pattern rather than the name of a file."""
    return glob.has_magic(name) and "\0" not in name and not os.path.lexists(name)


def _listed(folder: str) -> tuple[list[str], Counter[str]]:
    """Return the names of the files that make rows, in order, and how many there are of other kinds."""
    names: list[str] = []
    others: Counter[str] = Counter()

    def fail(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = os.path.join(place, name)
            if name.startswith(".") or not os.path.isfile(path):
                continue
            if format_of_name(name) is Format.MARKDOWN:
                names.append(os.path.relpath(path, folder))
            else:
                others[PurePath(name).suffix.lower() or "without suffix"] += 1
    return sorted(names), others


def _no_notes(path: str, others: Counter[str]) -> SourceError:
    if not others.total():
        return source_error(f"{path} is a folder without files", "name a folder of Markdown or text files")
    suffixes = [kind for kind, _ in others.most_common() if kind.startswith(".")]
    readable = [kind for kind in suffixes if format_of_name(f"_{kind}") is not None]
    suffix = next(iter(readable + suffixes), "")
    return source_error(
        f"{path} is a folder without Markdown or text files; it holds {_counted(others)}",
        f"name its files, e.g. with a pattern: {os.path.join(path, f'*{suffix}')}",
    )


def _counted(others: Counter[str]) -> str:
    listed = ", ".join(f"{count:,} {kind}" for kind, count in others.most_common(_SHOWN_KINDS))
    return f"{listed}, …" if len(others) > _SHOWN_KINDS else listed
