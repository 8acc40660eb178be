"""A Chroma server on the folder of a knowledge base: started, watched, started again when it dies, stopped in order."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kb.errors import KBError
from kb.index.lock import Lock, acquire
from kb.index.opening import Verdict, open_safely
from kb.index.seal import FOLDER, break_seal, forget_stops, put_seal, why_unsafe
from kb.index.sharing import ServerNote, write_note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOST: Final = "127.0.0.1"
LOG_FILE: Final = "server.log"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 0.1
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Between two starts of a server that dies again and again; what has run for so long counts as well."""


@dataclass(frozen=True, slots=True)
class Served:
    """What has just become of the server.

    Attributes:
        address: Host and port.
        pid: Of the server's process.
        ended: The exit code of one that has died, negative for a signal; None when it answers.
    """

    address: str
    pid: int
    ended: int | None = None


def serve(
    storage: Path, inspect: Callable[[Path, int], Verdict], *, port: int | None, is_stopped: Callable[[], bool]
) -> Iterator[Served]:
    """Keep a Chroma server running on the index of a knowledge base, yielding whenever it answers or has died.

    It holds the lock meanwhile, and so does the server itself: the folder is never open twice.

    Args:
        storage: The folder of the knowledge base.
        inspect: Looks at an index that was not closed in order, as for ``Ownership``.
        port: Where the server listens, on this machine only; None for one that is free.
        is_stopped: Whether to stop; asked ten times a second.

    Raises:
        LockedError: Another process owns the knowledge base.
        KBError: The server does not start.
    """
    lock = acquire(storage)
    child = None
    try:
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        pause, has_answered = FIRST_PAUSE, False
        while not is_stopped():
            chosen = port or _free_port()
            # Before it answers: who writes meanwhile is not refused, and the index follows later.
            write_note(storage, ServerNote(HOST, chosen, os.getpid(), since))
            _make_safe(storage, lambda: inspect(storage, lock.descriptor))
            child, began = _start(storage, lock, chosen), time.monotonic()
            address = f"{HOST}:{chosen}"
            if _wait_until_it_answers(child, chosen, is_stopped):
                has_answered = True
                yield Served(address, child.pid)
                while child.poll() is None and not is_stopped():
                    time.sleep(LOOK_SECONDS)
            if is_stopped():
                return
            if not has_answered:
                raise _failed(storage, child)
            _stop(child)
            yield Served(address, child.pid, child.returncode)
            pause = FIRST_PAUSE if time.monotonic() - began > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            _sleep(pause, is_stopped)
    finally:
        try:
            if child is not None:
                _close(storage, child)
        finally:
            lock.release()


def _close(storage: Path, child: subprocess.Popen[bytes]) -> None:
    """End the server, and seal what it leaves in order."""
    is_in_order = child.poll() is None
    _stop(child)
    if is_in_order and child.returncode == 0:
        with contextlib.suppress(OSError):  # without a seal it is looked at as well
            put_seal(storage)
            forget_stops(storage)


def _make_safe(storage: Path, inspect: Callable[[], Verdict]) -> None:
    """Look at an index that was not closed in order; one that is damaged is put aside, and begun anew."""
    if why_unsafe(storage) is not None:
        open_safely(storage, inspect).close()
    break_seal(storage)


def answers(host: str, port: int, *, timeout: float) -> bool:
    """Return whether a Chroma server answers there within so many seconds."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", "/api/v2/heartbeat")
        response = connection.getresponse()
        return response.status == http.client.OK and b"heartbeat" in response.read(1_000)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _start(storage: Path, lock: Lock, port: int) -> subprocess.Popen[bytes]:
    folder = storage / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    with (storage / LOG_FILE).open("wb") as log:
        # In a session of its own: Ctrl-C is for this process, which then stops the child in order.
        return subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "kb.child", str(os.getpid()), "kb.index.run_chroma", str(folder), HOST, str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock.descriptor,),
            start_new_session=True,
            # Its usual log has several lines for every request, for ever.
            env={"RUST_LOG": "warn", **os.environ, "ANONYMIZED_TELEMETRY": "False"},
        )


def _wait_until_it_answers(child: subprocess.Popen[bytes], port: int, is_stopped: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while child.poll() is None and not is_stopped() and time.monotonic() < deadline:
        if answers(HOST, port, timeout=1.0):
            return child.poll() is None
        time.sleep(LOOK_SECONDS)
    return False


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the server: in order, or by force when it does not."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


def _failed(storage: Path, child: subprocess.Popen[bytes]) -> KBError:
    ended = child.poll()
    how = f"did not answer within {START_SECONDS:g} seconds" if ended is None else f"ended with code {ended}"
    lines = (storage / LOG_FILE).read_bytes().decode(errors="replace").strip().splitlines()
    return KBError(
        f"the Chroma server does not start: it {how}",
        unchanged="the catalog and the index are as they were",
        hint=f"{storage / LOG_FILE} ends with: {lines[-1].strip()}" if lines else "",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _sleep(seconds: float, is_stopped: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not is_stopped():
        time.sleep(LOOK_SECONDS)
