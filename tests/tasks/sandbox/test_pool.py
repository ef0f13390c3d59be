import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks.sandbox import grading, pool
from tasks.sandbox.pool import Pool
from tasks.sandbox.protocol import Flavour, Level, Limits, Lost, Unavailable
from tests.tasks.sandbox.conftest import HARMLESS, opened

REPOSITORY = Path(__file__).resolve().parents[3]
SLEEPER = "import time\ndef grade(s, i):\n    time.sleep(60)"


def job(source: str = HARMLESS) -> dict:
    return {"source": source, "calls": [{"sample": {}, "item": {"b": 4}}]}


def graded(pool: Pool, source: str = HARMLESS) -> dict:
    with pool.session("grade", job(source)) as session:
        return session.receive(20)


@pytest.fixture
def no_pools():
    """The process's own pools, from none to none."""
    pool.close_all()
    yield
    pool.close_all()


def gone(pid: int) -> bool:
    """Whether the process ends within ten seconds."""
    for _ in range(1000):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


def test_a_worker_that_was_killed_is_replaced(level: Level):
    with opened(level) as pool:
        first = pool.worker_pid()
        os.kill(first, signal.SIGKILL)
        assert gone(first)  # or it may still serve, confined as it is in a process of its own

        results = grading.grade_batch(HARMLESS, job()["calls"], seconds_per_call=20, pool=pool)

        assert results[0].score == 0.25
        assert pool.worker_pid() != first


def test_a_worker_killed_while_it_grades_loses_that_session_only(level: Level):
    with opened(level) as pool:
        with pool.session("grade", job(SLEEPER)) as session:
            os.kill(pool.worker_pid(), signal.SIGKILL)
            with pytest.raises(Lost) as lost:
                session.receive(20)

        assert lost.value.ours
        assert graded(pool) == {"ok": 0.25}


def test_a_stopped_worker_is_replaced(level: Level):
    """It does not answer any more, as one that hangs in the kernel would not."""
    with opened(level) as pool:
        stopped = pool.worker_pid()
        with pool.session("grade", job(SLEEPER)) as session:
            for process in (psutil.Process(stopped), *psutil.Process(stopped).children()):
                process.suspend()
            with pytest.raises(Lost):
                session.receive(0.1)

        assert graded(pool) == {"ok": 0.25}
        assert gone(stopped)


def test_the_session_of_a_killed_worker_ends_with_it(level: Level):
    with opened(level) as pool, pool.session("grade", job(SLEEPER)):
        below = []
        while len(below) < (2 if level is Level.NAMESPACES else 1):
            below = psutil.Process(pool.worker_pid()).children(recursive=True)

        os.kill(pool.worker_pid(), signal.SIGKILL)

        assert all(gone(process.pid) for process in below)


def test_an_unconfined_session_of_our_own_ends_with_its_worker_too():
    with opened(Level.PLAIN) as pool, pool.session("grade", job(SLEEPER)):
        below = []
        while not below:
            below = psutil.Process(pool.worker_pid()).children()

        os.kill(pool.worker_pid(), signal.SIGKILL)

        assert gone(below[0].pid)


def test_leaving_the_context_ends_the_process(level: Level):
    with opened(level) as pool:
        own = len(psutil.Process(pool.worker_pid()).children(recursive=True))
        with pool.session("grade", job(SLEEPER)):
            pass

        assert len(psutil.Process(pool.worker_pid()).children(recursive=True)) == own


def test_a_closed_pool_leaves_no_process(level: Level):
    with opened(level) as pool:
        worker = psutil.Process(pool.worker_pid())
        processes = [worker, *worker.children(recursive=True)]

    assert all(gone(process.pid) for process in processes)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_host_that_dies_leaves_no_process(level: Level, number: signal.Signals):
    script = f"""
import sys
from tasks.sandbox.pool import Pool
from tasks.sandbox.protocol import Level
import psutil
pool = Pool(level=Level({str(level)!r}), size=1)
pool.start()
with pool.session("grade", {{"source": {SLEEPER!r}, "calls": [{{"sample": {{}}, "item": {{}}}}]}}) as session:
    try:
        session.receive(0.2)
    except Exception:
        pass
    worker = psutil.Process(pool.worker_pid())
with pool.session("grade", {{"source": {SLEEPER!r}, "calls": [{{"sample": {{}}, "item": {{}}}}]}}) as session:
    print(worker.pid, *[child.pid for child in worker.children(recursive=True)], flush=True)
    session.receive(60)
"""
    host = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    below = [int(pid) for pid in host.stdout.readline().split()]

    host.send_signal(number)

    host.wait()
    assert below
    assert all(gone(pid) for pid in below)


