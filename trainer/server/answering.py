"""From a parsed request to its events: admission, the model's lease, the prompt, the deadline."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, replace

from trainer.constraint import Constraint, Unusable
from trainer.server.chat import Ask, Settings, unusable_format
from trainer.server.faults import Fault, busy, invalid, too_slow
from trainer.server.resident import Resident
from trainer.server.residents import Residents
from trainer.server.worker import Ended, Event, Job, Piece


@dataclass(frozen=True, slots=True)
class Begun:
    prompt_tokens: int


class Answering:
    def __init__(
        self, residents: Residents[Resident], *, max_queue: int, max_cached_tokens: int, max_seconds: float
    ) -> None:
        self._residents, self._max_queue, self._max_seconds = residents, max_queue, max_seconds
        self._max_cached_tokens = max_cached_tokens
        self.open_choices = 0  # asked for and not yet answered, over all models

    async def events(self, ask: Ask) -> AsyncGenerator[Begun | Piece | Ended, None]:
        """Begun first, then pieces, with one Ended a choice. Raises Fault. Closing the iterator stops the work."""
        deadline = asyncio.get_running_loop().time() + self._max_seconds
        with self._admitted(ask.n):
            async with contextlib.AsyncExitStack() as stack:
                with self._until(deadline):
                    async with asyncio.timeout_at(deadline):
                        resident = await stack.enter_async_context(self._residents.lease(ask.model))
                        prompt = await asyncio.to_thread(resident.render, ask.messages)
                        constraints = await asyncio.to_thread(_constraints, resident, ask)
                settings = _within_context(ask.settings, len(prompt), resident.context)
                _refuse_what_never_fits(ask.n, len(prompt) + settings.max_tokens, self._max_cached_tokens)
                inbox: asyncio.Queue[Event] = asyncio.Queue()
                job = Job(
                    prompt, ask.n, settings, resident.decode, resident.ends, _deliver_to(inbox),
                    spell=resident.spell, constraints=constraints,
                )  # fmt: skip
                stack.callback(job.cancel)
                resident.worker.submit(job)
                yield Begun(len(prompt))
                async for event in self._received(inbox, ask.n, deadline):
                    yield event

    async def _received(
        self, inbox: asyncio.Queue[Event], choices: int, deadline: float
    ) -> AsyncGenerator[Piece | Ended, None]:
        while choices:
            with self._until(deadline):
                async with asyncio.timeout_at(deadline):
                    event = await inbox.get()
            if isinstance(event, Fault):
                raise event
            choices -= isinstance(event, Ended)
            yield event

    @contextlib.contextmanager
    def _admitted(self, choices: int) -> Iterator[None]:
        if self.open_choices + choices > self._max_queue:
            raise busy(f"The queue is full: {self.open_choices} answers are being written. Try again in a moment.")
        self.open_choices += choices
        try:
            yield
        finally:
            self.open_choices -= choices

    @contextlib.contextmanager
    def _until(self, deadline: float) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise too_slow(self._max_seconds) from error


def _constraints(resident: Resident, ask: Ask) -> list[Constraint]:
    """One a choice; none where any text may be answered. A large schema takes a second to compile."""
    if ask.grammar is None:
        return []
    try:
        return [resident.constrain(ask.grammar) for _ in range(ask.n)]
    except Unusable as error:
        raise unusable_format(error) from error


def _within_context(settings: Settings, prompt_tokens: int, context: int) -> Settings:
    room = context - prompt_tokens
    if room < 1:
        sentence = f"The messages are {prompt_tokens} tokens long and the model reads {context}. Shorten them."
        raise invalid("messages", sentence, code="context_length_exceeded")
    return replace(settings, max_tokens=min(settings.max_tokens, room))


def _refuse_what_never_fits(n: int, tokens_each: int, most: int) -> None:
    """Before the prompt is read: what never fits would wait for ever, with everybody behind it."""
    if n * tokens_each <= most:
        return
    if tokens_each <= most:
        asked, remedy = f"{n} answers of", f"Ask for {most // tokens_each} at most (n), or for fewer tokens."
    else:
        asked, remedy = "An answer of", "Shorten the messages, or ask for fewer tokens."
    sentence = f"{asked} up to {tokens_each} tokens, prompt included, take more than the {most} there is memory for."
    raise invalid("n" if tokens_each <= most else "messages", f"{sentence} {remedy}", code="too_many_tokens")


def _deliver_to(inbox: asyncio.Queue[Event]) -> Callable[[Event], None]:
    loop = asyncio.get_running_loop()

    def deliver(event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: the server is leaving
            loop.call_soon_threadsafe(inbox.put_nowait, event)

    return deliver
