"""Excel workbooks: sheets, typed cells, what is no value, and files that claim too much."""

from __future__ import annotations

import datetime as dt
import io
import tracemalloc
import zipfile
from typing import TYPE_CHECKING

import openpyxl
import pytest

from kb.errors import LimitError, SourceError, UsageError
from kb.sources import Format, Limits, Reading, Row, Source, open_rejects, open_source
from tests.sources.conftest import CHANGES, check_change_is_noticed
from tests.sources.samples import workbook

if TYPE_CHECKING:
    from pathlib import Path


def opened(tmp_path: Path, data: bytes, limits: Limits = Limits(), **options: object) -> Source:  # noqa: B008
    path = tmp_path / "data.xlsx"
    path.write_bytes(data)
    return open_source(str(path), Reading(**options), limits=limits)  # type: ignore[arg-type]


def shown(source: Source) -> list[tuple[int, int, object]]:
    return [(row.number, row.line, row.problem or list(row.values.values())) for row in source.rows()]


def edited(data: bytes, old: str, new: str, part: str = "xl/worksheets/sheet1.xml") -> bytes:
    """Return a workbook with another text in one of its parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            text = source.read(name)
            if name == part:
                assert old.encode() in text
                text = text.replace(old.encode(), new.encode())
            target.writestr(name, text)
    return out.getvalue()


def with_shared_strings(*texts: str) -> bytes:
    """Return a workbook whose texts stand in a part of their own, as Excel writes them."""
    data = workbook([["id"], ["a"]])
    for number, text in enumerate(texts[:2]):
        data = edited(data, f't="inlineStr"><is><t>{text}</t></is>', f't="s"><v>{number}</v>')
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    override = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
    out = io.BytesIO(edited(data, "</Types>", override, "[Content_Types].xml"))
    with zipfile.ZipFile(out, "a") as archive:
        items = "".join(f"<si><t>{text}</t></si>" for text in texts)
        main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
        archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{main}">{items}</sst>')
    return out.getvalue()


def test_a_workbook_is_a_source(tmp_path: Path) -> None:
    source = opened(tmp_path, workbook([["id", "n"], ["a", 1], [None, None], ["b", None]]))
    assert (source.format, source.rejects, source.textual) == (Format.EXCEL, Format.JSONL, False)
    assert (source.columns, source.total, source.notes) == (("id", "n"), None, [])
    assert list(source.rows()) == [
        Row(1, 2, {"id": "a", "n": 1}, {"id": "a", "n": 1}),
        Row(2, 4, {"id": "b", "n": None}, {"id": "b", "n": None}),
    ]
    assert len(list(source.rows())) == 2, "a file can be read again"


def test_cells_keep_their_types(tmp_path: Path) -> None:
    cells = ["00123", 7, 7.5, 7.0, True, dt.date(2024, 5, 6), dt.datetime(2024, 5, 6, 7, 8), "=1+1", " x ", "NaN"]
    source = opened(tmp_path, edited(workbook([[*"abcdefghij"], cells]), "<f>1+1</f><v />", "<f>1+1</f><v>2</v>"))
    (row,) = source.rows()
    values = ["00123", 7, 7.5, 7, True, dt.date(2024, 5, 6), dt.datetime(2024, 5, 6, 7, 8), 2, " x ", "NaN"]
    assert list(row.values.values()) == values
    assert [type(v) for v in row.values.values()] == [type(v) for v in values]


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("#DIV/0!", "n: the cell holds the error #DIV/0!"),
        ("=1+1", "n: the cell holds a formula without a stored result; open the workbook, and save it"),
        (dt.time(7, 30), "n: 07:30:00 is a time without a date, which is not supported; format the cell as text"),
        (dt.timedelta(hours=30), "n: 1 day, 6:00:00 is a time without a date, which is not supported; format the cell as text"),
    ],
)  # fmt: skip
def test_what_is_no_value_costs_its_row(tmp_path: Path, cell: object, problem: str) -> None:
    source = opened(tmp_path, workbook([["id", "n"], ["a", cell], ["b", 2]]))
    assert shown(source) == [(1, 2, problem), (2, 3, ["b", 2])]


def test_a_date_that_excel_cannot_have_costs_its_row(tmp_path: Path) -> None:
    data = edited(workbook([["id", "n"], ["a", dt.date(2024, 5, 6)]]), "<v>45418</v>", "<v>99999999</v>")
    assert shown(opened(tmp_path, data)) == [(1, 2, "n: the cell holds the error #VALUE!")]


def test_faults_E7_cells_beyond_the_header_are_not_lost(tmp_path: Path) -> None:
    source = opened(tmp_path, workbook([["id", "n"], ["a", 1, "more"], ["b"]]))
    assert shown(source) == [(1, 2, "expected 2 cells, found 3"), (2, 3, ["b", None])]


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (["id", None, "t"], "data.xlsx: column 2 has no name"),
        (["id", " "], "data.xlsx has a column named ' ', which is not a name"),
        (["id", 1.5], "data.xlsx has a column named 1.5, which is not a name"),
        (["id", "id"], "data.xlsx has two columns named 'id'"),
        (["id", "#N/A"], "data.xlsx has a column named Unreadable(reason='the cell holds the error #N/A', text='#N/A'), which is not a name"),
        ([f"c{n}" for n in range(1001)], "data.xlsx has 1,001 columns; the limit is 1,000"),
    ],
)  # fmt: skip
def test_faults_E8_E19_a_header_must_name_every_column_once(tmp_path: Path, header: list[object], what: str) -> None:
    with pytest.raises(SourceError) as caught:
        opened(tmp_path, workbook([header, ["a"]]))
    assert caught.value.what == f"{tmp_path}/{what}"


def test_a_year_names_a_column(tmp_path: Path) -> None:
    assert opened(tmp_path, workbook([[], [], ["id", 2024], ["a", 1]])).columns == ("id", "2024")


def test_faults_E10_no_header_no_rows_no_cells(tmp_path: Path) -> None:
    source = opened(tmp_path, workbook([["a", 1], ["b"]]), header=False)
    assert (source.columns, shown(source)) == (("column_1", "column_2"), [(1, 1, ["a", 1]), (2, 2, ["b", None])])
    source = opened(tmp_path, workbook([["id", "n"]]))
    assert (shown(source), source.notes) == ([], [f"{tmp_path}/data.xlsx: header only, no rows"])
    source = opened(tmp_path, workbook([]))
    assert (source.columns, shown(source), source.notes) == (
        (),
        [],
        [f"{tmp_path}/data.xlsx: the sheet 'one' is empty"],
    )


def test_several_sheets_need_a_choice(tmp_path: Path) -> None:
    data = workbook([["id"], ["a"]], [["id"], ["b"]])
    with pytest.raises(UsageError) as caught:
        opened(tmp_path, data)
    assert (caught.value.what, caught.value.hint) == (
        f"{tmp_path}/data.xlsx has 2 sheets: 'one', 'two'", "say which one: --sheet 'one'"
    )  # fmt: skip
    assert shown(opened(tmp_path, data, sheet="two")) == [(1, 2, ["b"])]
    with pytest.raises(UsageError) as caught:
        opened(tmp_path, data, sheet="tow")
    assert (caught.value.what, caught.value.hint) == (
        f"{tmp_path}/data.xlsx has no sheet 'tow'", "did you mean 'two'? valid: one, two"
    )  # fmt: skip


def test_the_only_visible_sheet_is_the_one(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["id"])
    book.active.append(["a"])
    book.create_sheet("hidden").sheet_state = "hidden"
    out = io.BytesIO()
    book.save(out)
    source = opened(tmp_path, out.getvalue())
    assert shown(source) == [(1, 2, ["a"])]
    assert source.notes == [f"{tmp_path}/data.xlsx: the sheet 'Sheet' is read; hidden ones are not: 'hidden'"]


def test_faults_E5_the_size_of_a_row_is_limited(tmp_path: Path) -> None:
    source = opened(tmp_path, workbook([["id", "t"], ["a", "x" * 19], ["b", "x" * 20]]), Limits(row_bytes=20))
    assert shown(source) == [(1, 2, ["a", "x" * 19]), (2, 3, "the row is 21 bytes long; the limit is 20")]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('<row r="2"', '<row r="99999999999"', "the workbook cannot be read: a row has the number 99999999999"),
        ("<sheetData>", "<sheetData", "the workbook cannot be read: not well-formed"),
        ('t="inlineStr"><is><t>a</t></is>', 't="s"><v>99</v>', "the workbook cannot be read: list index out of range"),
    ],
)
def test_a_damaged_workbook_says_so(tmp_path: Path, old: str, new: str, what: str) -> None:
    with pytest.raises(SourceError) as caught:
        list(opened(tmp_path, edited(workbook([["id"], ["a"]]), old, new)).rows())
    assert caught.value.what.startswith(f"{tmp_path}/data.xlsx: {what}")


def test_what_is_no_workbook_says_so(tmp_path: Path) -> None:
    whole = workbook([["id"], ["a"]])
    with pytest.raises(SourceError, match="the workbook cannot be read: File is not a zip file"):
        opened(tmp_path, whole[:-30])
    with pytest.raises(SourceError, match="data.xlsx is not an Excel workbook"):
        opened(tmp_path, b"id,t\n")
    with pytest.raises(SourceError, match="data.xlsx is a Parquet file, not an Excel workbook"):
        opened(tmp_path, b"PAR1\x15")
    with pytest.raises(SourceError, match=r"data.xlsx is empty \(0 bytes\), not an Excel workbook"):
        opened(tmp_path, b"")


def test_faults_E19_entities_that_expand_to_gigabytes_are_stopped(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE b [<!ENTITY a0 "aaaaaaaaaa">' + "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10)
    )
    data = edited(workbook([["id"], ["a"]]), "<worksheet", f"{bomb}]><worksheet")
    data = edited(data, "<t>a</t>", "<t>&a9;</t>")
    with pytest.raises(SourceError, match="the workbook cannot be read: limit on input amplification factor"):
        list(opened(tmp_path, data).rows())


def test_faults_E19_parts_that_are_held_in_memory_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kb.sources.excel._PART_BYTES", 20_000)
    assert shown(opened(tmp_path, with_shared_strings("id", "a"))) == [(1, 2, ["a"])]
    with pytest.raises(LimitError, match=r"its part xl/sharedStrings.xml has .* bytes; the limit is 20,000"):
        opened(tmp_path, with_shared_strings("id", "a", "x" * 20_000))


def test_faults_E19_memory_does_not_grow_with_the_sheet(tmp_path: Path) -> None:
    source = opened(tmp_path, workbook([["id", "n"], *([n, "x"] for n in range(20_000))]))
    tracemalloc.start()
    assert sum(1 for _ in source.rows()) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


@pytest.mark.parametrize("change", CHANGES)
def test_faults_E20_a_file_that_changes_is_noticed(tmp_path: Path, change: str) -> None:
    source = opened(tmp_path, workbook([["id", "n"], *([n, f"x{n}"] for n in range(5_000))]))
    check_change_is_noticed(source, tmp_path / "data.xlsx", change)


def test_rejects_are_json_lines(tmp_path: Path) -> None:
    source = opened(tmp_path, workbook([["id", "d"], ["a", dt.date(2024, 5, 6)], ["b", "#N/A"], ["c", 1, 2]]))
    writer = open_rejects(tmp_path / "rejects.jsonl", source, resume_at=None)
    for row in source.rows():
        writer.write(row, row.problem or "no")
    writer.close()
    assert (tmp_path / "rejects.jsonl").read_text() == (
        '{"_reason": "no", "_line": 2, "id": "a", "d": "2024-05-06"}\n'
        '{"_reason": "d: the cell holds the error #N/A", "_line": 3, "id": "b", "d": "#N/A"}\n'
        '{"_reason": "expected 2 cells, found 3", "_line": 4, "id": "c", "d": "1"}\n'
    )
