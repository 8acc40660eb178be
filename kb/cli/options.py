"""The options that every command shares, and opening the knowledge base that they name."""

from __future__ import annotations

import functools
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import click

from kb.cli.render import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from kb.collection import Collection
    from kb.config import Settings
    from kb.embed import Encoder
    from kb.knowledge_base import KnowledgeBase

P = ParamSpec("P")
R = TypeVar("R")

FORMATS = ("table", "json", "jsonl", "csv")


@dataclass(frozen=True, slots=True)
class Shared:
    """What the shared options say.

    Attributes:
        directory: ``--kb``.
        collection: ``--collection``.
        format: ``--format``, resolved: a table on a terminal, JSON Lines when piped.
        quiet: No notes and no progress.
        verbose: More notes.
    """

    directory: str | None
    collection: str | None
    format: str
    quiet: bool
    verbose: bool

    def settings(self) -> Settings:
        """Return the settings of the knowledge base that ``--kb``, ``KB_HOME`` or the current folder names."""
        from kb.config import find_root, load_settings

        return load_settings(find_root(self.directory))

    def open(self) -> KnowledgeBase:
        """Open the knowledge base; use it as a context manager.

        A command that was answered by a damaged one says so at its end, with exit code 12.
        """
        from kb.knowledge_base import KnowledgeBase

        base = KnowledgeBase(self.settings())
        click.get_current_context().call_on_close(lambda: _check_sound(base))
        return base

    def encoder(self, model: str | None) -> Encoder:
        """Open the model of that id, else the collection's, else the default one; no knowledge base is needed."""
        from kb.config import DEFAULT_MODEL
        from kb.embed import open_encoder
        from kb.errors import NoKnowledgeBaseError

        try:
            settings = self.settings()
        except NoKnowledgeBaseError:
            return open_encoder(model or DEFAULT_MODEL, {})
        declared = settings.collections.get(self.collection or next(iter(settings.collections), ""))
        return open_encoder(model or (declared.model if declared else DEFAULT_MODEL), settings.models)

    def pick(self, base: KnowledgeBase) -> Collection:
        """Return the collection that ``--collection`` names, or the only one."""
        return base.collection(self.collection)

    def note(self, message: str) -> None:
        """Print a note on stderr, unless quiet."""
        if not self.quiet:
            say(message)


def _check_sound(base: KnowledgeBase) -> None:
    from kb.catalog import ADVICE
    from kb.errors import CatalogDamagedError

    failure = sys.exc_info()[1]
    if base.damage is None or isinstance(failure, CatalogDamagedError | click.Abort | KeyboardInterrupt | SystemExit):
        return
    # Whatever else has failed may be a consequence.
    because = "" if failure is None or isinstance(failure, click.exceptions.Exit) else f"{failure}; "
    raise CatalogDamagedError(
        f"{because}the catalog in {base.settings.storage} is damaged: {base.damage}",
        unchanged="it is only read; what was shown came from its sound part, and may lack what cannot be read",
        hint=ADVICE,
    ) from failure


raw_cells: Final = click.option(
    "--raw", is_flag=True, help="In CSV, put no apostrophe before what a spreadsheet would run as a formula."
)
"""Gives a command that prints documents the option; it takes it as its argument ``raw``."""


def check_raw(options: Shared, *, raw: bool) -> None:
    """Refuse ``--raw`` where nothing is CSV."""
    if raw and options.format != "csv":
        raise click.UsageError("--raw is about the cells of CSV: say --format csv as well")


def check_suffix(path: str | None, option: str, *suffixes: str) -> None:
    """Refuse a file whose name promises something else than what is written.

    Args:
        path: The file; None where the option was not given. A name without an ending promises nothing.
        option: Which option names it.
        suffixes: The endings that fit, in lower case.
    """
    suffix = "" if path is None else Path(path).suffix
    if suffix and suffix.lower() not in suffixes:
        raise click.UsageError(f"{option} writes {suffixes[0][1:].upper()}, but {path} ends in {suffix}")


def shared(function: Callable[Concatenate[Shared, P], R]) -> Callable[P, R]:
    """Give a command the shared options; it takes them as its first argument."""

    @click.option("--kb", "directory", metavar="DIR", help="The knowledge base (else KB_HOME, else upward from here).")
    @click.option("-c", "--collection", metavar="NAME", help="The collection; may be left out when there is only one.")
    @click.option(
        "--format", type=click.Choice(FORMATS), default=None, help="Default: table on a terminal, jsonl when piped."
    )
    @click.option("-q", "--quiet", is_flag=True, help="No notes, no progress.")
    @click.option("-v", "--verbose", is_flag=True, help="More notes.")
    @click.option("--debug", is_flag=True, help="Show a traceback on errors.")
    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> R:
        verbose = options.pop("verbose")
        options.pop("debug")
        if verbose:
            # Our own logger alone: with the root logger set up, torch would tell its own story as well.
            logging.getLogger("kb").addHandler(logging.StreamHandler())
            logging.getLogger("kb").setLevel(logging.INFO)
        given = Shared(
            options.pop("directory"),
            options.pop("collection"),
            options.pop("format") or ("table" if sys.stdout.isatty() else "jsonl"),
            options.pop("quiet"),
            verbose,
        )
        return function(given, *args, **options)

    return wrapper
