"""The peers of the ingest bench do their work: each is given rows, and what it stores and finds is looked at."""

from pathlib import Path

import numpy as np
import psycopg
import pytest

from flywheel.bench import peers, rows
from flywheel.bench.rows import Corpus


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path: Path = tmp_path_factory.mktemp("peers") / "rows.jsonl"
    rows.write(Corpus(seed=31, size=60, planted=0.5), path)
    return peers.prompts(path, 50)


def test_prompts_are_the_first_rows_of_a_file(texts: list[str]):
    assert texts == [question.prompt for question, _ in Corpus(seed=31, size=60, planted=0.5).rows()][:50]


def test_datasketch_takes_every_row(texts: list[str]):
    assert peers.datasketch(texts, permutations=40) > 0


def test_ours_takes_every_row(texts: list[str]):
    assert peers.ours(texts) > 0


@pytest.mark.usefixtures("servers")
def test_the_table_of_bands_holds_every_band_of_every_task():
    import os

    bands = np.random.default_rng(1).integers(0, 2**64, size=(40, 3), dtype=np.uint64)

    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        peers.fill_bands(connection, [bands[:25], bands[25:]])
        stored = connection.execute("SELECT h, t FROM lsh").fetchall()
        rate = peers.probe_bands(connection, bands)
        connection.execute("DROP TABLE lsh")

    assert sorted(stored) == sorted(
        (int(band), task) for task, row in enumerate(bands.view(np.int64).tolist()) for band in row
    )
    assert rate > 0
