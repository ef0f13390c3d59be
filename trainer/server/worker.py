"""One thread a model. It gathers what is asked into batches and lets the batches take turns, token by token.

Taking turns is why a short answer never waits for a long one that began before it, as long as both fit in memory.
"""

import hashlib
import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from transformers import PreTrainedModel

from trainer.constraint import Constraint, Mask
from trainer.server.chat import Settings
from trainer.server.faults import Fault, invalid
from trainer.server.odds import Likely, Odds
from trainer.server.sampling import STEP_TOKENS, Batch, Told
from trainer.server.text import TextStream

GATHER_SECONDS = 0.004  # an idle worker waits this long for company
ROWS_A_BATCH = 64  # fifty who ask at once share one batch: half as many rows cost a fifth of the tokens a second
BATCHES = 4  # at once

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    index: int
    text: str
    odds: tuple[Odds, ...] = ()  # of the tokens that the text is made of, where they were asked for


@dataclass(frozen=True, slots=True)
class Ended:
    index: int
    reason: str  # stop | length
    tokens: int


Event = Piece | Ended | Fault
Spell = Callable[[int], tuple[str, bytes | None]]  # a token's text and its bytes


class Job:
    """One request's choices. `emit` is called in the worker's thread."""

    def __init__(
        self,
        prompt: Sequence[int],
        n: int,
        settings: Settings,
        decode: Callable[[Sequence[int]], str],
        ends: frozenset[int],
        emit: Callable[[Event], None],
        *,
        spell: Spell = lambda token: (str(token), None),
        constraints: Sequence[Constraint] = (),  # one a choice, where the answer is held to a format
    ) -> None:
        self.prompt, self.settings, self.decode, self.ends, self.emit = prompt, settings, decode, ends, emit
        self.spell, self.constraints = spell, constraints
        self.cancelled = False  # written by the event loop, read by the worker: one bool needs no lock
        self.choices = [Choice(self, index) for index in range(n)]

    def cancel(self) -> None:
        self.cancelled = True


class Choice:
    """A row of a batch: one answer, its own random numbers, its own text."""

    def __init__(self, job: Job, index: int) -> None:
        self.job, self.index = job, index
        self.prompt, self.temperature, self.top_p = job.prompt, job.settings.temperature, job.settings.top_p
        self.top_logprobs = job.settings.top_logprobs
        self._random = random.Random(choice_seed(job.settings.seed, index))
        self._text = TextStream(job.decode, job.settings.stops)
        self._constraint = job.constraints[index] if job.constraints else None
        self._odds: deque[tuple[int, Odds]] = deque()  # not told yet, with the character that each token begins at
        self._tokens = 0
        self._over = False

    @property
    def ended(self) -> bool:
        return self._over or self.job.cancelled

    @property
    def left(self) -> int:
        """Tokens that may yet be drawn."""
        return self.job.settings.max_tokens - self._tokens

    def draw(self) -> float:
        return self._random.random()

    def allowed(self) -> Mask | None:
        if self._constraint is None:
            return None
        mask = self._constraint.allowed()
        if not mask.any():
            self.fail(invalid("response_format", self._constraint.dead_end, code="invalid_response_format"))
        return mask

    def accept(self, token: int, told: Told | None = None) -> None:
        self._tokens += 1
        if token in self.job.ends:
            return self._end("stop")
        if told is not None:
            self._odds.append((self._text.known, self._spelt(token, told)))
        self._say(self._text.push(token))
        if self._constraint is not None:
            self._constraint.accept(token)
        if self._text.stopped or (self._constraint is not None and self._constraint.finished):
            return self._end("stop")
        if self._tokens >= self.job.settings.max_tokens:
            return self._end("length")
        return None

    def fail(self, fault: Fault) -> None:
        if not self.ended:
            self._over = True
            self.job.emit(fault)

    def _end(self, reason: str) -> None:
        self._over = True
        if not self._text.stopped:
            self._say(self._text.close(), last=True)
        self.job.emit(Ended(self.index, "stop" if self._text.stopped else reason, self._tokens))

    def _say(self, text: str, *, last: bool = False) -> None:
        """A token is told with the piece that its text begins in; those of a stop string, in none, are not told."""
        told = []
        while self._odds and ((last and not self._text.stopped) or self._odds[0][0] < self._text.released):
            told.append(self._odds.popleft()[1])
        if text or told:
            self.job.emit(Piece(self.index, text, tuple(told)))

    def _spelt(self, token: int, told: Told) -> Odds:
        logprob, top = told
        return Odds(
            Likely(*self.job.spell(token), logprob), tuple(Likely(*self.job.spell(t), value) for t, value in top)
        )


