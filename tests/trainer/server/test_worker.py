"""One thread a model: who waits for whom, and what becomes of the answers when something breaks."""

import queue
from collections.abc import Iterator, Sequence

import pytest
import torch

from tests.fakes.tiny_model import make_model
from trainer.server import sampling
from trainer.server.chat import Settings
from trainer.server.faults import Fault
from trainer.server.limits import Limits
from trainer.server.sampling import Batch
from trainer.server.worker import Choice, Ended, Event, Job, Piece, Worker, choice_seed, held, how_many_fit

MAX_CACHED_TOKENS = 2000


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
    worker = Worker(make_model(90, seed=1), "tiny", MAX_CACHED_TOKENS)
    worker.start()
    yield worker
    worker.close()
    worker.join(30)


def ask(
    worker: Worker, tokens: int, prompt: Sequence[int] = (5, 6, 7), ends: frozenset[int] = frozenset(), n: int = 1
) -> Inbox:
    inbox = Inbox()
    inbox.job = make_job(prompt, tokens, inbox, ends, n)  # type: ignore[attr-defined]
    worker.submit(inbox.job)  # type: ignore[attr-defined]
    return inbox


def make_job(prompt: Sequence[int], tokens: int, inbox: Inbox, ends: frozenset[int] = frozenset(), n: int = 1) -> Job:
    settings = Settings(temperature=0, top_p=1, max_tokens=tokens, stops=(), seed=None)
    return Job(prompt, n, settings, lambda ids: "".join(f"{i} " for i in ids), ends, inbox.events.put)


def choices(*sizes: tuple[int, int]) -> list[Choice]:
    """One a size: tokens of its prompt, and of its answer."""
    return [make_job([5] * prompt, tokens, Inbox()).choices[0] for prompt, tokens in sizes]


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
    worker = Worker(make_model(90, seed=1), "tiny", MAX_CACHED_TOKENS)
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


@pytest.mark.parametrize(("room", "fitting"), [(0, 0), (29, 0), (30, 1), (89, 2), (90, 3), (500, 3)])
def test_as_many_share_a_batch_as_there_is_room_for(room: int, fitting: int) -> None:
    assert how_many_fit(choices((10, 20), (10, 20), (10, 20)), room) == fitting


def test_a_row_takes_the_room_of_the_longest_prompt_and_the_longest_answer() -> None:
    mixed = choices((10, 80), (30, 5))

    assert (how_many_fit(mixed, 2 * (30 + 80) - 1), how_many_fit(mixed, 2 * (30 + 80))) == (1, 2)


def test_who_does_not_fit_is_not_overtaken() -> None:
    assert how_many_fit(choices((10, 10), (10, 500), (10, 10)), 100) == 1


def test_short_prompts_are_not_padded_to_a_far_longer_one() -> None:
    few, many = (30, 64), (30_000, 64)

    assert how_many_fit(choices(*[few] * 8, many), 1 << 20) == 8
    assert how_many_fit(choices(many, *[few] * 8), 1 << 20) == 2  # one beside it costs as much as it does itself


def test_fifty_short_chats_of_different_lengths_share_a_batch() -> None:
    chats = choices(*[(20 + at, 512) for at in range(50)])

    assert how_many_fit(chats, Limits().max_cached_tokens) == 50


def test_a_batch_holds_what_its_answers_may_grow_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "STEP_TOKENS", 20)
    batch = Batch(make_model(90, seed=1), choices((30, 10), (20, 40)))

    before = held(batch)
    for _ in range(5):
        batch.step()

    assert (before, held(batch)) == (2 * 70, 2 * 70)


def test_ended_answers_give_their_room_back() -> None:
    batch = Batch(make_model(90, seed=1), choices((30, 1), (20, 40)))

    batch.step()

    assert held(batch) == 30 + 40


def test_more_than_there_is_room_for_is_answered_in_turn(worker: Worker) -> None:
    asked = [ask(worker, 300) for _ in range(12)]

    ends = [inbox.until_ended()[-1] for inbox in asked]

    assert ends == [Ended(0, "length", 300)] * 12


def test_who_waits_for_room_is_not_kept_waiting_by_small_ones(worker: Worker) -> None:
    long = ask(worker, 900)
    assert isinstance(long.events.get(timeout=60), Piece)
    large = ask(worker, 1200)

    ask(worker, 3).until_ended()

    assert long.job.choices[0].ended  # type: ignore[attr-defined]
    assert not large.events.empty()


def test_one_who_leaves_while_waiting_for_room_lets_the_others_begin(worker: Worker) -> None:
    long = ask(worker, 900)
    assert isinstance(long.events.get(timeout=60), Piece)
    large = ask(worker, 1200)

    large.job.cancel()  # type: ignore[attr-defined]
    ask(worker, 3).until_ended()

    assert not long.job.choices[0].ended  # type: ignore[attr-defined]


def test_a_short_answer_does_not_wait_for_a_long_prompt(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "STEP_TOKENS", 1)
    steps = counted(worker)
    long = ask(worker, 5, prompt=[5] * 1000)
    steps.get(timeout=60)  # it is being read

    ask(worker, 3).until_ended()

    assert long.events.empty()


def test_a_prompt_is_not_read_on_once_nobody_waits_for_it(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "STEP_TOKENS", 1)
    steps = counted(worker)
    long = ask(worker, 5, prompt=[5] * 1000)
    steps.get(timeout=60)

    long.job.cancel()  # type: ignore[attr-defined]
    before = steps.qsize()
    ask(worker, 300).until_ended()

    its_own = len((5, 6, 7)) - 1 + 300
    assert steps.qsize() - before <= its_own + 1  # the step that was under way


def counted(worker: Worker) -> queue.Queue[None]:
    """One entry a step of the model."""
    steps: queue.Queue[None] = queue.Queue()
    worker._model.register_forward_hook(lambda *_: steps.put(None))
    return steps
