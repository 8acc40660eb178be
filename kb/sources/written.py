"""Writing a file so that it is there whole or not at all."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from kb.errors import ConflictError, LimitError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kb.errors import KBError


@contextmanager
def replacing(path: str, *, force: bool) -> Iterator[BinaryIO]:
    """Yield a stream to ``PATH.part``, which takes the place of ``path`` when the block ends, and is gone if it fails.

    A pipe or device is written to as it is.

    Args:
        path: Of the file.
        force: Whether a file that is there already is replaced.

    Raises:
        ConflictError: There is one already.
        SourceError: It cannot be written.
        LimitError: There is no space left.
    """
    path = os.path.realpath(path)  # a link stays one
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        with _translated(path), open(path, "wb") as stream:
            yield stream
        return
    _check_free(path, force=force)
    part = f"{path}.part"
    with _translated(path):
        stream = open(part, "wb")
        try:
            with stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            _check_free(path, force=force)
            os.replace(part, path)
        except BaseException:  # a half-written file stays behind on no account, Ctrl-C included; raised again
            with suppress(OSError):
                os.unlink(part)
            raise


def _check_free(path: str, *, force: bool) -> None:
    if os.path.isdir(path):
        raise SourceError(f"{path} is a folder", unchanged="nothing was written", hint="name a file in it")
    if os.path.exists(path) and not force:
        raise ConflictError(
            f"{path} exists already", unchanged="it was not touched", hint="--force replaces it, or name another file"
        )


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: str, error: OSError) -> KBError:
    kept = "nothing was written; no part of the file is left"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return LimitError(f"no space left for {path}", unchanged=kept, hint="free some space, or write elsewhere")
    reason = error.strerror or str(error)
    return SourceError(f"{path} cannot be written: {reason}", unchanged=kept, hint="check the folder and its mode")
