"""The real sandbox, at every level that this machine offers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tasks.sandbox import levels
from tasks.sandbox.pool import Pool
from tasks.sandbox.protocol import Level, Limits, Lost, Unavailable

HARMLESS = "def grade(sample, item):\n    return 1 / item['b']"
Try = Callable[..., dict[str, Any]]


@contextmanager
def opened(level: Level, size: int = 1) -> Iterator[Pool]:
    """A pool of one's own, with a worker."""
    pool = Pool(level=level, size=size)
    try:
        pool.start()
        yield pool
    finally:
        pool.close()


def offered() -> list[Level]:
    found = []
    for level in levels.OFFERED:
        with suppress(Unavailable), opened(level):
            found.append(level)
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "level" in metafunc.fixturenames:
        metafunc.parametrize("level", offered(), scope="module")


@pytest.fixture(scope="module")
def pool(level: Level) -> Iterator[Pool]:
    with opened(level) as pool:
        yield pool


@pytest.fixture
def attempt(pool: Pool) -> Iterator[Try]:
    """Grade one call with a source; a lost session is {"error": kind}. Afterwards the same worker grades on."""
    worker = pool.worker_pid()

    def graded(
        source: str, item: Mapping[str, Any] | None = None, limits: Limits | None = None, seconds: float = 20
    ) -> dict[str, Any]:
        job = {"source": source, "calls": [{"sample": {"output_text": ""}, "item": item or {}}]}
        try:
            with pool.session("grade", job, limits) as session:
                return session.receive(seconds)
        except Lost as lost:
            return {"error": lost.kind, "detail": lost.detail}

    yield graded
    assert graded(HARMLESS, {"b": 4}) == {"ok": 0.25}, "the next grade is wrong"
    assert pool.worker_pid() == worker, "the worker died of a grader"
