"""How CSV files are written: quotes of every kind, no header; what is said, what is seen, what stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kb.errors import SourceError, UsageError
from kb.sources import Reading, Row, Source, open_rejects, open_source

if TYPE_CHECKING:
    from pathlib import Path


def opened(tmp_path: Path, data: str, name: str = "data.csv", **options: object) -> Source:
    path = tmp_path / name
    path.write_text(data, newline="")
    return open_source(str(path), Reading(**options))  # type: ignore[arg-type]


def shown(rows: list[Row]) -> list[object]:
    return [row.problem or list(row.values.values()) for row in rows]


def rejected(tmp_path: Path, source: Source) -> str:
    writer = open_rejects(tmp_path / "rejects.csv", source, resume_at=None)
    for row in source.rows():
        writer.write(row, row.problem or 'no, "because"')
    writer.close()
    return (tmp_path / "rejects.csv").read_bytes().decode()


def test_another_quote(tmp_path: Path) -> None:
    source = opened(tmp_path, "id,t\n1,'a, ''b'' \"c'\n2,d\n", quote="'")
    assert shown(list(source.rows())) == [["1", "a, 'b' \"c"], ["2", "d"]]
    text = rejected(tmp_path, source)
    assert text == "_reason,_line,id,t\n'no, \"because\"',2,1,'a, ''b'' \"c'\n'no, \"because\"',3,2,d\n"
    again = open_source(str(tmp_path / "rejects.csv"), Reading(quote="'"))
    assert shown(list(again.rows())) == [["1", "a, 'b' \"c"], ["2", "d"]]


def test_no_quote_at_all(tmp_path: Path) -> None:
    source = opened(tmp_path, 'id\tt\n1\t"open\n2\t5" disk\n', "data.tsv", quote="")
    assert shown(list(source.rows())) == [["1", '"open'], ["2", '5" disk']]
    assert rejected(tmp_path, source) == (
        '_reason\t_line\tid\tt\nno, "because"\t2\t1\t"open\nno, "because"\t3\t2\t5" disk\n'
    )
    source = opened(tmp_path, 'id,t\n1,"open\n', quote="")
    assert rejected(tmp_path, source) == '_reason,_line,id,t\nno  "because",2,1,"open\n'


@pytest.mark.parametrize("quote", ["''", "\n", ",", " ", "\\", "ab"])
def test_what_cannot_be_a_quote_is_refused(tmp_path: Path, quote: str) -> None:
    with pytest.raises(UsageError, match="cannot enclose cells"):
        opened(tmp_path, "id,t\n", quote=quote)


ESCAPED = 'id,t\n1,"she said \\"no, no\\" twice"\n2,"back\\\\slash"\n3,plain\n'


def test_quotes_escaped_by_backslashes_are_seen(tmp_path: Path) -> None:
    source = opened(tmp_path, ESCAPED)
    assert source.notes == [f"{tmp_path}/data.csv: quotes inside cells have a backslash before them"]
    rows = list(source.rows())
    assert shown(rows) == [["1", 'she said "no, no" twice'], ["2", "back\\slash"], ["3", "plain"]]
    assert rejected(tmp_path, source).splitlines()[1:] == [
        '"no, ""because""",2,1,"she said ""no, no"" twice"', '"no, ""because""",3,2,back\\slash',
        '"no, ""because""",4,3,plain',
    ]  # fmt: skip
    again = open_source(str(tmp_path / "rejects.csv"))
    assert shown(list(again.rows())) == shown(rows)


@pytest.mark.parametrize(
    ("data", "values"),
    [
        ('id,t\n1,"C:\\dir\\"\n2,"a ""b"""\n', [["1", "C:\\dir\\"], ["2", 'a "b"']]),
        ('id,t\n1,\\"plain\\"\n', [["1", '\\"plain\\"']]),
        ('id,t\n1,"a \\"b"\n2,\\N\n', ["a quote inside a quoted cell of line 2 is not doubled", ["2", "\\N"]]),
        ('id,t\n1,"a \\"b"\n2,"c "d"\n',
         ["a quote inside a quoted cell of line 2 is not doubled", "a quote inside a quoted cell of line 3 is not doubled"]),
    ],
)  # fmt: skip
def test_backslashes_that_may_mean_themselves_stay(tmp_path: Path, data: str, values: list[object]) -> None:
    source = opened(tmp_path, data)
    assert (shown(list(source.rows())), source.notes) == (values, [])


def test_no_header(tmp_path: Path) -> None:
    source = opened(tmp_path, '\n1;"a;b"\n2;c\n3\n', header=False)
    assert source.columns == ("column_1", "column_2")
    assert list(source.rows()) == [
        Row(1, 2, {"column_1": "1", "column_2": "a;b"}, '1;"a;b"'),
        Row(2, 3, {"column_1": "2", "column_2": "c"}, "2;c"),
        Row(3, 4, {}, "3", "expected 2 cells, found 1"),
    ]
    text = rejected(tmp_path, source)
    assert text.splitlines()[0] == "_reason;_line;column_1;column_2"
    (tmp_path / "rejects.csv").write_text(text.replace(";3;3\n", ";3;3;d\n").replace(";4;3\n", ";4;3;d\n"))
    again = open_source(str(tmp_path / "rejects.csv"), Reading(header=False))
    assert again.columns == source.columns
    assert shown(list(again.rows())) == [["1", "a;b"], ["2", "c"], ["3", "d"]]


def test_no_header_and_no_rows(tmp_path: Path) -> None:
    source = opened(tmp_path, "", header=False)
    assert (source.columns, source.notes) == ((), [f"{tmp_path}/data.csv is empty (0 bytes)"])
    with pytest.raises(SourceError, match="data.csv has 1,001 columns; the limit is 1,000"):
        opened(tmp_path, "," * 1000, header=False)


def test_options_of_tables_are_refused_elsewhere(tmp_path: Path) -> None:
    for option, word in (("delimiter", "a delimiter"), ("quote", "a quote"), ("header", "a first row without names")):
        with pytest.raises(UsageError, match=f"{word} is given, but jsonl has none"):
            opened(tmp_path, "{}", "data.jsonl", **{option: False if option == "header" else ";"})
