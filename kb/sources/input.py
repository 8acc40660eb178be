"""``Input``: the unpacked bytes of a file, a pipe or stdin, and whether they are still the same. Knows no formats."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import sys
import tempfile
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from kb.errors import LimitError, SourceChangedError, SourceError
from kb.sources.packing import MAGIC_BYTES, Unpacked, packing_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from kb.errors import KBError
    from kb.sources.packing import Packing

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
        packing: How it is compressed, or None; everything that is read from here is unpacked.
        head: The first megabyte, or all of it.
        size: In bytes as it lies there, None for a pipe.
        position: How many of them have been read by the present pass.
        fingerprint: None for a pipe.
        begun: Whether rows have been asked for, so that some may have been imported.
    """

    def __init__(self, path: str) -> None:
        self.name = "<stdin>" if path == "-" else path
        self.packing: Packing | None = None
        self.size: int | None = None
        self.position = 0
        self.fingerprint: SourceFingerprint | None = None
        self._stream: io.BufferedReader | None = None
        self._spool: str | None = None
        self.begun = False
        try:
            if path == "-" or _is_pipe(path):
                self._stream = self._unpacked(_stdin() if path == "-" else open(path, "rb"), owned=path != "-")
                self.head = self._stream.read(HEAD_BYTES)
            else:
                self.fingerprint = fingerprint_of(path)
                self.size = self.fingerprint.size
                with self.open() as stream:
                    self.head = stream.read(HEAD_BYTES)
                self.position = 0
        except (OSError, ValueError) as error:
            raise unreadable(self.name, error) from None

    @property
    def head_is_all(self) -> bool:
        """Whether there is nothing after ``head``."""
        return len(self.head) < HEAD_BYTES

    def check_unchanged(self) -> None:
        """Raise ``SourceChangedError`` when the file is not what it was when it was opened."""
        if self.fingerprint is None:
            return
        try:
            now = fingerprint_of(self.name)
        except OSError as error:
            raise changed_error(self.name, f"it cannot be read any more: {error.strerror}") from None
        if now != self.fingerprint:
            before = self.fingerprint
            what = f"{before.size:,} bytes before, {now.size:,} now" if now.size != before.size else "it was rewritten"
            raise changed_error(self.name, what)

    def broken(self, reason: str) -> KBError:
        """Return the error for content that cannot be read: that the file has changed, if it has, else the reason."""
        try:
            self.check_unchanged()
        except SourceChangedError as error:
            return error
        hint = "get a whole copy of it" if self.packing is not None else ""
        return source_error(f"{self.name}: {reason}", hint, midway=self.begun)

    def open(self) -> io.BufferedReader:
        """Return the bytes from the start; a pipe can be read only once."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            return io.BufferedReader(_Joined(self.head, stream), _BUFFER_BYTES)
        self.position = 0
        if self.fingerprint is None and self._spool is None:
            raise source_error(f"{self.name} can be read only once")
        try:
            if self._spool is not None:
                return io.BufferedReader(_Counted(open(self._spool, "rb"), b"", self, owned=True), _BUFFER_BYTES)
            return self._unpacked(open(self.name, "rb"), owned=True)
        except OSError as error:
            raise unreadable(self.name, error) from None

    def spool(self) -> None:
        """Copy a pipe to a temporary file, so that it can be read more than once."""
        if self.fingerprint is None and self._spool is None:
            self._spool = self._copy()

    def local(self) -> str:
        """Return the path of a file with the unpacked bytes: the file itself, or a temporary copy."""
        if self.fingerprint is not None and self.packing is None:
            return self.name
        if self._spool is None:
            self._spool = self._copy()
        return self._spool

    def _unpacked(self, stream: BinaryIO, *, owned: bool) -> io.BufferedReader:
        try:
            start = stream.read(MAGIC_BYTES)
        except OSError as error:
            raise unreadable(self.name, error) from None
        counted: io.BufferedReader = io.BufferedReader(_Counted(stream, start, self, owned=owned), _BUFFER_BYTES)
        self.packing = packing_of(start)
        if self.packing is None:
            return counted
        unpacked = Unpacked(counted, self.packing, name=self.name, position=lambda: self.position, broken=self.broken)
        return io.BufferedReader(unpacked, _BUFFER_BYTES)

    def _copy(self) -> str:
        descriptor, path = tempfile.mkstemp(prefix="kb-")
        weakref.finalize(self, _remove, path)
        with self.open() as stream, open(descriptor, "wb") as spool:
            while block := stream.read(_BUFFER_BYTES):
                try:
                    spool.write(block)
                except OSError as error:
                    raise _unspoolable(self.name, error) from None
        return path


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
                raise unreadable(self._owner.name, error, midway=self._owner.position > 0) from None
        self._owner.position += count
        return count

    def close(self) -> None:
        if self._owned:
            self._stream.close()
        super().close()


class _Joined(io.RawIOBase):
    """Bytes that were read ahead, then the rest of their stream."""

    def __init__(self, head: bytes, stream: io.BufferedReader) -> None:
        self._head = memoryview(head)
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if not self._head:
            return self._stream.readinto1(buffer)
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._head))
        target[:count] = self._head[:count]
        self._head = self._head[count:]
        return count

    def close(self) -> None:
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


def fingerprint_of(path: str) -> SourceFingerprint:
    """Return what identifies the content of a file; ``OSError`` when it cannot be read."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        digest = hashlib.blake2b(digest_size=16)
        digest.update(file.read(_EDGE_BYTES))
        file.seek(max(0, status.st_size - _EDGE_BYTES))
        digest.update(file.read(_EDGE_BYTES))
    return SourceFingerprint(status.st_size, status.st_mtime_ns, digest.hexdigest())


def changed_error(name: str, what: str) -> SourceChangedError:
    """Return the error for an input that is not what it was when it was opened."""
    return SourceChangedError(
        f"{name} changed while it was read: {what}",
        unchanged=COMMITTED,
        hint="import the file again; unchanged rows cost nothing",
    )


def unreadable(name: str, error: OSError | ValueError, *, midway: bool = False) -> SourceError:
    """Return the error for an input that the system does not let us read."""
    if isinstance(error, FileNotFoundError):
        return source_error(f"{name} does not exist", "check the path; a relative one starts at the current directory")
    if isinstance(error, PermissionError):
        return source_error(f"{name} cannot be read: permission denied", "check who owns it and its mode")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return source_error(f"{name} cannot be read: {reason}", midway=midway)


def _unspoolable(name: str, error: OSError) -> KBError:
    what = f"{name} cannot be copied to a temporary file: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LimitError(what, unchanged="nothing was imported", hint="free some space, or name another TMPDIR")
    return source_error(what, "check TMPDIR")


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
