import hashlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, Event, Task, WithdrawalReceipt
from tasks.models.events import seal
from tasks.services import datasets, receipts, reviews, withdrawals
from tests.cast import Person
from tests.tasks.pipeline import imported, proved, receive, states, sums, tasks

pytestmark = pytest.mark.django_db


def _shared_by(person: Person) -> Dataset:
    return datasets.create(
        person.team,
        "Also shared",
        actor=person.user,
        visibility="contributed",
        licence="MIT",
        consent_version=datasets.CONSENT_VERSION,
        default_grader={"type": "number"},
    )


def test_a_contributor_withdraws_a_task_in_any_state(contributed: Dataset, contributor: Person, reviewer: Person):
    proved(contributed, sums(2))
    reviews.approve(tasks(contributed)[0], reviewer=reviewer.user)

    receipt = withdrawals.withdraw(tasks(contributed)[0], actor=contributor.user, reason="a mistake")

    assert receipt.withdrawn == 1
    assert states(contributed) == ["withdrawn", "proved"]


def test_a_whole_dataset_is_withdrawn(contributed: Dataset, contributor: Person):
    proved(contributed, [*sums(3), {"prompt": "2 + 2?", "reference": 4}, {"prompt": "2 + 2?", "reference": 5}])

    receipt = withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving")

    assert (receipt.withdrawn, receipt.kept) == (5, 0)
    assert states(contributed) == ["withdrawn"] * 5


def test_withdrawing_twice_gives_the_same_receipt(contributed: Dataset, contributor: Person):
    imported(contributed, sums(2))
    first = withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving")

    again = withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving once more")

    assert (again.pk, again.reason, Event.objects.filter(kind="dataset.withdrawal").count()) == (first.pk, "leaving", 1)


def test_rows_that_come_in_after_a_withdrawal_are_withdrawn_under_a_receipt_of_their_own(
    contributed: Dataset, contributor: Person
):
    imported(contributed, sums(2))
    first = withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving")
    imported(contributed, sums(3, start=50))

    second = withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving again")

    assert (second.pk > first.pk, second.withdrawn) == (True, 3)


def test_an_empty_dataset_has_nothing_to_withdraw(contributed: Dataset, contributor: Person):
    with pytest.raises(Conflict) as refused:
        withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving")

    assert refused.value.code == "nothing_to_withdraw"


def test_a_task_that_another_team_brought_too_stays_with_it(
    contributed: Dataset, contributor: Person, stranger: Person
):
    other = _shared_by(stranger)
    imported(contributed, sums(2))
    imported(other, sums(1))

    receipt = withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving")

    assert states(other) == ["valid"]
    assert states(contributed) == ["withdrawn"]
    assert (receipt.withdrawn, receipt.kept) == (1, 1)


@pytest.mark.parametrize("person", ["stranger", "reviewer", "operator"])
def test_nobody_else_withdraws(contributed: Dataset, person: str, request: pytest.FixtureRequest):
    imported(contributed, sums(1))
    user = request.getfixturevalue(person).user

    with pytest.raises(Forbidden):
        withdrawals.withdraw(tasks(contributed)[0], actor=user, reason="no")
    with pytest.raises(Forbidden):
        withdrawals.withdraw(contributed, actor=user, reason="no")


def test_a_withdrawal_says_why(contributed: Dataset, contributor: Person):
    imported(contributed, sums(1))

    receipt = withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving")

    assert tasks(contributed)[0].reason == "leaving"
    told = Event.objects.get(kind="dataset.withdrawal").data
    assert (told["reason"], told["count"], told["receipt"]) == ("leaving", 1, receipt.pk)


def test_a_withdrawal_needs_a_reason(contributed: Dataset, contributor: Person):
    with pytest.raises(Invalid):
        withdrawals.withdraw(contributed, actor=contributor.user, reason=" ")


# Before


def test_a_preview_counts_what_goes_and_what_stays_and_changes_nothing(
    contributed: Dataset, contributor: Person, stranger: Person
):
    imported(contributed, sums(3))
    imported(_shared_by(stranger), sums(1))

    preview = withdrawals.preview(contributed, actor=contributor.user)

    assert (preview.goes, preview.stays, preview.going.count()) == (2, 1, 2)
    assert states(contributed) == ["valid"] * 3
    assert not WithdrawalReceipt.objects.exists()


def test_a_preview_says_what_leaves_other_datasets_of_the_team(contributed: Dataset, contributor: Person):
    imported(contributed, sums(3))
    imported(_shared_by(contributor), sums(2))

    preview = withdrawals.preview(contributed, actor=contributor.user)

    assert (preview.goes, preview.stays, preview.elsewhere) == (3, 0, 2)


def test_a_preview_tells_of_uploads_that_are_not_all_in(contributed: Dataset, contributor: Person):
    imported(contributed, sums(1))
    receive(contributed, sums(1, start=9))

    assert withdrawals.preview(contributed, actor=contributor.user).arriving == 1


