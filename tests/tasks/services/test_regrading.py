from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tasks.errors import FlywheelError, Forbidden
from tasks.graders import registry
from tasks.models import Dataset, DatasetTask, Event, GraderChange, Proof, Task
from tasks.services import accounts, datasets, proving, regrading, reviews, waiting
from tests.cast import Person
from tests.tasks.pipeline import imported, proved, states, sums, tasks

pytestmark = pytest.mark.django_db

EXACT = {
    "type": "string_check",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.reference }}",
    "operation": "eq",
}
NUMBER = {"type": "number"}
NUMBER_DIGEST = registry.digest(NUMBER)


def _change(dataset: Dataset, config: Any = EXACT) -> GraderChange:
    change = regrading.change_grader(dataset, config, actor=None)
    regrading.run(change.pk)
    change.refresh_from_db()
    return change


def _kinds(dataset: Dataset) -> list[str]:
    return [task.grader.type for task in tasks(dataset)]


def test_tasks_that_nobody_approved_take_the_new_grader_and_are_to_be_proved_again(dataset: Dataset):
    proved(dataset, sums(3))
    before = [task.pk for task in tasks(dataset)]

    change = _change(dataset)

    assert (change.state, change.counts["changed"]) == ("done", 3)
    assert [task.pk for task in tasks(dataset)] == before
    assert states(dataset) == ["valid"] * 3
    assert _kinds(dataset) == ["string_check"] * 3
    assert {task.reason_code for task in tasks(dataset)} == {"grader_changed"}


def test_they_are_the_same_tasks_as_if_the_grader_had_been_there_from_the_start(dataset: Dataset, contributor: Person):
    proved(dataset, sums(2))
    _change(dataset)
    other = datasets.create(contributor.team, "Other", actor=contributor.user, default_grader=EXACT)

    upload = imported(other, sums(2))

    assert upload.counts["duplicates"] == 2
    assert datasets.digest(other) == datasets.digest(dataset)


def test_the_proof_runs_again_and_keeps_the_proofs_of_both_graders(dataset: Dataset):
    upload = proved(dataset, sums(3))

    _change(dataset)
    proving.prove_upload(upload.pk)

    upload.proof.refresh_from_db()
    assert states(dataset) == ["proved"] * 3
    assert upload.proof.state == "done"
    assert list(upload.proof.counts["matrix"]) == ["string_check"]
    assert Proof.objects.count() == 6


def test_rows_that_carry_their_own_grader_keep_it(dataset: Dataset):
    own = {"prompt": "Is it?", "reference": "yes", "grader": {"type": "choice", "choices": ["yes", "no"]}}
    proved(dataset, [*sums(1), own])

    _change(dataset)

    assert _kinds(dataset) == ["string_check", "choice"]
    assert states(dataset)[1] == "proved"


def test_a_frozen_version_stays_as_it_is(dataset: Dataset, contributor: Person):
    accounts.set_approval(contributor.team, "proved", actor=contributor.user)
    upload = proved(dataset, sums(3))
    version = datasets.freeze(dataset, actor=contributor.user)
    frozen = [entry.task for entry in version.entries.select_related("task")]

    change = _change(dataset)
    proving.prove_upload(upload.pk)

    assert change.counts["copied"] == 3
    again = [entry.task for entry in version.entries.select_related("task")]
    assert [task.content_digest for task in again] == [task.content_digest for task in frozen]
    assert {task.grader.type for task in again} == {"number"}
    assert {(task.state, task.reason_code) for task in again} == {("rejected", "grader_changed")}
    assert states(dataset) == ["approved"] * 3
    assert datasets.freeze(dataset, actor=contributor.user).digest != version.digest


def test_what_a_person_approved_comes_back_for_review(dataset: Dataset, contributor: Person):
    upload = proved(dataset, sums(1))
    reviews.approve(tasks(dataset)[0], reviewer=contributor.user)

    _change(dataset)
    proving.prove_upload(upload.pk)

    assert states(dataset) == ["proved"]


