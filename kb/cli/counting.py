"""How far a long operation has come, on a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kb.cli.options import Shared


@contextmanager
def counting(options: Shared, what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what shows how many are done of how many: a bar on a terminal, which goes with the end, else nothing.

    Args:
        options: Whether to be quiet.
        what: What is being done.
    """
    if options.quiet or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), expand=True, transient=True)
    task = bar.add_task(what, total=None)

    def show(done: int, total: int) -> None:
        # Not before the first step: what is refused before it needs no bar.
        if not bar.live.is_started:
            bar.start()
        # Until some are done, the model is being loaded: the bar runs to and fro.
        bar.update(task, completed=done, total=total if done else None)

    try:
        yield show
    finally:
        bar.stop()
