import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flywheel.embedded.memory import MemorySampler, engines

HOLDS_64_MIB = "x = bytearray(b'x') * (64 * 2**20); print(flush=True); input()"


@pytest.fixture
def large() -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", HOLDS_64_MIB], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_the_peak_stays_after_the_memory_is_given_back(large: "subprocess.Popen[bytes]", tmp_path: Path):
    parts = {"large": large.pid}
    sampler = MemorySampler(lambda: parts, data=tmp_path, output=tmp_path / "memory.json")
    sampler.sample()
    large.communicate(b"\n")

    sampler.sample()

    written = json.loads((tmp_path / "memory.json").read_text())
    assert 64 < written["parts"]["large"]["peak_mib"] < 128
    assert written["total_peak_mib"] == written["parts"]["large"]["peak_mib"]


def test_an_engine_counts_for_itself_and_not_for_its_worker(tmp_path: Path):
    run = tmp_path / "runs" / "train-1"
    engine = subprocess.Popen([sys.executable, "-c", "input()", str(run)], stdin=subprocess.PIPE)
    sampler = MemorySampler(lambda: {"worker": psutil.Process().pid}, data=tmp_path, output=tmp_path / "memory.json")

    sampler.sample()
    found = engines(tmp_path)
    engine.communicate(b"\n")

    assert set(sampler.peaks) == {"worker", "engine"}
    assert [process.pid for process in found] == [engine.pid]
