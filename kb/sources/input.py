"""``Input``: the bytes of a file, a pipe or stdin, and whether they are still the same. Nothing here knows formats."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import tempfile
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from kb.errors import SourceChangedError, SourceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD_BYTES: Final = 1024 * 1024
COMMITTED: Final = "rows that were committed before stay"
_EDGE_BYTES: Final = 64 * 1024
_BUFFER_BYTES: Final = 256 * 1024


def source_error(what: str, hint: str = "", *, midway: bool = False) -> SourceError:
    """Return the error for an input that cannot be read, or, ``midway``, not to its end."""
    return SourceError(what, unchanged=COMMITTED if midway else "nothing was imported", hint=hint)


@dataclass(frozen=True, slots=True)
class SourceFingerprint:
    """What identifies the content of a file.

    Attributes:
        size: In bytes.
        mtime_ns: When it was last written.
        digest: 32 hexadecimal digits over its first and last 64 kB.
    """

    size: int
    mtime_ns: int
    digest: str


class Input:
    """An opened input.

    Attributes:
        name: The path as given, or ``<stdin>``.
        head: The first megabyte, or all of it.
        size: In bytes, None for a pipe.
        position: How many bytes have been read by the present pass.
        fingerprint: None for a pipe.
    """

    def __init__(self, path: str) -> None:
        self.name = "<stdin>" if path == "-" else path
        self.size: int | None = None
        self.position = 0
        self.fingerprint: SourceFingerprint | None = None
        self._stream: BinaryIO | None = None
        self._spool: BinaryIO | None = None
        try:
            if path == "-":
                self._stream = _stdin()
            elif _is_pipe(path):
                self._stream = open(path, "rb")
                weakref.finalize(self, self._stream.close)
            if self._stream is not None:
                self.head = self._stream.read(HEAD_BYTES)
                return
            with open(path, "rb") as file:
                self.head = file.read(HEAD_BYTES)
                self.fingerprint = _fingerprint(file)
                self.size = self.fingerprint.size
        except (OSError, ValueError) as error:
            raise _unreadable(self.name, error) from None

    @property
    def head_is_all(self) -> bool:
        """Whether there is nothing after ``head``."""
        return len(self.head) < HEAD_BYTES

    def check_unchanged(self) -> None:
        """Raise ``SourceChangedError`` when the file is not what it was when it was opened."""
        if self.fingerprint is None:
            return
        try:
            with open(self.name, "rb") as file:
                now = _fingerprint(file)
        except OSError as error:
            raise self._changed(f"it cannot be read any more: {error.strerror}") from None
        if now != self.fingerprint:
            before = self.fingerprint
            what = f"{before.size:,} bytes before, {now.size:,} now" if now.size != before.size else "it was rewritten"
            raise self._changed(what)

    def _changed(self, what: str) -> SourceChangedError:
        return SourceChangedError(
            f"{self.name} changed while it was read: {what}",
            unchanged=COMMITTED,
            hint="import the file again; unchanged rows cost nothing",
        )

    def open(self) -> io.BufferedReader:
        """Return the bytes from the start; a pipe can be read only once."""
        self.position = 0
        if self._spool is not None:
            self._spool.seek(0)
            return io.BufferedReader(_Counted(self._spool, b"", self, owned=False), _BUFFER_BYTES)
        if self._stream is not None:
            stream, self._stream = self._stream, None
            return io.BufferedReader(_Counted(stream, self.head, self, owned=self.name != "<stdin>"), _BUFFER_BYTES)
        if self.fingerprint is None:
            raise source_error(f"{self.name} can be read only once")
        try:
            file = open(self.name, "rb")
        except OSError as error:
            raise _unreadable(self.name, error) from None
        return io.BufferedReader(_Counted(file, b"", self, owned=True), _BUFFER_BYTES)

    def spool(self) -> None:
        """Copy a pipe to a temporary file, so that it can be read more than once."""
        if self.fingerprint is not None or self._spool is not None:
            return
        spool = tempfile.TemporaryFile(prefix="kb-")
        with self.open() as stream:
            while block := stream.read(_BUFFER_BYTES):
                spool.write(block)
        weakref.finalize(self, spool.close)
        self._spool = spool


class _Counted(io.RawIOBase):
    """Bytes that were read ahead, then the stream; counts what is handed out."""

    def __init__(self, stream: BinaryIO, head: bytes, owner: Input, *, owned: bool) -> None:
        self._stream = stream
        self._head = memoryview(head)
        self._owner = owner
        self._owned = owned

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        if self._head:
            count = min(len(target), len(self._head))
            target[:count] = self._head[:count]
            self._head = self._head[count:]
        else:
            try:
                count = self._stream.readinto1(target)  # type: ignore[attr-defined]
            except OSError as error:
                raise _unreadable(self._owner.name, error, midway=self._owner.position > 0) from None
        self._owner.position += count
        return count

    def close(self) -> None:
        if self._owned:
            self._stream.close()
        super().close()


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise OSError(0, "there is no standard input")
    return sys.stdin.buffer


def _is_pipe(path: str) -> bool:
    """Return whether the path names a pipe; refuse what is neither a pipe nor a regular file."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise source_error(f"{path} is a directory", "name its files, e.g. with a pattern: *.csv")
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise source_error(f"{path} is a device, not a file", "use - to read standard input")
    if stat.S_ISSOCK(mode):
        raise source_error(f"{path} is a socket, not a file")
    return stat.S_ISFIFO(mode)


def _fingerprint(file: BinaryIO) -> SourceFingerprint:
    status = os.fstat(file.fileno())
    digest = hashlib.blake2b(digest_size=16)
    file.seek(0)
    digest.update(file.read(_EDGE_BYTES))
    file.seek(max(0, status.st_size - _EDGE_BYTES))
    digest.update(file.read(_EDGE_BYTES))
    return SourceFingerprint(status.st_size, status.st_mtime_ns, digest.hexdigest())


def _unreadable(name: str, error: OSError | ValueError, *, midway: bool = False) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return source_error(f"{name} does not exist", "check the path; a relative one starts at the current directory")
    if isinstance(error, PermissionError):
        return source_error(f"{name} cannot be read: permission denied", "check who owns it and its mode")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return source_error(f"{name} cannot be read: {reason}", midway=midway)
