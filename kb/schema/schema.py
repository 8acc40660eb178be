"""``Schema``: the fields of a collection, its text template, and the only way from raw values to a ``Document``."""

from __future__ import annotations

import json
import keyword
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import pydantic

from kb.errors import DocumentError, SchemaError, nearest
from kb.schema.document import Document
from kb.schema.fields import MAX_TEXT_BYTES, Field, FieldType, check_string
from kb.schema.ids import normal_id, quoted
from kb.schema.recipe import content_hash
from kb.schema.stored import field_from_json, field_to_json
from kb.schema.template import TextTemplate, parse_template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_FIELDS: Final = 64
RESERVED: Final = frozenset({"id", "document", "chunk", "score", "and", "or", "not"})
"""Names that a hit, an index record or the filter language uses, in any spelling of capitals."""


class Rendered(NamedTuple):
    """A document in the forms that are stored: its fields as canonical JSON, its text, and their fingerprints."""

    id: str
    fields: str
    text: str
    fields_hash: bytes
    text_hash: bytes


_LONGEST_SCALAR: Final = 64
"""Characters that a number, a date or a boolean takes at the most."""

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Schema:
    """A checked declaration.

    Attributes:
        fields: The fields by name, in declared order.
        key: The input column that becomes a document's id.
        template: What is embedded.
        model: The pydantic class of the documents.
    """

    fields: Mapping[str, Field]
    key: str
    template: TextTemplate
    model: type[Document] = field(compare=False)

    def field(self, name: str) -> Field:
        """Return the declared field.

        Raises:
            SchemaError: There is none of that name.
        """
        try:
            return self.fields[name]
        except KeyError:
            raise SchemaError(f"unknown field '{name}'", hint=nearest(name, self.fields)) from None

    def document(
        self,
        values: Mapping[str, object],
        *,
        textual: bool,
        separators: Mapping[str, str],
        known_problems: Sequence[str] = (),
    ) -> Document:
        """Return the document that raw values make.

        Args:
            values: By field name, the id under ``"id"``. None means missing.
            textual: True when strings are text to be parsed by type (CSV, arguments): ``""`` then means missing, and
                a list is split by its separator or written as a JSON array. False for JSON and Python values, which
                must have the right type already.
            separators: By field name, what splits the text of a list; wins over the field's own separator.
            known_problems: What is wrong already, each naming its field (or the key) first; such a field is not
                reported as missing as well.

        Raises:
            DocumentError: With every problem of the document, fields in declared order.
        """
        typed, problems = self._typed(values, textual=textual, separators=separators)
        problems = [*known_problems, *problems]
        try:
            typed["id"] = normal_id(values.get("id"))
        except ValueError as error:
            if not any(problem.startswith(f"{self.key}: ") for problem in known_problems):
                problems.insert(0, f"{self.key}: {error}")
            typed["id"] = "?"
        for declared in self.fields.values():
            # Said rather than left to the class: there, an optional field without a default must be given.
            if declared.name not in typed and declared.default is None and (declared.many or not declared.required):
                typed[declared.name] = [] if declared.many else None
        seen = {problem.partition(":")[0] for problem in problems}
        try:
            document = self.model.model_validate(typed)
        except pydantic.ValidationError as error:
            problems += [p for p in _messages(error) if p.partition(":")[0] not in seen]
        if not problems:
            problems = self._text_problems(document)
        if problems:
            raise DocumentError(
                _summary(values.get("id"), problems), problems=tuple(problems), unchanged="nothing was stored of it"
            )
        return document

    def with_changes(
        self, document: Document, changes: Mapping[str, object], *, textual: bool, separators: Mapping[str, str]
    ) -> Document:
        """Return the document with some values replaced, checked as a whole.

        Args:
            document: The present one.
            changes: By field name; None, or ``""`` when textual, takes a value away.
            textual: As in ``document``.
            separators: As in ``document``.

        Raises:
            DocumentError: As ``document``.
        """
        typed, problems = self._typed(changes, textual=textual, separators=separators)
        if "id" in changes:
            problems.insert(0, "id: cannot be changed; add a document under the new id and delete this one")
        if problems:
            raise DocumentError(
                _summary(document.id, problems), problems=tuple(problems), unchanged="nothing was changed"
            )
        present = {name: document.__dict__.get(name) for name in self.fields}
        merged = {**present, **{name: typed.get(name) for name in changes}, "id": document.id}
        return self.document(merged, textual=False, separators={})

    def _typed(
        self, values: Mapping[str, object], *, textual: bool, separators: Mapping[str, str]
    ) -> tuple[dict[str, object], list[str]]:
        """Return the values of fields in their types, without the missing ones, and what is wrong with the rest."""
        typed: dict[str, object] = {}
        problems: list[str] = []
        for name, raw in values.items():
            if name not in self.fields:
                if name != "id":
                    problems.append(f"{name}: unknown field; {nearest(name, self.fields)}")
                continue
            declared = self.fields[name]
            try:
                value = declared.from_text(raw, separators.get(name)) if textual else declared.from_json(raw)
            except ValueError as error:
                problems.append(f"{name}: {quoted(raw)} {error}")
                continue
            if value is not None:
                typed[name] = value
        return typed, problems

    def _text_problems(self, document: Document) -> list[str]:
        values = [document.__dict__.get(name) for name in self.template.names]
        strings = [value for value in values if isinstance(value, str)]
        # Every value has been checked by itself. Where one is not blank and all are far from the longest text, nothing
        # is left to find, and rendering only for that would cost an import a twentieth of its time.
        parts = len(self.template.parts)
        most = 4 * (len(self.template.source) + parts * (sum(map(len, strings)) + _LONGEST_SCALAR))
        if (
            most <= MAX_TEXT_BYTES
            and any(value.strip() for value in strings)
            and not any(isinstance(value, list) for value in values)
        ):
            return []
        text = self.text(document)
        if not text.strip():
            return [f"text: the template {self.template.source!r} renders as nothing but white space"]
        try:
            check_string(text, MAX_TEXT_BYTES)
        except ValueError as error:
            return [f"text: {error}"]
        return []

    def check(self, document: Document) -> Document:
        """Return a document made in Python after the same checks as any other.

        Raises:
            DocumentError: As ``document``.
        """
        if not isinstance(document, Document):
            raise DocumentError(
                f"{type(document).__name__} is not a document",
                problems=("not a document",),
                unchanged="nothing was stored",
                hint="pass documents one by one: upsert(Article(id=…, …), …)",
            )
        values: dict[str, object] = {name: document.__dict__.get(name) for name in self.fields}
        return self.document({"id": document.id, **values}, textual=False, separators={})

    def text(self, document: Document) -> str:
        """Return the text that is embedded."""
        return self.template.render(self.fields, document.__dict__)

    def render(self, document: Document) -> Rendered:
        """Return the stored forms of a checked document."""
        stored = {
            name: value
            for name, declared in self.fields.items()
            if (value := declared.store_value(document.__dict__.get(name))) is not None
        }
        fields = _encode(stored)
        text = self.text(document)
        return Rendered(document.id, fields, text, content_hash(fields), content_hash(text))

    def load(self, id: str, fields: str) -> Document:
        """Return the document whose stored fields are given as JSON; it is not validated again."""
        stored = json.loads(fields)
        values: dict[str, Any] = {name: declared.load_value(stored.get(name)) for name, declared in self.fields.items()}
        return self.model.model_construct(id=id, **values)

    def to_json(self) -> str:
        """Return the declaration as canonical JSON, without the Python class."""
        declared = [field_to_json(f) for f in self.fields.values()]
        return json.dumps(
            {"key": self.key, "text": self.template.source, "fields": declared}, ensure_ascii=False, sort_keys=True
        )

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """Return the schema that ``to_json`` wrote."""
        raw = json.loads(text)
        return build_schema([field_from_json(f) for f in raw["fields"]], key=raw["key"], text=raw["text"])


