"""``kb compare-models``."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

import click

from kb.cli import render
from kb.cli.evaluating import MODES, RECALL_AT, evaluation_object, interval, pairs_object
from kb.cli.options import Shared, shared
from kb.cli.running import working

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kb.evaluate import Difference, QueryScores
    from kb.model_trials import ModelTrial

# What the names of the figures need, and a model with its space: a mean with its interval.
_NAME_ROOM: Final = 20
_MODEL_ROOM: Final = 19


@click.command("compare-models")
@click.argument("models", nargs=-1, required=True, metavar="MODEL MODEL...")
@click.option("--queries", metavar="FILE", help="Queries with known answers; else what was judged with kb judge.")
@click.option("--pairs", metavar="FILE", help="Pairs of texts with labels as well.")
@click.option("--sample", metavar="N", type=int, help="Only N documents, all that answer a query among them.")
@click.option("--mode", "modes", type=click.Choice(MODES), multiple=True, help="Only this mode; may be repeated.")
@click.option("-k", "--recall-at", metavar="K", type=int, multiple=True, help="Measure recall@K.  [1, 5, 10]")
@click.option("--seed", metavar="N", type=int, default=0, help="Decides the sample and the intervals.  [0]")
@shared
def compare_models(
    options: Shared,
    models: tuple[str, ...],
    queries: str | None,
    pairs: str | None,
    sample: int | None,
    modes: tuple[str, ...],
    recall_at: tuple[int, ...],
    seed: int,
) -> None:
    """Try MODELs on the collection's own documents, side by side.

    Each embeds the documents into a throw-away knowledge base in a temporary
    folder; the real one is only read. Shown are quality, the speed of storing
    documents, the length of a vector and what the disk needs. Intervals are
    95 % intervals.

    \b
    Examples:
      kb compare-models all-MiniLM-L6-v2 all-mpnet-base-v2 --queries q.jsonl
      kb compare-models ./mine all-MiniLM-L6-v2 --queries q.jsonl --sample 500
    """
    from kb.evaluate import Wanted, read_pairs, read_queries
    from kb.model_trials import Trial, compare_models

    if len(models) < 2:
        raise click.UsageError("two models or more are needed; kb models lists them")
    wanted = Wanted(tuple(m for m in MODES if m in (modes or MODES)), recall_at or RECALL_AT, seed)
    with options.open() as base:
        asked = read_queries(queries) if queries else options.pick(base).judged_queries()
        trial = Trial(asked, read_pairs(pairs) if pairs else (), sample, wanted)
        found = []
        trials = compare_models(base, options.collection, models, trial)
        for number, model in enumerate(models, 1):
            with working(options, f"model {number} of {len(models)}: {model}"):
                one = next(trials)
            found.append(one)
            seconds = f"{one.seconds:.1f} s"
            options.note(f"{one.model}: {render.counted(one.documents, 'document')} stored in {seconds}")
    if options.format == "json":
        render.print_json([_object(one) for one in found])
    elif options.format == "table":
        _print(found, _differences(found, seed))
    else:
        rows = [_row(one) for one in found]
        render.print_rows(rows, options.format, columns=list(rows[0]))


def _figures(one: ModelTrial) -> dict[str, Any]:
    return {
        "model": one.model,
        "dimension": one.dimension,
        "documents": one.documents,
        "chunks": one.chunks,
        "seconds": one.seconds,
        "documents_per_second": one.documents_per_second,
        "model_bytes": one.model_bytes,
        "vector_bytes": one.vector_bytes,
        "index_bytes": one.index_bytes,
    }


def _object(one: ModelTrial) -> dict[str, Any]:
    answers = None if one.answers is None else evaluation_object(one.answers)
    return _figures(one) | {"answers": answers, "pairs": None if one.pairs is None else pairs_object(one.pairs)}


def _row(one: ModelTrial) -> dict[str, Any]:
    row = _figures(one)
    for mode in one.answers.modes if one.answers else ():
        row |= {f"{mode.mode} {name}": figure.mean for name, figure in mode.measures.items()}
    if one.pairs is not None:
        best = one.pairs.best
        row |= {"pairs accuracy": best and best.accuracy, "pairs threshold": best and best.threshold}
        row |= {"pairs spearman": one.pairs.spearman}
    return row


def _differences(found: Sequence[ModelTrial], seed: int) -> list[Difference]:
    """Return how much better each later model is than the first one, in the last mode."""
    from kb.evaluate import by_mode, difference

    answers = [one.answers for one in found if one.answers is not None and one.answers.per_query]
    if not answers:
        return []
    mode = answers[0].modes[-1].mode
    # Each evaluation has an order of its own.
    scores = [by_mode(sorted(one.per_query, key=_identity), mode) for one in answers]
    return [
        difference(found[at].model, found[0].model, scores[at], scores[0], seed=seed) for at in range(1, len(found))
    ]


def _identity(one: QueryScores) -> tuple[str, str, str]:
    return one.query.id, one.query.text, one.query.where or ""


def _print(found: Sequence[ModelTrial], differences: Sequence[Difference]) -> None:
    for some in render.side_by_side(len(found), _NAME_ROOM, _MODEL_ROOM):
        names = [render.short(found[at].model, 40) for at in some]
        made = render.table("", *names, wrap=names, right=names)
        # A name of several lines leaves room for the models beside it.
        for column in made.columns[1:]:
            column.min_width = _MODEL_ROOM - 3
        for name, cells in _lines(found):
            made.add_row(name, *(cells[at] for at in some))
        if some.start:
            print()
        render.console().print(made)
    mode = found[0].answers.modes[-1].mode if found[0].answers else ""
    for one in differences:
        figure = one.estimate
        shown = f"{figure.mean:+.3f} ({figure.low:+.3f} … {figure.high:+.3f})"
        line = f"{one.first} − {one.second}, {mode} nDCG@10: {shown}"
        width = render.console().width
        print(textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def _lines(found: Sequence[ModelTrial]) -> Iterator[tuple[str, list[str]]]:
    answers = [one.answers for one in found if one.answers is not None]
    for at, mode in enumerate(answers[0].modes if answers else ()):
        for name in mode.measures:
            yield f"{mode.mode} {name}", [interval(one.modes[at].measures[name]) for one in answers]
    pairs = [one.pairs for one in found if one.pairs is not None]
    best = [one.best for one in pairs if one.best is not None]
    if best:
        yield "pairs, best accuracy", [f"{at.accuracy:.3f} at {at.threshold:.2f}" for at in best]
    if pairs:
        yield "pairs, Spearman", ["–" if one.spearman is None else f"{one.spearman:.3f}" for one in pairs]
    yield "documents/s", [f"{one.documents_per_second:,.1f}" for one in found]
    yield "documents, chunks", [f"{one.documents:,}, {one.chunks:,}" for one in found]
    yield "dimension", [f"{one.dimension:,}" for one in found]
    yield "model", ["–" if one.model_bytes is None else _size(one.model_bytes) for one in found]
    yield "vectors", [_size(one.vector_bytes) for one in found]
    yield "index of vectors", [_size(one.index_bytes) for one in found]


def _size(bytes: int) -> str:
    return f"{bytes / 1e6:,.1f} MB"
