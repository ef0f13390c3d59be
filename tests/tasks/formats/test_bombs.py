"""Small files that ask for much: refused with a reason, in a process that could not hold what they ask for."""

import gzip
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tasks.formats.test_source import ROWS, xlsx_bytes

REPOSITORY = Path(__file__).resolve().parents[3]
READ = """
import json, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (400 << 20, 400 << 20))
from tasks.formats import jsonl, source
path = Path(sys.argv[1])
found = source.detect(path, path.name, max_bytes=2 << 30)
codes = [found.problem.code] if found.problem else []
rows = 0
if not codes:
    for block in source.blocks(path, found.layout, size=lambda _: 20_000, max_bytes=2 << 30):
        codes += [issue.code for issue in block.issues]
        for _, row, _ in jsonl.rows(block):
            if isinstance(row, dict):
                rows += 1
            else:
                codes.append(row.code)
own = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # ru_maxrss is the parent's too
used = (int(own.split()[1]) >> 10) + (resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)
print(json.dumps({"codes": codes[:50], "rows": rows, "memory": used}))
"""
WORKER_MB = 512


def read_confined(path):
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), str(REPOSITORY)],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def gzip_of(path, pieces):
    with gzip.open(path, "wb", compresslevel=1) as file:
        for piece in pieces:
            file.write(piece)
    return path


def test_a_gigabyte_in_one_line_behind_a_megabyte_of_gzip(tmp_path):
    path = gzip_of(tmp_path / "a.jsonl.gz", [b'{"prompt": "', *[b"x" * (1 << 20)] * 1024, b'"}\n{"prompt": "a"}\n'])

    found = read_confined(path)

    assert path.stat().st_size < 6_000_000
    assert (found["codes"], found["rows"]) == (["line_too_long"], 1)
    assert found["memory"] < WORKER_MB


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'[{"prompt": "', b'"}, {"prompt": "a"}]'),
        (b'prompt,reference\n"', b'",1\na,2\n'),
        (b'[{"prompt": ' + b"[", b"]"),
    ],
    ids=["json", "csv", "brackets"],
)
def test_a_hundred_megabytes_in_one_row(tmp_path, before, after):
    filler = b"[" if after == b"]" else b"x"
    path = gzip_of(tmp_path / "a.gz", [before, *[filler * (1 << 20)] * 100, after])

    found = read_confined(path)

    assert set(found["codes"]) & {"line_too_long", "truncated_file", "cell_unreadable", "file_too_costly"}
    assert found["memory"] < WORKER_MB


def test_a_parquet_dictionary_that_says_one_long_text_for_ever(tmp_path):
    path = tmp_path / "bomb.parquet"
    long = pa.array(["x" * 900_000])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), long)
    pq.write_table(pa.table({"prompt": column}), path, compression="zstd")

    found = read_confined(path)

    assert path.stat().st_size < 1_600_000
    assert found["codes"][-1] == "file_too_costly"
    assert found["memory"] < WORKER_MB


def test_a_parquet_value_that_no_process_can_hold(tmp_path):
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"prompt": ["a" * (440 << 20)]}), path, compression="zstd", write_statistics=False)

    found = read_confined(path)

    assert found["codes"] == ["file_too_costly"]
    assert found["memory"] < WORKER_MB


def test_a_parquet_file_of_more_rows_than_a_file_may_have(tmp_path):
    path = tmp_path / "bomb.parquet"
    nothing = pa.table({"prompt": pa.nulls(1 << 20, pa.string())})
    with pq.ParquetWriter(path, nothing.schema) as writer:
        for _ in range(100):
            writer.write_table(nothing)

    assert path.stat().st_size < 1_000_000
    assert read_confined(path)["codes"] == ["file_too_costly"]


@pytest.mark.parametrize("cut", [4, 50, -20])
def test_a_parquet_file_that_is_cut_is_damaged(tmp_path, cut):
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    path = tmp_path / "a.parquet"
    path.write_bytes(sink.getvalue()[:cut])

    assert read_confined(path)["codes"] == ["damaged_file"]


def changed(member, data, plain=None):
    """A workbook with one member replaced."""
    plain, sink = plain or xlsx_bytes(), io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(plain)) as before,
        zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as after,
    ):
        for name in before.namelist():
            if name != member:
                after.writestr(name, before.read(name))
        with after.open(member, "w", force_zip64=True) as file:
            for piece in data:
                file.write(piece)
    return sink.getvalue()


ENTITIES = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "'
    + b"x" * 1000
    + b'">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 20) for n in range(8))
    + b"]>"
)
SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'


@pytest.mark.parametrize("member", ["xl/worksheets/sheet1.xml", "xl/workbook.xml"])
def test_entities_that_multiply_are_refused(tmp_path, member):
    path = tmp_path / "a.xlsx"
    path.write_bytes(changed(member, [ENTITIES, b"<x>&i;</x>"]))

    assert read_confined(path)["codes"][0] in ("unknown_format", "damaged_file")


@pytest.mark.parametrize(
    ("pieces", "codes"),
    [
        ([b'<row r="1"><c r="A1" t="inlineStr"><is><t>', *[b"x" * (1 << 20)] * 900, b"</t></is></c></row>"], "costly"),
        ([b'<row r="1">', *[b"<x>" * (1 << 18)] * 200], "costly"),
        ([b'<row r="1000000000"><c r="A1000000000" t="inlineStr"><is><t>prompt</t></is></c></row>'], "empty_file"),
        ([b'<row r="1"><c r="XFD1" t="inlineStr"><is><t>prompt</t></is></c></row>'], "unknown_format"),
    ],
    ids=["one cell", "nesting", "a row far down", "too many columns"],
)
def test_a_sheet_that_unpacks_to_more_than_it_looks(tmp_path, pieces, codes):
    path = tmp_path / "a.xlsx"
    path.write_bytes(changed("xl/worksheets/sheet1.xml", [SHEET, *pieces, b"</sheetData></worksheet>"]))

    found = read_confined(path)

    assert path.stat().st_size < 3_000_000
    assert codes in found["codes"][-1]
    assert found["memory"] < WORKER_MB


def test_a_number_of_a_text_that_is_not_there_is_damage(tmp_path):
    path = tmp_path / "a.xlsx"
    row = b'<row r="1"><c r="A1" t="s"><v>999999</v></c></row></sheetData></worksheet>'
    path.write_bytes(changed("xl/worksheets/sheet1.xml", [SHEET, row]))

    assert read_confined(path)["codes"] == ["damaged_file"]