def build_schema(
    fields: Sequence[Field], *, key: str = "id", text: str | None = None, model: type[Document] | None = None
) -> Schema:
    """Return the checked schema.

    Args:
        fields: In declared order.
        key: The input column of the id.
        text: The template; None for the prose fields with a blank line between them.
        model: The class of the documents; None to make one.

    Raises:
        SchemaError: A name, choice, bound, default or the template cannot work.
    """
    by_name: dict[str, Field] = {}
    for declared in fields:
        _check_field(declared)
        _check_default(declared)
        if declared.name in by_name:
            raise SchemaError(f"the field '{declared.name}' is declared twice")
        by_name[declared.name] = declared
    if len(by_name) > MAX_FIELDS:
        raise SchemaError(f"{len(by_name)} fields are declared; the limit is {MAX_FIELDS}")
    source = text if text is not None else _default_template(by_name)
    return Schema(by_name, key, parse_template(source, by_name), model or _build_model(by_name))


def with_template(schema: Schema, template: str) -> Schema:
    """Return a schema with another text template.

    Raises:
        SchemaError: The template names what is no field.
    """
    return build_schema(list(schema.fields.values()), key=schema.key, text=template, model=schema.model)


def schema_of(document_class: type[Document], *, key: str = "id", text: str | None = None) -> Schema:
    """Return the schema that a ``Document`` subclass declares.

    Raises:
        SchemaError: An annotation has no field type, or as ``build_schema``.
    """
    from kb.schema.annotations import field_of

    fields = [field_of(name, info) for name, info in document_class.model_fields.items() if name != "id"]
    template = text if text is not None else document_class.text_template
    return build_schema(fields, key=key, text=template, model=document_class)


