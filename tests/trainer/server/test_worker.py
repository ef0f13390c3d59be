"""One thread a model: who waits for whom, and what becomes of the answers when something breaks."""

import queue
from collections.abc import Iterator

import pytest
import torch

from tests.fakes.tiny_model import make_model
from trainer.server.chat import Settings
from trainer.server.faults import Fault
from trainer.server.worker import Ended, Event, Job, Piece, Worker, choice_seed


class Inbox:
    def __init__(self) -> None:
        self.events: queue.Queue[Event] = queue.Queue()

    def until_ended(self) -> list[Event]:
        events = [self.events.get(timeout=60)]
        while isinstance(events[-1], Piece):
            events.append(self.events.get(timeout=60))
        return events


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(make_model(90, seed=1), "tiny")
    worker.start()
    yield worker
    worker.close()
    worker.join(30)


def ask(worker: Worker, tokens: int, prompt: tuple[int, ...] = (5, 6, 7), ends: frozenset[int] = frozenset()) -> Inbox:
    inbox = Inbox()
    settings = Settings(temperature=0, top_p=1, max_tokens=tokens, stops=(), seed=None)
    job = Job(prompt, 1, settings, lambda ids: "".join(f"{i} " for i in ids), ends, inbox.events.put)
    inbox.job = job  # type: ignore[attr-defined]
    worker.submit(job)
    return inbox


def test_an_answer_ends_at_its_token_limit(worker: Worker) -> None:
    *pieces, end = ask(worker, 5).until_ended()

    assert (len(pieces), end) == (5, Ended(0, "length", 5))


def test_an_answer_ends_at_the_models_end_token_without_showing_it(worker: Worker) -> None:
    third = ask(worker, 3).until_ended()[2].text.strip()  # type: ignore[union-attr]

    *pieces, end = ask(worker, 50, ends=frozenset({int(third)})).until_ended()

    assert isinstance(end, Ended)
    assert end.reason == "stop"
    assert third not in [piece.text.strip() for piece in pieces if isinstance(piece, Piece)]


def test_a_short_answer_does_not_wait_for_a_long_one(worker: Worker) -> None:
    long = ask(worker, 800)
    assert isinstance(long.events.get(timeout=60), Piece)  # it has begun

    ask(worker, 3).until_ended()

    assert not long.job.choices[0].ended  # type: ignore[attr-defined]


def test_a_cancelled_answer_says_nothing_more(worker: Worker) -> None:
    long = ask(worker, 800)
    assert isinstance(long.events.get(timeout=60), Piece)

    long.job.cancel()  # type: ignore[attr-defined]
    ask(worker, 3).until_ended()
    ask(worker, 3).until_ended()

    said = long.events.qsize()
    ask(worker, 3).until_ended()
    assert long.events.qsize() == said


def test_a_prompt_that_breaks_the_model_fails_alone(worker: Worker) -> None:
    broken = ask(worker, 5, prompt=(10_000,)).until_ended()[-1]

    after = ask(worker, 5).until_ended()[-1]

    assert isinstance(broken, Fault)
    assert isinstance(after, Ended)


def test_a_worker_that_is_closed_tells_those_who_wait(worker: Worker) -> None:
    long = ask(worker, 800)
    assert isinstance(long.events.get(timeout=60), Piece)

    worker.close()

    assert isinstance(long.until_ended()[-1], Fault)


def test_a_closed_worker_ends() -> None:
    worker = Worker(make_model(90, seed=1), "tiny")
    worker.start()

    worker.close()
    worker.join(30)

    assert not worker.is_alive()


def test_each_choice_of_a_seed_has_its_own_stream() -> None:
    assert len({choice_seed(7, index) for index in range(100)} | {choice_seed(8, 0)}) == 101


def test_without_a_seed_streams_differ() -> None:
    assert choice_seed(None, 0) != choice_seed(None, 0)


def test_torchs_own_random_numbers_are_left_alone(worker: Worker) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)

    ask(worker, 5).until_ended()

    assert torch.rand(1) == expected