def _grade_in_child(answers) -> None:
    found = pool.shared()
    answers.put((graded(found), found.worker_pid()))


@pytest.mark.usefixtures("no_pools")
def test_a_forked_child_of_the_host_gets_its_own_workers():
    parents = pool.shared()
    graded(parents)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    child = context.Process(target=_grade_in_child, args=(answers,))
    child.start()
    answer, worker = answers.get(timeout=60)
    child.join()

    assert answer == {"ok": 0.25}
    assert worker != parents.worker_pid()
    assert graded(parents) == {"ok": 0.25}


@pytest.mark.usefixtures("no_pools")
def test_with_no_level_there_is_no_pool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SANDBOX_LEVELS", "none")

    with pytest.raises(Unavailable, match="switched off"):
        pool.shared()


def test_with_no_level_the_sentence_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SANDBOX_LEVELS", "none")

    assert "SANDBOX_LEVELS=none" in (pool.available() or "")


def test_where_a_level_holds_nothing_is_unavailable():
    assert pool.available() is None


@pytest.mark.usefixtures("no_pools")
def test_with_no_level_our_own_code_still_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SANDBOX_LEVELS", "none")

    assert pool.shared(Flavour.MATH).level is Level.PLAIN


def test_a_science_pool_has_its_libraries_at_hand(level: Level):
    source = """
import sys
loaded = {"numpy", "scipy.stats", "pandas", "sklearn.metrics", "sympy"} <= set(sys.modules)
import numpy, pandas, scipy.stats, sklearn.metrics, sympy
def grade(sample, item):
    numpy.linalg.svd(numpy.ones((50, 50)))
    pandas.DataFrame({"a": [1, 2]}).groupby("a").sum()
    scipy.stats.ttest_ind([1, 2, 3], [2, 3, 4])
    return loaded and sklearn.metrics.f1_score([0, 1], [0, 1]) and sympy.simplify("x - x") == 0 and 1.0
"""
    science = Pool(Flavour.SCIENCE, level=level, size=1)
    try:
        answer = graded(science, source)
    finally:
        science.close()

    assert answer == {"ok": 1.0}


def test_a_job_that_cannot_be_sent_costs_no_worker(level: Level):
    with opened(level) as pool:
        worker = pool.worker_pid()
        with pytest.raises(ValueError, match="digits"), pool.session("grade", {"number": 10**5000}):
            pass

        assert graded(pool) == {"ok": 0.25}
        assert pool.worker_pid() == worker


def test_a_session_that_cannot_be_made_costs_its_worker_and_no_more(level: Level, monkeypatch: pytest.MonkeyPatch):
    with opened(level) as pool:
        first = psutil.Process(pool.worker_pid())
        with monkeypatch.context() as patched:
            patched.setattr("tasks.sandbox.session.socket.socketpair", _too_many_files)
            with pytest.raises(OSError, match="Too many"), pool.session("grade", job()):
                pass

        assert gone(first.pid)
        assert graded(pool) == {"ok": 0.25}


def _too_many_files() -> None:
    raise OSError(24, "Too many open files")


def test_a_host_with_thousands_of_open_files_grades_on(level: Level):
    script = f"""
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(2000)]
from tasks.sandbox.pool import Pool
from tasks.sandbox.protocol import Level
pool = Pool(level=Level({str(level)!r}), size=1)
for _ in range(2):
    with pool.session("grade", {job()!r}) as session:
        print(session.receive(20), flush=True)
pool.close()
"""
    told = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert told.stdout.splitlines() == ["{'ok': 0.25}"] * 2, told.stderr


@pytest.mark.parametrize(("given", "size"), [("3", 3), ("0", 1)])
def test_the_number_of_workers_can_be_set(monkeypatch: pytest.MonkeyPatch, given: str, size: int):
    monkeypatch.setenv("SANDBOX_WORKERS", given)

    assert Pool(level=Level.PLAIN).size == size


def test_a_session_has_its_own_wall_clock(level: Level):
    with opened(level) as pool, pool.session("grade", job(SLEEPER), Limits(seconds=0.2)) as session:
        with pytest.raises(Lost) as lost:
            session.receive(60)

        assert lost.value.kind == "timeout"