@pytest.mark.parametrize("person", ["stranger", "reviewer", "operator"])
def test_nobody_else_is_told_what_a_withdrawal_would_do(
    contributed: Dataset, person: str, request: pytest.FixtureRequest
):
    imported(contributed, sums(1))

    with pytest.raises(Forbidden):
        withdrawals.preview(contributed, actor=request.getfixturevalue(person).user)


# The receipt


def test_a_receipts_digest_is_over_the_ids_and_contents_of_what_went(
    contributed: Dataset, contributor: Person, stranger: Person
):
    imported(contributed, sums(3))
    imported(_shared_by(stranger), sums(1))
    went = sorted(tasks(contributed)[1:], key=lambda task: task.pk)

    receipt = withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving")

    lines = "".join(f"{task.pk} {task.content_digest}\n" for task in went)
    assert receipt.digest == hashlib.sha256(lines.encode()).hexdigest()


def test_a_receipt_stands_in_the_hash_chain(contributed: Dataset, contributor: Person):
    imported(contributed, sums(1))
    receipt = withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving")
    before = receipts.shown(receipt)["event"]["link"]

    seal()

    assert (before, receipts.shown(receipt)["event"]["link"]) == (None, receipt.event.seal.digest)


@pytest.mark.parametrize("change", [{"withdrawn": 9}, {"reason": "other"}, {"seen": {"versions": []}}])
def test_a_changed_receipt_no_longer_agrees_with_the_log(
    contributed: Dataset, contributor: Person, change: dict[str, Any]
):
    imported(contributed, sums(1))
    receipt = withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving")
    unchanged = receipts.holds(WithdrawalReceipt.objects.get(pk=receipt.pk))

    WithdrawalReceipt.objects.filter(pk=receipt.pk).update(**change)

    assert (unchanged, receipts.holds(WithdrawalReceipt.objects.get(pk=receipt.pk))) == (True, False)


def test_a_receipt_keeps_what_the_model_side_tells_when_all_tasks_have_gone(contributed: Dataset, contributor: Person):
    imported(contributed, sums(2))

    receipt = withdrawals.withdraw(
        contributed,
        actor=contributor.user,
        reason="leaving",
        told=lambda open_receipt: {"states": sorted(set(states(contributed))), "tasks": open_receipt.tasks.count()},
    )

    assert receipt.seen == {"states": ["withdrawn"], "tasks": 2}


def test_only_the_team_that_withdrew_sees_the_receipt(
    contributed: Dataset, contributor: Person, stranger: Person, reviewer: Person
):
    imported(contributed, sums(1))
    receipt = withdrawals.withdraw(contributed, actor=contributor.user, reason="leaving")

    seen_by = [
        person
        for person in (contributor, stranger, reviewer)
        if WithdrawalReceipt.objects.for_user(person.user).filter(pk=receipt.pk).exists()
    ]

    assert seen_by == [contributor]


# Kills


def _kill_after_the_first_chunk(what: str, environment: dict[str, str], files: Path) -> None:
    script = f"""
import django; django.setup()
from tasks.models import Dataset, Task, User
from tasks.services import withdrawals
withdrawals.CHUNK = 2
withdrawals.withdraw({what}, actor=User.objects.get(username="carla"), reason="leaving")
"""
    env = {**environment, "DATA_DIR": str(files.parent), "DJANGO_SETTINGS_MODULE": "flywheel.settings"}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**env, "FLYWHEEL_CRASH_AT": "withdrawal.after_chunk"}, check=False
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.django_db(transaction=True)
def test_a_withdrawal_that_was_killed_is_finished_by_repeating_it_with_one_receipt_for_all(
    contributed: Dataset, contributor: Person, stranger: Person, server_environment: dict[str, str], files: Path
):
    imported(contributed, sums(5))
    imported(_shared_by(stranger), sums(1))
    _kill_after_the_first_chunk(f"Dataset.objects.get(pk={contributed.pk})", server_environment, files)
    half = Task.objects.filter(state="withdrawn").count()
    finished_before = WithdrawalReceipt.objects.finished().count()

    receipt = withdrawals.withdraw(contributed, actor=contributor.user, reason="once more")

    assert (half in (1, 2), finished_before) == (True, 0)
    assert (receipt.withdrawn, receipt.kept, receipt.reason) == (4, 1, "leaving")
    assert (receipts.holds(receipt), WithdrawalReceipt.objects.count()) == (True, 1)
    assert Event.objects.filter(kind="dataset.withdrawal").count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_killed_withdrawal_of_a_task_that_stays_with_others_is_finished_too(
    contributed: Dataset, contributor: Person, stranger: Person, server_environment: dict[str, str], files: Path
):
    imported(contributed, sums(1))
    imported(_shared_by(stranger), sums(1))
    task = tasks(contributed)[0]
    _kill_after_the_first_chunk(f"Task.objects.get(pk={task.pk})", server_environment, files)

    receipt = withdrawals.withdraw(task, actor=contributor.user, reason="once more")

    assert (receipt.withdrawn, receipt.kept, receipt.team) == (0, 1, contributor.team)