def _default_template(fields: Mapping[str, Field]) -> str:
    prose = [f"{{{f.name}}}" for f in fields.values() if f.type is FieldType.TEXT and not f.many]
    if not prose:
        raise SchemaError(
            "no text template is given and no field has the type 'text'",
            hint='say what is to be embedded, e.g. text = "{title}"',
        )
    return "\n\n".join(prose)


def _check_field(declared: Field) -> None:
    name = declared.name
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_") or len(name) > 128:
        raise SchemaError(
            f"'{name}' cannot name a field",
            hint="use letters, digits and _, a letter first; map the column: --map 'COLUMN=field'",
        )
    if name == "id":
        raise SchemaError("the id is always there, it is not declared as a field", hint="leave it out")
    if name.lower() in RESERVED or (name.startswith("model_") and hasattr(pydantic.BaseModel, name)):
        raise SchemaError(
            f"the field name '{name}' is reserved", hint=f"choose another name and map the column: --map {name}=NAME"
        )
    if (declared.minimum is not None or declared.maximum is not None) and not declared.is_numeric:
        raise SchemaError(f"the field '{name}' has bounds, but its type is {declared.spelled}")
    if declared.separator is not None and (not declared.many or not declared.separator):
        raise SchemaError(f"the field '{name}' has a separator, but its type is {declared.spelled}")
    low, high = declared.minimum, declared.maximum
    if low is not None and high is not None and low > high:
        raise SchemaError(f"the field '{name}' has the bounds {low} to {high}, which no value satisfies")
    for choice in declared.choices or ():
        if type(choice) is not declared.python:
            raise SchemaError(f"the field '{name}' offers {choice!r}, which is not of type {declared.type}")


def _check_default(declared: Field) -> None:
    if declared.default is None:
        return
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(
        _annotation(declared)[0], config=pydantic.ConfigDict(strict=True, allow_inf_nan=False)
    )
    try:
        adapter.validate_python(declared.default)
    except pydantic.ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise SchemaError(
            f"the field '{declared.name}' has the default {declared.default!r}: {reason[0].lower()}{reason[1:]}"
        ) from None


def _build_model(fields: Mapping[str, Field]) -> type[Document]:
    definitions: dict[str, Any] = {name: _annotation(f) for name, f in fields.items()}
    with warnings.catch_warnings():
        # A column called "json" or "copy" hides a method of BaseModel that nothing here calls.
        warnings.filterwarnings("ignore", message=".*shadows an attribute in parent.*")
        model: type[Document] = pydantic.create_model("Document", __base__=Document, **definitions)
    return model


def _annotation(declared: Field) -> tuple[Any, Any]:
    item: Any = Literal[declared.choices] if declared.choices else declared.python
    if declared.minimum is not None or declared.maximum is not None:
        item = Annotated[item, pydantic.Field(ge=declared.minimum, le=declared.maximum)]
    if declared.many:
        return list[item], declared.default if declared.default is not None else pydantic.Field(default_factory=list)
    if declared.required and declared.default is None:
        return item, ...
    return item | None, declared.default


def _messages(error: pydantic.ValidationError) -> list[str]:
    messages = []
    for item in error.errors(include_url=False, include_context=False):
        # The parts of a location after the field name say where in a list or union; only positions help a reader.
        name = str(item["loc"][0]) if item["loc"] else "document"
        place = "".join(f"[{part}]" for part in item["loc"][1:] if isinstance(part, int))
        if item["type"] == "missing":
            messages.append(f"{name}: is missing")
        else:
            text = item["msg"][0].lower() + item["msg"][1:]
            messages.append(f"{name}{place}: {text}, got {quoted(item['input'])}")
    return list(dict.fromkeys(messages))


def _summary(id: object, problems: Sequence[str]) -> str:
    shown = "; ".join(problems[:10]) + (f"; and {len(problems) - 10} more" if len(problems) > 10 else "")
    return f"document {quoted(id)}: {shown}" if id is not None else shown
