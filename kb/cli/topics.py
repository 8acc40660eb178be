"""``kb topics``."""

from __future__ import annotations

import textwrap
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kb.cli import render
from kb.cli.options import Shared, check_suffix, shared
from kb.cli.running import working

if TYPE_CHECKING:
    from rich.text import Text

    from kb.evaluate.topics import Topic, Topics


@click.command()
@click.option("--topics", "count", metavar="N", type=int, help="How many; default: chosen by silhouette, 2 to 30.")
@click.option("--where", metavar="FILTER", help="Only documents that satisfy it.")
@click.option("--words", metavar="N", type=int, default=8, show_default=True, help="Words of each topic; 1 to 100.")
@click.option("--documents", metavar="N", type=int, default=3, show_default=True, help="Of each topic; 0 to 100.")
@click.option("--map", "map_", metavar="FILE", help="Also draw a map of the documents, as a PNG file.")
@click.option("--page", metavar="FILE", help="Also write a map to explore, as an HTML file that needs no network.")
@click.option("--force", is_flag=True, help="Replace the FILEs if they exist.")
@shared
def topics(
    options: Shared,
    count: int | None,
    where: str | None,
    words: int,
    documents: int,
    map_: str | None,
    page: str | None,
    force: bool,
) -> None:
    """Show what the documents are about: topics, with their most typical words and documents.

    Documents are divided by KMeans over their vectors; the same vectors always
    give the same topics. The cosine is that of a topic's documents and its
    centre, on average: the higher, the closer together. No model is needed,
    and nothing is changed.

    \b
    Examples:
      kb topics --where 'published >= 2024-01-01'
      kb topics --topics 12 --map map.png --page topics.html
    """
    from kb.sources import replacing

    check_suffix(map_, "--map", ".png")
    check_suffix(page, "--page", ".html", ".htm")
    with options.open() as base, ExitStack() as writing:
        # Before the work: a file that cannot be written should not cost half a minute.
        picture = writing.enter_context(replacing(map_, force=force)) if map_ else None
        html = writing.enter_context(replacing(page, force=force)) if page else None
        mapped = bool(map_ or page)
        with working(options, "looking for topics"):
            found = options.pick(base).topics(where, topics=count, words=words, documents=documents, map=mapped)
        if picture is not None:
            from kb.evaluate.topics import topic_picture

            picture.write(topic_picture(found))
        if html is not None:
            from kb.evaluate.topics import topic_page

            html.write(topic_page(found).encode())
    if options.format == "table":
        _print(found)
    elif options.format == "json":
        render.print_json(asdict(found))
    else:
        rows = [asdict(topic) for topic in found.topics]
        render.print_rows(rows, options.format, columns=["number", "words", "documents", "size", "share", "cosine"])
    for note in (_summary(found), *found.notes, *(f"wrote {file}" for file in (map_, page) if file)):
        options.note(note)


def _summary(found: Topics) -> str:
    shown = f"{render.counted(found.documents, 'document')}, {render.counted(len(found.topics), 'topic')}"
    if found.attempts:
        best = max(one.silhouette for one in found.attempts)
        tried = f"{found.attempts[0].topics} to {found.attempts[-1].topics}"
        shown += f", chosen out of {tried} by silhouette {best:.2f}"
    return shown if found.algorithm == "none" else f"{shown}, {found.algorithm}"


def _print(found: Topics) -> None:
    if not found.topics:
        return
    right = ("topic", "documents", "share", "cosine")
    made = render.table(
        "topic", "typical words and documents", *right[1:], right=right, wrap=["typical words and documents"]
    )
    screen = render.console()
    for topic in found.topics:
        made.add_row(
            str(topic.number),
            _described(topic, screen.width),
            f"{topic.size:,}",
            f"{100 * topic.share:.1f} %",
            f"{topic.cosine:.2f}",
        )
    screen.print(made)


def _described(topic: Topic, width: int) -> Text:
    from rich.text import Text

    shown = Text(render.short(", ".join(topic.words)) or "–", style="bold")
    room = max(20, width - 40)
    for document in topic.documents:
        title = textwrap.shorten(render.short(document.title or document.id), room, placeholder="…")
        shown.append(f"\n{title}", style="not bold dim")
    return shown
