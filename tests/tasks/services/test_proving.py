from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tasks.models import Dataset, Event, Proof, ProofRun, Task
from tasks.services import accounts, proving, reviews
from tasks.states import ProofState
from tests.cast import Person
from tests.tasks.pipeline import imported, proved, states, sums, tasks

pytestmark = pytest.mark.django_db

WEAK = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "", "operation": "like"}


def _weak(prompt: str) -> dict[str, Any]:
    """A row whose grader accepts everything."""
    return {"prompt": prompt, "gold": "yes", "grader": WEAK}


def test_a_task_whose_gold_passes_and_whose_decoys_fail_is_proved(dataset: Dataset):
    upload = proved(dataset, sums(30))

    assert states(dataset) == ["proved"] * 30
    assert upload.proof.state == ProofState.DONE
    assert upload.proof.counts["proved"] == 30


def test_every_task_has_its_proof_with_six_decoys(dataset: Dataset):
    proved(dataset, sums(12))

    assert [len(proof.decoys) for proof in Proof.objects.all()] == [6] * 12


def test_the_matrix_counts_every_decoy(dataset: Dataset):
    upload = proved(dataset, sums(12))

    matrix = upload.proof.counts["matrix"]["number"]
    assert matrix["gold"] == {"earned": 12, "failed": 0, "ungradable": 0, "absent": 0, "not_sampled": 0}
    assert matrix["empty"] == {"refused": 12, "passed": 0, "skipped": 0, "ungradable": 0}


def test_a_gold_that_does_not_earn_full_score_rejects_its_row(dataset: Dataset):
    wrong = {"prompt": "What is 1 + 1?", "reference": 2, "gold": "3"}

    upload = proved(dataset, [*sums(20), wrong])

    task = tasks(dataset)[-1]
    assert (task.state, task.reason_code) == ("rejected", "gold_failed")
    assert "not full score" in task.reason
    assert upload.proof.counts["rejected"] == 1


def test_a_row_without_a_gold_is_unproved(dataset: Dataset):
    check = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "x", "operation": "ne"}

    proved(dataset, [*sums(20), {"prompt": "Say anything but x.", "grader": check}])

    task = tasks(dataset)[-1]
    assert (task.state, task.reason_code) == ("unproved", "no_gold")


def test_a_decoy_that_passes_sends_its_row_to_review(dataset: Dataset):
    flattery = {
        "type": "string_check",
        "input": "{{ sample.output_text }}",
        "reference": "correct",
        "operation": "ilike",
    }
    precise = {**flattery, "reference": "{{ item.reference }}"}
    rows = [{"prompt": f"Word {n}?", "reference": f"w{n}x", "grader": precise} for n in range(40)]

    upload = proved(dataset, [*rows, {"prompt": "Weak?", "gold": "that is correct", "grader": flattery}])

    task = tasks(dataset)[-1]
    assert (task.state, task.reason_code) == ("unproved", "decoy_passed")
    assert upload.proof.state == ProofState.DONE


def test_a_grader_that_one_decoy_passes_too_often_is_refused(dataset: Dataset):
    upload = proved(dataset, [*sums(20), *(_weak(f"Question {n}?") for n in range(10))])

    assert states(dataset) == ["proved"] * 20 + ["rejected"] * 10
    assert upload.proof.state == ProofState.REFUSED
    assert upload.proof.refusals[0].startswith("string_check: The grader accepts")
    assert {task.reason_code for task in tasks(dataset)[20:]} == {"grader_refused"}


def test_conflicting_tasks_are_proved_where_they_are(dataset: Dataset):
    proved(dataset, [*sums(20), {"prompt": "2 + 2?", "reference": 4}, {"prompt": "2 + 2?", "reference": 5}])

    assert states(dataset)[-2:] == ["conflict", "conflict"]
    assert Proof.objects.filter(task__state="conflict").count() == 2


def test_a_conflicting_task_whose_gold_fails_is_rejected(dataset: Dataset):
    proved(dataset, [{"prompt": "2 + 2?", "reference": 4}, {"prompt": "2 + 2?", "reference": 5, "gold": "4"}])

    assert states(dataset) == ["conflict", "rejected"]


@pytest.mark.parametrize(
    ("approval", "expected"),
    [("person", ["proved", "unproved"]), ("proved", ["approved", "unproved"]), ("all", ["approved", "approved"])],
)
def test_the_policy_of_the_space_lets_tasks_in(
    dataset: Dataset, contributor: Person, approval: str, expected: list[str]
):
    accounts.set_approval(contributor.team, approval, actor=contributor.user)
    check = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "x", "operation": "ne"}

    proved(dataset, [sums(1)[0], {"prompt": "Say anything but x.", "grader": check}])

    assert states(dataset) == expected


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


def test_proving_what_is_proved_changes_nothing(dataset: Dataset):
    upload = proved(dataset, sums(2))
    before = Event.objects.count()

    proving.prove_upload(upload.pk)

    assert Event.objects.count() == before


def test_a_proof_that_was_stopped_goes_on_and_counts_nothing_twice(dataset: Dataset, monkeypatch: Any):
    monkeypatch.setattr(proving, "CHUNK_LINES", 4)
    upload = imported(dataset, sums(10))
    monkeypatch.setattr(proving, "crash_point", _stop_after_two_chunks())
    with pytest.raises(_Stopped):
        proving.prove_upload(upload.pk)
    assert Proof.objects.count() == 8
    ProofRun.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    monkeypatch.setattr(proving, "crash_point", lambda name: None)

    proving.prove_upload(upload.pk)

    counts = ProofRun.objects.get().counts
    assert (counts["tasks"], counts["proved"]) == (10, 10)


class _Stopped(Exception):
    pass


def _stop_after_two_chunks() -> Any:
    seen: list[str] = []

    def crash_point(name: str) -> None:
        seen.append(name)
        if seen.count("prove.after_chunk") == 2:
            raise _Stopped

    return crash_point


def test_a_prover_that_lost_its_lease_writes_nothing(dataset: Dataset, monkeypatch: Any):
    upload = imported(dataset, sums(3))
    monkeypatch.setattr(proving, "prove_candidates", _while_somebody_else_claims(proving.prove_candidates))

    proving.prove_upload(upload.pk)

    assert ProofRun.objects.get().attempt == 2
    assert Proof.objects.count() == 0


def _while_somebody_else_claims(prove: Any) -> Any:
    def slow(*args: Any) -> Any:
        ProofRun.objects.update(attempt=2)
        return prove(*args)

    return slow


def test_a_proof_that_kills_its_worker_three_times_is_quarantined(dataset: Dataset, monkeypatch: Any):
    upload = imported(dataset, sums(1))
    ProofRun.objects.filter(upload=upload).update(
        state=ProofState.PROVING, tries=3, lease_until=timezone.now() - timedelta(seconds=1)
    )

    proving.prove_upload(upload.pk)

    run = ProofRun.objects.get()
    assert (run.state, run.refusals) == ("refused", [proving.QUARANTINED])


def test_another_rows_answer_comes_from_a_row_of_the_same_kind_of_grader(dataset: Dataset):
    choice = {"type": "choice", "choices": ["yes", "no"], "reference": "yes"}

    proved(dataset, [{"prompt": "Is it?", "reference": "yes", "grader": choice}, *sums(1)])

    assert {
        decoy["outcome"] for proof in Proof.objects.all() for decoy in proof.decoys if decoy["kind"] == "other_gold"
    } == {"skipped"}
