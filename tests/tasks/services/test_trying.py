"""Graders tried out: what may wait, for how long, and beside whom."""

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from tasks.errors import Busy, Invalid, TooSlow
from tasks.graders import judges, registry
from tasks.services import trying
from tasks.types import Grade, Outcome
from tests.cast import Person

NUMBER = {"type": "number"}
RIGHT = Grade(Outcome.CORRECT, 1.0, "42", "Matches.")


class Elsewhere:
    """A grader that runs elsewhere and answers when it is let go."""

    def __init__(self) -> None:
        self.go = Event()
        self.ended = Event()

    def grade_each(self, requests: Any) -> list[Grade]:
        assert self.go.wait(30)
        return [RIGHT] * len(requests)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    grader = Elsewhere()
    monkeypatch.setattr(trying, "runs_elsewhere", lambda config: True)
    monkeypatch.setattr(registry, "grade_each", grader.grade_each)
    yield grader
    grader.go.set()
    _until_idle()


def _until_idle() -> None:
    pause = Event()
    for _ in range(3000):
        if not trying._busy:
            return
        pause.wait(0.01)
    raise AssertionError("A grader is still running.")


def _gives_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trying, "SECONDS", 0.01)


def test_a_text_is_graded_against_an_item(contributor: Person):
    grade = trying.grade(NUMBER, "It is 42.", {"reference": 42}, actor=contributor.user)

    assert (grade.outcome, grade.read) == (Outcome.CORRECT, "42")


def test_a_configuration_that_cannot_be_right_is_refused(contributor: Person):
    with pytest.raises(Invalid, match="no grader of type"):
        trying.grade({"type": "numbr"}, "42", {}, actor=contributor.user)


def test_a_grader_that_runs_elsewhere_answers_too(contributor: Person, elsewhere: Elsewhere):
    elsewhere.go.set()

    assert trying.grade(NUMBER, "42", {}, actor=contributor.user) == RIGHT


def test_whoever_has_the_answer_may_ask_again(contributor: Person, elsewhere: Elsewhere):
    elsewhere.go.set()

    grades = [trying.grade(NUMBER, "42", {}, actor=contributor.user) for _ in range(20)]

    assert grades == [RIGHT] * 20


def test_a_grader_that_does_not_answer_in_time_is_given_up(
    contributor: Person, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
):
    _gives_up_at_once(monkeypatch)

    with pytest.raises(TooSlow, match="make it faster"):
        trying.grade(NUMBER, "42", {}, actor=contributor.user)


def test_a_grader_that_was_given_up_keeps_its_user_busy(
    contributor: Person, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
):
    _gives_up_at_once(monkeypatch)
    with pytest.raises(TooSlow):
        trying.grade(NUMBER, "42", {}, actor=contributor.user)

    with pytest.raises(Busy, match="still being graded"):
        trying.grade(NUMBER, "42", {}, actor=contributor.user)


def test_another_user_is_served_meanwhile(
    contributor: Person, stranger: Person, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
):
    _gives_up_at_once(monkeypatch)
    with pytest.raises(TooSlow):
        trying.grade(NUMBER, "42", {}, actor=contributor.user)

    with pytest.raises(TooSlow):  # it waits for a grade of its own: nobody turned it away
        trying.grade(NUMBER, "42", {}, actor=stranger.user)


def test_more_users_than_there_are_slots_are_told_to_wait(
    contributor: Person, stranger: Person, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
):
    _gives_up_at_once(monkeypatch)
    monkeypatch.setattr(trying, "SLOTS", 1)
    with pytest.raises(TooSlow):
        trying.grade(NUMBER, "42", {}, actor=contributor.user)

    with pytest.raises(Busy, match="Other people"):
        trying.grade(NUMBER, "42", {}, actor=stranger.user)


def test_a_bug_in_a_grader_that_runs_elsewhere_is_not_swallowed(
    contributor: Person, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
):
    def broken(requests: Any) -> list[Grade]:
        raise LookupError("a bug")

    monkeypatch.setattr(registry, "grade_each", broken)

    with pytest.raises(LookupError, match="a bug"):
        trying.grade(NUMBER, "42", {}, actor=contributor.user)


def test_a_checked_configuration_is_complete(contributor: Person):
    checked = trying.check(NUMBER, actor=contributor.user)

    assert checked.grader["reference"] == "{{ item.reference }}"


def test_a_checked_configuration_says_what_it_reads(contributor: Person):
    checked = trying.check({"type": "number", "reference": "{{ item.answers[0] }}"}, actor=contributor.user)

    assert checked.reads == ("item.answers[0]",)


def test_a_configuration_that_a_trial_finds_wanting_is_refused(contributor: Person, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "unavailable", lambda config: "No sandbox works on this machine.")

    with pytest.raises(Invalid, match="No sandbox works"):
        trying.check(NUMBER, actor=contributor.user)


def test_judges_of_the_rows_space_are_asked(contributor: Person, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch):
    teams: list[int | None] = []

    def noted(requests: Any) -> list[Grade]:
        teams.append(judges._team.get())
        return [RIGHT] * len(requests)

    monkeypatch.setattr(registry, "grade_each", noted)

    trying.grade(NUMBER, "42", {}, actor=contributor.user, space=contributor.team.pk)

    assert teams == [contributor.team.pk]
