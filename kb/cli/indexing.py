"""``kb index``: the server that lets several processes use one knowledge base at once, and where the index is."""

from __future__ import annotations

from dataclasses import asdict

import click

from kb.cli import render
from kb.cli.group import NearestGroup
from kb.cli.options import Shared, shared
from kb.cli.stopping import stoppable


@click.group(cls=NearestGroup, invoke_without_command=True)
@shared
@click.pass_context
def index(ctx: click.Context, options: Shared) -> int:
    """Serve the vector index to several processes, or show where it is; alone, show it.

    \b
    Examples:
      kb index serve
      kb index status
    """
    return _show(options) if ctx.invoked_subcommand is None else 0


@index.command()
@click.option("--port", type=click.IntRange(1, 65_535), help="Where it listens, on this machine only; else a free one.")
@shared
def serve(options: Shared, port: int | None) -> int:
    """Run a Chroma server on the index until Ctrl-C or SIGTERM.

    Other kb processes find it by themselves: meanwhile all of them import,
    search, edit and delete at once. A server that dies is started again.

    \b
    Examples:
      kb index serve
      kb index serve --port 8000
    """
    from kb.serving import serve_index

    with stoppable("stopping the server…") as stop:
        for served in serve_index(options.settings(), port=port, is_stopped=lambda: stop.is_wanted):
            if served.ended is None:
                options.note(f"the index is served at {served.address} (process {served.pid}); Ctrl-C stops it")
            else:
                options.note(f"the server has ended with code {served.ended}; starting it again")
        options.note("the server is stopped")
        return stop.exit_code if stop.number is not None else 0


@index.command()
@shared
def status(options: Shared) -> int:
    """Show where the index is and whether it answers. Exit code 11 when a server does not.

    \b
    Examples:
      kb index status
      kb index status --format json
    """
    return _show(options)


def _show(options: Shared) -> int:
    from kb.serving import index_status

    found = index_status(options.settings())
    row = asdict(found)
    if options.format == "json":
        render.print_json(row)
    elif options.format != "table":
        render.print_rows([row], options.format, columns=list(row))
    else:
        made = render.table("index", "value", wrap=["value"])
        for name, value in row.items():
            made.add_row(name, _spelled(value))
        render.console().print(made)
    return 11 if found.answers is False else 0


def _spelled(value: str | bool | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else value
