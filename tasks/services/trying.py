"""Graders tried out: any text against any row, a configuration checked, the time a grade takes. Nothing is stored.

What is graded in this process answers at once. What runs elsewhere (the sandbox, a judge) gets a thread of its own, one
a user and SLOTS in all, and SECONDS to answer. Who comes meanwhile waits QUEUE_SECONDS for a place at most, and at most
QUEUE wait at a time. The work itself ends soon after its time: a trial's grader may take SECONDS at most, whatever it
says of itself, and once nobody waits no further grade is begun.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from threading import Condition, Event, Thread
from typing import Any, TypeVar

import msgspec

from tasks.errors import Busy, Invalid, TooSlow
from tasks.graders import judges, multi, registry
from tasks.models import User
from tasks.services import connections
from tasks.types import Grade

SECONDS = 10.0  # that one request waits for a grader
SLOTS = 2  # of this process at a time
QUEUE_SECONDS = 10.0  # that one request waits for a place
QUEUE = 12  # requests that wait; a web process has 64 threads
TOGETHER = 2  # grades begun at once: so many are still made when nobody waits any more
T = TypeVar("T")
Config = Mapping[str, Any] | registry.Config

_places = Condition()
_busy: set[int] = set()  # users whose grader still runs, whether or not anybody still waits for it
_waiting: list[int] = []  # users of requests that wait for a place


@dataclass(frozen=True, slots=True)
class Checked:
    """A configuration that can work."""

    grader: Mapping[str, Any]  # with every default filled in
    digest: str
    reads: tuple[str, ...]  # the item's variables, as written


def grade(config: Config, completion: str, item: Mapping[str, Any], *, actor: User, space: int | None = None) -> Grade:
    return grade_each([(config, completion, item)], actor=actor, space=space)[0]


def grade_each(
    requests: Sequence[tuple[Config, str, Mapping[str, Any]]], *, actor: User, space: int | None = None
) -> list[Grade]:
    """Grades of (grader, completion, item), in order. Raises Invalid where a grader cannot be right, Busy, TooSlow.

    `space`: whose served models may judge, as of the rows; None: only those that everybody may ask.
    """
    parsed = [(registry.parse(config), completion, item) for config, completion, item in requests]
    if not any(runs_elsewhere(config) for config, _, _ in parsed):
        return registry.grade_each(parsed)
    hurried = [(_hurried(config), completion, item) for config, completion, item in parsed]

    def work(given_up: Event) -> list[Grade]:
        grades: list[Grade] = []
        while len(grades) < len(hurried) and not given_up.is_set():
            grades += registry.grade_each(hurried[len(grades) : len(grades) + TOGETHER])
        return grades

    with _judged_for(space, [config for config, _, _ in parsed]):
        return _waited_for(actor, work)


def check(config: Config, *, actor: User, space: int | None = None) -> Checked:
    """The completed configuration, or Invalid with the sentence: by its fields, or by a trial."""
    parsed = registry.parse(config)
    with _judged_for(space, [parsed]):
        if runs_elsewhere(parsed):
            hurried = _hurried(parsed)
            problem = _waited_for(actor, lambda given_up: registry.trial_problem(hurried))
        else:
            problem = registry.trial_problem(parsed)
    if problem:
        raise Invalid("bad_grader", problem, "grader")
    return Checked(
        grader=msgspec.to_builtins(parsed),
        digest=registry.digest(parsed),
        reads=tuple(variable.source for variable in registry.item_variables(parsed)),
    )


def _hurried(config: registry.Config) -> registry.Config:
    """The same grader, a grade of which takes SECONDS at most. Whoever asked would not see what comes later."""
    shorter: dict[str, Any] = {
        name: SECONDS for name in ("seconds", "total_seconds") if getattr(config, name, 0.0) > SECONDS
    }
    if isinstance(config, multi.Config):
        shorter["graders"] = {key: _hurried(child) for key, child in config.graders.items()}
    return msgspec.structs.replace(config, **shorter) if shorter else config


@contextmanager
def _judged_for(space: int | None, configs: Sequence[registry.Config]) -> Iterator[None]:
    """Judges are looked up here, because the database is not for the thread, and answer within SECONDS."""
    known = judges.current()
    hurried = msgspec.structs.replace(known, seconds=min(known.seconds, SECONDS))
    with judges.using(hurried), judges.for_team(space), judges.settled([*_models(configs)]):
        yield


def _models(configs: Iterable[registry.Config]) -> Iterator[str]:
    for config in configs:
        if isinstance(config, multi.Config):
            yield from _models(config.graders.values())
        elif registry.asks_a_model(config):
            yield config.model  # type: ignore[attr-defined]  # every judge has one


def runs_elsewhere(config: registry.Config) -> bool:
    """Whether a grade has to be waited for: the sandbox, a worker or a judge makes it."""
    return hasattr(registry.module_of(config), "compile_many") or registry.asks_a_model(config)


def _waited_for(actor: User, work: Callable[[Event], T]) -> T:
    """The work's answer. What comes too late is thrown away, and its user stays busy until then.

    The work is told when nobody waits any more.
    """
    connections.let_go()
    _enter(actor)
    future: Future[T] = Future()
    given_up = Event()
    context = copy_context()  # on whose behalf is graded
    Thread(target=context.run, args=(_run, actor, lambda: work(given_up), future), daemon=True, name="grading").start()
    try:
        return future.result(SECONDS)
    except NotYet:
        given_up.set()
        raise TooSlow(
            "grading_too_slow",
            f"The grader has not answered within {SECONDS:.0f} seconds: make it faster, or prove it on an upload.",
        ) from None


def _enter(actor: User) -> None:
    with _places:
        if _is_free(actor):
            _busy.add(actor.pk)
            return
        if len(_waiting) >= QUEUE:
            raise Busy("all_grading", "Other people's texts are being graded: try again in a few seconds.")
        _waiting.append(actor.pk)
        try:
            if _places.wait_for(lambda: _is_free(actor), QUEUE_SECONDS):
                _busy.add(actor.pk)
                return
        finally:
            _waiting.remove(actor.pk)
        if actor.pk in _busy:
            raise Busy("still_grading", "Your last text is still being graded: wait for its grade, then send this one.")
        raise Busy("all_grading", "Other people's texts are being graded: try again in a few seconds.")


def _is_free(actor: User) -> bool:
    return actor.pk not in _busy and len(_busy) < SLOTS


def _run(actor: User, work: Callable[[], T], future: Future[T]) -> None:
    """Leaves before it answers: whoever has the answer may ask again at once."""
    try:
        answer = work()
    except BaseException as fault:  # handed to whoever waits, as it is
        _leave(actor)
        future.set_exception(fault)
    else:
        _leave(actor)
        future.set_result(answer)


def _leave(actor: User) -> None:
    with _places:
        _busy.discard(actor.pk)
        _places.notify_all()
