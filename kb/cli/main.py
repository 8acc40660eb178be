"""The ``kb`` command: the group, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from kb import __version__
from kb.cli.group import NearestGroup
from kb.cli.render import say
from kb.errors import KBError

if TYPE_CHECKING:
    from types import FrameType

COMMANDS: Final = {
    "init": ("kb.cli.setup", "init", "Make a new knowledge base."),
    "inspect": ("kb.cli.inspecting", "inspect", "Show what a file holds; propose a collection for it."),
    "import": ("kb.cli.importing", "import_", "Import files, from CSV to Excel, as one job."),
    "search": ("kb.cli.searching", "search", "Find documents by meaning."),
    "get": ("kb.cli.documents", "get", "Show one document."),
    "list": ("kb.cli.documents", "list_", "List documents, filtered and sorted."),
    "export": ("kb.cli.exporting", "export", "Write documents as CSV, JSON Lines or Parquet."),
    "add": ("kb.cli.editing", "add", "Add one document."),
    "update": ("kb.cli.editing", "update", "Change fields of a document."),
    "delete": ("kb.cli.editing", "delete", "Delete documents by id or by filter."),
    "restore": ("kb.cli.editing", "restore", "Bring a deleted document back, or an earlier revision."),
    "history": ("kb.cli.documents", "history", "Show what has changed in a document."),
    "collections": ("kb.cli.setup", "collections", "List the collections and their fields; delete one."),
    "jobs": ("kb.cli.jobs", "jobs", "List, show, resume, cancel and undo jobs."),
    "models": ("kb.cli.setup", "models", "List the embedding models."),
    "similar": ("kb.cli.searching", "similar", "Find documents like other documents."),
    "judge": ("kb.cli.judging", "judge", "Say whether documents answer a query."),
    "eval": ("kb.cli.evaluating", "evaluate", "Measure answers against what is known to be right."),
    "compare-models": ("kb.cli.trying", "compare_models", "Try models on the collection's own documents."),
    "compare": ("kb.cli.searching", "compare", "Show how similar texts are to each other."),
    "facets": ("kb.cli.faceting", "facets", "Count the values of fields."),
    "topics": ("kb.cli.topics", "topics", "Show what the documents are about."),
    "bench": ("kb.cli.benching", "bench", "Measure indexes on the collection's own vectors."),
    "calibrate": ("kb.cli.calibrating", "calibrate", "Find the scores from which on a hit is relevant."),
    "reembed": ("kb.cli.reembedding", "reembed", "Make all vectors anew, by another model, while these serve."),
    "stats": ("kb.cli.upkeep", "stats", "Show figures of the knowledge base."),
    "verify": ("kb.cli.upkeep", "verify", "Check the catalog, and the indexes against it."),
    "rebuild": ("kb.cli.upkeep", "rebuild", "Build the indexes again from the catalog."),
    "backup": ("kb.cli.backing", "backup", "Make, list, check and restore backups."),
    "doctor": ("kb.cli.doctor", "doctor", "Say what is wrong, and what mends it."),
    "purge": ("kb.cli.cleaning", "purge", "Remove deleted documents from every file."),
    "gc": ("kb.cli.cleaning", "gc", "Delete what nobody needs any more."),
    "compact": ("kb.cli.cleaning", "compact", "Collect garbage and give the disk its room back."),
    "recover": ("kb.cli.backing", "recover", "Save what the index alone still holds."),
    "index": ("kb.cli.indexing", "index", "Serve the vector index to several processes."),
    "config": ("kb.cli.setup", "config", "Show the settings in force."),
}
"""By command: its module, its function, and the line that ``kb --help`` shows without importing either."""


class _LazyGroup(NearestGroup):
    """A group whose commands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="kb")
def cli() -> None:
    """A knowledge base you can trust, on ChromaDB.

    Import documents from files into typed collections, ask filtered
    questions with a similarity threshold, and curate what is in them.

    \b
    Examples:
      kb import data/articles.csv
      kb search "how do transformers work" --where 'rating >= 4' --min-score 0.3
    """


def main() -> NoReturn:
    """Run the command line and exit with the code of the outcome."""
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        # A document may hold what the terminal's encoding does not; a question mark is better than a traceback.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; every deliberate error is printed, never raised."""
    debug = "--debug" in arguments
    try:
        # Not cli.main(): that one turns a closed pipe into exit code 1.
        with cli.make_context("kb", list(arguments)) as context:
            result: Any = cli.invoke(context)
        sys.stdout.flush()
    except KBError as error:
        _print_error(str(error), error.unchanged, error.hint, debug=debug)
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        quote = "quote an argument that holds spaces" if "unexpected extra argument" in error.message else ""
        if isinstance(error, click.NoSuchOption) and not error.possibilities:
            quote = "put a text that begins with a dash last, after --"
        _print_error(error.format_message(), quote, "" if where is None else f"{where.command_path} --help shows how")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python must not try to flush the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _print_error(f"{place}{error.strerror or error}", _advice(error), debug=debug)
        return 14 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 1
    # The last resort: what none of the libraries below promised to raise must not reach a user as a traceback.
    except Exception as error:
        first = str(error).partition("\n")[0]
        _print_error(f"{type(error).__name__}: {first}", "this should not happen; --debug shows where", debug=debug)
        return 1
    return result if isinstance(result, int) else 0


def _advice(error: OSError) -> str:
    """Return what to do about an error of the operating system, where there is more to say than its message."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"this process may have {limit} files open at once: raise the limit with ulimit -n"
    return ""


def _print_error(what: str, *more: str, debug: bool = False) -> None:
    """Print one line for what happened, then what is unchanged and what to do; first a traceback if asked for."""
    if debug:
        traceback.print_exc()
    say(f"error: {what}")
    for line in "\n".join(more).splitlines():
        if line:
            say(line, indent="  ")


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(143)
