"""``kb search`` and ``kb compare``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from kb.cli import render
from kb.cli.faceting import facet_object, print_facets
from kb.cli.options import Shared, check_raw, raw_cells, shared

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import kb
    from kb.evaluate import Comparison
    from kb.schema import Field
    from kb.search import Explanation, Hits, Leg

# Of the matrix of ``kb compare``: what the number of a text and the text need at least, and a score with its space.
_TEXT_ROOM: Final = 36
_SCORE_ROOM: Final = 9


@click.command()
@click.argument("queries", nargs=-1, metavar="QUERY...")
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
@click.option(
    "--relevance",
    type=click.Choice(["strict", "normal", "loose"]),
    help="Leave out what is not relevant, by the bound that kb calibrate found.",
)
@click.option("--like", metavar="ID", multiple=True, help="More like this document. May be given several times.")
@click.option("--unlike", metavar="ID", multiple=True, help="Less like this document.")
@click.option(
    "--diverse",
    metavar="[S]",
    type=float,
    is_flag=False,
    flag_value=0.5,
    help="Prefer hits that differ from those above them; S from 0 to 1, 0.5 unless given.",
)
@click.option("--rerank", metavar="MODEL", help="A cross-encoder that orders the best candidates again.")
@click.option("--highlight", is_flag=True, help="Show the best sentence of each hit.")
@click.option("--explain", is_flag=True, help="Say of each hit how its place came about.")
@click.option("--facets", metavar="A,B", help="Count the values of these fields over all that passes the cut-offs.")
@raw_cells
@shared
def search(
    options: Shared,
    queries: tuple[str, ...],
    where: str | None,
    limit: int,
    offset: int,
    mode: str,
    min_score: float | None,
    max_score: float | None,
    within: float | None,
    autocut: bool,
    relevance: str | None,
    like: tuple[str, ...],
    unlike: tuple[str, ...],
    diverse: float | None,
    rerank: str | None,
    highlight: bool,
    explain: bool,
    facets: str | None,
    raw: bool,
) -> None:
    """Find the documents that answer QUERY, best first.

    They are ordered by meaning and words together; "quoted words" in QUERY are
    a phrase. In every mode the score is the cosine similarity of the query and
    a document's best chunk: 1 is the same meaning, 0 is unrelated. A line on
    stderr says why the answer has the length it has; no hit at all is a normal
    answer. Several queries are answered one after the other.

    \b
    Examples:
      kb search "how do transformers pay attention" -k 5
      kb search '"foreign key"' --where 'tags has "sql"' --min-score 0.35
    """
    from kb.catalog import Relevance
    from kb.search import Cut, Example, Mode, Query

    check_raw(options, raw=raw)
    if facets is not None and options.format == "csv":
        raise click.UsageError("CSV has no place for facets: say --format json, or ask kb facets")
    if not queries and not like:
        raise click.UsageError("say what to look for, or name a document with --like")
    with options.open() as base:
        collection = options.pick(base)
        query = Query(
            queries[0] if queries else "",
            collection.filter(where),
            limit,
            Mode(mode),
            Cut(min_score, max_score, within, autocut, None if relevance is None else Relevance(relevance)),
            offset,
            explain,
            Example(like, unlike),
            diverse,
            highlight,
            rerank,
            () if facets is None else tuple(name.strip() for name in facets.split(",")),
        )
        answers = collection.ask_all([query, *(replace(query, text=text) for text in queries[1:])])
        fields, beside = collection.schema.fields.values(), _beside_text(collection)
    _print_answers(options, answers, fields, beside, raw=raw)
    if len(queries) > 1 and not any(" " in text for text in queries):
        options.note(f"note: these were {len(queries)} queries; one of several words needs quotes")


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--unlike", metavar="ID", multiple=True, help="Less like this document. May be given several times.")
@click.option("--where", metavar="FILTER", help="Only documents that satisfy it.")
@click.option("-k", "--limit", metavar="N", type=int, default=10, show_default=True, help="The most hits; 1 to 1000.")
@click.option("--offset", metavar="N", type=int, default=0, help="Skip the best N hits: the next page.")
@click.option("--min-score", metavar="X", type=float, help="The lowest cosine similarity of a hit, from -1 to 1.")
@click.option("--max-score", metavar="X", type=float, help="The highest: leaves out near-copies.")
@click.option("--within", metavar="R", type=float, help="The lowest score as a share of the best, e.g. 0.9.")
@click.option("--autocut", is_flag=True, help="Stop at the largest jump.")
@click.option("--highlight", is_flag=True, help="Show the sentence of each hit that is most like them.")
@raw_cells
@shared
def similar(
    options: Shared,
    ids: tuple[str, ...],
    unlike: tuple[str, ...],
    where: str | None,
    limit: int,
    offset: int,
    min_score: float | None,
    max_score: float | None,
    within: float | None,
    autocut: bool,
    highlight: bool,
    raw: bool,
) -> None:
    """Find the documents nearest in meaning to the documents named by ID.

    Those named are left out. The score is the cosine similarity of a
    document's best chunk with the mean of what is named.

    \b
    Examples:
      kb similar nlp-13 -k 5
      kb similar nlp-13 nlp-02 --unlike vision-12 --where 'rating >= 4'
    """
    check_raw(options, raw=raw)
    with options.open() as base:
        collection = options.pick(base)
        hits = collection.similar(
            *ids,
            unlike=unlike,
            where=where,
            limit=limit,
            min_score=min_score,
            max_score=max_score,
            within=within,
            autocut=autocut,
            offset=offset,
            highlight=highlight,
        )
        fields, beside = collection.schema.fields.values(), _beside_text(collection)
    _print_answers(options, [hits], fields, beside, raw=raw)


def _beside_text(collection: kb.Collection) -> set[str]:
    """Return the fields that are shown beside the text: what it shows already is not shown again."""
    schema = collection.schema
    return {name for name, f in schema.fields.items() if f.is_metadata and name not in schema.template.names}


def _print_answers(
    options: Shared, answers: Sequence[Hits], fields: Collection[Field], beside: set[str], *, raw: bool
) -> None:
    """Print answers and, on stderr, why each has its length."""
    several = len(answers) > 1
    if options.format == "json":
        objects = [_answer_object(hits) for hits in answers]
        render.print_json(objects if several else objects[0])
    elif options.format == "csv":
        _print_csv(answers, fields, raw=raw)
    elif options.format == "jsonl":
        rows = [
            {**({"query": hits.query} if several else {}), **row}
            for hits in answers
            for row in (*map(render.hit_object, hits), *({"facet": facet_object(one)} for one in hits.facets))
        ]
        render.print_rows(rows, options.format, columns=[])
    for number, hits in enumerate(answers):
        if options.format == "table":
            if several:
                if number:
                    print()
                render.console().print(hits.query, style="bold", markup=False, highlight=False)
            _print_hits(hits, beside)
            if hits and hits.facets:
                render.console().print()
            print_facets(hits.facets)
        options.note((f"{hits.query}: " if several else "") + str(hits.report))
        for note in (*hits.report.notes, *([hits.report.degraded] if hits.report.degraded else [])):
            options.note(f"note: {note}")


def _answer_object(hits: Hits) -> dict[str, Any]:
    made = render.hits_object(hits)
    if hits.facets:
        made["facets"] = [facet_object(facet) for facet in hits.facets]
    return made


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
    from kb.evaluate import compare as compare_texts

    if len(texts) < 2:
        raise click.UsageError("two texts or more are needed")
    if not all(text.strip() for text in texts):
        raise click.UsageError("one of the texts is empty")
    comparison = compare_texts(options.encoder(model), texts)
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


def _print_csv(answers: Sequence[Hits], fields: Collection[Field], *, raw: bool) -> None:
    from kb.schema import Field, FieldType
    from kb.sources import Column

    several = len(answers) > 1
    highlighted = any(hit.highlight is not None for hits in answers for hit in hits)
    explained = any(hit.explanation is not None for hits in answers for hit in hits)
    names = [one.name for one in fields]
    columns = [
        *([Column("query", None)] if several else []),
        Column("id", None),
        Column("score", Field("score", FieldType.FLOAT)),
        Column("rank_score", Field("rank_score", FieldType.FLOAT)),
        Column("chunk", Field("chunk", FieldType.INT)),
        *(Column(one.name, one) for one in fields),
        *([Column("highlight", None)] if highlighted else []),
        *([Column("explanation", None)] if explained else []),
    ]
    rows = [
        [
            *([hits.query] if several else []),
            *(hit.id, hit.score, hit.rank_score, hit.chunk),
            *(hit.fields[name] for name in names),
            *([hit.highlight] if highlighted else []),
            *([" · ".join(_explained(hit.explanation))] if hit.explanation is not None else []),
        ]
        for hits in answers
        for hit in hits
    ]
    render.print_csv(columns, rows, raw=raw)


def _print_hits(hits: Hits, beside: set[str]) -> None:
    from rich.text import Text

    # Two columns of the same numbers would say nothing.
    both = any(hit.rank_score != hit.score for hit in hits)
    numbers = ["score", *(["rank_score"] if both else [])]
    made = render.table(*numbers, "id", "text", right=numbers, wrap=["id", "text"])
    for hit in hits:
        title, _, rest = hit.text.partition("\n")
        shown = Text(render.short(title, 120), style="bold")
        if rest.strip():
            shown.append("\n" + render.short(rest, 220), style="not bold")
        facts = [
            f"{name}: {render.short(value, 60)}"
            for name, value in render.present(hit.fields).items()
            if name in beside and value not in ("", [])
        ]
        if facts:
            shown.append("\n" + " · ".join(facts), style="not bold dim")
        if hit.highlight is not None:
            shown.append("\n» " + render.short(hit.highlight, 220), style="not bold italic")
        if hit.explanation is not None:
            shown.append("\n" + "\n".join(_explained(hit.explanation)), style="not bold dim")
        scores = (f"{hit.score:.3f}", *((f"{hit.rank_score:.3f}",) if both else ()))
        made.add_row(*scores, render.short(hit.id, render.MAX_ID), shown)
    if hits:
        render.console().print(made)


def _explained(explanation: Explanation) -> list[str]:
    """Return how a hit's place came about, a line for each reason."""
    legs = (("semantic", explanation.semantic), ("keyword", explanation.keyword))
    parts = [f"{name} {_leg(leg)}" for name, leg in legs if leg is not None]
    if explanation.words:
        parts.append("words: " + ", ".join(explanation.words))
    if explanation.reranked is not None:
        parts.append(f"reranked {explanation.reranked:.3f}")
    return parts


def _leg(leg: Leg) -> str:
    place = "" if leg.rank is None else f" (place {leg.rank})"
    if leg.weight == 1.0:
        return f"{leg.score:.3f}{place}"
    deviations = f"{leg.standard:+.2f} deviations of {leg.deviation:.3f} from {leg.mean:.3f}"
    return f"{leg.score:.3f}{place}: {deviations}, × {leg.weight:g}"


def _print_comparison(comparison: Comparison) -> None:
    from rich.text import Text

    for some in render.side_by_side(len(comparison.texts), _TEXT_ROOM, _SCORE_ROOM):
        numbers = [str(at + 1) for at in some]
        made = render.table("", "text", *numbers, right=["", *numbers], wrap=["text"])
        for number, (text, scores) in enumerate(zip(comparison.texts, comparison.scores, strict=True), 1):
            shown = [Text(f"{scores[at]:.3f}", style="bold" if scores[at] >= 0.5 else "") for at in some]
            made.add_row(str(number), render.short(text, 120), *shown)
        if some.start:
            print()
        render.console().print(made)
