"""What was found in an input: frozen data, nothing here reads or decides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kb.ingest.inspect.proposal import Proposal
    from kb.sources import Format


class Topic(StrEnum):
    """What a finding is about."""

    UNREADABLE = "unreadable"  # rows that an import would reject whatever the schema
    NOTE = "note"  # what the reader of the input had to say
    HEADER = "header"  # the first line looks like data
    ALMOST = "almost"  # all values but a few have one type
    MIXED = "mixed_types"
    NESTED = "nested"  # values that no field can hold
    LEADING_ZEROS = "leading_zeros"
    NUMBERS = "numbers"  # written in a way that is not read as numbers
    DATES = "dates"  # written in a way that needs a format
    BOOL = "bool"
    DUPLICATE_ROW = "duplicate_row"
    DUPLICATE_KEY = "duplicate_key"
    DUPLICATE_CONTENT = "duplicate_content"
    MOJIBAKE = "mojibake"
    NEAR_EMPTY = "near_empty"
    WINDOW = "window"
    KEY = "key"
    LIMIT = "limit"  # more than an import or a schema accepts


@dataclass(frozen=True, slots=True)
class Example:
    """One value and where it stands.

    Attributes:
        value: Its text, cut to 60 characters.
        line: The physical line where its row starts; of a folder the number of the file, of several files counted
            through all of them.
    """

    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """A value that stands twice.

    Attributes:
        value: Its text, cut to 60 characters.
        line: Where it stands again.
        earlier: Where it stood first.
    """

    value: str
    line: int
    earlier: int


@dataclass(frozen=True, slots=True)
class Almost:
    """A type that at least 95 % of the values fit, but not all; or all but such as ``N/A``; or, as text, all but three.

    Attributes:
        type: The type as in a declaration.
        misfits: How many values do not fit.
        examples: The first of them, at most three.
    """

    type: str
    misfits: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class InspectedColumn:
    """What one column, or one path into nested objects, holds.

    Attributes:
        name: The column, or the path: ``author.name``.
        type: The narrowest field type that every value fits, as in a declaration; None when there is none.
        separator: What separates the items of a list in one cell, None for JSON lists and single values.
        date_format: The ``strptime`` format of dates that are not ISO 8601.
        values: How many rows have a value.
        missing: How many have none.
        distinct: How many different values there are; a lower bound unless ``distinct_exact``.
        distinct_exact: Whether all values were compared.
        shortest: The characters of the shortest value.
        longest: The characters of the longest value.
        longest_line: The line where that one stands.
        longest_place: The same in words: ``on line 5``, or ``in a.md`` of a folder.
        mean_words: The average number of words of a value.
        examples: The first different values, at most three, cut to 60 characters.
        choices: The values of a ``str`` column that has few of them, else empty.
        almost: A narrower type that a few values spoil.
    """

    name: str
    type: str | None
    separator: str | None
    date_format: str | None
    values: int
    missing: int
    distinct: int
    distinct_exact: bool
    shortest: int
    longest: int
    longest_line: int
    longest_place: str
    mean_words: float
    examples: tuple[str, ...]
    choices: tuple[str, ...]
    almost: Almost | None


@dataclass(frozen=True, slots=True)
class KeyCandidate:
    """Columns that together are never missing and never the same twice; or a column that is called like a key.

    Attributes:
        columns: One column, or two.
        proven: Whether all rows were compared, and none repeats; else only the first million or so.
        repeated: How many values of a column that is called like a key repeat an earlier one.
    """

    columns: tuple[str, ...]
    proven: bool
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class TextCandidate:
    """A column that is worth embedding.

    Attributes:
        column: Its name.
        measured: How many of its values were counted in tokens; 0 when the model is not here.
        over: How many of those are longer than the model's window.
    """

    column: str
    measured: int
    over: int


@dataclass(frozen=True, slots=True)
class Window:
    """The model that texts were measured with.

    Attributes:
        model: Its id.
        tokens: Its window: most tokens of one input; 0 when the model is not here.
        problem: Why nothing was measured, or None.
    """

    model: str
    tokens: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know before importing.

    Attributes:
        topic: What it is about.
        column: The column, or None when it is about the whole input.
        message: One sentence.
        lines: Physical lines to look at, at most six.
    """

    topic: Topic
    column: str | None
    message: str
    lines: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything that was found in one input.

    Attributes:
        name: The input.
        format: What it was read as.
        encoding: The codec of its text.
        delimiter: What separates cells, None where there are none.
        quote: What encloses a cell that holds a delimiter, None where there are no cells.
        header: Whether the first row names the columns.
        records: The path to the list of records inside a JSON document, or None.
        bytes: The size of the input; None for a pipe.
        rows: How many rows were read, unreadable ones included.
        complete: Whether that is all of them.
        unreadable: How many of them an import would reject whatever the schema.
        columns: The columns in input order, paths in order of first appearance.
        keys: Candidates for the key, the best first.
        texts: Candidates for the text, the best first.
        window: The model that the texts were measured with.
        findings: What a person should know.
        proposal: A collection that fits, and how to import into it; None when there is nothing to declare.
    """

    name: str
    format: Format
    encoding: str
    delimiter: str | None
    quote: str | None
    header: bool
    records: str | None
    bytes: int | None
    rows: int
    complete: bool
    unreadable: int
    columns: tuple[InspectedColumn, ...]
    keys: tuple[KeyCandidate, ...]
    texts: tuple[TextCandidate, ...]
    window: Window
    findings: tuple[Finding, ...]
    proposal: Proposal | None


@dataclass(frozen=True, slots=True)
class InspectProgress:
    """How far an inspection has come.

    Attributes:
        rows: How many rows have been read.
        position: How much of the input has been read, in the unit of ``total``.
        total: How much there is; None when that is unknown.
        inspection: The result; None but in the last progress.
    """

    rows: int
    position: int
    total: int | None
    inspection: Inspection | None = None
