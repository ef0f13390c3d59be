"""Graders tried out: what may wait, for how long, and beside whom."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
    monkeypatch.setattr(trying, "QUEUE_SECONDS", 0.01)


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


def test_who_comes_while_all_slots_are_taken_waits_for_one(
    contributor: Person, stranger: Person, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trying, "SLOTS", 1)
    with ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(trying.grade, NUMBER, "42", {"reference": 42}, actor=person.user)
            for person in (contributor, stranger, contributor, stranger)
        ]
        elsewhere.go.set()

        scores = [grade.result(30).score for grade in asked]

    assert scores == [1.0] * 4


def test_no_more_than_a_few_wait(
    contributor: Person, stranger: Person, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
):
    _gives_up_at_once(monkeypatch)
    monkeypatch.setattr(trying, "QUEUE", 0)
    monkeypatch.setattr(trying, "QUEUE_SECONDS", 60)
    with pytest.raises(TooSlow):
        trying.grade(NUMBER, "42", {}, actor=contributor.user)

    with pytest.raises(Busy):
        trying.grade(NUMBER, "42", {}, actor=contributor.user)


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


# How long the work itself may take

PYTHON = {"type": "python", "source": "def grade(sample, item):\n    return 1.0"}
CODE = {"type": "code", "seconds": 60, "total_seconds": 120}
MATH = {"type": "math", "seconds": 60}
JUDGED = {"type": "score_model", "model": "judge", "input": [{"role": "user", "content": "{{ sample.output_text }}"}]}


def _multi(**children: Any) -> dict[str, Any]:
    return {"type": "multi", "graders": children, "calculate_output": " + ".join(children)}


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[registry.Config]:
    """The configurations that were really graded with."""
    configs: list[registry.Config] = []

    def noted(requests: Any) -> list[Grade]:
        configs.extend(config for config, _, _ in requests)
        return [RIGHT] * len(requests)

    monkeypatch.setattr(registry, "grade_each", noted)
    return configs


def _longest(config: Any) -> list[float]:
    children = [second for child in getattr(config, "graders", {}).values() for second in _longest(child)]
    return [getattr(config, name) for name in ("seconds", "total_seconds") if hasattr(config, name)] + children


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        (PYTHON, [10.0]),
        (CODE, [10.0, 10.0]),
        (MATH, [10.0]),
        ({**PYTHON, "seconds": 3}, [3.0]),
        (_multi(a=PYTHON, b=MATH), [10.0, 10.0]),
    ],
    ids=["python", "code", "math", "shorter by itself", "multi"],
)
def test_a_tried_grader_may_not_work_longer_than_it_is_waited_for(
    contributor: Person, tried: list[registry.Config], config: dict[str, Any], longest: list[float]
):
    trying.grade(config, "42", {}, actor=contributor.user)

    assert [_longest(config) for config in tried] == [longest]


def test_a_judge_that_is_tried_may_not_take_longer_than_it_is_waited_for(
    contributor: Person, monkeypatch: pytest.MonkeyPatch
):
    seconds: list[float] = []

    def noted(requests: Any) -> list[Grade]:
        seconds.append(judges.current().seconds)
        return [RIGHT] * len(requests)

    monkeypatch.setattr(registry, "grade_each", noted)
    trying.grade(JUDGED, "42", {}, actor=contributor.user)

    assert seconds == [trying.SECONDS]


def test_a_checked_configuration_keeps_its_own_time(contributor: Person, monkeypatch: pytest.MonkeyPatch):
    tried: list[Any] = []
    monkeypatch.setattr(registry, "trial_problem", tried.append)

    checked = trying.check(PYTHON, actor=contributor.user)

    assert (checked.grader["seconds"], checked.digest) == (120.0, registry.digest(PYTHON))
    assert _longest(tried[0]) == [10.0]


def test_no_grade_is_begun_for_somebody_who_has_given_up(
    contributor: Person, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
):
    _gives_up_at_once(monkeypatch)
    begun: list[int] = []

    def counted(requests: Any) -> list[Grade]:
        begun.append(len(requests))
        return elsewhere.grade_each(requests)

    monkeypatch.setattr(registry, "grade_each", counted)
    with pytest.raises(TooSlow):
        trying.grade_each([(NUMBER, "42", {})] * 20, actor=contributor.user)
    elsewhere.go.set()
    _until_idle()

    assert begun == [trying.TOGETHER]


def test_grades_come_back_in_the_order_of_the_texts(contributor: Person, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trying, "runs_elsewhere", lambda config: True)
    asked = [(NUMBER, str(number), {"reference": number}) for number in range(5)]

    grades = trying.grade_each(asked, actor=contributor.user)

    assert [grade.read for grade in grades] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("config", [PYTHON, CODE, MATH], ids=["python", "code", "math"])
def test_a_machine_that_has_to_be_looked_at_first_keeps_no_request_waiting(
    contributor: Person, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    go = Event()
    monkeypatch.setattr(registry, "unavailable", lambda config: "never mind" if go.wait(30) else None)
    _gives_up_at_once(monkeypatch)

    with pytest.raises(TooSlow):
        trying.check(config, actor=contributor.user)

    go.set()
    _until_idle()
