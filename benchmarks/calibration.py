"""Does the bound that ``kb calibrate`` finds tell queries with an answer from those without? Against fixed bounds.

Run ``python benchmarks/calibration.py``; ``make bench-data`` installs the sets. Each collection is calibrated by its
own texts alone, before the queries that measure. Exits with 1 when ``normal`` is more than 0.03 below the best bound
that a set could have.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from quality import attack, wikipedia

import kb
from kb.evaluate.bounds import balanced_accuracy
from kb.search import Mode, Query

if TYPE_CHECKING:
    from kb.catalog import Calibration

    Array = np.ndarray[Any, Any]

QUERIES: Final = 500
REACH: Final = 0.03
DATA: Final = Path(__file__).parent.parent / "data"

CONFIG: Final = """\
[collections.texts]
model = "all-MiniLM-L6-v2"
text = "{text}"

[collections.texts.fields]
text = "text"
"""


class Measured(NamedTuple):
    """Texts, queries that they answer, and queries that they do not."""

    name: str
    texts: list[str]
    answered: list[str]
    unanswered: list[str]


class Outcome(NamedTuple):
    """What a set's best documents score for both kinds of queries, and its bounds."""

    answered: Array
    unanswered: Array
    calibration: Calibration


def measured_sets() -> list[Measured]:
    """Return the sets, each with queries of the others as those that it does not answer."""
    articles = [json.loads(line) for line in (DATA / "articles.jsonl").read_text().splitlines()]
    queries = [json.loads(line) for line in (DATA / "queries.jsonl").read_text().splitlines()]
    with_answer = [one["query"] for one in queries if one["relevant"]]
    without = [one["query"] for one in queries if not one["relevant"]]
    sample = [f"{one['title']}\n\n{one['body']}" for one in articles]
    techniques, encyclopaedia = attack(), wikipedia("Wikipedia", "english", "summaries_en-us.json")
    uses, descriptions = techniques.queries[:QUERIES], encyclopaedia.queries[:QUERIES]
    return [
        Measured("sample", sample, with_answer, without),
        Measured("Wikipedia", encyclopaedia.texts, descriptions, uses + with_answer),
        Measured("ATT&CK", techniques.texts, uses, descriptions),
    ]


def run(measured: Measured) -> Outcome:
    """Import a set, calibrate it by itself, and ask it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.toml").write_text(CONFIG)
        rows = ({"id": str(n), "text": text} for n, text in enumerate(measured.texts))
        path = Path(folder) / "texts.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with kb.open(folder) as base:
            collection = base.collection()
            collection.import_file(path)
            calibration = collection.calibrate()
            return Outcome(best(collection, measured.answered), best(collection, measured.unanswered), calibration)


def best(collection: kb.Collection, queries: list[str]) -> Array:
    """Return the score of each query's best document."""
    answers = collection.ask_all([Query(text, limit=1, mode=Mode.SEMANTIC) for text in queries])
    return np.array([hits[0].score for hits in answers])


def accuracies(outcome: Outcome, bounds: Array) -> Array:
    """Return the balanced accuracy at each bound."""
    return np.array([balanced_accuracy(outcome.answered, outcome.unanswered, bound) for bound in bounds])


def main() -> int:
    """Print a row for each set; return 1 when a bound is missed."""
    sets = measured_sets()
    outcomes = [run(measured) for measured in sets]
    bounds = np.arange(0.0, 0.8, 0.002)
    curves = np.stack([accuracies(outcome, bounds) for outcome in outcomes])
    fixed = int(curves.mean(axis=0).argmax())
    print(f"the best single bound over all sets is {bounds[fixed]:.3f}\n")
    print("| set | strict | normal | loose | accuracy at normal | own best | at the single bound | with | without |")
    print("|---|---|---|---|---|---|---|---|---|")
    missed = False
    for measured, outcome, curve in zip(sets, outcomes, curves, strict=True):
        levels = outcome.calibration
        normal = balanced_accuracy(outcome.answered, outcome.unanswered, levels.normal.value)
        shown = " | ".join(
            f"{one.value:.3f} ({one.low:.3f}–{one.high:.3f})" for one in (levels.strict, levels.normal, levels.loose)
        )
        passing = [f"{(outcome.answered >= one).mean():.0%}" for one in _values(levels)]
        wrong = [f"{(outcome.unanswered >= one).mean():.0%}" for one in _values(levels)]
        print(f"| {measured.name} | {shown} | {normal:.3f} | {curve.max():.3f} | {curve[fixed]:.3f} ", end="")
        print(f"| {' / '.join(passing)} | {' / '.join(wrong)} |")
        missed |= normal < curve.max() - REACH
    return int(missed)


def _values(levels: Calibration) -> list[float]:
    return [levels.strict.value, levels.normal.value, levels.loose.value]


if __name__ == "__main__":
    sys.exit(main())