def choice_seed(seed: int | None, index: int) -> int:
    """Choice i of a seed is the same whatever n is; without a seed it is a fresh one."""
    if seed is None:
        return secrets.randbits(64)
    return int.from_bytes(hashlib.sha256(f"{seed}:{index}".encode()).digest()[:8], "big")


def held(batch: Batch[Choice]) -> int:
    """Tokens of which it will hold keys and values if every answer grows as long as it may."""
    return len(batch.rows) * (batch.columns + max((row.left for row in batch.rows if not row.ended), default=0))


def how_many_fit(choices: Sequence[Choice], room: int) -> int:
    """Of those who wait, in their order: as many as share a batch that holds `room` tokens at most.

    Every row is padded to the longest prompt, so one that is far longer or shorter than those before it waits for the
    next batch: padding costs at most as much as the prompts themselves, or as one step.
    """
    prompt = answer = said = 0
    for rows, choice in enumerate(choices, start=1):
        prompt, answer = max(prompt, len(choice.prompt)), max(answer, choice.left)
        said += len(choice.prompt)
        if rows * (prompt + answer) > room or rows * prompt - said > max(said, STEP_TOKENS):
            return rows - 1
    return len(choices)


class Worker(threading.Thread):
    """Who submits a job sees to it that its choices fit in `max_cached_tokens`: what does not fit waits for ever."""

    def __init__(self, model: PreTrainedModel, name: str, max_cached_tokens: int) -> None:
        super().__init__(name=f"model-{name[:12]}", daemon=True)
        self._model, self._max_cached_tokens = model, max_cached_tokens
        self._wake = threading.Condition()
        self._waiting: deque[Choice] = deque()
        self._closing = False

    def submit(self, job: Job) -> None:
        with self._wake:
            self._waiting.extend(job.choices)
            self._wake.notify()

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()

    def run(self) -> None:
        batches: list[Batch[Choice]] = []
        while self._has_work(busy=bool(batches)):
            room = self._max_cached_tokens - sum(held(batch) for batch in batches)
            if len(batches) < BATCHES and (choices := self._next_choices(room)):
                batches += self._open(choices)
            for batch in batches:
                self._step(batch)
            batches = [batch for batch in batches if not all(row.ended for row in batch.rows)]
        fault = Fault(503, "unloaded", "The model was unloaded while it answered. Ask again.")
        for row in [*self._waiting, *(row for batch in batches for row in batch.rows)]:
            row.fail(fault)

    def _has_work(self, *, busy: bool) -> bool:
        """Waits for work; False: the worker is to end."""
        with self._wake:
            if not busy:
                self._wake.wait_for(lambda: self._waiting or self._closing)
        if not busy and not self._closing:
            time.sleep(GATHER_SECONDS)
        return not self._closing

    def _next_choices(self, room: int) -> list[Choice]:
        """Who came first is served first. Where the first does not fit, all wait: overtaken, it might never begin."""
        with self._wake:
            self._waiting = deque(choice for choice in self._waiting if not choice.ended)
            fitting = how_many_fit(list(islice(self._waiting, ROWS_A_BATCH)), room)
            return [self._waiting.popleft() for _ in range(fitting)]

    def _open(self, choices: list[Choice]) -> list[Batch[Choice]]:
        try:
            return [Batch(self._model, choices)]
        except Exception:
            log.exception("A batch could not be begun")
            _fail(choices)
            return []

    def _step(self, batch: Batch[Choice]) -> None:
        try:
            batch.step()
        except Exception:  # out of memory, NaN, a model's own bug: these callers are told, the worker goes on
            log.exception("A batch broke")
            _fail(batch.rows)


def _fail(choices: Sequence[Choice]) -> None:
    sentence = "The model failed while it answered. The server's log says why."
    for choice in choices:
        choice.fail(Fault(500, "generation_failed", sentence, headers={"x-should-retry": "false"}))
