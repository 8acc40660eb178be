"""``kb judge``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from kb.cli import render
from kb.cli.options import Shared, shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.catalog import Judgement

_COLUMNS: Final = ("query", "id", "relevant", "at", "who")


@click.command()
@click.argument("words", nargs=-1, metavar="[QUERY [ID... yes|no]]")
@click.option("--list", "listing", is_flag=True, help="Show what has been judged, for QUERY or in all.")
@click.option("--remove", is_flag=True, help="Forget what was said of IDs for QUERY, or of all documents.")
@shared
def judge(options: Shared, words: tuple[str, ...], listing: bool, remove: bool) -> int:
    """Say whether documents answer QUERY: yes or no.

    A later judgement replaces an earlier one. kb eval without a file measures
    the answers to the queries that have been judged; a query that has been
    judged no throughout counts as one without an answer.

    \b
    Examples:
      kb judge "undo a bad release" devops-01 devops-02 yes
      kb judge --list
    """
    if listing and remove:
        raise click.UsageError("--list and --remove exclude each other")
    if listing:
        return _list(options, words)
    if remove:
        return _remove(options, words)
    if len(words) < 3 or words[-1].lower() not in ("yes", "no"):
        raise click.UsageError("say QUERY ID yes or QUERY ID no; a QUERY of several words needs quotes")
    query, *ids, verdict = words
    with options.open() as base:
        collection = options.pick(base)
        collection.judge(query, *ids, relevant=verdict.lower() == "yes")
        found = collection.judgements(query)
    _print(options, found)
    return 0


def _list(options: Shared, words: tuple[str, ...]) -> int:
    if len(words) > 1:
        raise click.UsageError("--list takes one QUERY; quote one of several words")
    with options.open() as base:
        found = options.pick(base).judgements(*words)
    _print(options, found)
    queries = len({one.query for one in found})
    options.note(f"{render.counted(len(found), 'judgement')} of {queries:,} {'query' if queries == 1 else 'queries'}")
    return 0


def _remove(options: Shared, words: tuple[str, ...]) -> int:
    if not words:
        raise click.UsageError("--remove needs a QUERY")
    with options.open() as base:
        removed = options.pick(base).forget_judgements(*words)
    found: dict[str, Any] = {"removed": removed}
    if options.format == "json":
        render.print_json(found)
    elif options.format == "table":
        print(f"removed {render.counted(removed, 'judgement')}")
    else:
        render.print_rows([found], options.format, columns=list(found))
    if not removed:
        options.note("nothing was judged like that: kb judge --list shows what was")
    return 0 if removed else 4


def _print(options: Shared, found: Sequence[Judgement]) -> None:
    if options.format == "table":
        made = render.table("query", "id", "answers", "when", wrap=["query", "id"])
        for one in found:
            answers = "yes" if one.relevant else "no"
            made.add_row(render.short(one.query), render.short(one.key, render.MAX_ID), answers, one.at[:10])
        if found:
            render.console().print(made)
        return
    rows = [
        {"query": one.query, "id": one.key, "relevant": one.relevant, "at": one.at, "who": one.who} for one in found
    ]
    render.print_rows(rows, options.format, columns=_COLUMNS)
