"""Admission, deadline and clean-up around a model that the test plays."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from trainer.server.answering import Answering, Begun
from trainer.server.chat import Ask, Settings
from trainer.server.faults import Fault
from trainer.server.worker import Ended, Job, Piece


class Played:
    """A loaded model whose worker answers what the test says."""

    context = 100
    ends: frozenset[int] = frozenset()

    def __init__(self, prompt_tokens: int = 5, answers: bool = True) -> None:
        self.worker, self.jobs = self, list[Job]()
        self._prompt_tokens, self._answers = prompt_tokens, answers

    @contextlib.asynccontextmanager
    async def lease(self, digest: str) -> AsyncIterator["Played"]:
        yield self

    def render(self, messages: list[dict[str, str]]) -> list[int]:
        return list(range(self._prompt_tokens))

    def decode(self, tokens: object) -> str:
        return ""

    def spell(self, token: int) -> tuple[str, None]:
        return str(token), None

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        for choice in job.choices if self._answers else ():
            job.emit(Piece(choice.index, "hello"))
            job.emit(Ended(choice.index, "stop", 1))


def ask(n: int = 1, tokens: int = 10) -> Ask:
    settings = Settings(temperature=1, top_p=1, max_tokens=tokens, stops=(), seed=None)
    return Ask("m", [{"role": "user", "content": "hello"}], n, settings, stream=False, include_usage=False)


def answering(played: Played, max_queue: int = 4, max_seconds: float = 30, max_cached_tokens: int = 1000) -> Answering:
    return Answering(
        played,  # type: ignore[arg-type]
        max_queue=max_queue,
        max_cached_tokens=max_cached_tokens,
        max_seconds=max_seconds,
    )


async def everything(answering: Answering, asked: Ask) -> list[Any]:
    return [event async for event in answering.events(asked)]


def run(story: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(story(), 30))


def test_the_events_end_once_every_choice_has() -> None:
    events = run(lambda: everything(answering(Played()), ask(n=2)))

    assert events == [Begun(5), Piece(0, "hello"), Ended(0, "stop", 1), Piece(1, "hello"), Ended(1, "stop", 1)]


def test_more_choices_than_the_queue_holds_are_refused() -> None:
    with pytest.raises(Fault) as raised:
        run(lambda: everything(answering(Played(), max_queue=2), ask(n=3)))

    assert (raised.value.status, raised.value.code) == (429, "busy")


def test_a_model_that_does_not_answer_is_a_time_out() -> None:
    with pytest.raises(Fault) as raised:
        run(lambda: everything(answering(Played(answers=False), max_seconds=0.05), ask()))

    assert (raised.value.status, raised.value.code) == (504, "timeout")


def test_a_time_out_stops_the_work() -> None:
    played = Played(answers=False)

    with pytest.raises(Fault):
        run(lambda: everything(answering(played, max_seconds=0.05), ask()))

    assert played.jobs[0].cancelled


def test_a_time_out_gives_the_place_in_the_queue_back() -> None:
    impatient = answering(Played(answers=False), max_seconds=0.05)

    with pytest.raises(Fault):
        run(lambda: everything(impatient, ask(n=3)))

    assert impatient.open_choices == 0


def test_who_stops_listening_stops_the_work() -> None:
    played = Played(answers=False)

    async def story() -> None:
        async with contextlib.aclosing(answering(played).events(ask())) as events:
            await anext(events)

    run(story)

    assert played.jobs[0].cancelled


def test_an_answer_is_cut_to_what_the_model_can_read() -> None:
    played = Played(prompt_tokens=95)

    run(lambda: everything(answering(played), ask(tokens=10)))

    assert played.jobs[0].settings.max_tokens == 5


def test_a_prompt_that_fills_the_model_is_refused() -> None:
    with pytest.raises(Fault) as raised:
        run(lambda: everything(answering(Played(prompt_tokens=100)), ask()))

    assert raised.value.code == "context_length_exceeded"


def test_choices_that_never_fit_in_memory_are_refused_by_their_number() -> None:
    with pytest.raises(Fault, match="Ask for 2 at most") as raised:
        run(lambda: everything(answering(Played(), max_cached_tokens=44), ask(n=3)))

    assert (raised.value.status, raised.value.code, raised.value.param) == (400, "too_many_tokens", "n")


def test_an_answer_that_never_fits_in_memory_is_refused_by_its_messages() -> None:
    with pytest.raises(Fault, match="Shorten the messages") as raised:
        run(lambda: everything(answering(Played(), max_cached_tokens=14), ask(n=3)))

    assert (raised.value.status, raised.value.code, raised.value.param) == (400, "too_many_tokens", "messages")


def test_what_fits_to_the_last_token_is_answered() -> None:
    events = run(lambda: everything(answering(Played(), max_cached_tokens=45), ask(n=3)))

    assert sum(isinstance(event, Ended) for event in events) == 3


def test_only_what_the_model_can_read_counts() -> None:
    played = Played(prompt_tokens=95)

    events = run(lambda: everything(answering(played, max_cached_tokens=100), ask(tokens=2000)))

    assert Ended(0, "stop", 1) in events
