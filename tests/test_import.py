"""Importing files and data frames: counts, rejects, faults and resuming."""

from __future__ import annotations

import csv
import gc
import hashlib
import io
import json
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import kb
from kb.catalog import Counts, JobStatus
from kb.errors import ConflictError, EncoderError, SourceChangedError, SourceError, UsageError
from kb.index import Generation
from tests.conftest import CONFIG, article, make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from kb.index import Record
    from kb.ingest import Progress
    from tests.conftest import FakeEncoder

LATER = "imported later, this row would replace that one"
FILE_FORMATS = ("csv", "tsv", "json", "jsonl")


def some(count: int) -> list[dict[str, Any]]:
    return [article(f"a{number}", body=f"Words about subject{number}.") for number in range(1, count + 1)]


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format that the suffix names."""
    match path.suffix:
        case ".json":
            path.write_text(json.dumps(rows))
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case suffix:
            text = io.StringIO()
            names = list(dict.fromkeys(name for row in rows for name in row))
            writer = csv.DictWriter(text, names, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
            writer.writeheader()
            for row in rows:
                writer.writerow({k: ";".join(v) if isinstance(v, list) else v for k, v in row.items()})
            path.write_text(text.getvalue())
    return path


def reasons(collection: kb.Collection, job: Any) -> list[tuple[int, str]]:
    return [(reject.line, reject.reason) for reject in collection._base.rejects(job.id)]


def contents(collection: kb.Collection) -> dict[str, dict[str, Any]]:
    return {entry.id: entry.document.model_dump() for entry in collection.entries()}


def is_sound(base: kb.KnowledgeBase) -> bool:
    return list(base.verify(full=True)) == []


@pytest.fixture
def configured(tmp_path: Path, encoder: FakeEncoder) -> Callable[..., Any]:
    """Open a knowledge base whose one collection has the given lines of TOML."""

    @contextmanager
    def opened(settings: str, *fields: str) -> Iterator[kb.Collection]:
        root = tmp_path / "configured"
        root.mkdir(exist_ok=True)
        lines = ["[collections.things]", 'model = "fake"', settings, "[collections.things.fields]", *fields]
        (root / "config.toml").write_text("\n".join(lines))
        with kb.open(root, encoders={"fake": encoder}) as base:
            yield base.collection("things")
            assert is_sound(base)

    return opened


@pytest.mark.parametrize("format", [*FILE_FORMATS, "frame"])
def test_every_input_gives_the_same_documents_and_a_second_time_none(
    format: str, tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder
) -> None:
    rows = some(5)

    def imported() -> Any:
        if format == "frame":
            return articles.import_frame(pd.DataFrame(rows))
        return articles.import_file(save(tmp_path / f"in.{format}", rows))

    first = imported()
    assert (first.status, first.counts, first.rejects) == (JobStatus.DONE, Counts(read=5, new=5, embedded=5), None)
    assert contents(articles) == {row["id"]: make(articles, **row).model_dump() for row in rows}
    assert encoder.texts == [f"{row['title']}\n\n{row['body']}" for row in rows]
    again = imported()
    assert (again.status, again.counts) == (JobStatus.DONE, Counts(read=5, unchanged=5))
    assert len(encoder.texts) == 5
    assert is_sound(articles._base)


def test_only_changed_text_is_embedded(tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder) -> None:
    rows = some(5)
    articles.import_file(save(tmp_path / "in.csv", rows))
    encoder.texts.clear()
    rows[0]["body"] = "Something else altogether."
    rows[1]["rating"] = 1.5
    rows[2]["tags"] = []
    job = articles.import_file(save(tmp_path / "in.csv", rows))
    assert job.counts == Counts(read=5, updated=1, fields_only=2, unchanged=2, embedded=1)
    assert encoder.texts == ["Title of a1\n\nSomething else altogether."]
    assert articles.get("a2").rating == 1.5
    assert articles.get("a3").tags == []
    assert is_sound(articles._base)


def test_a_value_that_a_row_leaves_out_is_taken_away(tmp_path: Path, articles: kb.Collection) -> None:
    articles.import_file(save(tmp_path / "in.jsonl", [article("a1", author="heron")]))
    articles.import_file(save(tmp_path / "in.jsonl", [article("a1")]))
    assert articles.get("a1").author is None
    assert articles.count("author is null") == 1


def test_equal_texts_are_embedded_once(tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder) -> None:
    rows = [article(f"a{n}", title="Same", body="Same.") for n in range(100)]
    job = articles.import_file(save(tmp_path / "in.csv", rows))
    assert job.counts == Counts(read=100, new=100, embedded=1)
    assert encoder.texts == ["Same\n\nSame."]


def test_a_large_first_write_goes_to_the_index_once(articles: kb.Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    upsert = Generation.upsert

    def counted(self: Generation, records: Sequence[Record]) -> None:
        written.extend(record.id for record in records)
        upsert(self, records)

    monkeypatch.setattr(Generation, "upsert", counted)
    articles.upsert(*[make(articles, f"a{number}") for number in range(1_500)])
    assert len(written) == len(set(written)) == 1_500


def test_columns_are_mapped_and_lists_split(configured: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("Nr,Head=line,keys,more\n7,First,a|b|,x y\n8,Second,,z\n")
    with configured('text = "{title}"', 'title = "str"', 'tags = "list[str]"', 'words = "list[str]"') as things:
        job = things.import_file(
            path,
            mapping={"Nr": "id", "Head=line": "title", "keys": "tags", "more": "words"},
            split={"tags": "|", "words": " "},
        )
        assert job.counts == Counts(read=2, new=2, embedded=2)
        assert [(e.id, e.fields) for e in things.entries()] == [
            ("7", {"title": "First", "tags": ["a", "b"], "words": ["x", "y"]}),
            ("8", {"title": "Second", "tags": [], "words": ["z"]}),
        ]


def test_the_key_column_is_the_id_and_may_be_a_field_too(configured: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("code,title\nX1,One\n")
    with configured('key = "code"\ntext = "{title}"', 'title = "str"', 'code = "str"') as things:
        things.import_file(path)
        assert things.get("X1").code == "X1"


@pytest.mark.parametrize(
    ("options", "what", "hint"),
    [
        (
            {"mapping": {"id": "titel"}},
            "--map id=titel: 'titel' is not a field",
            "did you mean 'title'? valid: id, title, body, category, published, author, tags, rating",
        ),
        (
            {"mapping": {"Titel": "title"}},
            "--map Titel=title: {path} has no column 'Titel'",
            "did you mean 'title'? valid: id, title, body, category, published, tags, rating",
        ),
        ({"split": {"title": ";"}}, "--split title: 'title' is not a list field", "valid: tags"),
    ],
)
def test_a_mapping_must_name_what_is_there(
    options: dict[str, Any], what: str, hint: str, tmp_path: Path, articles: kb.Collection
) -> None:
    path = save(tmp_path / "in.csv", some(1))
    with pytest.raises(UsageError) as raised:
        articles.import_file(path, **options)
    assert (str(raised.value), raised.value.hint) == (what.format(path=path), hint)
    assert articles.count() == 0


def test_faults_E9_unknown_columns_are_refused(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.csv", [article("a1", Autor="x", extra="y")])
    with pytest.raises(SourceError) as raised:
        articles.import_file(path)
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        f"{path} has unknown columns: 'Autor', 'extra'",
        "nothing was imported",
        "did you mean 'author'? valid: id, title, body, category, published, author, tags, rating; map it (--map "
        "'Autor=field') or leave such columns out (--unknown-columns ignore); is the first line a header?",
    )
    assert articles._base.jobs() == []


def test_faults_E9_one_unknown_column_is_ignored_on_request(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.csv", [article("a1", extra="y")])
    with pytest.raises(SourceError, match="has an unknown column: 'extra'$"):
        articles.import_file(path)
    assert articles.import_file(path, unknown_columns="ignore").counts == Counts(read=1, new=1, embedded=1)
    path = save(tmp_path / "in.jsonl", [article("a1", extra="y")])
    assert articles.import_file(path, unknown_columns="ignore").counts == Counts(read=1, unchanged=1)


def test_faults_E9_missing_columns_are_refused(tmp_path: Path, articles: kb.Collection) -> None:
    path = tmp_path / "in.csv"
    path.write_text("number,title,author\n1,One,heron\n")
    with pytest.raises(SourceError) as raised:
        articles.import_file(path, unknown_columns="ignore")
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        f"{path} has no column for 'id', 'body', 'category', 'published'",
        "nothing was imported",
        "its columns: number, title, author; say which one it is: --map 'COLUMN=id'",
    )


def test_a_row_is_rejected_with_all_its_problems(tmp_path: Path, articles: kb.Collection) -> None:
    path = tmp_path / "in.csv"
    path.write_text(
        "id,title,body,category,published,author,tags,rating\n"
        "a1,Fine,Fine.,ml,2024-01-31,,,\n"
        " ,,x,cooking,31.01.2024,,a;b,7\n"
        "a3,Fine,Fine.,ml,2024-02-30,,,much\n"
    )
    job = articles.import_file(path)
    assert (job.status, job.counts) == (JobStatus.PARTIAL, Counts(read=3, new=1, rejected=2, embedded=1))
    assert reasons(articles, job) == [
        (
            3,
            "id: the id is empty; published: '31.01.2024' is not an ISO date (write 2024-01-31); title: is missing; "
            "category: input should be 'ml' or 'nlp', got 'cooking'; "
            "rating: input should be less than or equal to 5, got 7.0",
        ),
        (4, "published: '2024-02-30' is not a day of the calendar; rating: 'much' is not a number (write 1234.5)"),
    ]


@pytest.mark.parametrize("format", FILE_FORMATS)
def test_faults_H10_a_mended_reject_file_ends_clean(format: str, tmp_path: Path, articles: kb.Collection) -> None:
    rows = [article("a1", title="tabs\tand\nlines"), article("a2", category="cooking"), article("a3")]
    path = save(tmp_path / f"in.{format}", [{"key": row.pop("id"), **row} for row in rows])
    job = articles.import_file(path, mapping={"key": "id"})
    assert (job.status, job.counts) == (JobStatus.PARTIAL, Counts(read=3, new=2, rejected=1, embedded=2))
    assert job.rejects is not None
    assert job.rejects.endswith(f"-in.rejects.{format}")
    with open(job.rejects) as file:
        text = file.read()
    assert "category: input should be 'ml' or 'nlp', got 'cooking'" in text
    assert "a1" not in text
    mended = tmp_path / f"mended.{format}"
    mended.write_text(
        text.replace('"cooking"', '"nlp"').replace(",cooking,", ",nlp,").replace("\tcooking\t", "\tnlp\t")
    )
    job = articles.import_file(mended, mapping={"key": "id"})
    assert (job.status, job.counts) == (JobStatus.DONE, Counts(read=1, new=1, embedded=1))
    assert sorted(contents(articles)) == ["a1", "a2", "a3"]
    assert articles.get("a1").title == "tabs\tand\nlines"


def test_rejects_of_a_frame_are_json_lines(articles: kb.Collection) -> None:
    job = articles.import_frame(pd.DataFrame([article("a1"), article("a2", rating=9.0)]))
    assert job.rejects is not None
    assert job.rejects.endswith("-input.rejects.jsonl")
    with open(job.rejects) as file:
        assert [json.loads(line) for line in file] == [
            {"_reason": "rating: input should be less than or equal to 5, got 9.0", "_line": 2}
            | article("a2", rating=9.0)
        ]


@pytest.mark.parametrize(
    ("name", "text", "note"),
    [
        ("in.csv", "", "{path} is empty (0 bytes)"),
        ("in.csv", "\n \n\n", "{path} holds only blank lines"),
        ("in.csv", "id,title,body,category,published\n", "{path}: header only, no rows"),
        ("in.tsv", "", "{path} is empty (0 bytes)"),
        ("in.json", "", "{path} is empty (0 bytes)"),
        ("in.json", " []\n", "{path}: an empty list, no rows"),
        ("in.jsonl", "", "{path} is empty (0 bytes)"),
        ("in.jsonl", "\n\n", "{path} holds only blank lines"),
    ],
)
def test_faults_E10_no_rows_is_said_and_can_be_an_error(
    name: str, text: str, note: str, tmp_path: Path, articles: kb.Collection
) -> None:
    path = tmp_path / name
    path.write_text(text)
    steps: list[Progress] = []
    job = articles.import_file(path, progress=steps.append)
    assert (job.status, job.counts) == (JobStatus.DONE, Counts())
    assert steps[-1].notes == (note.format(path=path),)
    with pytest.raises(SourceError) as raised:
        articles.import_file(path, fail_empty=True)
    assert (str(raised.value), raised.value.unchanged) == (f"{path}: no rows", "nothing was imported")
    assert articles._base.jobs()[0].status is JobStatus.FAILED


def test_faults_E10_a_file_without_a_header_is_refused(tmp_path: Path, articles: kb.Collection) -> None:
    path = tmp_path / "in.csv"
    path.write_text("a1,One,Body,ml,2024-01-31\n")
    with pytest.raises(SourceError, match="unknown columns: 'a1', 'One', 'Body', 'ml', '2024-01-31'") as raised:
        articles.import_file(path)
    assert raised.value.hint.endswith("is the first line a header?")


def test_faults_E13_whole_numbers_with_gaps_stay_whole(configured: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,title,pages\na,A,3\nb,B,\nc,C,3.0\nd,D,3.5\n")
    with configured('text = "{title}"', 'title = "str"', 'pages = { type = "int", required = false }') as things:
        job = things.import_file(path)
        assert {e.id: e.document.pages for e in things.entries()} == {"a": 3, "b": None, "c": 3}
        assert reasons(things, job) == [(5, "pages: '3.5' is not a whole number")]
        frame = pd.DataFrame({"id": ["a", "b"], "title": ["A", "B"], "pages": [3, None]})
        assert frame.pages.dtype == np.float64
        assert things.import_frame(frame).counts == Counts(read=2, unchanged=2)
        assert type(things.get("a").pages) is int


def test_faults_E14_only_an_empty_cell_is_missing(configured: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    words = ["NaN", "nan", "NULL", "None", "N/A", "-", "00123", "=1+1", "TRUE"]
    path.write_text("id,title,note\n" + "".join(f"{n},t,{word}\n" for n, word in enumerate(words)) + "x,t,\n")
    with configured('text = "{title}"', 'title = "str"', 'note = { type = "str", required = false }') as things:
        things.import_file(path)
        assert [things.get(str(n)).note for n in range(len(words))] == words
        assert things.get("x").note is None


@pytest.mark.parametrize("format", FILE_FORMATS)
def test_faults_E17_the_second_row_of_an_id_is_rejected(format: str, tmp_path: Path, articles: kb.Collection) -> None:
    rows = [article("a1", title="First"), article("a2"), article(" a1 ", title="Second")]
    path = save(tmp_path / f"in.{format}", rows)
    if format == "json":
        path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]")
    job = articles.import_file(path)
    assert (job.status, job.counts) == (JobStatus.PARTIAL, Counts(read=3, new=2, rejected=1, embedded=2))
    first = 1 if format == "jsonl" else 2
    reason = f"id: 'a1' stands on line {first + 2} and already on line {first}; {LATER}"
    assert reasons(articles, job) == [(first + 2, reason)]
    assert articles.get("a1").title == "First"


def test_faults_E17_two_records_of_an_id_on_one_line(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.json", [article("a1", title="First"), article("a1", title="Second")])
    job = articles.import_file(path)
    assert job.counts == Counts(read=2, new=1, rejected=1, embedded=1)
    assert articles.get("a1").title == "First"


def test_faults_E17_an_id_in_two_files_of_one_job(tmp_path: Path, articles: kb.Collection) -> None:
    one, two = save(tmp_path / "one.csv", some(2)), save(tmp_path / "two.csv", [article("a3"), article("a2")])
    job = articles.import_file(one, two)
    assert job.counts == Counts(read=4, new=3, rejected=1, embedded=3)
    assert reasons(articles, job) == [(3, f"id: 'a2' stands on line 3 and already on line 3 of {one}; {LATER}")]


def test_faults_E17_the_same_file_twice_in_one_job(tmp_path: Path, articles: kb.Collection) -> None:
    path = save(tmp_path / "in.csv", some(2))
    with pytest.raises(UsageError) as raised:
        articles.import_file(path, path)
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        f"{path} is named twice",
        "nothing was imported",
        "name each file once",
    )
    assert articles.count() == 0


def test_faults_E18_odd_ids_go_all_the_way(tmp_path: Path, articles: kb.Collection) -> None:
    ids = [
        *("a/b?c#d%e", "x#1", "#", "🙂‍🏫", "שלום", "Straße", "A", "a", "a b", "'; DROP TABLE documents", "é" * 256),
        *("e\N{COMBINING ACUTE ACCENT}tude", "../up", "{braces}", "%s", "-x", "--all", '"', "\\"),
    ]
    kept = [id.replace("e\N{COMBINING ACUTE ACCENT}", "é") for id in ids]
    words = [f"unique{number}" for number in range(len(ids))]
    rows = [article(id, title="t", body=word) for id, word in zip(ids, words, strict=True)]
    job = articles.import_file(save(tmp_path / "in.csv", rows))
    assert job.counts == Counts(read=len(ids), new=len(ids), embedded=len(ids))
    assert set(articles.keys()) == set(kept)
    for id, word in zip(kept, words, strict=True):
        assert articles.get(id).body == word
        assert articles.search(word, limit=1)[0].id == id
    assert is_sound(articles._base)
    assert articles.delete(*kept) == kept
    assert is_sound(articles._base)


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("", "id: the id is empty"),
        (" \t", "id: the id is empty"),
        ("é" * 256 + "x", "id: is 513 bytes long; the limit is 512"),
        ("a\nb", "id: the id 'a\\nb' holds a control character"),
        ("a\x1bb", "id: the id 'a\\x1bb' holds a control character"),
    ],
)
def test_faults_E18_ids_that_cannot_be(id: str, reason: str, tmp_path: Path, articles: kb.Collection) -> None:
    job = articles.import_file(save(tmp_path / "in.csv", [article(id), article("ok")]))
    assert (job.counts, reasons(articles, job)[0][1]) == (Counts(read=2, new=1, rejected=1, embedded=1), reason)


def test_faults_E18_two_spellings_of_one_id_collide(tmp_path: Path, articles: kb.Collection) -> None:
    job = articles.import_file(
        save(
            tmp_path / "in.csv",
            [article("\N{LATIN SMALL LETTER E WITH ACUTE}"), article("e\N{COMBINING ACUTE ACCENT}")],
        )
    )
    assert reasons(articles, job) == [(3, f"id: 'é' stands on line 3 and already on line 2; {LATER}")]


@pytest.mark.parametrize("format", FILE_FORMATS)
def test_faults_E20_a_file_that_changes_meanwhile_stops_the_job(
    format: str, tmp_path: Path, articles: kb.Collection
) -> None:
    path = save(tmp_path / f"in.{format}", some(200))
    before = path.stat().st_size

    def append(step: Progress) -> None:
        if step.job.status is JobStatus.RUNNING and step.job.counts.read:
            with path.open("a") as file:
                file.write(" ")

    with pytest.raises(SourceChangedError) as raised:
        articles.import_file(path, progress=append)
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        f"{path} changed while it was read: {before:,} bytes before, {before + 1:,} now",
        "rows that were committed before stay",
        "import the file again; unchanged rows cost nothing",
    )
    job = articles._base.jobs()[0]
    assert (job.status, job.error, job.counts.read) == (JobStatus.FAILED, str(raised.value), articles.count())
    assert 0 < job.counts.read < 200


def test_faults_F8_types_in_json_are_strict(configured: Callable[..., Any], tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": 1, "title": "t", "n": 1, "x": 2, "ok": True, "day": "2024-01-31"},  # an int for a float is exact
        {"id": "b"},
        {"id": "c", "title": 5, "n": "5", "x": True, "ok": 1, "day": 20240131},
        {"id": "d", "title": None, "n": 1.5, "x": "", "ok": "true", "day": "yesterday"},
        {"id": "e", "title": "t", "n": True, "x": 1.0, "ok": True, "day": "2024-01-31", "titel": "?"},
        {"id": True, "title": "t", "n": 1, "x": 1.0, "ok": True, "day": "2024-01-31"},
    ]
    fields = ('title = "str"', 'n = "int"', 'x = "float"', 'ok = "bool"', 'day = "date"')
    with configured('text = "{title}"', *fields) as things:
        job = things.import_file(save(tmp_path / "in.jsonl", rows))
        assert things.get("1").x == 2.0
        assert reasons(things, job) == [
            (2, "title: is missing; n: is missing; x: is missing; ok: is missing; day: is missing"),
            (
                3,
                "title: input should be a valid string, got 5; n: input should be a valid integer, got '5'; "
                "x: input should be a valid number, got True; ok: input should be a valid boolean, got 1; "
                "day: input should be a valid date, got 20240131",
            ),
            (
                4,
                "day: 'yesterday' is not an ISO date (write 2024-01-31); title: is missing; "
                "n: input should be a valid integer, got 1.5; x: input should be a valid number, got ''; "
                "ok: input should be a valid boolean, got 'true'",
            ),
            (5, "titel: unknown field; did you mean 'title'? valid: title, n, x, ok, day; n: input should be a valid "
                "integer, got True"),
            (6, "id: the id True is neither a string nor a whole number"),
        ]  # fmt: skip


def test_faults_F1_F2_F3_F4_F5_broken_json_costs_its_row_only(tmp_path: Path, articles: kb.Collection) -> None:
    good = json.dumps(article("a1"))
    bad = [
        json.dumps(article("b1")).replace("4.5", "NaN"),
        json.dumps(article("b2")).replace("4.5", "1e999"),
        '{"id": "b3", "id": "b4"}',
        json.dumps(article("b5")).replace("4.5", "9" * 5_000),
        "[" * 100_000,
        json.dumps(article("b6", title="\ud800")),
        '{"id": "b7", "title": ',
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join([*bad, good]))
    job = articles.import_file(path)
    assert job.counts == Counts(read=8, new=1, rejected=7, embedded=1)
    assert sorted(contents(articles)) == ["a1"]


def test_faults_F9_nested_values_are_rejected_and_lists_kept(tmp_path: Path, articles: kb.Collection) -> None:
    rows = [
        article("a1", tags=[]),
        article("a2", tags=["x", "y", "x"]),
        article("a3", tags=["x", 5]),
        article("a4", tags=[["x"]]),
        article("a5", title={"de": "Titel"}),
        article("a6", tags="x"),
        article("a7", tags=None),
    ]
    job = articles.import_file(save(tmp_path / "in.json", rows))
    assert {e.id: e.document.tags for e in articles.entries()} == {"a1": [], "a2": ["x", "y", "x"], "a7": []}
    assert [reason for _, reason in reasons(articles, job)] == [
        "tags[1]: input should be a valid string, got 5",
        "tags[0]: input should be a valid string, got ['x']",
        "title: input should be a valid string, got {'de': 'Titel'}",
        "tags: input should be a valid list, got 'x'",
    ]
    assert articles.count("tags is null") == 2
    assert is_sound(articles._base)


def test_faults_F11_documents_without_any_metadata(configured: Callable[..., Any], tmp_path: Path) -> None:
    with configured("", 'body = "text"') as things:
        things.import_file(save(tmp_path / "in.json", [{"id": "a", "body": "only text"}]))
        assert [hit.id for hit in things.search("only text")] == ["a"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x" * (1024 * 1024 + 1), f"body: '{'x' * 49}…' is 1,048,577 bytes long; the limit is 1,048,576"),
        ("nul\0nul", "body: 'nul\\x00nul' contains a NUL character"),
    ],
)
def test_faults_F12_text_over_a_limit_is_rejected(
    text: str, reason: str, tmp_path: Path, articles: kb.Collection
) -> None:
    job = articles.import_file(save(tmp_path / "in.jsonl", [article("a1", body=text)]))
    assert reasons(articles, job) == [(1, reason)]


def test_faults_F12_blank_text_is_rejected(tmp_path: Path, articles: kb.Collection) -> None:
    job = articles.import_file(save(tmp_path / "in.jsonl", [article("a1", title=" \t", body="\n\u3000")]))
    assert reasons(articles, job) == [
        (1, "text: the template '{title}\\n\\n{body}' renders as nothing but white space")
    ]


def test_faults_F12_unusual_text_is_kept_as_it_is(tmp_path: Path, articles: kb.Collection) -> None:
    texts = [
        "x" * 100_000,
        "👩‍👩‍👧‍👦" * 500,
        "\u202eright to left\u202c",
        "\ufeffmark",
        "…",
        "\x07bell",
        " \u00a0 padded ",
    ]
    job = articles.import_file(
        save(tmp_path / "in.jsonl", [article(f"a{n}", body=text) for n, text in enumerate(texts)])
    )
    assert job.counts.new == len(texts)
    assert [articles.get(f"a{n}").body for n in range(len(texts))] == texts
    assert is_sound(articles._base)


def test_faults_F13_the_end_of_a_long_text_is_found(tmp_path: Path, articles: kb.Collection) -> None:
    filler = " ".join(f"word{number % 300}" for number in range(5_000))
    cut = int(len(filler) * 0.95)
    rows = [article(f"a{n}", body=filler) for n in range(3)]
    rows[1]["body"] = f"{filler[:cut]} zanzibar quokka umbrella {filler[cut:]}"
    articles.import_file(save(tmp_path / "in.csv", rows))
    hits = articles.search("zanzibar quokka umbrella", limit=3)
    assert hits[0].id == "a1"
    assert "zanzibar quokka umbrella" in hits[0].text
    assert hits[0].chunk > 0
    assert hits[0].score > hits[1].score
    assert is_sound(articles._base)


def test_faults_F15_frames_of_every_kind(configured: Callable[..., Any]) -> None:
    optional = ", required = false }"
    fields = (
        'title = "str"',
        'n = { type = "int"' + optional,
        'x = { type = "float"' + optional,
        'ok = { type = "bool"' + optional,
        'day = { type = "date"' + optional,
        'at = { type = "datetime"' + optional,
        'kind = { type = "str"' + optional,
        'tags = "list[str]"',
    )
    frame = pd.DataFrame(
        {
            "id": [1, 2, 3],
            "title": pd.array(["A", "B", "C"], dtype="str"),
            "n": pd.array([2**53 + 1, pd.NA, 3], dtype="Int64"),
            "x": [np.float32(0.5), np.nan, 2.0],
            "ok": pd.array([True, pd.NA, False], dtype="boolean"),
            "day": pd.to_datetime(["2024-01-31", None, "1999-12-31"]),
            "at": pd.to_datetime(["2024-01-31T12:00+02:00", None, "2024-01-31T00:00:00Z"], utc=True, format="ISO8601"),
            "kind": pd.Categorical(["k", None, "l"]),
            "tags": [["x"], [], np.array(["y", "z"])],
        },
        index=[7, 7, 7],
    )
    with configured('text = "{title}"', *fields) as things:
        job = things.import_frame(frame)
        assert (job.counts, reasons(things, job)) == (Counts(read=3, new=3, embedded=3), [])
        assert [e.fields for e in things.entries()] == [
            {
                "title": "A",
                "n": 2**53 + 1,
                "x": 0.5,
                "ok": True,
                "day": date(2024, 1, 31),
                "at": datetime(2024, 1, 31, 10, tzinfo=UTC),
                "kind": "k",
                "tags": ["x"],
            },
            {"title": "B", "n": None, "x": None, "ok": None, "day": None, "at": None, "kind": None, "tags": []},
            {
                "title": "C",
                "n": 3,
                "x": 2.0,
                "ok": False,
                "day": date(1999, 12, 31),
                "at": datetime(2024, 1, 31, tzinfo=UTC),
                "kind": "l",
                "tags": ["y", "z"],
            },
        ]


def test_faults_F15_what_a_frame_cannot_give_is_named(articles: kb.Collection) -> None:
    rows = [
        article("a1"),
        article("a2", rating=Decimal("1.2345678901234567890")),
        article("a3", rating="much"),
        article("a4", rating=np.inf),
    ]
    job = articles.import_frame(pd.DataFrame(rows))
    assert reasons(articles, job) == [
        (2, "rating: 1.2345678901234567890 has more digits than a float; convert the column"),
        (3, "rating: input should be a valid number, got 'much'"),
        (4, "rating: inf is not a finite number"),
    ]
    assert job.counts == Counts(read=4, new=1, rejected=3, embedded=1)
    with pytest.raises(UsageError, match="^a pandas data frame or an Arrow table is needed, not list$"):
        articles.import_frame(rows)  # type: ignore[arg-type]


def digest(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_faults_H12_a_dry_run_writes_nothing_and_tells_the_truth(
    tmp_path: Path, root: Path, encoder: FakeEncoder
) -> None:
    rows = [
        *some(100),
        article("a5"),
        article("bad", rating=9),
        article("c1", title="Same", body="S."),
        article("c2", title="Same", body="S."),
    ]
    path = save(tmp_path / "in.csv", rows)
    expected = Counts(read=104, new=102, rejected=2, embedded=101)
    before = digest(tmp_path)
    with kb.open(root, encoders={"fake": encoder}) as base:
        job = base.collection().import_file(path, dry_run=True)
        assert (job.id, job.status, job.counts, job.rejects) == ("", JobStatus.PARTIAL, expected, None)
        frame = base.collection().import_frame(pd.DataFrame(some(3)), dry_run=True)
        assert frame.counts == Counts(read=3, new=3, embedded=3)
    assert digest(tmp_path) == before
    assert encoder.texts == []
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert base.collection().import_file(path).counts == expected
    rows[0]["body"], rows[1]["rating"] = "Other words.", 0.5
    save(path, [*rows, article("new", body="New words.")])
    before = digest(tmp_path)
    with kb.open(root, encoders={"fake": encoder}) as base:
        rehearsed = base.collection().import_file(path, dry_run=True).counts
    assert digest(tmp_path) == before
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert base.collection().import_file(path).counts == rehearsed
    assert rehearsed == Counts(read=105, new=1, updated=1, fields_only=1, unchanged=100, rejected=2, embedded=2)


def test_faults_H1_a_failing_model_stops_the_job_and_resuming_finishes_it(
    tmp_path: Path, root: Path, encoder: FakeEncoder
) -> None:
    rows = some(300)
    rows[10]["rating"] = 9
    rows[250]["rating"] = 9
    path = save(tmp_path / "in.csv", rows)
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection()
        encoder.dies_on = "subject200."
        with pytest.raises(EncoderError, match="^the model failed on 'subject200.'$"):
            articles.import_file(path)
        (failed,) = base.jobs()
        done = failed.counts.read
        assert (failed.status, failed.error) == (JobStatus.FAILED, "the model failed on 'subject200.'")
        assert 64 <= done < 200
        assert failed.counts == Counts(read=done, new=done - 1, rejected=1, embedded=done - 1)
        assert articles.count() == done - 1
        assert articles.search("subject64")[0].id == "a64"
        assert is_sound(base)
        encoder.dies_on = None
    with kb.open(root, encoders={"fake": encoder}) as base:
        resumed = base.resume(failed.id)
        with open(resumed.rejects or "") as file:
            rejects = file.read()
        outcome = (resumed.status, resumed.counts, contents(base.collection()), reasons(base.collection(), resumed))
        assert resumed.error is None
        assert is_sound(base)
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    (undisturbed / "config.toml").write_text(CONFIG)
    with kb.open(undisturbed, encoders={"fake": encoder}) as base:
        job = base.collection().import_file(path)
        assert outcome == (job.status, job.counts, contents(base.collection()), reasons(base.collection(), job))
        with open(job.rejects or "") as file:
            assert rejects == file.read()
    assert outcome[1] == Counts(read=300, new=298, rejected=2, embedded=298)


def test_duplicates_across_an_interruption_are_still_found(
    tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder
) -> None:
    path = save(tmp_path / "in.csv", [*some(200), article("a1", title="Second")])
    encoder.dies_on = "subject150."
    with pytest.raises(EncoderError):
        articles.import_file(path)
    encoder.dies_on = None
    job = articles._base.resume(articles._base.jobs()[0].id)
    assert reasons(articles, job) == [(202, f"id: 'a1' stands on line 202 and already on line 2; {LATER}")]
    assert articles.get("a1").title == "Title of a1"


@pytest.mark.parametrize("broken", [np.full((1, 256), np.nan), np.ones((1, 3)), np.zeros((1, 256)), None])
def test_faults_G9_vectors_that_cannot_be_stored_are_refused(
    broken: object, tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder
) -> None:
    articles.add(make(articles, "old"))
    encoder.broken = [] if broken is None else broken
    with pytest.raises(EncoderError):
        articles.import_file(save(tmp_path / "in.csv", some(1)))
    encoder.broken = None
    assert sorted(contents(articles)) == ["old"]
    assert is_sound(articles._base)


def test_a_finished_job_cannot_be_resumed(tmp_path: Path, articles: kb.Collection) -> None:
    job = articles.import_file(save(tmp_path / "in.csv", some(1)))
    with pytest.raises(ConflictError) as raised:
        articles._base.resume(job.id)
    assert (str(raised.value), raised.value.unchanged) == (
        f"the job {job.id} is done: there is nothing left to read",
        "nothing was imported",
    )


def test_a_frame_cannot_be_read_a_second_time(articles: kb.Collection, encoder: FakeEncoder) -> None:
    encoder.dies_on = "subject1."
    with pytest.raises(EncoderError):
        articles.import_frame(pd.DataFrame(some(1)))
    encoder.dies_on = None
    job = articles._base.jobs()[0]
    with pytest.raises(ConflictError) as raised:
        articles._base.resume(job.id)
    assert (str(raised.value), raised.value.hint) == (
        f"the job {job.id} read <data frame>, which cannot be read a second time",
        "import the same data again: rows that are in already are skipped as unchanged",
    )


def test_resuming_with_another_file_is_refused(tmp_path: Path, articles: kb.Collection, encoder: FakeEncoder) -> None:
    path = save(tmp_path / "in.csv", some(100))
    encoder.dies_on = "subject90."
    with pytest.raises(EncoderError):
        articles.import_file(path)
    encoder.dies_on = None
    save(path, some(101))
    job = articles._base.jobs()[0]
    with pytest.raises(SourceChangedError) as raised:
        articles._base.resume(job.id)
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        f"{path} has changed since the job {job.id} began",
        "nothing was imported",
        f"import it anew: kb import {path}",
    )
    assert articles._base.job(job.id).status is JobStatus.FAILED


def test_an_unknown_job_is_not_found(articles: kb.Collection) -> None:
    with pytest.raises(kb.errors.NotFoundError, match="^there is no job 'x'$"):
        articles._base.resume("x")


def test_several_files_are_one_job(tmp_path: Path, articles: kb.Collection) -> None:
    rows = some(150)
    paths = [save(tmp_path / f"{n}.csv", rows[n * 50 : n * 50 + 50]) for n in range(3)]
    steps: list[Progress] = []
    job = articles.import_file(*paths, progress=steps.append)
    assert job.counts == Counts(read=150, new=150, embedded=150)
    assert articles._base.jobs() == [job]
    assert (steps[-1].position, steps[-1].total) == (sum(p.stat().st_size for p in paths),) * 2
    assert [s.job.counts.read for s in steps] == sorted(s.job.counts.read for s in steps)


def test_files_of_different_shape_are_refused(tmp_path: Path, articles: kb.Collection) -> None:
    one, other = save(tmp_path / "one.csv", some(1)), save(tmp_path / "other.jsonl", some(1))
    with pytest.raises(UsageError) as raised:
        articles.import_file(one, other)
    assert (str(raised.value), raised.value.unchanged, raised.value.hint) == (
        f"{other} has another format, encoding or other columns than {one}",
        "nothing was imported",
        "take them one by one",
    )
    assert articles._base.jobs() == []


def test_a_bad_second_file_is_found_before_the_first_is_imported(tmp_path: Path, articles: kb.Collection) -> None:
    one = save(tmp_path / "one.csv", some(1))
    with pytest.raises(SourceError, match="missing.csv does not exist$"):
        articles.import_file(one, tmp_path / "missing.csv")
    assert articles.count() == 0


def test_an_import_that_is_abandoned_is_interrupted(tmp_path: Path, articles: kb.Collection) -> None:
    from kb.ingest import ImportRequest

    steps = articles.import_steps(ImportRequest(files=(str(save(tmp_path / "in.csv", some(100))),)))
    done = next(steps).job.counts.read
    steps.close()
    job = articles._base.jobs()[0]
    assert (job.status, job.counts.read, articles.count()) == (JobStatus.INTERRUPTED, done, done)
    assert articles._base.resume(job.id).counts == Counts(read=100, new=100, embedded=100)


def test_an_import_leaves_the_garbage_collector_as_it_was(articles, tmp_path):
    before = gc.get_threshold()
    (tmp_path / "articles.json").write_text(json.dumps([article()]))
    first, second = (articles.import_steps(kb.ImportRequest((str(tmp_path / "articles.json"),))) for _ in range(2))
    for steps in (first, second, first, second):
        next(steps)
    assert gc.get_threshold() != before
    first.close()
    assert gc.get_threshold() != before
    second.close()
    assert gc.get_threshold() == before
