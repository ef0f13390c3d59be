"""Graders tried out: any text against any row, a configuration checked, the time a grade takes. Nothing is stored.

What is graded in this process answers at once. What runs elsewhere (the sandbox, a judge) gets a thread of its own, one
a user and SLOTS in all, and SECONDS to answer: no request waits longer, and no user's grader keeps the others waiting.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextvars import copy_context
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any, TypeVar

import msgspec

from tasks.errors import Busy, Invalid, TooSlow
from tasks.graders import judges, registry
from tasks.models import User
from tasks.types import Grade

SECONDS = 10.0  # that one request waits for a grader
SLOTS = 2  # of this process at a time; a web process has a few threads in all
T = TypeVar("T")
Config = Mapping[str, Any] | registry.Config

_lock = Lock()
_busy: set[int] = set()  # users whose grader still runs, whether or not anybody still waits for it


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
    elsewhere = [config for config, _, _ in parsed if runs_elsewhere(config)]
    if not elsewhere:
        return registry.grade_each(parsed)
    with judges.for_team(space):
        for config in elsewhere:
            registry.unavailable(config)  # judges are looked up here: the database is not for the thread
        return _waited_for(actor, lambda: registry.grade_each(parsed))


def check(config: Config, *, actor: User, space: int | None = None) -> Checked:
    """The completed configuration, or Invalid with the sentence: by its fields, or by a trial."""
    parsed = registry.parse(config)
    with judges.for_team(space):
        problem = registry.unavailable(parsed)
        if not problem and hasattr(registry.module_of(parsed), "trial_problem"):
            problem = _waited_for(actor, lambda: registry.trial_problem(parsed))
    if problem:
        raise Invalid("bad_grader", problem, "grader")
    return Checked(
        grader=msgspec.to_builtins(parsed),
        digest=registry.digest(parsed),
        reads=tuple(variable.source for variable in registry.item_variables(parsed)),
    )


def runs_elsewhere(config: registry.Config) -> bool:
    """Whether a grade has to be waited for: the sandbox, a worker or a judge makes it."""
    return hasattr(registry.module_of(config), "compile_many") or registry.asks_a_model(config)


def _waited_for(actor: User, work: Callable[[], T]) -> T:
    """The work's answer. What comes too late is thrown away, and its user stays busy until then."""
    _enter(actor)
    future: Future[T] = Future()
    context = copy_context()  # on whose behalf is graded
    Thread(target=context.run, args=(_run, actor, work, future), daemon=True, name="grading").start()
    try:
        return future.result(SECONDS)
    except NotYet:
        raise TooSlow(
            "grading_too_slow",
            f"The grader has not answered within {SECONDS:.0f} seconds: make it faster, or prove it on an upload.",
        ) from None


def _enter(actor: User) -> None:
    with _lock:
        if actor.pk in _busy:
            raise Busy("still_grading", "Your last text is still being graded: wait for its grade, then send this one.")
        if len(_busy) >= SLOTS:
            raise Busy("all_grading", "Other people's texts are being graded: try again in a few seconds.")
        _busy.add(actor.pk)


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
    with _lock:
        _busy.discard(actor.pk)
