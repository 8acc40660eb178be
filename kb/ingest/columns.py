"""From the columns of an input to the fields of a schema: what a row becomes, once the mapping has been checked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from kb.errors import UsageError, nearest
from kb.ingest.cells import Cells, CellTemplate, DateFormat, root_of
from kb.ingest.request import CONTENT_KEY, UnknownColumns
from kb.schema import FieldType, content_hash
from kb.schema.fields import split_list
from kb.schema.ids import normal_id, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from kb.ingest.request import FieldMapping
    from kb.ingest.row_filter import RowFilter
    from kb.schema import Document, Schema
    from kb.sources import Row


class Columns:
    """How the rows of one input become documents of one schema; made by ``resolve``.

    Attributes:
        schema: Of the collection.
        textual: Whether the input's values are text.
        filter: Which rows are read; None for all of them.
        explicit: The fields, ``id`` among them, that the mapping fills; a column of such a name does not.
        from_content: Whether the id is a hash of the other fields.
    """

    def __init__(
        self,
        schema: Schema,
        mapping: FieldMapping,
        header: Sequence[str] | None,
        *,
        textual: bool,
        numeric_booleans: bool = False,
    ) -> None:
        """Prepare what every row needs.

        Args:
            schema: Of the collection.
            mapping: What fills what; its fields exist.
            header: The input's columns where it declares them, else None.
            textual: Whether its values are text.
            numeric_booleans: Whether 0 and 1 are what the input has for false and true.

        Raises:
            UsageError: A constant, a template or a date format cannot be one.
        """
        self.schema = schema
        self.textual = textual
        self.filter: RowFilter | None = None
        self._cells = Cells(frozenset(mapping.nulls), textual)
        self._mapped = mapping.targets
        self._roots = {root_of(column) for column in self._mapped}
        self._templates = {name: CellTemplate.parse(source) for name, source in mapping.templates.items()}
        self._dates = {name: DateFormat.checked(f, schema.fields[name].type) for name, f in mapping.dates.items()}
        self._split = mapping.split
        self._constants = {name: self._constant(name, text) for name, text in mapping.constants.items()}
        self._respelled = self._dates.keys() | (frozenset() if textual else mapping.split.keys())
        booleans = (f.name for f in schema.fields.values() if f.type is FieldType.BOOL and not f.many)
        self._numeric = tuple(booleans) if numeric_booleans else ()
        self._made = (*self._templates, "id") if mapping.key and mapping.key != (CONTENT_KEY,) else (*self._templates,)
        self.from_content = mapping.key == (CONTENT_KEY,)
        self._key = () if self.from_content else mapping.key
        self._ignores_unknown = mapping.unknown_columns is UnknownColumns.IGNORE
        self._key_is_a_field = schema.key != "id" and schema.key in schema.fields
        self._key_is_a_column = header is not None and schema.key in header and not self._key_is_a_field
        mapped = {name for names in self._mapped.values() for name in names}
        self.explicit = frozenset(mapped | self._templates.keys() | self._constants.keys())
        if mapping.key:
            self.explicit |= {"id"}
        self._targets: dict[str, tuple[str, ...] | None] = {}

    @property
    def named(self) -> tuple[str, ...]:
        """The columns and paths that the mapping reads."""
        in_templates = [name for template in self._templates.values() for name in template.names]
        return tuple(dict.fromkeys([*self._mapped, *in_templates, *self._key]))

    def targets(self, column: str) -> tuple[str, ...] | None:
        """Return what a column fills, which may be nothing; None when nobody has said what to do with it."""
        if column not in self._targets:
            self._targets[column] = self._find_targets(column)
        return self._targets[column]

    def _find_targets(self, column: str) -> tuple[str, ...] | None:
        if column in self._mapped:
            return self._mapped[column]
        if column in self._roots:
            return ()
        found = [column] if column in self.schema.fields else []
        # What kb has exported calls the id "id", whatever the key is.
        if column == self.schema.key or (column == "id" and not self._key_is_a_column):
            found.append("id")
        found = [name for name in found if name not in self.explicit]
        read = {part for name in self.named for part in (name, root_of(name))}
        if self.filter is not None:
            read |= self.filter.columns
        return tuple(found) if found or column in read or self._ignores_unknown else None

    def read_only(self, filter: RowFilter) -> None:
        """Leave out the rows for which a filter does not hold."""
        self.filter = filter
        self._targets.clear()  # a column that is only asked for is known from now on

    def has(self, row: Row, name: str) -> bool:
        """Whether a row holds a column or something at a path."""
        return name in row.values or root_of(name) in row.values

    def select(self, row: Row) -> Row | None:
        """Return a row that is to be read, with a problem when that cannot be told; None for one that is left out."""
        if self.filter is None or row.problem is not None:
            return row
        try:
            return row if self.filter.holds(row.values) else None
        except ValueError as error:
            return replace(row, values={}, problem=f"{error} (asked by --where)")

    def document(self, row: Row) -> Document:
        """Return the document of a readable row.

        Raises:
            DocumentError: With every problem of the row.
        """
        values: dict[str, object] = {}
        problems: list[str] = []
        self._fill_by_columns(row.values, values, problems)
        for name in self._respelled:
            if not self._cells.is_missing(values.get(name)):
                self._convert(name, values, problems)
        for name in self._numeric:
            if type(values.get(name)) is int and values[name] in (0, 1):
                values[name] = bool(values[name])
        values.update(self._constants)
        for name in self._made:
            try:
                values[name] = self._composed(name, row.values)
            except ValueError as error:
                problems.append(f"{self._label(name)}: {error}")
        if self.from_content:
            values["id"] = CONTENT_KEY
        document = self.schema.document(values, textual=self.textual, separators=self._split, known_problems=problems)
        return document.model_copy(update={"id": self._content_id(document, values)}) if self.from_content else document

    def value(self, name: str, values: Mapping[str, object]) -> object:
        """Return the typed value that the mapping gives a field, or the id; None when it is missing.

        Args:
            name: One of ``explicit``.
            values: Of a row.

        Raises:
            ValueError: It cannot be made of the row.
        """
        if name in self._constants:
            return self._constants[name]
        if name in self._templates or (name == "id" and self._key):
            return self._composed(name, values)
        raws = (self._cells.get(values, column) for column, names in self._mapped.items() if name in names)
        raw = next((raw for raw in raws if raw is not None), None)
        return None if raw is None else self.typed(name, raw)

    def cell(self, column: str, values: Mapping[str, object]) -> object:
        """Return what stands under a column, None when it is missing."""
        return self._cells.get(values, column)

    def typed(self, name: str, raw: object) -> object:
        """Return what a cell gives a field or the id, in the type of the field; ``ValueError`` says why it cannot."""
        if name == "id":
            return normal_id(raw)
        if isinstance(raw, str) and (self.textual or name in self._respelled):
            return self._from_text(name, raw)
        return self.schema.fields[name].from_json(raw)

    def _constant(self, name: str, text: str) -> object:
        try:
            return self._from_text(name, text)
        except ValueError as error:
            raise UsageError(f"--set {name}={text}: {error}", unchanged="nothing was imported") from None

    def _fill_by_columns(self, row: Mapping[str, object], values: dict[str, object], problems: list[str]) -> None:
        # What kb exports has a column of its own for the id where the key is a field as well.
        apart = self._key_is_a_field and "id" in row and "id" not in self.explicit
        for column, raw in row.items():
            targets = self.targets(column)
            if apart and column == self.schema.key and column not in self._mapped:
                targets = (column,)
            elif apart and column == "id":
                targets = ("id",)
            if targets is None:
                problems.append(self._unknown(column))
            elif targets:
                self._put(column, targets, raw, values, problems)
        for column, targets in self._mapped.items():
            if column in row:
                continue
            try:
                self._put(column, targets, self._cells.get(row, column), values, problems)
            except ValueError as error:
                problems.append(f"{self._label(targets[0])}: {error}")

    def _put(
        self, column: str, targets: tuple[str, ...], raw: object, values: dict[str, object], problems: list[str]
    ) -> None:
        missing = self._cells.is_missing(raw)
        for name in targets:
            if missing:
                values.setdefault(name, raw if raw == "" else None)
            elif name not in values or self._cells.is_missing(values[name]):
                values[name] = raw
            else:
                problems.append(f"{self._label(name)}: filled by two columns, one of them '{column}'")

    def _unknown(self, column: str) -> str:
        if column in self.explicit:
            return f"{column}: is a column too, but the mapping fills it in another way"
        return f"{column}: unknown field; {nearest(column, self.schema.fields)}"

    def _convert(self, name: str, values: dict[str, object], problems: list[str]) -> None:
        """Read text of a value that has a date format, or is split, though the source is not textual."""
        raw = values[name]
        try:
            if isinstance(raw, str):
                values[name] = self._from_text(name, raw)
            elif isinstance(raw, list) and name in self._dates:
                values[name] = [self._day(name, item) if isinstance(item, str) else item for item in raw]
        except ValueError as error:
            del values[name]
            problems.append(f"{name}: {error}")

    def _day(self, name: str, text: str) -> date:
        try:
            return self._dates[name].parse(text)
        except ValueError as error:
            raise ValueError(f"{quoted(text)} {error}") from None

    def _composed(self, name: str, values: Mapping[str, object]) -> object:
        """Return what a template, or the columns of the key, make of a row; ``ValueError`` names a missing column."""
        if name in self._templates:
            text = self._templates[name].render(self._cells, values)
        else:
            text = "-".join(self._cells.text(values, column) for column in self._key)
        return self._from_text(name, text)

    def _from_text(self, name: str, text: str) -> object:
        """Return text in the type of the field; ``ValueError`` quotes it."""
        if name == "id":
            return text
        declared, date_format, separator = self.schema.fields[name], self._dates.get(name), self._split.get(name)
        try:
            if date_format is None:
                return declared.from_text(text, separator)
            if not declared.many:
                return date_format.parse(text)
            return [date_format.parse(item) for item in split_list(text, separator or declared.separator)]
        except ValueError as error:
            raise ValueError(f"{quoted(text)} {error}") from None

    def _label(self, name: str) -> str:
        return self.schema.key if name == "id" else name

    def _content_id(self, document: Document, values: Mapping[str, object]) -> str:
        """Return a hash of what the input gives the document, so that a field declared later does not change it."""
        stored = {
            name: found
            for name in sorted(values.keys() - {"id"})
            if (found := self.schema.fields[name].store_value(document.__dict__.get(name))) not in (None, [])
        }
        return content_hash(json.dumps(stored, ensure_ascii=False)).hex()
