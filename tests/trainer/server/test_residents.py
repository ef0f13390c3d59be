"""Which models stay in memory, and that nobody waits for a model that is not theirs."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from trainer.server.faults import Fault
from trainer.server.residents import Residents


class Loaded:
    def __init__(self, name: str) -> None:
        self.name, self.closed = name, False

    def close(self) -> None:
        self.closed = True


class Loader:
    """Counts loads; loading a name in `held` waits until the test lets it go; one in `broken` fails."""

    def __init__(self) -> None:
        self.loaded: list[Loaded] = []
        self.held: dict[str, threading.Event] = {}
        self.broken: set[str] = set()

    def __call__(self, name: str) -> Loaded:
        if name in self.held:
            assert self.held[name].wait(30)
        if name in self.broken:
            raise Fault(500, "model_corrupt", "It is broken.")
        self.loaded.append(Loaded(name))
        return self.loaded[-1]


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def residents(loader: Loader) -> Residents[Loaded]:
    return Residents(load=loader, measure=lambda name: 10, slots=2, memory_bytes=100)


def on_a_loop(story: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(story(), 30))


async def use(residents: Residents[Loaded], *names: str) -> None:
    for name in names:
        async with residents.lease(name):
            pass


def names(residents: Residents[Loaded]) -> list[str]:
    return [entry["id"] for entry in residents.report()]


def test_a_model_is_loaded_once_for_all_who_ask(residents: Residents[Loaded], loader: Loader) -> None:
    on_a_loop(lambda: _together(use(residents, "a"), use(residents, "a"), use(residents, "a")))

    assert len(loader.loaded) == 1


async def _together(*work: Coroutine[Any, Any, Any]) -> None:
    await asyncio.gather(*work)


def test_the_model_unused_for_longest_makes_room(residents: Residents[Loaded], loader: Loader) -> None:
    on_a_loop(lambda: use(residents, "a", "b", "a", "c"))

    assert names(residents) == ["a", "c"]


def test_the_model_that_left_is_closed(residents: Residents[Loaded], loader: Loader) -> None:
    on_a_loop(lambda: use(residents, "a", "b", "c"))

    assert [loaded.closed for loaded in loader.loaded] == [True, False, False]


def test_a_model_in_use_is_never_the_one_that_leaves(residents: Residents[Loaded]) -> None:
    async def story() -> None:
        async with residents.lease("a"):
            await use(residents, "b", "c")

    on_a_loop(story)

    assert names(residents) == ["a", "c"]


def test_where_all_are_in_use_the_next_waits_for_a_place(residents: Residents[Loaded]) -> None:
    async def story() -> None:
        async with residents.lease("b"):
            async with residents.lease("a"):
                waiting = [asyncio.create_task(use(residents, name)) for name in ("c", "c", "d")]
                await asyncio.sleep(0.05)
                assert not any(task.done() for task in waiting)
            await asyncio.gather(*waiting)

    on_a_loop(story)

    assert names(residents) == ["b", "d"]


def test_where_all_stay_in_use_the_next_is_told_to_come_back(residents: Residents[Loaded]) -> None:
    residents.patience_seconds = 0.05

    async def story() -> None:
        async with residents.lease("a"), residents.lease("b"), residents.lease("c"):
            pass

    with pytest.raises(Fault) as raised:
        on_a_loop(story)

    assert (raised.value.status, raised.value.headers["retry-after"]) == (429, "1")


def test_models_leave_when_memory_is_short(loader: Loader) -> None:
    residents = Residents(load=loader, measure=lambda name: 60, slots=9, memory_bytes=100)

    on_a_loop(lambda: use(residents, "a", "b"))

    assert names(residents) == ["b"]


def test_a_model_larger_than_all_memory_is_refused(loader: Loader) -> None:
    residents = Residents(load=loader, measure=lambda name: 101, slots=9, memory_bytes=100)

    with pytest.raises(Fault, match="--max-memory"):
        on_a_loop(lambda: use(residents, "a"))


def test_loading_one_model_does_not_hold_up_another(residents: Residents[Loaded], loader: Loader) -> None:
    loader.held["slow"] = threading.Event()

    async def story() -> list[str]:
        waiting = asyncio.create_task(use(residents, "slow"))
        await asyncio.sleep(0)
        await use(residents, "quick")
        answered_first = [loaded.name for loaded in loader.loaded]
        loader.held["slow"].set()
        await waiting
        return answered_first

    assert on_a_loop(story) == ["quick"]


def test_a_caller_who_leaves_does_not_stop_the_loading(residents: Residents[Loaded], loader: Loader) -> None:
    loader.held["a"] = threading.Event()

    async def story() -> None:
        leaver = asyncio.create_task(use(residents, "a"))
        stayer = asyncio.create_task(use(residents, "a"))
        while not residents.report():
            await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        loader.held["a"].set()
        await stayer

    on_a_loop(story)

    assert [loaded.name for loaded in loader.loaded] == ["a"]


def test_a_model_that_could_not_be_loaded_is_tried_again(residents: Residents[Loaded], loader: Loader) -> None:
    loader.broken.add("a")

    async def story() -> None:
        with pytest.raises(Fault):
            await use(residents, "a")
        loader.broken.clear()
        await use(residents, "a")

    on_a_loop(story)

    assert names(residents) == ["a"]
