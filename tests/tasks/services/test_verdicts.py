"""How tasks move by their proofs, who is let in by the policy of a space, and what is told of it."""

from typing import Any

import pytest

from tasks.models import Dataset, Event, ProofRun, Task, Team
from tasks.services import accounts, proving, regrading, reviews, verdicts
from tasks.states import ProofState
from tests.cast import Person
from tests.tasks.pipeline import proved, states, sums, tasks

pytestmark = pytest.mark.django_db

_ANYTHING_BUT_X = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "x", "operation": "ne"}


def test_thousands_of_graders_are_told_of_in_a_few_sentences(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(verdicts, "REFUSALS_TOLD", 1)
    checks = [{**_ANYTHING_BUT_X, "reference": reference} for reference in ("no", "never")]
    rows = [{"prompt": f"{n}?", "gold": "yes", "grader": checks[n // 20]} for n in range(40)]

    upload = proved(dataset, rows)

    assert states(dataset) == ["rejected"] * 40
    assert upload.proof.refusals[1:] == ["So it is with 1 more graders."]


@pytest.mark.parametrize(
    ("approval", "expected"),
    [("person", ["proved", "unproved"]), ("proved", ["approved", "unproved"]), ("all", ["approved", "approved"])],
)
def test_the_policy_of_the_space_lets_tasks_in(
    dataset: Dataset, contributor: Person, approval: str, expected: list[str]
):
    accounts.set_approval(contributor.team, approval, actor=contributor.user)

    proved(dataset, [sums(1)[0], {"prompt": "Say anything but x.", "grader": _ANYTHING_BUT_X}])

    assert states(dataset) == expected


def test_the_pool_lets_nothing_unproved_in_whatever_its_policy(contributed: Dataset):
    Team.objects.filter(pk=contributed.space_id).update(approval="all")

    proved(contributed, [sums(1)[0], {"prompt": "Say anything but x.", "grader": _ANYTHING_BUT_X}])

    assert states(contributed) == ["approved", "unproved"]


def test_what_the_policy_lets_in_carries_its_moment(dataset: Dataset, contributor: Person):
    accounts.set_approval(contributor.team, "all", actor=contributor.user)

    proved(dataset, sums(2))

    assert not Task.objects.filter(approved_at=None).exists()


def test_a_decision_that_was_undone_is_left_to_people(dataset: Dataset, contributor: Person):
    upload = proved(dataset, sums(1))
    reviews.undo(reviews.approve(tasks(dataset)[0], reviewer=contributor.user), actor=contributor.user)
    accounts.set_approval(contributor.team, "all", actor=contributor.user)
    ProofRun.objects.advance(upload.proof.pk, ProofState.DONE, ProofState.PENDING)

    proving.prove_upload(upload.pk)

    assert states(dataset) == ["proved"]


def test_moves_are_told_by_one_event_a_chunk(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(proving, "MOVED_AT_ONCE", 4)

    proved(dataset, sums(10))

    assert [event.data["count"] for event in Event.objects.filter(kind="task.proved").order_by("id")] == [4, 4, 2]


def test_totals_are_those_of_the_upload_however_often_it_was_proved(dataset: Dataset):
    upload = proved(dataset, sums(10))
    change = regrading.change_grader(dataset, {"type": "number", "absolute_tolerance": 0.25}, actor=None)
    regrading.run(change.pk)

    proving.prove_upload(upload.pk)

    counts = ProofRun.objects.get().counts
    assert (counts["tasks"], counts["proved"], states(dataset)) == (10, 10, ["proved"] * 10)
