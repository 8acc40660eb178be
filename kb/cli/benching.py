"""``kb bench``."""

from __future__ import annotations

import textwrap
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from kb.cli import render
from kb.cli.group import NearestGroup
from kb.cli.options import Shared, check_suffix, shared
from kb.cli.running import working

if TYPE_CHECKING:
    from kb.evaluate.bench_index import IndexBench, Measured

_COLUMNS: Final = ("index", "setting", "recall", "p50", "p95", "build", "bytes", "missing")


@click.group(cls=NearestGroup)
def bench() -> None:
    """Measure on your own data.

    \b
    Examples:
      kb bench index
      kb bench index --queries 500 --plot recall.png
    """


@bench.command()
@click.option("--queries", metavar="N", type=int, default=200, show_default=True, help="How many to ask; 1 to 10000.")
@click.option("-k", "--k", metavar="N", type=int, default=10, show_default=True, help="Neighbours per query; 1 to 100.")
@click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="Another seed asks other queries.")
@click.option("--plot", metavar="FILE", help="Also draw recall against time, as a PNG file.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@shared
def index(options: Shared, queries: int, k: int, seed: int, plot: str | None, force: bool) -> None:
    """Compare exact search, Chroma and FAISS on the collection's own vectors.

    Recall is the share of the nearest K that an index finds; equal vectors are
    equally right. A query is a vector of the collection, moved to a cosine of
    0.8 in a random direction that has the spread of the collection; the vector
    that it was made from does not count. Times are milliseconds per query, one
    at a time, on one thread. No model is needed.

    \b
    Examples:
      kb bench index
      kb bench index --queries 500 -k 20 --plot recall.png
    """
    check_suffix(plot, "--plot", ".png")
    with options.open() as base, ExitStack() as writing:
        picture = writing.enter_context(_replacing(plot, force=force)) if plot else None
        with working(options, "measuring indexes"):
            found = options.pick(base).bench_index(queries=queries, k=k, seed=seed)
        if picture is not None:
            from kb.evaluate.plots import recall_plot

            picture.write(recall_plot(found))
    if options.format == "table":
        _print(found, k)
    elif options.format == "json":
        render.print_json(asdict(found))
    else:
        rows = [asdict(one) for one in found.measured]
        rows += [{"index": one.index, "missing": one.reason} for one in found.missing]
        render.print_rows(rows, options.format, columns=_COLUMNS)
    if plot is not None:
        options.note(f"wrote {plot}")


def _replacing(path: str, *, force: bool) -> Any:
    from kb.sources import replacing

    return replacing(path, force=force)


def _print(found: IndexBench, k: int) -> None:
    right = ("recall", "p50 ms", "p95 ms", "build s", "MB")
    made = render.table("index", "", *right, right=right)
    for one in found.measured:
        made.add_row(one.index, one.setting, *_figures(one))
    for missing in found.missing:
        made.add_row(missing.index, "", *("–" for _ in right))
    screen = render.console()
    screen.print(made)
    asked = "1 query" if found.queries == 1 else f"{found.queries:,} queries"
    vectors = render.counted(found.vectors, "vector")
    lines = [f"{vectors} of {found.dimension} dimensions; recall@{found.k} of {asked}, one at a time, one thread"]
    if found.k < k:
        lines.append(f"k is {found.k}: there are no more other vectors")
    if found.lists:
        lines.append(f"IVFFlat: {found.lists:,} lists, of which nprobe are searched")
    lines += [f"{missing.index} is missing: {missing.reason}" for missing in found.missing]
    for line in lines:
        print(textwrap.fill(render.plain(line), screen.width, subsequent_indent="  "))


def _figures(one: Measured) -> tuple[str, ...]:
    build = "–" if one.build is None else f"{one.build:.2f}"
    return f"{one.recall:.3f}", f"{one.p50:.3f}", f"{one.p95:.3f}", build, f"{one.bytes / 1e6:,.1f}"
