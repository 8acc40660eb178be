"""The inspection of one input, from opening it to a proposal. Reads like the report that it makes."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from kb.config import DEFAULT_MODEL
from kb.errors import KBError, UsageError
from kb.ingest.inspect import findings
from kb.ingest.inspect.inspection import InspectedColumn, Inspection, InspectProgress, KeyCandidate, TextCandidate
from kb.ingest.inspect.keys import Pairs, possible_pairs, rank, single_keys, spoilt_keys
from kb.ingest.inspect.measure import ruler_of
from kb.ingest.inspect.opening import open_inputs
from kb.ingest.inspect.propose import Facts, Naming, choices_of, embedded_columns, propose, text_columns
from kb.ingest.inspect.rows import Survey, batches, by_path
from kb.ingest.inspect.types import decide, mean_words
from kb.sources import Format, Reading, expand_inputs, is_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kb.ingest.inspect.columns import ColumnState
    from kb.ingest.inspect.inspection import Finding, Window
    from kb.ingest.inspect.measure import Ruler
    from kb.ingest.inspect.types import Verdict
    from kb.model_config import ModelSettings
    from kb.sources import Source

_PAIR_ROWS: Final = 2_000_000
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+")


def inspect(
    path: str,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    *,
    rows: int | None = None,
    model: str = DEFAULT_MODEL,
) -> Inspection:
    """Return what a file holds, and a collection that fits it; nothing is imported and nothing is written.

    Args:
        path: A file, a pattern, a folder of Markdown and text files, or ``-`` for standard input.
        reading: How to read it.
        rows: Look at the first so many rows only; None for all of them.
        model: The model whose window texts are measured with; it is not downloaded.

    Raises:
        SourceError: The file cannot be read as a whole; of one in another encoding the hint shows which may be right.
        UsageError: ``rows`` is less than 1, or the reading does not fit the file.
    """
    *_, last = inspect_steps((path,), reading, rows=rows, model=model)
    assert last.inspection is not None
    return last.inspection


def inspect_steps(
    files: Sequence[str],
    reading: Reading,
    *,
    rows: int | None = None,
    model: str = DEFAULT_MODEL,
    models: Mapping[str, ModelSettings] | None = None,
    name: str | None = None,
    named: Sequence[str] = (),
) -> Iterator[InspectProgress]:
    """Inspect, yielding progress as the input is read; the last one carries the inspection.

    Args:
        files: One or several, each as for ``inspect``; several must be of one shape.
        reading: As for ``inspect``.
        rows: As for ``inspect``.
        model: As for ``inspect``.
        models: ``[models]`` of the configuration.
        name: Of the proposed collection; None for one made from the file's name.
        named: The files as the proposal is to name them, as patterns; empty for what ``as_pattern`` makes of ``files``.

    Raises:
        SourceError: As ``inspect``.
        UsageError: As ``inspect``.
    """
    if rows is not None and rows < 1:
        raise UsageError(f"rows = {rows} is out of range", hint="use 1 or more")
    try:
        paths = expand_inputs(files)
        proposed = Naming(name or collection_name(paths), tuple(named) or tuple(map(as_pattern, files)))
        yield from _steps(paths, reading, rows, ruler_of(model, models or {}), proposed)
    except KBError as error:
        # The readers speak of imports; nothing would have been changed in any case.
        error.unchanged = ""
        raise


def _steps(
    paths: Sequence[str], reading: Reading, rows: int | None, ruler: Ruler, naming: Naming
) -> Iterator[InspectProgress]:
    source, found = open_inputs(paths, reading)
    survey = Survey(source, ruler)
    for count in survey.read(rows):
        yield InspectProgress(count, source.position, source.total)
    verdicts = {state.name: decide(state) for state in survey.states}
    pairs = _Pairs(source, survey, verdicts)
    for count in pairs.read(rows):
        yield InspectProgress(count, source.position, source.total)
    done = replace(_inspection(source, found, survey, verdicts, pairs, window=ruler.window), bytes=_size(paths))
    facts = _facts(survey, verdicts, done)
    said = None if found == Reading() else found
    proposal = None
    if survey.readable:
        found_last = tuple(findings.of_template(embedded_columns(facts), survey.readable))
        done = replace(done, findings=done.findings + found_last)
        proposal = propose(facts, naming, model=ruler.window.model, reading=said)
    yield InspectProgress(survey.rows, source.position, source.total, replace(done, proposal=proposal))


def as_pattern(name: str) -> str:
    """Return the pattern that stands for what a name on a command line stands for."""
    return name if is_pattern(name) else glob.escape(name)


def collection_name(paths: Sequence[str]) -> str:
    """Return a name for a collection of what is in a file, or in several: that of the folder that they are in."""
    path = paths[0] if len(paths) == 1 else os.path.commonpath([os.path.abspath(path) for path in paths])  # noqa: PTH100
    stem = "documents" if path == "-" else PurePath(path).name.partition(".")[0]
    return _NOT_IN_A_NAME.sub("-", stem).strip("-_")[:100].strip("-_") or "documents"


class _Pairs:
    """The keys: single columns, or, where there are none, pairs of columns that a second pass has found.

    ``untried`` says that there might be pairs, but the input cannot be read again.
    """

    def __init__(self, source: Source, survey: Survey, verdicts: Mapping[str, Verdict]) -> None:
        states = survey.states
        self.keys = [
            KeyCandidate((state.name,), state.distinct.exact)
            for state in single_keys(states, verdicts, survey.readable)
        ]
        self._source = source
        self._candidates = []
        if not self.keys and survey.readable:
            self._candidates = possible_pairs(states, verdicts, survey.readable)
        # A pipe cannot be read twice.
        self.untried = bool(self._candidates) and source.fingerprint() is None

    def read(self, most: int | None) -> Iterator[int]:
        """Read the input again, if that can lead to a key, yielding the number of rows after every batch."""
        if not self._candidates or self.untried:
            return
        pairs = Pairs(self._candidates, _PAIR_ROWS)
        names = {state.name for pair in self._candidates for state in pair}
        count = 0
        for batch in batches(self._source, most):
            readable = [row for row in batch if row.problem is None]
            if self._source.textual:
                columns = {name: [str(row.values[name]) for row in readable] for name in names}
            else:
                found = by_path(readable)
                columns = {name: found[name][1] if name in found else [] for name in names}
            pairs.add(columns, [row.line for row in readable])
            if not pairs.left:
                return
            count += len(batch)
            yield count
        self.keys = [KeyCandidate(pair, proven) for pair, proven in pairs.left]


def _inspection(
    source: Source,
    reading: Reading,
    survey: Survey,
    verdicts: Mapping[str, Verdict],
    pairs: _Pairs,
    *,
    window: Window,
) -> Inspection:
    states = survey.states
    spoilt = spoilt_keys(states, verdicts, survey.readable)
    texts = text_columns(states, verdicts)
    cells = source.format in (Format.CSV, Format.TSV)
    candidates = [TextCandidate(s.name, s.lengths.measured, s.lengths.over) for s in texts]
    inspection = Inspection(
        name=source.name,
        format=source.format,
        encoding=source.encoding,
        delimiter=source.delimiter,
        quote=('"' if reading.quote is None else reading.quote) if cells else None,
        header=reading.header if cells else False,
        records=reading.records,
        bytes=None,
        rows=survey.rows,
        complete=not survey.more,
        unreadable=survey.unreadable,
        columns=tuple(_column(s, verdicts[s.name], survey.readable) for s in states),
        keys=tuple(_keys(survey, pairs.keys, spoilt)),
        texts=tuple(candidates),
        window=window,
        findings=(),
        proposal=None,
    )
    found = _findings(survey, verdicts, inspection)
    on_key = findings.of_keys(inspection.keys, spoilt, untried=pairs.untried) if survey.readable else ()
    return replace(inspection, findings=(*findings.of_input(source, survey), *on_key, *found))


def _keys(survey: Survey, found: list[KeyCandidate], spoilt: list[ColumnState]) -> Iterator[KeyCandidate]:
    """Yield the candidates, the best first.

    A column that is called like a key and has a few mistakes is a better one than what happens to be unique.
    """
    best = found[0].columns if found else ()
    if spoilt and (len(best) != 1 or rank(spoilt[0]) < rank(survey.columns[best[0]])):
        yield KeyCandidate((spoilt[0].name,), proven=False, repeated=spoilt[0].distinct.repeated)
    yield from found


def _size(paths: Sequence[str]) -> int | None:
    files = [Path(path) for path in paths]
    return sum(file.stat().st_size for file in files) if all(file.is_file() for file in files) else None


def _findings(survey: Survey, verdicts: Mapping[str, Verdict], inspection: Inspection) -> Iterator[Finding]:
    for state in survey.states:
        yield from chain(verdicts[state.name].findings, findings.of_column(state))
    for candidate in inspection.texts:
        yield from findings.of_text(survey.columns[candidate.column], candidate, inspection.window)


def _facts(survey: Survey, verdicts: Mapping[str, Verdict], inspection: Inspection) -> Facts:
    key = next(iter(inspection.keys), None)
    texts = [survey.columns[text.column] for text in inspection.texts]
    return Facts(survey.states, verdicts, survey.readable, inspection.complete, key, texts)


def _column(state: ColumnState, verdict: Verdict, rows: int) -> InspectedColumn:
    return InspectedColumn(
        name=state.name,
        type=None if verdict.type is None else str(verdict.type),
        separator=verdict.separator,
        date_format=verdict.date_format,
        values=state.values,
        missing=rows - state.values,
        distinct=state.distinct.count,
        distinct_exact=state.distinct.exact,
        shortest=state.shortest,
        longest=state.longest,
        longest_line=state.longest_line,
        longest_place=state.place(state.longest_line) if state.values else "",
        mean_words=round(mean_words(state), 1),
        examples=tuple(state.examples),
        choices=choices_of(state, verdict, rows),
        almost=verdict.almost,
    )
