"""Files made to break an importer, through the whole of it, in a worker whose memory is watched with its helpers':
refused with a reason or row by row, good rows of the same file kept, nothing half-written, and the next import goes on
as if nothing had been."""

import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.models import Dataset, DatasetTask, RowIssue, Task, Upload
from tasks.services import uploads
from tasks.services.uploads import Options
from tests.tasks.formats.test_bombs import ENTITIES, SHEET, changed, gzip_of
from tests.tasks.formats.test_isolated import with_shared
from tests.tasks.pipeline import lines, receive, sums
from tests.tasks.workers import Memory, Worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

CAP = 512  # MB, of a worker and all its helpers
STOP_AT = 1500  # MB: the test has failed, the machine is not to suffer
GOOD = lines(sums(3))
MB = 1 << 20


@dataclass
class Hired:
    """One worker for all bombs, as in production: what one leaves behind, the next one meets."""

    data: Path
    worker: Worker | None = None


@pytest.fixture(scope="module")
def hired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hired]:
    found = Hired(tmp_path_factory.mktemp("worker"))
    yield found
    if found.worker:
        found.worker.__exit__()


@pytest.fixture
def worker(hired: Hired, server_environment: dict[str, str], settings: Any) -> Worker:
    settings.DATA_DIR, settings.MEDIA_ROOT = hired.data, hired.data / "files"
    if hired.worker is None or hired.worker.process.poll() is not None:
        hired.worker = Worker(server_environment, hired.data)
    return hired.worker


def _imported(worker: Worker, dataset: Dataset, path: Path) -> tuple[Upload, float]:
    """The upload, and the megabytes that its import took at most."""
    with path.open("rb") as file:
        pieces = iter(lambda: file.read(MB), b"")
        upload, _ = uploads.receive(dataset, pieces, filename=path.name, actor=None, options=Options(mapping="auto"))
    with Memory(worker.process.pid, STOP_AT) as memory:
        assert worker.run(upload.pk), f"{memory.peak:.0f} MB, {worker.said()[-2000:]}"
    upload.refresh_from_db()
    return upload, memory.peak


def _codes(upload: Upload) -> set[str]:
    return set(RowIssue.objects.filter(upload=upload).values_list("code", flat=True))


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# Good rows with a bad one among them


def _row(**fields: Any) -> bytes:
    return json.dumps({"prompt": "What is 7 + 7?", "reference": 14} | fields).encode() + b"\n"


AMONG_GOOD_ROWS = {
    "a line of 100 MB": (b'{"prompt": "' + b"x" * 64 + b"@@LONG@@" + b'"}\n', "line_too_long"),
    "nesting": (b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "nested_too_deep"),
    "nesting in metadata": (
        b'{"prompt": "a", "metadata": ' + b'{"a":' * 1000 + b"1" + b"}" * 1001 + b"\n",
        "nested_too_deep",
    ),
    "an escaped NUL": (b'{"prompt": "What is \\u0000?", "reference": 1}\n', "nul"),
    "a NUL": (b'{"prompt": "What is \x00?", "reference": 1}\n', "nul"),
    "half of a surrogate pair": (b'{"prompt": "What is \\ud800?", "reference": 1}\n', "lone_surrogate"),
    "half of a pair as UTF-8": (b'{"prompt": "What is \xed\xa0\x80?", "reference": 1}\n', "not_utf8"),
    "NaN": (b'{"prompt": "What is it?", "reference": NaN}\n', "not_json"),
    "Infinity": (b'{"prompt": "What is it?", "reference": -Infinity}\n', "not_json"),
    "a number beyond all": (b'{"prompt": "What is it?", "reference": 1e999999}\n', "not_json"),
    "a number of many digits": (b'{"prompt": "What is it?", "reference": ' + b"9" * 100_000 + b"}\n", "not_json"),
    "100,000 keys": (_row(**{f"k{n}": 1 for n in range(100_000)}), "line_too_long"),
    "60,000 keys": (_row(**{f"k{n}": 1 for n in range(60_000)}), None),
}


@pytest.mark.parametrize("name", AMONG_GOOD_ROWS)
def test_a_bad_row_is_an_issue_and_the_good_ones_around_it_stay(
    worker: Worker, dataset: Dataset, tmp_path: Path, name: str
):
    row, code = AMONG_GOOD_ROWS[name]
    row = row.replace(b"@@LONG@@", b"x" * (100 * MB))
    path = _file(tmp_path, "rows.jsonl", GOOD + row + lines(sums(2, start=50)))

    upload, megabytes = _imported(worker, dataset, path)

    assert upload.state == "imported", upload.failure
    assert upload.counts["valid"] >= 5
    assert code is None or _codes(upload) == {code}
    assert list(RowIssue.objects.filter(upload=upload).values_list("line", flat=True)) in ([4], [])
    assert megabytes < CAP


