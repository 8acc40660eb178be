"""From what was found to a collection and an import that fit it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kb.ingest.inspect.keys import rank
from kb.ingest.inspect.proposal import Proposal, ProposedField, ProposedImport, field_name
from kb.ingest.inspect.types import mean_words
from kb.schema import FieldType
from kb.schema.schema import MAX_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kb.ingest.inspect.columns import ColumnState
    from kb.ingest.inspect.inspection import KeyCandidate
    from kb.ingest.inspect.types import Verdict
    from kb.sources import Reading

CONTENT_KEY: Final = "@content"
"""Instead of a column: the id is a hash of what a row holds."""

_TITLES: Final = ("title", "name", "headline", "subject", "heading", "label", "term", "word", "question", "caption")
_CHOICE_SHARE: Final = 0.05
_TITLE_WORDS: Final = 15


@dataclass(frozen=True, slots=True)
class Facts:
    """What a proposal is made of.

    Attributes:
        states: The columns, in order.
        verdicts: Their types.
        rows: How many rows could be read.
        complete: Whether that is all of them.
        key: The best key, or None.
        texts: The columns worth embedding, the best first.
    """

    states: Sequence[ColumnState]
    verdicts: Mapping[str, Verdict]
    rows: int
    complete: bool
    key: KeyCandidate | None
    texts: Sequence[ColumnState]

    @property
    def usable(self) -> list[ColumnState]:
        """The columns that can be fields."""
        return [state for state in self.states if self.verdicts[state.name].type is not None]


@dataclass(frozen=True, slots=True)
class Naming:
    """What a proposal is called.

    Attributes:
        collection: The name of the collection, and of the import.
        files: The patterns of what the import is to read.
    """

    collection: str
    files: tuple[str, ...]


def text_columns(states: Sequence[ColumnState], verdicts: Mapping[str, Verdict]) -> list[ColumnState]:
    """Return the columns that are worth embedding, the best first: prose, else the wordiest strings."""
    prose = [s for s in states if verdicts[s.name].type == FieldType.TEXT and _differs(s)]
    if prose:
        return sorted(prose, key=mean_words, reverse=True)
    strings = [s for s in states if verdicts[s.name].type in (FieldType.STR, FieldType.TEXT) and s.values]
    wordy = [s for s in strings if mean_words(s) >= 2 and _differs(s)]
    return sorted(wordy or strings, key=mean_words, reverse=True)[:1]


def propose(facts: Facts, naming: Naming, *, model: str, reading: Reading | None) -> Proposal | None:
    """Return a collection that takes every row that can be read, or None when no column can be a field.

    Args:
        facts: What was found.
        naming: What the collection and its input are called.
        model: Its model.
        reading: How, where that cannot be seen from the file itself.
    """
    single = facts.key.columns[0] if facts.key is not None and len(facts.key.columns) == 1 else None
    usable = facts.usable
    embedded = embedded_columns(facts)
    kept = [s for s in usable if s.name != single or s in embedded or _tells(s, facts)] or usable
    kept = kept[:MAX_FIELDS]
    named = _named(kept)
    if not named:
        return None
    shown = [named[s.name] for s in embedded if s.name in named] or list(named.values())[:1]
    template = "\n\n".join(f"{{{field}}}" for field in shown)
    left_out = len(kept) + (single is not None and single not in named) < len(facts.states)
    imports = ProposedImport(
        files=() if naming.files == ("-",) else naming.files,
        columns={column: field for column, field in named.items() if column != field},
        dates={named[s.name]: f for s in kept if (f := facts.verdicts[s.name].date_format) is not None},
        key=_import_key(facts, single, named),
        ignore_unknown=left_out,
        reading=reading,
    )
    needed = imports.columns or imports.dates or imports.key or imports.ignore_unknown or imports.reading
    fields = tuple(_field(s, named[s.name], facts) for s in kept)
    return Proposal(naming.collection, model, single or "id", template, fields, imports if needed else None)


def _import_key(facts: Facts, single: str | None, named: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns of the key where the collection cannot simply name one."""
    if single is None:
        return facts.key.columns if facts.key is not None else (CONTENT_KEY,)
    nested = not any(s.textual for s in facts.states) and "." in single
    return (single,) if nested or named.get(single, single) != single else ()


def _named(kept: Sequence[ColumnState]) -> dict[str, str]:
    names: dict[str, str] = {}
    for state in kept:
        names[state.name] = field_name(state.name, set(names.values()))
    return names


def _tells(state: ColumnState, facts: Facts) -> bool:
    """Return whether a key says something by itself, so that it is worth a field: a name, not a number."""
    return rank(state) >= 2 and facts.verdicts[state.name].type != FieldType.INT


def embedded_columns(facts: Facts) -> list[ColumnState]:
    """Return the columns of the template: a title, then the prose in the order of the input."""
    usable = facts.usable
    prose = [s for s in usable if s in facts.texts]
    strings = [
        s
        for s in usable
        if s not in prose and facts.verdicts[s.name].type == FieldType.STR and 1 <= mean_words(s) < _TITLE_WORDS
    ]
    called = [s for word in _TITLES for s in strings if s.name.lower().rpartition(".")[2].rpartition("_")[2] == word]
    wordy = [s for s in strings if mean_words(s) >= 2 and _differs(s)]
    natural = [s for s in strings if facts.key is not None and (s.name,) == facts.key.columns and _tells(s, facts)]
    return (called or wordy or natural)[:1] + prose


def _differs(state: ColumnState) -> bool:
    return bool(state.values) and (not state.distinct.exact or state.distinct.count * 2 >= state.values)


def choices_of(state: ColumnState, verdict: Verdict, rows: int) -> tuple[str, ...]:
    """Return the values of a column of strings that has at most 20 and on average 20 rows for each."""
    if verdict.type != FieldType.STR or not state.few or len(state.few) > _CHOICE_SHARE * rows:
        return ()
    return tuple(sorted(state.few))


def _field(state: ColumnState, name: str, facts: Facts) -> ProposedField:
    verdict = facts.verdicts[state.name]
    assert verdict.type is not None
    comment = ""
    if not state.values:
        comment = "no row has a value"
    elif verdict.almost is not None and verdict.almost.examples and verdict.type != verdict.almost.type:
        first = verdict.almost.examples[0]
        more = "" if verdict.almost.misfits == 1 else f" and {verdict.almost.misfits - 1:,} more"
        comment = f"{verdict.almost.type} but for {first.value!r} {state.place(first.line)}{more}"
    elif choices := choices_of(state, verdict, facts.rows):
        listed = ", ".join(f'"{choice}"' for choice in choices)
        comment = f"choices = [{listed}]"
    elif verdict.findings:
        comment = verdict.findings[0].message
    required = facts.complete and state.values == facts.rows > 0
    comment = " ".join("".join(c if c.isprintable() else " " for c in comment).split())
    return ProposedField(name, state.name, str(verdict.type), required, verdict.separator, comment)
