"""Markdown and text files, one or a folder of them: front matter, titles, what is left out, what changes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kb.errors import SourceChangedError, SourceError, UsageError
from kb.sources import Format, Limits, Reading, Row, Source, expand_inputs, open_rejects, open_source

if TYPE_CHECKING:
    from pathlib import Path


def note(tmp_path: Path, data: bytes | str, name: str = "note.md", **options: object) -> Row:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    limits = options.pop("limits", Limits())
    (row,) = open_source(str(path), Reading(**options), limits=limits).rows()  # type: ignore[arg-type]
    return row


def folder(tmp_path: Path, **files: str) -> Source:
    """Open a folder; ``__`` in a name is a slash, a name without suffix gets ``.md``."""
    root = tmp_path / "notes"
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}"
        path = path if "." in path.name else path.with_suffix(".md")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return open_source(str(root))


def test_a_file_is_a_row(tmp_path: Path) -> None:
    text = "---\ntitle: A note\ntags: [x, y]\n---\n\n# Heading\n\nBody text.\r\n\n"
    values = {"title": "A note", "tags": ["x", "y"], "path": "note.md", "text": "# Heading\n\nBody text."}
    assert note(tmp_path, text) == Row(1, 1, values, values)
    source = open_source(str(tmp_path / "note.md"))
    assert (source.format, source.rejects, source.columns, source.textual) == (
        Format.MARKDOWN, Format.JSONL, None, False
    )  # fmt: skip
    fingerprint = source.fingerprint()
    assert fingerprint is not None and fingerprint.size == len(text)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("intro\n# First\n# Second\n", "First"),
        ("## Lower\n# First ##\n", "First"),
        ("```\n# code\n```\n~~~~ sh\n```\n# code\n~~~\n# code\n~~~~\n   #   First\n", "First"),
        ("#hashtag\n#\n    # indented code\n", "note"),
        ("", "note"),
        ("+++\ntitle = 'From TOML'\n+++\n# First\n", "From TOML"),
        ("---\nname: x\n---\n# First\n", "First"),
    ],
)
def test_the_title_is_the_front_matters_or_the_first_heading_or_the_name(tmp_path: Path, text: str, title: str) -> None:
    assert note(tmp_path, text).values["title"] == title


@pytest.mark.parametrize("name", ["note.md", "note.markdown", "note.txt", "NOTE.MD"])
def test_every_suffix_of_text_is_a_row(tmp_path: Path, name: str) -> None:
    assert note(tmp_path, "some text\n", name).values == {"path": name, "title": name[:4], "text": "some text"}


def test_faults_E12_front_matter_is_not_reinterpreted(tmp_path: Path) -> None:
    text = (
        "---\nzip: 00123\nint: -7\nfloat: 1.5e3\nday: 2024-01-31\nat: 2024-01-31 10:00:00\nclock: 12:30:00\nno: no\n"
        "yes: true\nnone: null\nempty:\nhex: 0x1F\nlong: 1_000\nlist: [a, 1, 2024-01-31]\nnested: {a: {b: [1]}}\n"
        "quoted: '7'\nnan: .nan\nhuge: 12345678901234567890123456789012345678901\nmore: |\n  two\n  lines\n---\n"
    )
    values = dict(note(tmp_path, text).values)
    assert values == {
        "zip": "00123", "int": -7, "float": 1500.0, "day": "2024-01-31", "at": "2024-01-31 10:00:00",
        "clock": "12:30:00", "no": "no", "yes": True, "none": None, "empty": None, "hex": "0x1F", "long": "1_000",
        "list": ["a", 1, "2024-01-31"], "nested": {"a": {"b": [1]}}, "quoted": "7", "nan": ".nan",
        "huge": "12345678901234567890123456789012345678901",
        "more": "two\nlines\n", "path": "note.md", "title": "note", "text": "",
    }  # fmt: skip


def test_toml_dates_are_iso_text(tmp_path: Path) -> None:
    text = (
        "+++\nday = 2024-01-31\nat = 2024-01-31T10:00:00Z\nclock = 12:30:00\nx = [1.5, {y = 2024-01-31}]\n+++\nBody\n"
    )
    values = dict(note(tmp_path, text).values)
    assert values == {
        "day": "2024-01-31", "at": "2024-01-31T10:00:00+00:00", "clock": "12:30:00", "x": [1.5, {"y": "2024-01-31"}],
        "path": "note.md", "title": "note", "text": "Body",
    }  # fmt: skip


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("closing", ["---", "...", "--- "])
def test_line_endings_and_byte_order_marks(tmp_path: Path, ending: str, closing: str) -> None:
    text = ending.join(["\ufeff---", "title: T", closing, "", "Body", "", "more", ""])
    values = note(tmp_path, text).values
    assert values == {"title": "T", "path": "note.md", "text": f"Body{ending}{ending}more"}
    assert note(tmp_path, "\ufeffBody").values["text"] == "Body"


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("---\ntitle: x\n", "the front matter that opens in line 1 with --- is not closed"),
        ("+++\ntitle = 1\n---\n", "the front matter that opens in line 1 with +++ is not closed"),
        ("---\na: 1\nb: [1\n---\n", "the front matter cannot be read, line 4: expected ',' or ']', but got '<stream end>'"),
        ("---\ntitle: a: b\n---\n", "the front matter cannot be read, line 2: mapping values are not allowed here"),
        ("---\na: 1\nb: 2\na: 3\n---\n", "the front matter cannot be read, line 4: the field 'a' is there twice"),
        ("---\nx: {a: 1, a: 2}\n---\n", "the front matter cannot be read, line 2: the field 'a' is there twice"),
        ("---\na: &x [1]\nb: *x\n---\n", "the front matter cannot be read, line 3: aliases (*) are not read"),
        ("---\na: !!python/object:os.system x\n---\n",
         "the front matter cannot be read, line 2: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object:os.system'"),
        ("---\n- a\n- b\n---\n", "the front matter is no list of fields: write name: value in each line"),
        ("---\nA sentence.\n---\n", "the front matter is no list of fields: write name: value in each line"),
        ("---\n1: x\n---\n", "the front matter names a field 1, which is not text: put it in quotes"),
        ("---\na: {1: x}\n---\n", "the front matter names a field 1, which is not text: put it in quotes"),
        ("---\npath: x\n---\n", "the front matter has a field 'path'; rename it"),
        ("---\ntext: x\n---\n", "the front matter has a field 'text'; rename it"),
        ("---\na: " + "[" * 5000 + "\n---\n", "the front matter is nested more than 32 levels deep"),
        ("---\na: " + "[" * 40 + "]" * 40 + "\n---\n", "the front matter is nested more than 32 levels deep"),
        ("---\na: !!binary eA==\n---\n", "a: a value of type bytes is not supported"),
        ("---\na: 1e999\n---\n", "a: inf is not a number that can be stored"),
        ("---\na: x\n" + "#" * 70_000 + "\n---\n", "the front matter has 70,006 characters; the limit is 65,536"),
        ("---\n" + "".join(f"a{n}: 1\n" for n in range(1001)) + "---\n",
         "the front matter has 1,001 fields; the limit is 1,000"),
        ("+++\na = nan\n+++\n", "a: nan is not a number that can be stored"),
        ("+++\na = 1\na = 2\n+++\n", "the front matter cannot be read: Cannot overwrite a value (at line 2, column 6)"),
        ("+++\na = " + "[" * 5000 + "\n+++\n", "the front matter is nested more than 32 levels deep"),
    ],
)  # fmt: skip
def test_faults_F1_F2_F4_front_matter_that_cannot_be_kept_costs_its_file(
    tmp_path: Path, block: str, problem: str
) -> None:
    text = f"{block}Body\n"
    assert note(tmp_path, text) == Row(1, 1, {}, {"path": "note.md", "_raw": text}, f"note.md: {problem}")


def test_faults_E2_E4_F12_what_is_no_text_costs_its_file(tmp_path: Path) -> None:
    assert note(tmp_path, b"one\ncaf\xe9\n").problem == "note.md: line 2: byte 4 (0xE9) is not valid UTF-8"
    assert note(tmp_path, "café".encode("cp1252"), encoding="cp1252").values["text"] == "café"
    assert note(tmp_path, "café".encode("utf-16"), encoding="utf-16").values["text"] == "café"
    assert note(tmp_path, b"odd", encoding="utf-16").problem == (
        "note.md: cannot be decoded as utf-16: 'utf-16-le' codec can't decode byte 0x64 in position 2: truncated data"
    )
    assert note(tmp_path, "one\ntwo\0").problem == "note.md: a NUL character in line 2"
    assert note(tmp_path, "x" * 21, limits=Limits(row_bytes=20)) == Row(
        1, 1, {}, "", "note.md: the file is larger than 20 bytes"
    )
    with pytest.raises(UsageError, match="there is no encoding 'utf-99'"):
        note(tmp_path, "x", encoding="utf-99")


def test_a_folder_is_one_source_in_the_order_of_its_paths(tmp_path: Path) -> None:
    source = folder(
        tmp_path, **{"b": "# B", "a__z": "Z", "a__b__c.txt": "C", "A": "a", ".hidden": "", ".git__x.md": ""}
    )
    assert (source.name, source.format, source.rejects) == (f"{tmp_path}/notes", Format.MARKDOWN, Format.JSONL)
    assert (source.columns, source.total, source.notes) == (None, 4, [])
    assert [(row.number, row.line, row.values["path"], row.values["title"]) for row in source.rows()] == [
        (1, 1, "A.md", "A"), (2, 2, "a/b/c.txt", "c"), (3, 3, "a/z.md", "z"), (4, 4, "b.md", "B")
    ]  # fmt: skip
    assert source.position == 4


def test_other_kinds_of_files_are_left_out_with_a_note(tmp_path: Path) -> None:
    source = folder(tmp_path, **{"a": "", "b.png": "", "c.png": "", "d.CSV": "", "e.": ""})
    assert source.notes == [
        f"{tmp_path}/notes: left out, for not being Markdown or text: 2 .png, 1 .csv, 1 without suffix"
    ]
    os.mkfifo(tmp_path / "notes" / "pipe.md")
    (tmp_path / "notes" / "loop").symlink_to(tmp_path / "notes")
    (tmp_path / "notes" / "gone.md").symlink_to(tmp_path / "nothing")
    assert [row.values["path"] for row in open_source(str(tmp_path / "notes")).rows()] == ["a.md"]


def test_faults_E21_a_folder_without_notes_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        folder(tmp_path, **{"b.png": "", "e.png": "", "f.png": "", "c.csv": "", "sub__d.csv": ""})
    assert (caught.value.what, caught.value.hint) == (
        f"{tmp_path}/notes is a folder without Markdown or text files; it holds 3 .png, 2 .csv",
        f"name its files, e.g. with a pattern: {tmp_path}/notes/*.csv",
    )
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty is a folder without files"):
        open_source(str(tmp_path / "empty"))
    with pytest.raises(SourceError, match="empty is a directory"):
        open_source(str(tmp_path / "empty"), Reading(Format.CSV))


def test_faults_E21_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    source = folder(tmp_path, a="", sub__b="")
    (tmp_path / "notes" / "sub").chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        if os.access(tmp_path, os.X_OK, effective_ids=True):
            with pytest.raises(SourceError, match="notes/sub cannot be read: permission denied"):
                open_source(source.name)
    finally:
        if root:
            os.seteuid(0)
        (tmp_path / "notes" / "sub").chmod(0o755)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("grow", "b.md was rewritten"), ("touch", "b.md was rewritten"), ("remove", "b.md is gone"),
        ("add", "c.txt was added"), ("move", "cannot be read any more: No such file or directory"),
    ],
)  # fmt: skip
def test_faults_E20_a_folder_that_changes_is_noticed(tmp_path: Path, change: str, what: str) -> None:
    source = folder(tmp_path, a="A", b="B")
    before = source.fingerprint()
    assert before == open_source(source.name).fingerprint()
    rows = source.rows()
    next(rows)
    path = tmp_path / "notes" / "b.md"
    if change == "grow":
        path.write_text("BB")
    elif change == "touch":
        os.utime(path, (0, 0))
    elif change == "remove":
        path.unlink()
    elif change == "add":
        (tmp_path / "notes" / "c.txt").write_text("C")
    else:
        (tmp_path / "notes").rename(tmp_path / "elsewhere")
    with pytest.raises(SourceChangedError, match=f"notes changed while it was read: .*{what}"):
        source.check_unchanged()
    with pytest.raises(SourceError):
        list(rows)
    if change != "move":
        assert open_source(source.name).fingerprint() != before


def test_rejects_are_json_lines(tmp_path: Path) -> None:
    source = folder(tmp_path, a="---\nday: 2024-01-31\n---\nA", b="---\nx: [\n---\nB")
    writer = open_rejects(tmp_path / "rejects.jsonl", source, resume_at=None)
    for row in source.rows():
        writer.write(row, row.problem or "no")
    writer.close()
    assert (tmp_path / "rejects.jsonl").read_text() == (
        '{"_reason": "no", "_line": 1, "day": "2024-01-31", "path": "a.md", "title": "a", "text": "A"}\n'
        '{"_reason": "b.md: the front matter cannot be read, line 3: expected the node content, but found '
        '\'<stream end>\'", "_line": 2, "path": "b.md", "_raw": "---\\nx: [\\n---\\nB"}\n'
    )


def test_patterns_stand_for_what_they_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.csv", "a.csv", ".c.csv", "[x].csv", "sub/d.csv", "sub/e.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert expand_inputs(["*.csv", "-", "missing.csv"]) == ("[x].csv", "a.csv", "b.csv", "-", "missing.csv")
    assert expand_inputs(["[x].csv"]) == ("[x].csv",), "a file of that name comes first"
    assert expand_inputs(["**/*.csv"]) == ("[x].csv", "a.csv", "b.csv", "sub/d.csv")
    assert expand_inputs([f"{tmp_path}/su?", "[ab].csv"]) == (f"{tmp_path}/sub", "a.csv", "b.csv")
    with pytest.raises(SourceError) as caught:
        expand_inputs(["a.csv", "*.tsv"])
    assert (caught.value.what, caught.value.hint) == (
        "nothing matches *.tsv", "check the pattern; it starts at the current directory"
    )  # fmt: skip
