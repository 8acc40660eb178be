"""``kb calibrate``."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from kb.cli import render
from kb.cli.counting import counting
from kb.cli.options import Shared, shared

if TYPE_CHECKING:
    from collections.abc import Generator

    from kb.catalog import Calibration
    from kb.evaluate import CalibrationStep

_MEANINGS: Final = {
    "strict": "9 of 10 answered queries have an answer, even where most have none",
    "normal": "the fewest errors, answers missed and answers made up counted alike",
    "loose": "19 of 20 queries that have an answer are answered",
}


@click.command()
@click.option(
    "--queries", metavar="FILE", help="Queries with the ids that answer them, as JSON Lines; no ids: no answer."
)
@click.option("--show", is_flag=True, help="Only show what was found the last time.")
@shared
def calibrate(options: Shared, queries: str | None, show: bool) -> None:
    """Find the scores from which on a hit is relevant, for kb search --relevance.

    What a score means depends on the model and on the texts. Queries that have
    an answer and queries that have none tell where the border lies: those that
    were judged, where there are 20 of a kind, else sentences held out of
    documents, and sentences about everyday life. Calibrate again when many
    documents have changed.

    \b
    Examples:
      kb calibrate
      kb calibrate -c articles --queries data/queries.jsonl
    """
    if show and queries is not None:
        raise click.UsageError("--show calibrates nothing: leave --queries out")
    with options.open() as base:
        collection = options.pick(base)
        notes: tuple[str, ...] = ()
        if show:
            found = collection.calibration()
            if found is None:
                options.note(f"'{collection.name}' has not been calibrated: kb calibrate -c {collection.name}")
                return
        else:
            found, notes = _run(options, collection.calibrate_steps(queries))
    _print(options, found)
    for note in notes:
        options.note(f"note: {note}")


def _run(options: Shared, steps: Generator[CalibrationStep]) -> tuple[Calibration, tuple[str, ...]]:
    with counting(options, "calibrating") as show, closing(steps):
        for step in steps:
            show(step.done, step.total)
    assert step.calibration is not None
    return step.calibration, step.notes


def _print(options: Shared, found: Calibration) -> None:
    levels = {"strict": found.strict, "normal": found.normal, "loose": found.loose}
    if options.format == "json":
        render.print_json(asdict(found))
    elif options.format == "table":
        made = render.table(
            "relevance", "score", "95 % interval", "what it means", right=["score"], wrap=["what it means"]
        )
        for name, level in levels.items():
            made.add_row(name, f"{level.value:.3f}", f"{level.low:.3f} – {level.high:.3f}", _MEANINGS[name])
        render.console().print(made)
    else:
        rows = [
            {"relevance": name, "score": one.value, "low": one.low, "high": one.high} for name, one in levels.items()
        ]
        render.print_rows(rows, options.format, columns=["relevance", "score", "low", "high"])
    answered = "judged queries" if found.answered_judged else "held-out sentences"
    unanswered = "judged queries" if found.unanswered_judged else "unrelated sentences"
    options.note(
        f"from {found.answered} {answered} with an answer and {found.unanswered} {unanswered} without; normal tells"
        f" {_percent(found.accuracy.value)} of them apart ({_percent(found.accuracy.low)} –"
        f" {_percent(found.accuracy.high)})"
    )
    if round(found.precision, 2) < 0.9:
        options.note(f"note: strict reaches a precision of {100 * found.precision:.0f} %, not 90 %")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
