"""Ctrl-C and SIGTERM while a job runs: the first lets it end well, the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether the user wants the job to end, and how the process then exits."""

    def __init__(self) -> None:
        self.number: int | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal, as a shell has it."""
        assert self.number is not None
        return 128 + self.number


@contextmanager
def stoppable(message: str) -> Iterator[Stop]:
    """Yield what says whether to stop: a first signal only sets it, a second one raises.

    Outside the main thread, which alone can have handlers, and for a signal that the process was told to ignore,
    nothing is changed.

    Args:
        message: Printed to stderr at the first signal; may be empty.
    """
    stop = Stop()
    stream = sys.stderr  # before a bar puts its own in place

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.is_wanted:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            raise SystemExit(128 + number)
        stop.number = number
        if message:
            # Not print(): the handler may run in the middle of another write to the same stream. On a terminal, a bar
            # or the echo of Ctrl-C stands on the line.
            start = "\n" if stream.isatty() else ""
            os.write(stream.fileno(), f"{start}{message}\n".encode(stream.encoding, "replace"))

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
