"""Parquet and XLSX through their own process: what cells become, what is left out, and who ends when."""

import datetime
import io
import time
import zipfile
from decimal import Decimal

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from tasks.formats import source
from tests.tasks.formats.conftest import read
from tests.tasks.formats.test_source import parquet_bytes, xlsx_bytes

NAMES = ["prompt", "when", "price", "score", "parts", "info"]
CELLS = ["a", datetime.datetime(2024, 5, 1, 12), Decimal("1.50"), float("nan"), ["x"], {"y": 1}]
SHARED = b"""<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">
<si><t>prompt</t></si><si><r><t>What </t></r><r><t>is it?</t></r><rPh><t>no</t></rPh></si></sst>"""
SHEET = b"""<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>
<row r="1"><c r="A1" t="s"><v>0</v></c></row><row r="900"><c r="A900" t="s"><v>1</v></c></row>
</sheetData></worksheet>"""


def parquet_of(table):
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def with_shared(strings=SHARED, sheet=SHEET):
    """A workbook as Excel writes it, its texts in one list."""
    plain, sink = zipfile.ZipFile(io.BytesIO(xlsx_bytes())), io.BytesIO()
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as after:
        for name in plain.namelist():
            data = sheet if name == "xl/worksheets/sheet1.xml" else plain.read(name)
            if name == "[Content_Types].xml":
                override = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
                data = data.replace(b"</Types>", override.encode())
            after.writestr(name, data)
        after.writestr("xl/sharedStrings.xml", strings)
    return sink.getvalue()


def test_parquet_values_are_their_json_or_a_text(stored):
    table = pa.table({name: [cell] for name, cell in zip(NAMES, CELLS, strict=True)})

    assert read(stored(parquet_of(table))) == [
        (
            1,
            {
                "prompt": "a",
                "when": "2024-05-01 12:00:00.000000",
                "price": "1.50",
                "score": None,
                "parts": ["x"],
                "info": {"y": 1},
            },
        )
    ]


def test_parquet_bytes_that_are_text_are_text_and_others_cost_their_row(stored):
    table = pa.table({"prompt": pa.array([b"a", "é".encode(), b"\xff"], pa.binary())})

    assert read(stored(parquet_of(table))) == [(1, {"prompt": "a"}), (2, {"prompt": "é"}), (3, "cell_unreadable")]


def test_a_parquet_column_of_pictures_is_left_out_and_told(stored):
    path = stored(parquet_of(pa.table({"prompt": ["a"], "image": [{"bytes": b"\x89PNG", "path": "a.png"}]})))

    assert read(path) == [(1, {"prompt": "a"})]
    assert "'image'" in source.detect(path, "a.parquet").notes[0]


def test_a_row_of_parquet_that_is_too_long_is_an_issue(stored):
    path = stored(parquet_bytes([{"prompt": "a"}, {"prompt": "b" * 1_000_001}, {"prompt": "c"}]))

    assert read(path) == [(1, {"prompt": "a"}), (2, "line_too_long"), (3, {"prompt": "c"})]


def test_a_parquet_table_with_too_many_columns_is_refused(stored):
    path = stored(parquet_of(pa.table({f"c{n}": [n] for n in range(1001)})))

    assert "1,001 columns" in source.detect(path, "a.parquet").problem.sentence


def test_xlsx_values_are_themselves_and_a_row_has_the_number_of_the_sheet(stored):
    book = Workbook()
    book.active.append(["prompt", "reference", "when", "sure"])
    book.active.cell(4, 1, "a")
    book.active.cell(4, 2, 1.5)
    book.active.cell(4, 3, datetime.datetime(2024, 5, 1))
    book.active.cell(4, 4, True)
    sink = io.BytesIO()
    book.save(sink)

    row = {"prompt": "a", "reference": 1.5, "when": "2024-05-01T00:00:00", "sure": True}
    assert read(stored(sink.getvalue())) == [(4, row)]


def test_xlsx_sheets_behind_the_first_are_told(stored):
    path = stored(xlsx_bytes(sheets=("Tasks", "Notes")))

    (note,) = source.detect(path, "a.xlsx").notes
    assert note == "Only the first sheet, 'Tasks', is read; left out: 'Notes'. Save another one as a file of its own."


def test_xlsx_texts_in_the_workbooks_list_are_found_and_gaps_cost_nothing(stored):
    assert read(stored(with_shared())) == [(900, {"prompt": "What is it?"})]


@pytest.mark.parametrize("number", [b"7", b"-1"])
def test_xlsx_a_text_that_the_list_does_not_hold_is_damage(stored, number):
    path = stored(with_shared(sheet=SHEET.replace(b"<v>1</v>", b"<v>" + number + b"</v>")))

    assert read(path)[-1][1] == "damaged_file" if source.detect(path, "a").problem is None else True


def test_xlsx_entities_in_the_list_of_texts_are_refused(stored):
    bomb = b'<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>' + SHARED.replace(b"prompt", b"&b;")

    assert source.detect(stored(with_shared(bomb)), "a.xlsx").problem is not None


def test_the_process_ends_when_reading_stops(stored):
    path = stored(parquet_bytes([{"prompt": "a" * 1000}] * 20_000))
    layout = source.detect(path, "a").layout
    reading = source.blocks(path, layout, size=lambda _: 10)
    others = set(psutil.Process().children())  # of tests before this one
    next(reading)
    (child,) = set(psutil.Process().children()) - others

    reading.close()

    assert not child.is_running()


def test_a_process_that_is_killed_is_told_with_the_row(stored):
    path = stored(parquet_bytes([{"prompt": f"{n}" * 1000} for n in range(20_000)]))
    reading = source.blocks(path, source.detect(path, "a").layout, size=lambda _: 10)
    others = set(psutil.Process().children())
    first = next(reading)
    (child,) = set(psutil.Process().children()) - others

    child.kill()

    *_, last = reading
    assert first.last == 10
    assert [(issue.code, issue.line) for issue in last.issues] == [("file_too_costly", last.line + 1)]


def test_a_process_that_says_nothing_is_given_up(stored, monkeypatch):
    monkeypatch.setattr("tasks.formats.isolated._CHILD", "import time; time.sleep(60)")
    monkeypatch.setattr("tasks.formats.isolated.SILENT_SECONDS", 0.5)
    started = time.monotonic()

    problem = source.detect(stored(parquet_bytes()), "a").problem

    assert problem.code == "file_too_costly"
    assert time.monotonic() - started < 30
