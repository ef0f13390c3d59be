"""Questions of equality, answered by killable worker processes that run symbolic.py.

A comparison that hangs or grows costs its own worker and nothing else: the next one is forked from a process that has
everything loaded, and the rest of the batch goes on in it. Workers stay open between calls; any thread may ask.
"""

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from time import monotonic, perf_counter
from typing import NamedTuple

from tasks.sandbox import pool
from tasks.sandbox.protocol import Flavour, Limits, Lost, Unavailable

_AT_ONCE = 32  # questions in one message, at most: a worker never waits for its next one
_FEWEST = 4  # so few are not worth a second worker
_LIMITS = Limits(seconds=7200, memory_bytes=1 << 30)  # of a worker's whole life
_RENEWED_AFTER_SECONDS = 1800
_RENEWED_AFTER_QUESTIONS = 20_000
_MOST_REMEMBERED = 65_536
_UNUSABLE_SECONDS = 60  # a reference is tried again after this long: the machine may have been busy


class Verdict(StrEnum):
    EQUAL = "equal"
    DIFFERENT = "different"
    UNREADABLE = "unreadable"  # the answer is no formula
    UNUSABLE = "unusable"  # the reference is no formula, or comparing with it does not end
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"  # in memory
    CRASHED = "crashed"  # the answer ends every worker that reads it
    LOST = "lost"  # our own doing


class Question(NamedTuple):
    references: tuple[str, ...]  # readings of one formula, in LaTeX
    answers: tuple[str, ...]
    decimals: int
    relations: bool  # whether x < 3 may stand for (-∞, 3)
    plain: bool  # the reference is a number as people write it: it needs no trial


class Answer(NamedTuple):
    verdict: Verdict
    seconds: float = 0.0
    detail: str = ""


def compare(questions: Sequence[Question], seconds: float) -> list[Answer]:
    """An answer for each question, in order; `seconds` is what one may take. The same question is asked once."""
    answers = {question: found for question in questions if (found := _memory.answer(question)) is not None}
    asked = [question for question in dict.fromkeys(questions) if question not in answers]
    for question, answer in zip(asked, _ask(asked, seconds), strict=True):
        answers[question] = answer
        _memory.keep(question, answer)
    return [answers[question] for question in questions]


def unavailable() -> str | None:
    """Why no worker can be had on this machine, as a sentence."""
    try:
        pool.shared(Flavour.MATH)
    except Unavailable as refusal:
        return refusal.sentence
    return None


