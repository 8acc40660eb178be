"""``kb search`` and ``kb compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kb.cli import render
from kb.cli.options import Shared, check_raw, raw_cells, shared

if TYPE_CHECKING:
    from collections.abc import Collection

    from kb.evaluate import Comparison
    from kb.schema import Field
    from kb.search import Explanation, Hits, Leg


@click.command()
@click.argument("query")
@click.option(
    "--where", metavar="FILTER", help="Only documents that satisfy it, e.g. 'rating >= 4 and tags has \"sql\"'."
)
@click.option("-k", "--limit", metavar="N", type=int, default=10, show_default=True, help="The most hits; 1 to 1000.")
@click.option("--offset", metavar="N", type=int, default=0, help="Skip the best N hits: the next page.")
@click.option(
    "--mode",
    type=click.Choice(["semantic", "keyword", "hybrid"]),
    default="hybrid",
    show_default=True,
    help="Order by meaning, by words, or by both.",
)
@click.option("--min-score", metavar="X", type=float, help="The lowest cosine similarity of a hit, from -1 to 1.")
@click.option("--max-score", metavar="X", type=float, help="The highest: leaves out near-copies of QUERY.")
@click.option("--within", metavar="R", type=float, help="The lowest score as a share of the best, e.g. 0.9.")
@click.option("--autocut", is_flag=True, help="Stop at the largest jump.")
@click.option("--explain", is_flag=True, help="Say of each hit how its place came about.")
@raw_cells
@shared
def search(
    options: Shared,
    query: str,
    where: str | None,
    limit: int,
    offset: int,
    mode: str,
    min_score: float | None,
    max_score: float | None,
    within: float | None,
    autocut: bool,
    explain: bool,
    raw: bool,
) -> None:
    """Find the documents that answer QUERY, best first.

    They are ordered by meaning and words together; "quoted words" in QUERY are
    a phrase. In every mode the score is the cosine similarity of the query and
    a document's best chunk: 1 is the same meaning, 0 is unrelated. A line on
    stderr says why the answer has the length it has; no hit at all is a normal
    answer.

    \b
    Examples:
      kb search "how do transformers pay attention" -k 5
      kb search '"slow queries"' --where 'tags has "sql"' --min-score 0.35
    """
    check_raw(options, raw=raw)
    with options.open() as base:
        collection = options.pick(base)
        hits = collection.search(
            query,
            where=where,
            limit=limit,
            offset=offset,
            mode=mode,
            min_score=min_score,
            max_score=max_score,
            within=within,
            autocut=autocut,
            explain=explain,
        )
        schema = collection.schema
        # What the text shows already is not shown again beside it.
        facets = {name for name, f in schema.fields.items() if f.is_metadata and name not in schema.template.names}
    if options.format == "json":
        render.print_json(render.hits_object(hits))
    elif options.format == "table":
        _print_hits(hits, facets)
    elif options.format == "csv":
        _print_csv(hits, schema.fields.values(), raw=raw)
    else:
        render.print_rows([render.hit_object(hit) for hit in hits], options.format, columns=[])
    options.note(str(hits.report))
    for note in (*hits.report.notes, *([hits.report.degraded] if hits.report.degraded else [])):
        options.note(f"note: {note}")


@click.command()
@click.argument("texts", nargs=-1, required=True, metavar="TEXT TEXT...")
@click.option("--model", metavar="ID", help="The model; else the collection's, else the default one.")
@shared
def compare(options: Shared, texts: tuple[str, ...], model: str | None) -> None:
    """Show the cosine similarity of every pair of TEXTs.

    Works without a knowledge base, with the default model.

    \b
    Examples:
      kb compare "a quick brown fox" "a fast auburn fox" "stock prices fell"
      kb compare --model all-mpnet-base-v2 "buy a car" "get an automobile"
    """
    if len(texts) < 2:
        raise click.UsageError("two texts or more are needed")
    if not all(text.strip() for text in texts):
        raise click.UsageError("one of the texts is empty")
    comparison = _comparison(options, texts, model)
    if options.format == "table":
        _print_comparison(comparison)
    elif options.format == "json":
        found = {"model": comparison.model, "texts": comparison.texts, "scores": comparison.scores}
        render.print_json(found)
    else:
        pairs: list[dict[str, Any]] = [
            {"text1": texts[i], "text2": texts[j], "score": comparison.scores[i][j]}
            for i in range(len(texts))
            for j in range(i + 1, len(texts))
        ]
        render.print_rows(pairs, options.format, columns=["text1", "text2", "score"])


def _comparison(options: Shared, texts: tuple[str, ...], model: str | None) -> Comparison:
    from kb.config import DEFAULT_MODEL
    from kb.embed import open_encoder
    from kb.errors import NoKnowledgeBaseError
    from kb.evaluate import compare as compare_texts

    try:
        settings = options.settings()
    except NoKnowledgeBaseError:
        return compare_texts(open_encoder(model or DEFAULT_MODEL, {}), texts)
    declared = settings.collections.get(options.collection or next(iter(settings.collections), ""))
    chosen = model or (declared.model if declared else DEFAULT_MODEL)
    return compare_texts(open_encoder(chosen, settings.models), texts)


def _print_csv(hits: Hits, fields: Collection[Field], *, raw: bool) -> None:
    from kb.schema import Field, FieldType
    from kb.sources import Column

    own = (
        Column("id", None),
        Column("score", Field("score", FieldType.FLOAT)),
        Column("chunk", Field("chunk", FieldType.INT)),
    )
    names = [one.name for one in fields]
    columns = [*own, *(Column(one.name, one) for one in fields)]
    rows = [[hit.id, hit.score, hit.chunk, *(hit.fields[name] for name in names)] for hit in hits]
    render.print_csv(columns, rows, raw=raw)


def _print_hits(hits: Hits, facets: set[str]) -> None:
    from rich.text import Text

    made = render.table("score", "id", "text", right=["score"], wrap=["id", "text"])
    for hit in hits:
        title, _, rest = hit.text.partition("\n")
        shown = Text(render.short(title, 120), style="bold")
        if rest.strip():
            shown.append("\n" + render.short(rest, 220), style="not bold")
        facts = [
            f"{name}: {render.short(value, 60)}"
            for name, value in render.present(hit.fields).items()
            if name in facets and value not in ("", [])
        ]
        if facts:
            shown.append("\n" + " · ".join(facts), style="not bold dim")
        if hit.explanation is not None:
            shown.append("\n" + _explained(hit.explanation), style="not bold italic")
        made.add_row(f"{hit.score:.3f}", render.short(hit.id, render.MAX_ID), shown)
    if hits:
        render.console().print(made)


def _explained(explanation: Explanation) -> str:
    """Return on one line how a hit's place came about."""
    legs = (("semantic", explanation.semantic), ("keyword", explanation.keyword))
    parts = [f"{name} {_leg(leg)}" for name, leg in legs if leg is not None]
    if explanation.words:
        parts.append("words: " + ", ".join(explanation.words))
    return " · ".join(parts)


def _leg(leg: Leg) -> str:
    place = "" if leg.rank is None else f" (place {leg.rank})"
    if leg.weight == 1.0:
        return f"{leg.score:.3f}{place}"
    return f"{leg.score:.3f}{place}, {leg.standard:+.2f} deviations × {leg.weight:g}"


def _print_comparison(comparison: Comparison) -> None:
    from rich.text import Text

    numbers = [str(number) for number in range(1, len(comparison.texts) + 1)]
    made = render.table("", "text", *numbers, right=numbers, wrap=["text"])
    for number, (text, scores) in enumerate(zip(comparison.texts, comparison.scores, strict=True), 1):
        shown = [Text(f"{score:.3f}", style="bold" if score >= 0.5 else "") for score in scores]
        made.add_row(str(number), render.short(text, 60), *shown)
    render.console().print(made)
