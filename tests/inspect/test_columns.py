"""Types, and what spoils them: one column at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kb
from kb.ingest.inspect import Almost, Example, Inspection, Topic

MODEL = "hashing-256"


def look(tmp_path: Path, cells: list[str], **options: object) -> Inspection:
    """Inspect a CSV file with the columns ``id`` and ``x``."""
    path = tmp_path / "in.csv"
    rows = [f'{number},"{cell.replace(chr(34), chr(34) * 2)}"' for number, cell in enumerate(cells)]
    path.write_text("\n".join(["id,x", *rows]) + "\n")
    return kb.inspect(str(path), model=MODEL, **options)


def look_json(tmp_path: Path, values: list[object]) -> Inspection:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": n, "x": value}) + "\n" for n, value in enumerate(values)))
    return kb.inspect(str(path), model=MODEL)


def messages(found: Inspection, topic: Topic) -> list[str]:
    return [f.message for f in found.findings if f.topic is topic]


@pytest.mark.parametrize(
    ("cells", "type"),
    [
        (["true", "no", "Yes"], "bool"),
        (["0", "1", "1"], "bool"),
        (["1", "1"], "int"),
        (["0", "2", "-3"], "int"),
        (["3.0", "4"], "int"),
        (["9223372036854775807", "1"], "int"),
        (["9223372036854775808", "1"], "str"),
        (["1.5", "2", "1e5", "-.5"], "float"),
        (["1e999", "1"], "str"),
        (["2024-01-31", "0001-01-01", "9999-12-31"], "date"),
        (["2024-02-30", "2024-02-01"], "str"),
        (["2024-01-31", "2024-01-31T10:00:00+02:00", "2024-01-31 10:00"], "datetime"),
        (["NaN", "inf"], "str"),
        (['["a", "b"]', "[]"], "list[str]"),
        (["[1, 2]", "[3]"], "list[int]"),
        (["[1.5]", "[3]"], "list[float]"),
        (["[[1]]", "[2]"], "str"),
        (["[not json]", "[]"], "str"),
        (["a;b;c", "b", "a;c"], "list[str]"),
        (["1;2", "3", "4;5"], "list[int]"),
        (["1;2", "x", "4;5"], "list[str]"),
        (["2024-01-31|2024-02-01", "2024-01-31|2024-02-02"], "list[date]"),
        (["Smith, John", "Smith, Jane", "Lee, Ann", "Lee, Bob"], "str"),
        (["a, b, c", "b, c, a", "a, c"], "list[str]"),
        (["one", "two"], "str"),
    ],
)
def test_the_narrowest_type_that_all_values_fit_is_found(tmp_path, cells, type):
    assert look(tmp_path, cells).columns[1].type == type


def test_a_separator_in_prose_makes_no_list(tmp_path):
    prose = "He came late to the station; the train had left, and nobody was there to tell him so."
    found = look(tmp_path, [f"{prose} {number}" for number in range(30)]).columns[1]
    assert (found.type, found.separator) == ("text", None)


def test_a_few_long_items_do_not_spoil_a_list(tmp_path):
    cells = [f"red|{colour}" for colour in ("blue", "green", "black") for _ in range(10)]
    found = look(tmp_path, [*cells, "the department of health and human services of the states|red"]).columns[1]
    assert (found.type, found.separator) == ("list[str]", "|")


@pytest.mark.parametrize(
    ("values", "type"),
    [
        ([True, False], "bool"),
        ([0, 1], "int"),
        ([1, 2.5], "float"),
        (["1", "2"], "str"),
        (["2024-01-31"], "date"),
        ([["a"], []], "list[str]"),
        ([[1], [2, 3]], "list[int]"),
        ([[True]], "list[bool]"),
        ([2**63, 1], None),
        ([1, 2, "x", "y"], None),
        ([[{"a": 1}]], None),
    ],
)
def test_json_values_keep_their_types(tmp_path, values, type):
    assert look_json(tmp_path, values).columns[1].type == type


def test_json_values_of_several_kinds_are_left_out_and_said_so(tmp_path):
    found = look_json(tmp_path, [1, "x", 2, "y"])
    assert messages(found, Topic.MIXED) == [
        "mixes 50 % numbers ('1' on line 1), 50 % other text ('x' on line 2); no type takes them all, left out"
    ]
    assert found.proposal is None or "x" not in [f.name for f in found.proposal.fields]


def test_json_that_no_field_can_hold_is_left_out_and_said_so(tmp_path):
    found = look_json(tmp_path, [[{"a": 1}], [{"a": 2}]])
    assert messages(found, Topic.NESTED) == [
        "holds objects or lists of them, which no field can take ('[{\"a\": 1}]' on line 1); left out"
    ]


def test_a_number_among_json_strings_is_named_with_what_becomes_of_it(tmp_path):
    found = look_json(tmp_path, [*range(30), "x"])
    assert found.columns[1].type == "int"
    assert messages(found, Topic.ALMOST) == ["int but for 'x' on line 31; that row would be rejected"]


def test_a_type_that_almost_fits_is_named_with_counter_examples(tmp_path):
    cells = [str(n) for n in range(100)]
    cells[15], cells[40], cells[41], cells[60] = "twelve", "?!", "12 kg", "about 3"
    found = look(tmp_path, cells)
    examples = (Example("twelve", 17), Example("?!", 42), Example("12 kg", 43))
    assert found.columns[1].almost == Almost("int", 4, examples)
    assert found.columns[1].type == "str"
    assert messages(found, Topic.ALMOST) == [
        "int but for 'twelve' on line 17, '?!' on line 42, '12 kg' on line 43 and 1 more"
    ]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([*map(str, range(1, 19)), "x", "12 kg"], "int but for 'x' on line 20, '12 kg' on line 21"),
        (["1.5", "2", "3", "much"], "float but for 'much' on line 5"),
        (["2024-01-31", "2024-02-01", "soon", "2024-02-03"], "date but for 'soon' on line 4"),
        (["31.01.2024", "13.02.2024", "soon", "14.02.2024"], "date (%d.%m.%Y) but for 'soon' on line 4"),
    ],
)
def test_in_a_small_file_the_few_that_do_not_fit_are_named(tmp_path, cells, message):
    found = look(tmp_path, cells)
    assert found.columns[1].type == "str"
    assert messages(found, Topic.ALMOST) == [message]
    assert messages(found, Topic.MIXED) == []
    comment = next(f.comment for f in found.proposal.fields if f.name == "x")
    assert comment == ("int but for 'x' on line 20 and 1 more" if len(cells) == 20 else message)


def test_four_of_twenty_are_not_a_few(tmp_path):
    found = look(tmp_path, [*map(str, range(1, 17)), "a", "b", "c", "d"])
    assert messages(found, Topic.ALMOST) == []
    assert messages(found, Topic.MIXED) == [
        "mixes 80 % numbers ('1' on line 2), 20 % other text ('a' on line 18); stays text"
    ]


def test_less_than_95_percent_is_not_almost(tmp_path):
    found = look(tmp_path, [*map(str, range(94)), *["abc"] * 6])
    assert found.columns[1].almost is None
    assert messages(found, Topic.MIXED) == [
        "mixes 94 % numbers ('0' on line 2), 6 % other text ('abc' on line 96); stays text"
    ]


# Rows of bad input.


@pytest.mark.parametrize(
    ("cells", "type", "topic", "message"),
    [
        (["00123", "45678"], "str", Topic.LEADING_ZEROS, "stays text: as a number '00123' on line 2 would lose how it begins"),
        (["+4930123", "+4940123"], "str", Topic.LEADING_ZEROS, "stays text: as a number '+4930123' on line 2 would lose how it begins"),
        (["1e5", "2"], "float", None, None),
        (["TRUE", "False"], "bool", None, None),
        (["1,234.50", "2"], "str", Topic.NUMBERS, "stays text: numbers are read as 1234.5, not as '1,234.50' on line 2"),
        (["1.234,50", "3,00"], "str", Topic.NUMBERS, "stays text: numbers are read as 1234.5, not as '1.234,50' on line 2"),
        (["￥5", "￥7"], "str", Topic.NUMBERS, "stays text: numbers are read as 1234.5, not as '￥5' on line 2"),
        (["5 %", "7%"], "str", Topic.NUMBERS, "stays text: numbers are read as 1234.5, not as '5 %' on line 2"),
        ([" 7 ", "8"], "int", None, None),
    ],
)  # fmt: skip
def test_faults_E12_what_looks_like_a_number_is_one_only_as_the_schema_reads_it(tmp_path, cells, type, topic, message):
    found = look(tmp_path, cells)
    assert found.columns[1].type == type
    assert [(f.topic, f.message) for f in found.findings] == ([] if topic is None else [(topic, message)])


def test_faults_E13_an_int_column_with_blanks_stays_int(tmp_path):
    found = look(tmp_path, ["3", "", "5", ""]).columns[1]
    assert (found.type, found.values, found.missing) == ("int", 2, 2)


@pytest.mark.parametrize("word", ["NaN", "nan", "NULL", "None", "N/A", "-"])
def test_faults_E14_only_an_empty_cell_is_missing(tmp_path, word):
    found = look(tmp_path, ["1", "2", "", word, word])
    column = found.columns[1]
    assert (column.type, column.missing, column.almost) == ("str", 1, Almost("int", 2, (Example(word, 5),)))
    assert messages(found, Topic.ALMOST) == [
        f"int but for {word!r} on line 5 and 1 more; if that means missing, "
        f'say nulls = ["{word}"] under [imports.NAME] and make it int'
    ]


def test_faults_E14_none_in_a_text_is_a_word(tmp_path):
    found = look(tmp_path, ["None", "Some"])
    assert (found.columns[1].type, found.columns[1].missing, found.findings) == ("str", 0, ())


@pytest.mark.parametrize(
    ("cells", "type", "format"),
    [
        (["31.01.2024", "01.02.2024"], "date", "%d.%m.%Y"),
        (["01/31/2024", "02/01/2024"], "date", "%m/%d/%Y"),
        (["31-JAN-1987 15:01:01.79", "01-FEB-1987 00:00:00.00"], "datetime", "%d-%b-%Y %H:%M:%S.%f"),
        (["Mon, 05 Feb 2024 10:00:00 +0000"], "datetime", "%a, %d %b %Y %H:%M:%S %z"),
        (["January 5, 2024", "May 31, 2024"], "date", "%B %d, %Y"),
        (["1.2.3", "10.20.30"], "str", None),
    ],
)
def test_faults_E15_other_dates_need_a_format_and_get_one_where_only_one_fits(tmp_path, cells, type, format):
    found = look(tmp_path, cells).columns[1]
    assert (found.type, found.date_format) == (type, format)


def test_faults_E15_ambiguous_dates_stay_text(tmp_path):
    found = look(tmp_path, ["01/02/2024", "03/04/2024"])
    assert (found.columns[1].type, found.columns[1].date_format) == ("str", None)
    assert messages(found, Topic.DATES) == [
        "every value is a date as %d/%m/%Y and %m/%d/%Y: which of them it is cannot be told, so it stays text"
    ]


def test_faults_E15_one_odd_date_is_named(tmp_path):
    found = look(tmp_path, [*(f"{day:02}.01.2024" for day in range(1, 29)), "31.02.2024"])
    assert found.columns[1].almost == Almost("date (%d.%m.%Y)", 1, (Example("31.02.2024", 30),))


def test_faults_E15_days_as_excel_counts_them_are_suspected(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("id,order date\n1,45000\n2,45001\n")
    found = kb.inspect(str(path), model=MODEL)
    assert found.columns[1].type == "int"
    assert messages(found, Topic.DATES) == [
        "holds numbers such as 45000: if they are days as Excel counts them, format them as dates there"
    ]


@pytest.mark.parametrize("text", ["GrÃ¼ÃŸe aus Ulm", "it isnâ€™t so", "100 Â°C", "lost \ufffd", "ÐŸÑ€Ð¸Ð²ÐµÑ‚"])
def test_mojibake_is_suspected(tmp_path, text):
    found = look(tmp_path, ["plain", text])
    assert [f.lines for f in found.findings if f.topic is Topic.MOJIBAKE] == [(3,)]
    assert messages(found, Topic.MOJIBAKE)[0].startswith("1 value looks as if decoded with the wrong encoding: ")


@pytest.mark.parametrize("text", ["Grüße", "CAFÉ »", "CAFÉ\xa0!", "3 ×\xa04", "SÃO PAULO", "Привет", "日本語", "naïve"])
def test_other_letters_are_no_mojibake(tmp_path, text):
    assert messages(look(tmp_path, ["plain", text]), Topic.MOJIBAKE) == []


def test_counts_lengths_and_examples(tmp_path):
    column = look(tmp_path, ["bb", "", "a", "dddd", "a"]).columns[1]
    assert (column.values, column.missing, column.distinct, column.distinct_exact) == (4, 1, 3, True)
    assert (column.shortest, column.longest, column.longest_line) == (1, 4, 5)
    assert column.examples == ("bb", "a", "dddd")


def test_few_values_are_offered_as_choices(tmp_path):
    column = look(tmp_path, ["x", "y"] * 20).columns[1]
    assert column.choices == ("x", "y")
    assert look(tmp_path, ["x", "y"] * 19).columns[1].choices == ()


def test_distinct_values_are_counted_across_batches(tmp_path):
    column = look(tmp_path, [f"v{n % 9_000}" for n in range(10_000)]).columns[1]
    assert (column.distinct, column.distinct_exact) == (9_000, True)


def test_too_many_distinct_values_are_a_lower_bound(tmp_path, monkeypatch):
    monkeypatch.setattr("kb.ingest.inspect.distinct.MAX_REPEATED", 5_000)
    column = look(tmp_path, [f"v{n % 9_000}" for n in range(20_000)]).columns[1]
    assert not column.distinct_exact
    assert 5_000 <= column.distinct <= 9_000