@pytest.mark.parametrize(
    "row",
    [
        b'{"prompt": "What is 1 + 1?", "prompt": "What is 2 + 2?", "reference": 4}',
        b'{"prompt": "What is 2 + 2?", "item": {"reference": 3, "reference": 4}}',
        b'{"prompt" : "What is 2 + 2?", "reference" : 3, "r\\u0065ference" : 4}',
    ],
    ids=["key", "within", "escaped"],
)
def test_a_key_that_is_given_twice_is_an_issue(worker: Worker, dataset: Dataset, tmp_path: Path, row: bytes):
    path = _file(tmp_path, "rows.jsonl", row + b"\n" + GOOD)

    upload, _ = _imported(worker, dataset, path)

    assert upload.counts["rejected"] == {"key_twice": 1}
    assert upload.counts["valid"] == 3


def test_a_csv_field_of_50_megabytes_is_an_issue(worker: Worker, dataset: Dataset, tmp_path: Path):
    data = b'prompt,reference\nWhat is 1 + 1?,2\n"' + b"x" * (50 * MB) + b'",3\nWhat is 2 + 2?,4\n'

    upload, megabytes = _imported(worker, dataset, _file(tmp_path, "rows.csv", data))

    assert (upload.state, upload.counts.get("valid")) == ("imported", 2)
    assert megabytes < CAP


# Files that are refused as a whole, or end early


def _megabyte_of_gzip(folder: Path) -> Path:
    pieces = [GOOD, b'{"prompt": "', *[b"x" * MB] * 1024, b'"}\n', lines(sums(2, start=50))]
    return gzip_of(folder / "rows.jsonl.gz", pieces)


def _blank_lines(folder: Path) -> Path:
    return gzip_of(folder / "rows.jsonl.gz", [GOOD, *[b"\n" * MB] * 300, lines(sums(2, start=50))])


@pytest.mark.parametrize("make", [_megabyte_of_gzip, _blank_lines])
def test_good_rows_around_what_unpacks_to_much_stay(worker: Worker, dataset: Dataset, tmp_path: Path, make: Any):
    upload, megabytes = _imported(worker, dataset, make(tmp_path))

    assert upload.state == "imported", upload.failure
    assert upload.counts["valid"] == 5
    assert megabytes < CAP


def _parquet(folder: Path, table: pa.Table) -> Path:
    pq.write_table(table, folder / "rows.parquet", compression="zstd", write_statistics=False)
    return folder / "rows.parquet"


def _dictionary(folder: Path) -> Path:
    """1.6 MB that say 8 GB."""
    long = pa.array(["x" * 900_000])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 9_000, pa.int32()), long)
    return _parquet(folder, pa.table({"prompt": column, "reference": ["1"] * 9_000}))


def _one_value(folder: Path) -> Path:
    return _parquet(folder, pa.table({"prompt": ["a" * (440 * MB)], "reference": ["1"]}))


def _pickle(folder: Path) -> Path:
    class Run:
        def __reduce__(self) -> Any:
            return (Path.touch, (folder / "was-run",))

    return _file(folder, "rows.pkl", pickle.dumps([Run()] * 100))


def _zip_with_dots(folder: Path) -> Path:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("../../../../tmp/was-unpacked.jsonl", GOOD)
    return _file(folder, "rows.zip", sink.getvalue())


def _sheet(folder: Path) -> Path:
    cell = [b'<row r="1"><c r="A1" t="inlineStr"><is><t>', *[b"x" * MB] * 900, b"</t></is></c></row>"]
    data = changed("xl/worksheets/sheet1.xml", [SHEET, *cell, b"</sheetData></worksheet>"])
    return _file(folder, "rows.xlsx", data)


def _entities(folder: Path) -> Path:
    return _file(folder, "rows.xlsx", with_shared(ENTITIES + b"<x>&i;</x>"))  # named as the workbook's list of texts


def _columns(folder: Path) -> Path:
    names, values = ",".join(f"c{n}" for n in range(100_000)), ",".join("1" * 100_000)
    return _file(folder, "rows.csv", f"{names}\n{values}\n".encode())


def _parquet_columns(folder: Path) -> Path:
    return _parquet(folder, pa.table({f"c{n}": [1] for n in range(20_000)}))


def _brackets(folder: Path) -> Path:
    return gzip_of(folder / "rows.json.gz", [b'[{"prompt": ', *[b"[" * MB] * 100])


WHOLE = [
    _dictionary, _one_value, _pickle, _zip_with_dots, _sheet, _entities, _columns, _parquet_columns, _brackets,
]  # fmt: skip


@pytest.mark.parametrize("make", WHOLE, ids=lambda make: make.__name__)
def test_a_file_that_cannot_be_read_is_refused_in_a_sentence_and_nothing_is_kept(
    worker: Worker, dataset: Dataset, tmp_path: Path, make: Any
):
    upload, megabytes = _imported(worker, dataset, make(tmp_path))

    assert upload.state == "failed"
    assert upload.failure.endswith(".")
    assert not DatasetTask.objects.exists()
    assert not Task.objects.exists()
    assert not (tmp_path / "was-run").exists()
    assert megabytes < CAP


def test_the_worker_goes_on_behind_the_bombs(worker: Worker, dataset: Dataset, hired: Hired):
    upload = receive(dataset, sums(5))

    assert worker.run(upload.pk)

    upload.refresh_from_db()
    assert (upload.state, upload.counts["valid"]) == ("imported", 5)
    assert list((hired.data / "files" / "incoming").iterdir()) == []