def test_what_a_person_rejected_stays_rejected_unless_for_its_grader(dataset: Dataset, contributor: Person):
    proved(dataset, sums(2))
    wrong, weak = tasks(dataset)
    reviews.reject(wrong, reviewer=contributor.user, reason_code="wrong_reference")
    reviews.reject(weak, reviewer=contributor.user, reason_code="weak_grader")

    _change(dataset)

    assert states(dataset) == ["rejected", "valid"]


def test_a_task_that_another_dataset_holds_too_is_left_to_it(dataset: Dataset, contributor: Person):
    proved(dataset, sums(1))
    other = datasets.create(contributor.team, "Other", actor=contributor.user, default_grader=NUMBER)
    proved(other, sums(1))

    _change(dataset)

    assert (_kinds(dataset), states(dataset)) == (["string_check"], ["valid"])
    assert (_kinds(other), states(other)) == (["number"], ["proved"])


def test_a_task_that_is_there_already_with_the_new_grader_is_joined(dataset: Dataset, contributor: Person):
    other = datasets.create(contributor.team, "Other", actor=contributor.user, default_grader=EXACT)
    proved(other, sums(1))
    proved(dataset, sums(1))

    change = _change(dataset)

    assert change.counts["twins"] == 1
    assert tasks(dataset) == tasks(other)
    assert states(dataset) == ["proved"]
    assert Task.objects.filter(state="rejected", reason_code="grader_changed").count() == 1


def test_changing_there_and_back_gives_the_same_dataset(dataset: Dataset, contributor: Person):
    accounts.set_approval(contributor.team, "proved", actor=contributor.user)
    upload = proved(dataset, sums(3))
    before = datasets.digest(dataset)

    _change(dataset)
    proving.prove_upload(upload.pk)
    _change(dataset, NUMBER)
    proving.prove_upload(upload.pk)

    assert datasets.digest(dataset) == before
    assert states(dataset) == ["approved"] * 3


def test_a_row_that_does_not_give_the_new_grader_what_it_reads_is_rejected(dataset: Dataset):
    proved(dataset, sums(1))

    change = _change(dataset, {**EXACT, "reference": "{{ item.solution }}"})

    task = tasks(dataset)[0]
    assert change.counts["rejected"] == 1
    assert (task.state, task.reason_code) == ("rejected", "variable_missing")


def test_what_its_grader_had_rejected_gets_another_chance(dataset: Dataset):
    upload = proved(dataset, [{"prompt": "Red or blue?", "reference": 1, "gold": "one"}])
    assert states(dataset) == ["rejected"]

    _change(dataset, {**EXACT, "reference": "one"})
    proving.prove_upload(upload.pk)

    assert states(dataset) == ["proved"]


def test_conflicting_tasks_stay_in_conflict_and_are_proved_with_the_new_grader(dataset: Dataset):
    upload = proved(dataset, [{"prompt": "2 + 2?", "reference": 4}, {"prompt": "2 + 2?", "reference": 5}])

    _change(dataset)
    proving.prove_upload(upload.pk)

    assert states(dataset) == ["conflict", "conflict"]
    assert Proof.objects.filter(grader__type="string_check").count() == 2


