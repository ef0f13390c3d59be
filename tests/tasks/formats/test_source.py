"""What a file is, by its bytes; and its rows in blocks that can be read on behind any of them."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from tasks.formats import source
from tasks.formats.block import MAX_LINE_BYTES, Layout
from tests.tasks.formats.conftest import read, resumed

ROWS = [{"prompt": f"What is {n} + {n}?", "reference": str(2 * n)} for n in range(50)]


def gzipped(data):
    return gzip.compress(data, mtime=0)  # without the time: the test's name must not change


def jsonl_bytes(rows=ROWS):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def csv_bytes(delimiter=",", rows=ROWS):
    lines = [delimiter.join(rows[0])] + [delimiter.join(row.values()) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def parquet_bytes(rows=ROWS, **options):
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, **options)
    return sink.getvalue()


def xlsx_bytes(rows=ROWS, sheets=("Tasks",)):
    book = Workbook()
    book.active.title = sheets[0]
    for name in sheets[1:]:
        book.create_sheet(name)
    book.active.append(list(rows[0]))
    for row in rows:
        book.active.append(list(row.values()))
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


FORMATS = {
    "jsonl": jsonl_bytes(),
    "json": json.dumps(ROWS).encode(),
    "csv": csv_bytes(),
    "tsv": csv_bytes("\t"),
    "parquet": parquet_bytes(row_group_size=7),
    "xlsx": xlsx_bytes(),
}


def zipped(*names):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in names:
            archive.writestr(name, b"text")
    return sink.getvalue()


def tarred():
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jsonl"))
    return sink.getvalue()


@pytest.mark.parametrize("name", ["upload", "wrong.pdf"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_format_is_seen_by_its_bytes_whatever_its_name(stored, kind, name):
    assert source.detect(stored(FORMATS[kind]), name).format == kind


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_holds_the_same_rows(stored, kind):
    assert [row for _, row in read(stored(FORMATS[kind]))] == ROWS


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_gzipped(stored, kind):
    path = stored(gzipped(FORMATS[kind]))

    assert source.detect(path, "upload.gz").layout.compressed
    assert [row for _, row in read(path)] == ROWS


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_reading_goes_on_behind_any_block(stored, kind, compressed):
    path = stored(gzipped(FORMATS[kind]) if compressed else FORMATS[kind])
    layout = source.detect(path, "upload").layout

    assert resumed(path, layout, 20) == read(path, layout)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_block_holds_the_rows_that_are_wanted_at_its_place(stored, kind):
    path = stored(FORMATS[kind])
    layout = source.detect(path, "upload").layout

    blocks = list(source.blocks(path, layout, size=lambda line: 5 if line < 5 else 20))

    assert [len(block.data.strip().split(b"\n")) for block in blocks] == [5, 20, 20, 5]


def test_a_row_has_the_number_that_its_author_sees(stored):
    numbers = {kind: [number for number, _ in read(stored(data))][:2] for kind, data in FORMATS.items()}

    assert numbers == {"jsonl": [1, 2], "json": [1, 2], "csv": [2, 3], "tsv": [2, 3], "parquet": [1, 2], "xlsx": [2, 3]}


def test_progress_ends_with_the_bytes_of_the_stored_file(stored):
    for data in FORMATS.values():
        path = stored(data)
        *_, last = source.blocks(path, source.detect(path, "upload").layout, size=lambda _: 10)

        assert last.read == len(data)


def test_a_file_tells_how_many_rows_it_has_where_it_knows(stored):
    assert source.detect(stored(FORMATS["parquet"]), "upload").rows == 50


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (pickle.dumps({"a": 1}), "pickle"),
        (pickle.dumps([{"a": 1}], protocol=0), "pickle"),
        (zipped("../../etc/passwd"), "leads outside"),
        (zipped("/etc/passwd"), "leads outside"),
        (zipped("a.jsonl"), "zip archive"),
        (zipped("[Content_Types].xml", "xl/workbook.xml", "../x"), "leads outside"),
        (zipped("[Content_Types].xml", "word/document.xml"), "Word document"),
        (zipped("model/data.pkl"), "pickle"),
        (tarred(), "tar archive"),
        (gzipped(gzipped(b"{}\n")), "gzip within gzip"),
        (gzipped(tarred()), "tar archive"),
        (b"%PDF-1.7 " + bytes(100), "PDF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "image"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "image"),
        (b"SQLite format 3\0" + bytes(100), "SQLite"),
        (b"\xfd7zXZ\0" + bytes(100), "xz archive"),
        (b"BZh91AY" + bytes(100), "bzip2 archive"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "zstd archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old Excel"),
        (b"\x7fELF" + bytes(100), "program"),
        (b"ARROW1\0\0" + bytes(100), "Arrow"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (bytes(range(256)) * 100, "binary data"),
        ('{"a": 1}\n'.encode("utf-16"), "UTF-16"),
        (b"only prose, of some length\nand without, any, table\n" * 30, "neither JSON nor"),
        (b"only prose\n" * 30, "plain text"),
        (b"[1, 2, 3]", "holds no objects"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_name(stored, data, word):
    found = source.detect(stored(data), "rows.jsonl")

    assert (found.problem.code, found.problem.line) == ("unknown_format", 0)
    assert word in found.problem.sentence


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b"  \r\n", b"[]", gzipped(b""), csv_bytes()[:17]])
def test_an_empty_file_says_so(stored, data):
    assert source.detect(stored(data), "upload").problem.code == "empty_file"


@pytest.mark.parametrize(
    "data", [b'{"a": }\n' * 20, b'{"a" 1\n"words"\n' * 10, b'{"x": nonsense\n' * 30 + jsonl_bytes()]
)
def test_json_lines_without_a_row_among_the_first_are_one_problem(stored, data):
    found = source.detect(stored(data), "upload")

    assert found.problem is not None


def test_a_file_whose_few_rows_are_all_broken_reports_each_row(stored):
    path = stored(b'{"a": }\n{"b" 1}\n')

    assert source.detect(path, "upload").problem is None
    assert read(path) == [(1, "not_json"), (2, "not_json")]


def test_broken_rows_before_the_first_good_one_are_reported_too(stored):
    assert read(stored(b'{"a": }\n' * 5 + b'{"a": 1}\n'))[-2:] == [(5, "not_json"), (6, {"a": 1})]


def test_a_compressed_file_that_ends_too_early_keeps_its_rows_and_says_so(stored):
    whole = gzipped(jsonl_bytes([{"prompt": str(n) * 100} for n in range(20_000)]))

    found = read(stored(whole[: len(whole) // 2]), Layout("jsonl", compressed=True))

    assert found[0] == (1, {"prompt": "0" * 100})
    assert found[-1][1] == "damaged_file"


def test_what_unpacks_to_more_than_its_cap_stops_there(stored):
    path = stored(gzipped(jsonl_bytes() * 1000))

    found = read(path, Layout("jsonl", compressed=True), max_bytes=2_000_000)

    assert found[-1][1] == "unpacks_too_large"
    assert len(found) > 10_000


def test_honest_rows_that_shrink_to_a_thousandth_are_read(stored):
    path = stored(gzipped(jsonl_bytes([{"prompt": "the same " * 1000}] * 500)))

    assert len(read(path)) == 500


def test_columns_come_with_values_and_those_inside_objects_with_their_path(stored):
    found = source.detect(stored([{"prompt": "Why?", "reward_model": {"ground_truth": 4}}]), "upload")

    shown = {column.name: column.values for column in found.columns}
    assert shown["prompt"] == ("Why?",)
    assert shown["reward_model.ground_truth"] == ("4",)


def test_a_sample_holds_no_character_that_the_database_cannot_keep(stored):
    found = source.detect(stored([{"prompt": "a\0b", "more": [{"c\0": "\0"}]}, {"prompt": "\\u0000"}]), "upload")

    assert found.sample == ({"prompt": "a\\0b", "more": [{"c\\0": "\\0"}]}, {"prompt": "\\u0000"})


def test_a_layout_is_kept_as_json(stored):
    import msgspec

    layout = source.detect(stored(gzipped(csv_bytes(";"))), "upload").layout

    assert msgspec.json.decode(msgspec.json.encode(layout), type=Layout) == layout


def test_a_line_that_is_too_long_is_a_block_of_its_own(stored):
    long = b'{"a": "' + b"x" * MAX_LINE_BYTES + b'"}\n'

    assert read(stored(b'{"a": 1}\n' + long + b'{"a": 2}\n' + long)) == [
        (1, {"a": 1}),
        (2, "line_too_long"),
        (3, {"a": 2}),
        (4, "line_too_long"),
    ]
