"""The same answer wherever the batches of a Parquet folder are calculated."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.dedup import fanning


def doubled(table: pa.Table) -> pa.Table:
    return pa.table({"row": table["row"], "twice": [2 * row for row in table["row"].to_pylist()]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "rows"
    source.mkdir()
    for part in range(2):
        pq.write_table(pa.table({"row": list(range(part, 10_000, 2))}), source / f"{part}.parquet")
    return source


def _rows(folder: Path) -> list[dict[str, int]]:
    return sorted(pa.concat_tables(map(pq.read_table, fanning.files(folder))).to_pylist(), key=lambda row: row["row"])


def test_without_an_address_this_process_calculates(folder: Path, tmp_path: Path):
    fanning.fan("")(folder, doubled, tmp_path / "out", 1000)

    assert _rows(tmp_path / "out") == [{"row": row, "twice": 2 * row} for row in range(10_000)]


def test_batches_are_bounded_and_nothing_is_lost_between_them(folder: Path, tmp_path: Path):
    sizes: list[int] = []

    def watched(table: pa.Table) -> pa.Table:
        sizes.append(len(table))
        return table

    fanning.locally(folder, watched, tmp_path / "out", 1000)

    assert max(sizes) <= 1000
    assert sum(sizes) == 10_000


def test_an_empty_folder_gives_an_empty_one(tmp_path: Path):
    (tmp_path / "rows").mkdir()

    fanning.locally(tmp_path / "rows", doubled, tmp_path / "out", 1000)

    assert fanning.files(tmp_path / "out") == []
