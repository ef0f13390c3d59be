"""Rejected rows in the format uploaded, with why in front."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook, load_workbook

from tasks.formats import jsonl, rejected, source
from tasks.formats.block import Layout
from tasks.formats.reasons import Reason, line_of, without

MISSING = "reference_missing"


def why(line: int, value: str = "") -> Reason:
    return Reason(line, "reference", MISSING, "There is no reference.", "Give one.", value)


def written(path: Path, layout: Layout, *lines: int) -> bytes:
    return b"".join(rejected.write(path, layout, [why(line) for line in lines]))


def as_jsonl(tmp_path: Path, content: bytes, *lines: int) -> list[dict[str, Any]]:
    (tmp_path / "rows.jsonl").write_bytes(content)
    return [json.loads(line) for line in written(tmp_path / "rows.jsonl", Layout("jsonl"), *lines).splitlines()]


def test_only_the_rejected_rows_are_written(tmp_path: Path):
    rows = as_jsonl(tmp_path, b'{"prompt":"a"}\n{"prompt":"b"}\n{"prompt":"c"}\n', 2)

    assert [row["prompt"] for row in rows] == ["b"]


def test_a_row_says_why_in_front(tmp_path: Path):
    (row,) = as_jsonl(tmp_path, b'{"prompt":"a"}\n', 1)

    assert list(row) == ["_line", "_field", "_code", "_reason", "_remedy", "prompt"]


def test_a_json_row_keeps_its_bytes(tmp_path: Path):
    (tmp_path / "rows.jsonl").write_bytes(b'{ "n": 1234567890123456789012, "n": 2 }\n')

    assert b'"n": 1234567890123456789012, "n": 2 }' in written(tmp_path / "rows.jsonl", Layout("jsonl"), 1)


def test_an_empty_object_is_written_as_json(tmp_path: Path):
    (row,) = as_jsonl(tmp_path, b"{}\n", 1)

    assert row["_line"] == 1


def test_a_line_that_is_no_json_stands_under_raw(tmp_path: Path):
    (row,) = as_jsonl(tmp_path, b"{oops\n", 1)

    assert (row["_raw"], row["_code"]) == ("{oops", MISSING)


def test_reasons_of_an_earlier_correction_are_not_repeated(tmp_path: Path):
    (row,) = as_jsonl(tmp_path, b'{"_line": 900, "_code": "old", "prompt": "a"}\n', 1)

    assert (row["_line"], row["_code"]) == (1, MISSING)


def test_the_rows_of_an_array_stay_in_one_under_their_key(tmp_path: Path):
    (tmp_path / "rows.json").write_text('{"rows": [{"prompt": "a"}, {"prompt": "b"}]}')

    out = json.loads(written(tmp_path / "rows.json", Layout("json", member="rows", array=True), 2))

    assert [row["prompt"] for row in out["rows"]] == ["b"]


def test_a_gzipped_file_stays_gzipped(tmp_path: Path):
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b'{"prompt":"a"}\n'))

    out = written(tmp_path / "rows.jsonl.gz", Layout("jsonl", compressed=True), 1)

    assert json.loads(gzip.decompress(out))["prompt"] == "a"


@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), (";", "cp1252"), ("\t", "utf-16")])
def test_a_table_keeps_its_delimiter_and_its_encoding(tmp_path: Path, delimiter: str, encoding: str):
    text = f'prompt{delimiter}reference\nWas heißt "à"?{delimiter}\n'
    (tmp_path / "rows.csv").write_bytes(text.encode(encoding))
    layout = Layout("csv", encoding=encoding, delimiter=delimiter)

    out = list(
        csv.DictReader(io.StringIO(written(tmp_path / "rows.csv", layout, 2).decode(encoding)), delimiter=delimiter)
    )

    assert [(row["_line"], row["prompt"]) for row in out] == [("2", 'Was heißt "à"?')]


def test_a_record_with_too_many_cells_keeps_them(tmp_path: Path):
    (tmp_path / "rows.csv").write_text("prompt,reference\na,b,c,d\n")

    out = written(tmp_path / "rows.csv", Layout("csv"), 2).decode()

    assert out.splitlines()[1].endswith(",a,b,c,d")


def test_a_record_whose_quotation_mark_stays_open_stands_as_its_line(tmp_path: Path):
    (tmp_path / "rows.csv").write_text('prompt,reference\na,1\nb,"2\nc,3\n')

    rows = list(csv.reader(io.StringIO(written(tmp_path / "rows.csv", Layout("csv"), 3).decode())))

    assert rows[1][5] == 'b,"2'


def test_a_table_without_a_header_gets_one(tmp_path: Path):
    (tmp_path / "rows.csv").write_text("a,1\nb,2\n")

    out = written(tmp_path / "rows.csv", Layout("csv", header=False), 2).decode().splitlines()

    assert (out[0].endswith("column 1,column 2"), out[1].endswith("b,2")) == (True, True)


def test_parquet_keeps_the_types_that_json_carries(tmp_path: Path):
    table = pa.table({"prompt": ["a", "b"], "n": pa.array([1, 2], pa.int32()), "m": [[{"role": "user"}]] * 2})
    pq.write_table(table, tmp_path / "rows.parquet")
    out = written(tmp_path / "rows.parquet", Layout("parquet"), 2)

    found = pq.read_table(io.BytesIO(out))

    assert (found["n"].type, found["m"].to_pylist(), found["_line"].to_pylist()) == (
        pa.int32(),
        [[{"role": "user"}]],
        [2],
    )


def test_a_sheet_stays_a_sheet(tmp_path: Path):
    book = Workbook()
    for cells in (["prompt", "reference"], ["a", 1], ["b", None]):
        book.active.append(cells)
    book.save(tmp_path / "rows.xlsx")

    out = written(tmp_path / "rows.xlsx", Layout("xlsx"), 3)

    head, row = load_workbook(io.BytesIO(out)).active.iter_rows(values_only=True)
    assert dict(zip(head, row, strict=True))["prompt"] == "b"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.json"])
def test_what_is_written_is_read_again_as_the_row_it_was(tmp_path: Path, name: str):
    content = {"rows.jsonl": '{"prompt":"a"}\n', "rows.csv": "prompt,x\na,1\n", "rows.json": '[{"prompt":"a"}]'}[name]
    (tmp_path / name).write_text(content)
    layout = source.detect(tmp_path / name, name).layout
    assert layout is not None
    (tmp_path / f"again-{name}").write_bytes(written(tmp_path / name, layout, 2 if name == "rows.csv" else 1))

    again = source.detect(tmp_path / f"again-{name}", name)

    (block,) = source.blocks(tmp_path / f"again-{name}", again.layout or layout, size=lambda _: 9)
    ((_, row, _),) = jsonl.rows(block)
    assert isinstance(row, dict)
    assert without(row)["prompt"] == "a"


@pytest.mark.parametrize(
    ("given", "line"), [(7, 7), ("7", 7), (7.0, 7), ("7.0", 7), (True, None), ("x", None), (0, None)]
)
def test_the_line_is_read_however_a_spreadsheet_has_left_it(given: Any, line: int | None):
    assert line_of({"_line": given}) == line
