"""``kb eval``: how good answers are, and how well a model tells texts apart."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from kb.cli import render
from kb.cli.counting import counting
from kb.cli.options import Shared, shared
from kb.cli.running import working

if TYPE_CHECKING:
    from kb.evaluate import AtThreshold, Cases, Estimate, Evaluation, PairEvaluation, QueryScores, Wanted
    from kb.search import Cut

MODES: Final = ("semantic", "keyword", "hybrid")
RECALL_AT: Final = (1, 5, 10)
_SHOWN: Final = 20
_NOTES: Final = 5
_FEW: Final = 20
"""The bootstrap of fewer queries says less than it seems to."""
_FIGURES: Final = ("pairs", "alike", "threshold", "accuracy", "precision", "recall", "f1", "spearman", "pearson")
_OF_QUERIES: Final = (
    "modes",
    "recall_at",
    "per_query",
    "seed",
    "min_score",
    "max_score",
    "within",
    "autocut",
    "relevance",
)
_OF_PAIRS: Final = ("threshold", "model", "text1", "text2", "label")


@click.command("eval")
@click.argument("file", required=False)
@click.option("--mode", "modes", type=click.Choice(MODES), multiple=True, help="Only this mode; may be repeated.")
@click.option(
    "-k", "--recall-at", metavar="K", type=int, multiple=True, help="Measure recall@K; may be repeated.  [1, 5, 10]"
)
@click.option("--per-query", is_flag=True, help="Show every query, those first that hybrid does worst.")
@click.option("--seed", metavar="N", type=int, help="Decides the draws of the intervals.  [0]")
@click.option("--min-score", metavar="X", type=float, help="Cut answers as kb search does.")
@click.option("--max-score", metavar="X", type=float, help="As above.")
@click.option("--within", metavar="R", type=float, help="As above.")
@click.option("--autocut", is_flag=True, help="As above.")
@click.option("--relevance", type=click.Choice(["strict", "normal", "loose"]), help="As above, after kb calibrate.")
@click.option("--threshold", metavar="X", type=float, help="For pairs: call those alike that reach it.")
@click.option("--model", metavar="ID", help="For pairs: the model, else that of the collection.")
@click.option("--text1", metavar="COLUMN", help="For pairs: the column of the first text.  [text1]")
@click.option("--text2", metavar="COLUMN", help="For pairs: that of the second.  [text2]")
@click.option("--label", metavar="COLUMN", help="For pairs: that of the label, 0 or 1 or a grade.  [label]")
@shared
def evaluate(
    options: Shared,
    file: str | None,
    modes: tuple[str, ...],
    recall_at: tuple[int, ...],
    per_query: bool,
    seed: int | None,
    min_score: float | None,
    max_score: float | None,
    within: float | None,
    autocut: bool,
    relevance: str | None,
    threshold: float | None,
    model: str | None,
    text1: str | None,
    text2: str | None,
    label: str | None,
) -> None:
    """Measure answers against what is known to be right.

    FILE holds queries with the ids of the documents that answer them ("query",
    "relevant", maybe "where" and "id"): nDCG@10, recall and MRR of each mode
    with 95 % intervals. Or it holds pairs of texts with a label: accuracy at a
    threshold, the best threshold, the wrong pairs; for graded labels the
    correlation. Without FILE, the queries that were judged with kb judge.
    Where answers are cut, also what the cut leaves: the queries that have a
    hit, and which share of the first ten hits is relevant.

    \b
    Examples:
      kb eval data/queries.jsonl --relevance normal
      kb eval data/pairs.csv --threshold 0.7
    """
    from kb.catalog import Relevance
    from kb.evaluate import PairColumns, Wanted, read_cases
    from kb.search import Cut

    given = click.get_current_context().params
    columns = PairColumns(text1 or "text1", text2 or "text2", label or "label")
    cases = None if file is None else read_cases(file, columns)
    if cases is not None and cases.pairs:
        _refuse(given, _OF_QUERIES, "queries", f"{cases.name} holds pairs")
        _evaluate_pairs(options, cases, threshold, model)
        return
    _refuse(given, _OF_PAIRS, "pairs", "judgements are queries" if cases is None else f"{cases.name} holds queries")
    wanted = Wanted(tuple(m for m in MODES if m in (modes or MODES)), recall_at or RECALL_AT, seed or 0)
    cut = Cut(min_score, max_score, within, autocut, None if relevance is None else Relevance(relevance))
    _evaluate_queries(options, cases, wanted, cut, per_query=per_query)


def _refuse(given: dict[str, Any], names: tuple[str, ...], subject: str, found: str) -> None:
    for name in names:
        value = given[name]
        if value is not None and value is not False and value != ():  # 0 is a value
            flag = {"modes": "mode"}.get(name, name).replace("_", "-")
            raise click.UsageError(f"--{flag} is about {subject}, but {found}")


def _evaluate_queries(options: Shared, cases: Cases | None, wanted: Wanted, cut: Cut, *, per_query: bool) -> None:
    from kb.search import Cut

    queries = None if cases is None else cases.queries
    with options.open() as base, counting(options, "asking queries") as show:
        collection = options.pick(base)
        found = collection.evaluate(queries, wanted=wanted, cut=cut, progress=lambda step: show(step.done, step.total))
    if options.format == "json":
        shown = evaluation_object(found)
        if per_query:
            shown["per_query"] = [_query_object(one) for one in found.per_query]
        render.print_json(shown)
    elif options.format == "table":
        _print_evaluation(found, is_cut=cut != Cut())
        if per_query:
            print()
            _print_queries(found)
    else:
        rows = [_query_object(one) for one in found.per_query] if per_query else _mode_rows(found)
        render.print_rows(rows, options.format, columns=list(rows[0]) if rows else ["id"])
    if found.missing:
        some = render.short(list(found.missing[:5])) + (", …" if len(found.missing) > 5 else "")
        number = render.counted(len(found.missing), "relevant document")
        options.note(f"note: {number} not in '{found.collection}', counted as not found: {some}")
    if 0 < found.answerable < _FEW:
        options.note(
            f"note: {_queries(found.answerable)} with an answer: the intervals of fewer than {_FEW} are too narrow"
        )
    for note in found.notes[:_NOTES]:
        options.note(f"note: {note}")
    if len(found.notes) > _NOTES:
        options.note(f"and {render.counted(len(found.notes) - _NOTES, 'more note')}")


def _print_evaluation(found: Evaluation, *, is_cut: bool) -> None:
    names = list(found.modes[0].measures)
    headers = [one.mode for one in found.modes]
    made = render.table("", *headers, right=headers)
    for name in names:
        made.add_row(name, *(interval(one.measures[name]) for one in found.modes))
    if found.answerable:
        made.add_row("no hit, wrongly", *(f"{one.empty:,} of {found.answerable:,}" for one in found.modes))
    if found.unanswerable:
        made.add_row("no hit, rightly", *(f"{one.rightly_empty:,} of {found.unanswerable:,}" for one in found.modes))
    if is_cut:
        asked = found.answerable + found.unanswerable
        made.add_row("with a hit", *(f"{asked - one.empty - one.rightly_empty:,} of {asked:,}" for one in found.modes))
        made.add_row("hits that are right", *(_share(one.precision, one.hits) for one in found.modes))
    render.console().print(made)
    if found.differences:
        print()
        print_differences(found)
    without = f", {found.unanswerable:,} without" if found.unanswerable else ""
    print(f"{_queries(found.answerable)} with an answer{without}; {found.model}; 95 % intervals")


def _queries(number: int) -> str:
    return "1 query" if number == 1 else f"{number:,} queries"


def _share(share: float | None, of: int) -> str:
    return "–" if share is None else f"{100 * share:.0f} % of {of:,}"


def print_differences(found: Evaluation) -> None:
    """Print how much better each mode is than another."""
    right = ("nDCG@10", "95 % interval", "better", "equal", "worse")
    made = render.table("difference", *right, right=right)
    for one in found.differences:
        figure = one.estimate
        made.add_row(
            f"{one.first} − {one.second}",
            f"{figure.mean:+.3f}",
            f"{figure.low:+.3f} … {figure.high:+.3f}",
            *(f"{number:,}" for number in (one.better, one.equal, one.worse)),
        )
    render.console().print(made)


def _print_queries(found: Evaluation) -> None:
    modes = [one.mode for one in found.modes]
    several = len(modes) > 1
    right = [*modes, *(["diff."] if several else [])]
    made = render.table("id", "query", *right, right=right, wrap=["id", "query"])
    for one in found.per_query:
        cells = [f"{one.scores[mode]['nDCG@10']:.2f} {_place(one.ranks[mode])}" for mode in modes]
        difference = [f"{one.difference:+.2f}"] if several else []
        made.add_row(render.short(one.query.id, 60), render.short(one.query.text), *cells, *difference)
    if found.per_query:
        render.console().print(made)
        diff = f"; diff. is {modes[-1]} − {modes[0]}" if several else ""
        print(textwrap.fill(f"nDCG@10, place of the first relevant document{diff}", render.console().width))


def _place(rank: int | None) -> str:
    return " –" if rank is None else f"{rank:>2}"


def interval(estimate: Estimate) -> str:
    """Return a mean with its interval for a table, e.g. ``0.812 0.75–0.87``."""
    return f"{estimate.mean:.3f} {estimate.low:.2f}–{estimate.high:.2f}"


def evaluation_object(found: Evaluation) -> dict[str, Any]:
    """Return an evaluation as a JSON object, without its queries."""
    return {
        "collection": found.collection,
        "model": found.model,
        "queries": found.answerable,
        "without_answer": found.unanswerable,
        "modes": {
            one.mode: {
                **{name: asdict(figure) for name, figure in one.measures.items()},
                "empty": one.empty,
                "rightly_empty": one.rightly_empty,
                "hits": one.hits,
                "right_hits": one.right_hits,
                "precision": one.precision,
            }
            for one in found.modes
        },
        "differences": [
            {
                "first": one.first,
                "second": one.second,
                **asdict(one.estimate),
                "better": one.better,
                "equal": one.equal,
                "worse": one.worse,
            }
            for one in found.differences
        ],
        "missing": list(found.missing),
    }


def _mode_rows(found: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for one in found.modes:
        row: dict[str, Any] = {"mode": one.mode}
        for name, figure in one.measures.items():
            row |= {name: figure.mean, f"{name}_low": figure.low, f"{name}_high": figure.high}
        counts = {"queries": found.answerable, "empty": one.empty, "without_answer": found.unanswerable}
        kept = {"hits": one.hits, "right_hits": one.right_hits, "precision": one.precision}
        rows.append(row | counts | {"rightly_empty": one.rightly_empty} | kept)
    return rows


def _query_object(one: QueryScores) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": one.query.id, "query": one.query.text, "where": one.query.where}
    for mode, measures in one.scores.items():
        shown |= {f"{mode} {name}": round(figure, 6) for name, figure in measures.items()}
        shown[f"{mode} rank"] = one.ranks[mode]
    return shown | ({"difference": one.difference} if len(one.scores) > 1 else {})


def _evaluate_pairs(options: Shared, cases: Cases, threshold: float | None, model: str | None) -> None:
    from kb.evaluate import evaluate_pairs

    with working(options, "comparing pairs"):
        found = evaluate_pairs(options.encoder(model), cases.pairs, threshold=threshold)
    if options.format == "json":
        render.print_json(pairs_object(found))
    elif options.format == "jsonl":
        render.print_rows([pairs_object(found)], "jsonl", columns=[])
    elif options.format == "csv":
        render.print_rows(_pair_rows(found), "csv", columns=_FIGURES)
    else:
        _print_pairs(found)


def pairs_object(found: PairEvaluation) -> dict[str, Any]:
    """Return an evaluation of pairs as a JSON object."""
    return {
        "model": found.model,
        "pairs": found.pairs,
        "alike": found.alike,
        "given": None if found.given is None else _threshold_object(found.given),
        "best": None if found.best is None else _threshold_object(found.best),
        "spearman": found.spearman,
        "pearson": found.pearson,
    }


def _threshold_object(at: AtThreshold) -> dict[str, Any]:
    figures = {name: getattr(at, name) for name in ("threshold", "accuracy", "precision", "recall", "f1")}
    return figures | {"wrong": [{**asdict(one.pair), "score": one.score} for one in at.wrong]}


def _pair_rows(found: PairEvaluation) -> list[dict[str, Any]]:
    both = {name: getattr(found, name) for name in ("pairs", "alike", "spearman", "pearson")}
    tried = [at for at in (found.given, found.best) if at is not None]
    return [both | _threshold_object(at) for at in tried] or [both]


def _print_pairs(found: PairEvaluation) -> None:
    right = ("accuracy", "precision", "recall", "F1")
    made = render.table("threshold", *right, right=right)
    for name, at in (("", found.given), (" (the best)", found.best)):
        if at is not None:
            figures = (at.accuracy, at.precision, at.recall, at.f1)
            made.add_row(f"{at.threshold:.3f}{name}", *(f"{figure:.3f}" for figure in figures))
    shown = found.given or found.best
    if shown is not None:
        render.console().print(made)
        if found.is_hopeless:
            print("no threshold does better than the same answer for every pair")
        _print_wrong(shown)
    correlations = [
        f"{name} {value:.3f}"
        for name, value in (("Spearman", found.spearman), ("Pearson", found.pearson))
        if value is not None
    ]
    alike = "graded" if found.alike is None else f"{found.alike:,} alike"
    print("; ".join([f"{render.counted(found.pairs, 'pair')}, {alike}", *correlations, found.model]))


def _print_wrong(at: AtThreshold) -> None:
    if not at.wrong:
        return
    from rich.text import Text

    print()
    made = render.table("score", "label", f"wrong at {at.threshold:.3f}", right=["score", "label"])
    made.columns[-1].no_wrap = False
    for one in at.wrong[:_SHOWN]:
        texts = Text(f"{render.short(one.pair.text1, 200)}\n{render.short(one.pair.text2, 200)}")
        made.add_row(f"{one.score:.3f}", f"{one.pair.label:g}", texts)
    render.console().print(made)
    if len(at.wrong) > _SHOWN:
        print(f"and {len(at.wrong) - _SHOWN:,} more: --format json")