def test_a_change_is_told_by_one_event_a_chunk_and_move(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(regrading, "CHUNK", 2)
    proved(dataset, sums(5))

    change = _change(dataset)

    events = Event.objects.filter(kind="task.valid").order_by("id")
    assert [event.data["count"] for event in events] == [2, 2, 1]
    assert {(event.data["reason"], event.data["change"]) for event in events} == {("grader_changed", change.pk)}


def test_a_change_that_was_stopped_goes_on(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(regrading, "CHUNK", 2)
    proved(dataset, sums(5))
    monkeypatch.setattr(regrading, "crash_point", _stop)
    with pytest.raises(_Stopped):
        _change(dataset)
    GraderChange.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    monkeypatch.setattr(regrading, "crash_point", lambda name: None)

    regrading.run(GraderChange.objects.get().pk)

    change = GraderChange.objects.get()
    assert (change.state, change.attempt, change.counts["changed"]) == ("done", 2, 5)
    assert states(dataset) == ["valid"] * 5


class _Stopped(Exception):
    pass


def _stop(name: str) -> None:
    raise _Stopped


def test_rows_are_checked_before_their_space_is_locked(dataset: Dataset, monkeypatch: Any):
    proved(dataset, sums(3))
    done: list[str] = []
    locked, checked = regrading.lock_space, regrading.check_against
    monkeypatch.setattr(regrading, "check_against", lambda *given: done.append("check") or checked(*given))
    change = regrading.change_grader(dataset, EXACT, actor=None)
    monkeypatch.setattr(regrading, "lock_space", lambda space: done.append("lock") or locked(space))

    regrading.run(change.pk)

    assert done[:5] == ["check"] * 3 + ["lock"] * 2  # and of the passes after it nothing is left to check
    assert done.count("check") == 3


def test_rows_that_come_after_the_check_are_checked_too(dataset: Dataset, monkeypatch: Any):
    proved(dataset, sums(2))
    late = [{"prompt": "Late?", "reference": 1}]
    stages: list[str] = []

    def crash_point(name: str) -> None:
        stages.append(name)
        if stages == ["regrade.checked"]:
            proved(dataset, late)
            Task.objects.filter(messages__0__content="Late?").update(grader=NUMBER_DIGEST, item={})

    monkeypatch.setattr(regrading, "crash_point", crash_point)

    _change(dataset)

    assert states(dataset) == ["valid", "valid", "rejected"]


def test_doing_a_change_twice_changes_nothing(dataset: Dataset):
    proved(dataset, sums(2))
    change = _change(dataset)
    before = Event.objects.count()

    regrading.run(change.pk)

    assert Event.objects.count() == before


def test_the_next_change_takes_over_what_the_last_one_left(dataset: Dataset):
    proved(dataset, sums(2))
    first = regrading.change_grader(dataset, EXACT, actor=None)

    _change(dataset, {**NUMBER, "absolute_tolerance": 0.5})
    regrading.run(first.pk)

    first.refresh_from_db()
    assert first.state == "superseded"
    assert _kinds(dataset) == ["number"] * 2
    assert {task.grader.config["absolute_tolerance"] for task in tasks(dataset) if task.grader} == {0.5}


def test_a_change_that_kills_its_worker_three_times_is_given_up(dataset: Dataset):
    change = regrading.change_grader(dataset, EXACT, actor=None)
    GraderChange.objects.update(state="changing", tries=3, lease_until=timezone.now() - timedelta(seconds=1))

    regrading.run(change.pk)

    assert GraderChange.objects.get().state == "failed"


def test_rows_that_waited_for_a_grader_get_the_new_one(ungraded: Dataset):
    imported(ungraded, sums(2))
    _change(ungraded)

    waiting.check_grader(ungraded.pk)

    assert (_kinds(ungraded), states(ungraded)) == (["string_check"] * 2, ["valid"] * 2)


def test_how_many_tasks_a_change_concerns_is_told_before(dataset: Dataset):
    proved(dataset, sums(3))

    assert regrading.affected(dataset) == 3


def test_a_grader_that_cannot_be_right_changes_nothing(dataset: Dataset):
    with pytest.raises(FlywheelError) as refused:
        regrading.change_grader(dataset, {"type": "nonsense"}, actor=None)

    assert refused.value.code == "unknown_grader"
    assert not GraderChange.objects.exists()


def test_a_stranger_changes_no_grader(dataset: Dataset, stranger: Person):
    with pytest.raises(Forbidden):
        regrading.change_grader(dataset, EXACT, actor=stranger.user)


def test_every_row_keeps_its_line(dataset: Dataset, contributor: Person):
    accounts.set_approval(contributor.team, "proved", actor=contributor.user)
    proved(dataset, [*sums(3), *sums(1)])

    _change(dataset)

    assert list(DatasetTask.objects.order_by("line").values_list("line", "duplicate")) == [
        (1, False), (2, False), (3, False), (4, True),
    ]  # fmt: skip
