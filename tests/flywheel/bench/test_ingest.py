"""The ingest bench's own parts: what it runs, what it watches."""

import os
import subprocess
import sys
import time

import pytest

from flywheel.bench import importer, ingest


def test_an_unknown_bench_is_refused_by_name():
    with pytest.raises(SystemExit, match="no sped"):
        ingest.main(["sped"])


def test_memory_is_that_of_a_process_and_all_below_it():
    child = "import subprocess, sys; x = bytearray(60 << 20); print(len(x), flush=True); sys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"

    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        megabytes = importer.tree_megabytes(process.pid)
        process.communicate()

    assert 60 < megabytes < 200


def test_the_largest_sample_counts_though_the_memory_is_given_back():
    with importer.watching(os.getpid()) as peak:
        held = bytearray(os.urandom(1 << 20) * 50)
        time.sleep(5 * importer.SAMPLE_SECONDS)
        before = importer.tree_megabytes(os.getpid())
        del held
        time.sleep(2 * importer.SAMPLE_SECONDS)

    assert peak() > importer.tree_megabytes(os.getpid()) + 40
    assert peak() >= before - 5


def test_a_process_that_is_gone_holds_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert importer.tree_megabytes(process.pid) == 0