class _Memory:
    """What was found out before, for all threads. A verdict is a function of its question: keeping it changes none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._verdicts: dict[Question, Verdict] = {}
        self._sound: set[tuple[str, ...]] = set()  # references that were tried
        self._unusable: dict[tuple[str, ...], tuple[float, str]] = {}  # found when, why

    def answer(self, question: Question) -> Answer | None:
        with self._lock:
            if (verdict := self._verdicts.get(question)) is not None:
                return Answer(verdict)
            if question.references in self._sound:  # it equals itself: that is how it was tried
                return Answer(Verdict.EQUAL) if question.references == question.answers else None
            found, detail = self._unusable.get(question.references, (0.0, ""))
            return Answer(Verdict.UNUSABLE, 0.0, detail) if detail and monotonic() - found < _UNUSABLE_SECONDS else None

    def keep(self, question: Question, answer: Answer) -> None:
        with self._lock:
            if len(self._verdicts) + len(self._sound) + len(self._unusable) >= _MOST_REMEMBERED:
                self._verdicts.clear()
                self._sound.clear()
                self._unusable.clear()
            if answer.verdict in (Verdict.EQUAL, Verdict.DIFFERENT, Verdict.UNREADABLE):
                self._verdicts[question] = answer.verdict
            elif answer.verdict is Verdict.UNUSABLE:
                self._unusable[question.references] = monotonic(), answer.detail

    def is_sound(self, question: Question) -> bool:
        return question.plain or question.references in self._sound

    def found_sound(self, question: Question) -> None:
        with self._lock:
            self._sound.add(question.references)


class _Worker:
    """One open session of symbolic.py."""

    def __init__(self) -> None:
        self._context = pool.shared(Flavour.MATH).session("symbolic", {}, _LIMITS)
        self._session = self._context.__enter__()
        self._started = monotonic()
        self._questions = 0

    @property
    def worn(self) -> bool:
        """sympy remembers what it has seen, and a session has an end."""
        old = monotonic() - self._started > _RENEWED_AFTER_SECONDS
        return old or self._questions > _RENEWED_AFTER_QUESTIONS

    def ask(self, questions: Sequence[Question], seconds: float) -> Iterator[Answer]:
        """Raises Lost at the question that the worker did not survive."""
        self._questions += len(questions)
        self._session.send({"items": [[*question[:4], _memory.is_sound(question)] for question in questions]})
        for question in questions:
            started = perf_counter()
            answer = self._session.receive(seconds)
            if "sound" in answer:
                _memory.found_sound(question)
                answer = self._session.receive(seconds)
            verdict = Verdict(answer["verdict"])
            detail = "it is no formula that equals itself" if verdict is Verdict.UNUSABLE else ""
            yield Answer(verdict, perf_counter() - started, detail)

    def close(self) -> None:
        self._context.__exit__(None, None, None)


class _Desk:
    """A thread's place at one of the workers: as many places as workers, the worker replaced where it was lost."""

    def __init__(self) -> None:
        self._worker: _Worker | None = None
        self._lost = False  # then only a fresh worker shows whether a question is to blame: others may be gone as well

    def worker(self) -> _Worker:
        if self._worker is None and not self._lost:
            with _lock:
                self._worker = _idle.pop() if _idle else None
        if self._worker is not None and self._worker.worn:
            self.discard()
        if self._worker is None:
            self._worker = _Worker()
        return self._worker

    def discard(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def lose(self) -> None:
        self.discard()
        self._lost = True

    def leave(self) -> None:
        if self._worker is not None:
            with _lock:
                _idle.append(self._worker)


@contextmanager
def _desk() -> Iterator[_Desk]:
    with _places:
        desk = _Desk()
        try:
            yield desk
        except BaseException:
            desk.discard()  # its answers would be taken for the next one's
            raise
        desk.leave()


def _ask(questions: Sequence[Question], seconds: float) -> list[Answer]:
    """Spread over the workers; each thread takes the next few questions when it is done with its last."""
    workers = pool.workers_wanted()
    size = min(_AT_ONCE, max(_FEWEST, -(-len(questions) // workers)))
    waiting = deque(range(0, len(questions), size))
    answers: dict[int, list[Answer]] = {}
    faults: list[BaseException] = []

    def serve() -> None:
        with _desk() as desk:
            while waiting:
                try:
                    first = waiting.popleft()
                except IndexError:  # another thread has taken it
                    return
                answers[first] = _answers(desk, questions[first : first + size], seconds)

    def serve_beside() -> None:
        try:
            serve()
        except BaseException as fault:  # told to the caller, who would miss the answers otherwise
            faults.append(fault)

    others = [threading.Thread(target=serve_beside) for _ in range(min(workers, len(waiting)) - 1)]
    for thread in others:
        thread.start()
    if waiting:
        serve()
    for thread in others:
        thread.join()
    if faults:
        raise faults[0]
    return [answer for first in sorted(answers) for answer in answers[first]]


def _answers(desk: _Desk, questions: Sequence[Question], seconds: float) -> list[Answer]:
    answers: list[Answer] = []
    again = False  # whether the next question has already ended a worker
    while len(answers) < len(questions):
        left = questions[len(answers) :]
        try:
            for answer in desk.worker().ask(left, seconds):
                answers.append(answer)
                again = False
        except Lost as lost:
            desk.lose()
            if lost.kind == "timeout" or again:
                answers.append(_blame(desk, questions[len(answers)], lost, seconds))
                again = False
            else:
                again = True
        except (Unavailable, EOFError, OSError) as refusal:
            lost_ones = len(questions) - len(answers)
            return answers + [Answer(Verdict.LOST, 0.0, f"no worker can be had: {refusal}")] * lost_ones
    return answers


def _blame(desk: _Desk, question: Question, lost: Lost, seconds: float) -> Answer:
    """Whose doing the loss of a worker was: the reference's, the answer's, or ours where nothing is answered at all."""
    if lost.kind != "timeout" and not _works(desk, seconds):
        return Answer(Verdict.LOST, 0.0, lost.detail)
    if not _memory.is_sound(question):
        ends = f"takes longer than {seconds:g} s" if lost.kind == "timeout" else f"ends the process: {lost.detail}"
        return Answer(Verdict.UNUSABLE, seconds, f"comparing with it {ends}")
    if lost.kind == "timeout":
        return Answer(Verdict.TIMEOUT, seconds)
    return Answer(Verdict.TOO_LARGE if lost.kind == "memory" else Verdict.CRASHED, 0.0, lost.detail)


def _works(desk: _Desk, seconds: float) -> bool:
    simple = Question(("2",), ("3",), 6, False, True)
    try:
        return [answer.verdict for answer in desk.worker().ask([simple], seconds)] == [Verdict.DIFFERENT]
    except (Lost, Unavailable, EOFError, OSError):
        desk.lose()
        return False


_memory = _Memory()
_lock = threading.Lock()
_idle: list[_Worker] = []
_places = threading.Semaphore(pool.workers_wanted())
_parents: list[_Worker] = []  # in a forked child: kept, because ending them is not its business


def _after_fork() -> None:
    global _memory, _lock, _places
    _memory = _Memory()
    _lock = threading.Lock()
    _places = threading.Semaphore(pool.workers_wanted())
    _parents.extend(_idle)
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
