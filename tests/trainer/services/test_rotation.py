"""A suite whose looks are spent gives a quarter of its items to validation, and takes others that nobody trained on."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from threading import Event as Signal
from typing import Any

import pytest
from django.db import connection

from tasks.dedup.fingerprint import exact_key
from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, Event, HeldOutItem, HeldOutSuite, Task, User
from tasks.services import sealing
from tasks.states import Split
from tasks.types import Message
from trainer.models import Evaluation, Line, Mixture, ModelVersion, SuiteItem, SuiteRotation, SuiteVersion
from trainer.services import evaluations, policies, recipes, rotation, suites
from trainer.states import AliasName

Fill = Callable[..., Dataset]


def candidate(line: Line) -> ModelVersion:
    """A version that training might have made."""
    number = line.versions.count()
    champion = line.alias(AliasName.CHAMPION)
    return ModelVersion.objects.create(line=line, number=number, digest=f"{number:064d}", parent=champion, origin="run")


def look(line: Line, actor: Any = None) -> Evaluation:
    return evaluations.start(candidate(line), actor=actor)


def split(split: Split, domain: str = "add") -> set[int]:
    return set(Task.objects.filter(split=split, domain=domain).values_list("pk", flat=True))


def asked(task: Task) -> list[Message]:
    return [Message(**message) for message in task.messages]


def items(evaluation: Evaluation, name: str = "add") -> set[int]:
    return set(SuiteItem.objects.filter(suite__evaluations=evaluation, suite__name=name).values_list("task", flat=True))


@pytest.fixture
def two_looks(line: Line, operator: User) -> Line:
    policies.change(line, {"look_budget": 2}, actor=operator)
    return Line.objects.get(pk=line.pk)


# Looks


def test_every_candidate_is_a_look_and_each_counts_once(line: Line, fill: Fill):
    fill()
    first = look(line)
    Evaluation.objects.filter(pk=first.pk).update(state="failed")
    evaluations.start(first.candidate, actor=None)
    look(line)

    assert rotation.used(line, "add") == 2
    assert {suite.looks for suite in SuiteVersion.objects.filter(line=line)} == {2}


def test_what_failed_or_was_cancelled_told_nobody_anything(line: Line, fill: Fill):
    fill()
    for state in ("failed", "cancelled"):
        Evaluation.objects.filter(pk=look(line).pk).update(state=state)

    assert rotation.used(line, "add") == 0


def test_a_new_version_of_a_suite_does_not_begin_at_zero(line: Line, fill: Fill):
    fill()
    look(line)
    fill("more sums")
    look(line)

    assert SuiteVersion.objects.filter(line=line, name="add").count() == 2
    assert rotation.used(line, "add") == 2


def test_an_evaluation_keeps_which_look_it_is(line: Line, fill: Fill):
    fill()
    look(line)

    assert [(one["suite"], one["used"], one["budget"]) for one in look(line).exposure] == [
        ("add", 2, 20),
        ("reverse", 2, 20),
    ]


# Rotation when the budget is spent


def test_the_look_behind_the_budget_rotates_a_quarter(two_looks: Line, fill: Fill):
    fill()
    first, _ = look(two_looks), look(two_looks)
    third = look(two_looks)

    done = SuiteRotation.objects.get(line=two_looks, name="add")
    assert (done.wanted, done.retired, done.reserve, done.sealed, done.carried) == (8, 8, 0, 8, 0)
    assert len(items(third)) == len(items(first)) == 30
    assert len(items(third) - items(first)) == 8
    assert items(first) - items(third) <= split(Split.VALIDATION)


def test_the_rotation_is_told_with_the_evaluation(two_looks: Line, fill: Fill):
    fill()
    look(two_looks), look(two_looks)
    third = look(two_looks)

    (told,) = [one for one in third.exposure if one["suite"] == "add"]
    assert told["used"] == 1
    assert told["notes"] == [
        "8 items that were asked longest became validation; others take their place (0 sealed before, 8 sealed now)."
    ]


def test_the_same_candidate_again_rotates_nothing(two_looks: Line, fill: Fill):
    fill()
    _, second = look(two_looks), look(two_looks)
    Evaluation.objects.filter(pk=second.pk).update(state="failed")
    evaluations.start(second.candidate, actor=None)

    assert not SuiteRotation.objects.exists()


def test_without_a_limit_nothing_rotates(line: Line, fill: Fill, operator: User):
    policies.change(line, {"look_budget": 0}, actor=operator)
    fill()
    for _ in range(3):
        look(Line.objects.get(pk=line.pk))

    assert not SuiteRotation.objects.exists()


def test_the_items_that_were_asked_first_go_first(two_looks: Line, fill: Fill):
    fill()
    first = look(two_looks)
    fill("more sums")
    second = look(two_looks)
    look(two_looks)

    retired = items(second) & split(Split.VALIDATION)
    assert len(retired) == 15
    assert retired <= items(first)


def test_sealed_tasks_that_nobody_asked_come_before_training_tasks(
    two_looks: Line, fill: Fill, monkeypatch: pytest.MonkeyPatch
):
    fill()
    monkeypatch.setattr(suites, "MOST", 24)
    look(two_looks), look(two_looks), look(two_looks)

    done = SuiteRotation.objects.get(line=two_looks, name="add")
    assert (done.wanted, done.retired, done.reserve, done.sealed) == (6, 6, 6, 0)


# What may be sealed


def test_a_task_that_stood_in_a_mixture_is_never_sealed(two_looks: Line, fill: Fill, operator: User):
    fill()
    recipes.build(recipes.create(two_looks, "all", {}, actor=operator), actor=operator)
    mixed = set(Mixture.objects.get().entries.values_list("task", flat=True))
    fill("new sums", train=3, sealed=0, validation=0)
    look(two_looks), look(two_looks), look(two_looks)

    done = SuiteRotation.objects.get(line=two_looks, name="add")
    assert (done.retired, done.sealed) == (3, 3)
    assert not mixed & split(Split.SEALED)


def test_where_nothing_can_be_replaced_nothing_goes_and_it_is_said(two_looks: Line, fill: Fill, operator: User):
    fill()
    recipes.build(recipes.create(two_looks, "all", {}, actor=operator), actor=operator)
    look(two_looks), look(two_looks)
    third = look(two_looks)

    (told,) = [one for one in third.exposure if one["suite"] == "add"]
    assert not SuiteRotation.objects.exists()
    assert len(items(third)) == 30
    assert told["used"] == 3
    assert told["notes"][0].startswith("Nothing of add can be replaced")


def test_where_few_can_be_replaced_as_many_looks_stay_counted(two_looks: Line, fill: Fill, operator: User):
    fill()
    recipes.build(recipes.create(two_looks, "all", {}, actor=operator), actor=operator)
    fill("new sums", train=4, sealed=0, validation=0)
    look(two_looks), look(two_looks)
    third = look(two_looks)

    assert SuiteRotation.objects.get(line=two_looks, name="add").carried == 1
    assert [one["used"] for one in third.exposure] == [2, 2]


def test_a_family_is_sealed_whole_or_not_at_all(two_looks: Line, fill: Fill, operator: User):
    fill()
    recipes.build(recipes.create(two_looks, "all", {}, actor=operator), actor=operator)
    known = Mixture.objects.get().entries.filter(task__domain="add").earliest("pk").task
    fill("new sums", train=3, sealed=0, validation=0, domains=("add",))
    first, second, third = Task.objects.filter(memberships__dataset__slug="new-sums").order_by("pk")
    Task.objects.filter(pk=first.pk).update(family=known.pk)
    Task.objects.filter(pk=third.pk).update(family=second.pk)
    look(two_looks), look(two_looks), look(two_looks)

    assert {second.pk, third.pk} <= split(Split.SEALED)
    assert first.pk not in split(Split.SEALED)


def test_a_dataset_that_a_mixture_took_nothing_of_keeps_its_rows(two_looks: Line, fill: Fill, operator: User):
    fill(train=20)
    fill("others", train=5, sealed=0, validation=0, domains=("add",))
    recipe = recipes.create(two_looks, "few", {"size": 2, "seed": 3}, actor=operator)
    mixture = recipes.build(recipe, actor=operator)
    before = recipes.digest(mixture)
    look(two_looks), look(two_looks), look(two_looks)

    assert SuiteRotation.objects.filter(name="add").exists()
    assert recipes.digest(mixture) == before == mixture.digest


# What becomes of retired items


def test_retired_prompts_are_released_and_new_ones_are_held_out(two_looks: Line, fill: Fill):
    fill()
    first, _, third = look(two_looks), look(two_looks), look(two_looks)

    def held() -> set[int]:
        keys = set(HeldOutItem.objects.values_list("exact_key", flat=True))
        return {task.pk for task in Task.objects.filter(domain="add") if exact_key(asked(task)) in keys}

    assert held() == items(third)
    assert sum(HeldOutSuite.objects.values_list("released", flat=True)) == 16
    assert not items(first) & held() & split(Split.VALIDATION)


def test_no_row_is_rejected_by_its_own_rotation(two_looks: Line, fill: Fill):
    fill()
    look(two_looks), look(two_looks), look(two_looks)

    assert not Task.objects.exclude(state="approved").exists()


def test_a_further_look_at_retired_items_does_not_hold_them_out_again(two_looks: Line, fill: Fill):
    fill()
    first = look(two_looks)
    rotation.rotate(two_looks, "add", actor=None, reason="Enough.")
    fill("more sums")
    suites.extend(first.suites.get(name="add"), 40)

    assert not Task.objects.exclude(state="approved").exists()
    retired = Task.objects.filter(pk__in=items(first), split=Split.VALIDATION)
    assert not HeldOutItem.objects.filter(exact_key__in=[exact_key(asked(task)) for task in retired]).exists()


def test_what_another_suite_holds_stays(two_looks: Line, fill: Fill):
    fill()
    first = look(two_looks)
    sums = sorted(items(first))
    other = min(items(first, "reverse"))
    Task.objects.filter(pk__in=sums[:-1]).update(family=other)
    look(two_looks), look(two_looks)

    assert not set(sums[:-1]) & split(Split.VALIDATION)
    assert other not in split(Split.VALIDATION, "reverse")


# By a person, and by several at once


def test_an_operator_rotates_earlier_with_a_reason(line: Line, fill: Fill, operator: User):
    fill()
    look(line)

    done = rotation.rotate(line, "add", actor=operator, reason="A paper quotes it.")

    event = Event.objects.get(kind="suite.rotated")
    assert (event.actor, event.data["reason"]) == (operator, "A paper quotes it.")
    assert (done.retired, rotation.used(line, "add")) == (8, 0)


def test_a_stranger_may_not_rotate(line: Line, fill: Fill, stranger: User):
    fill()
    look(line)

    with pytest.raises(Forbidden):
        rotation.rotate(line, "add", actor=stranger, reason="Why not.")


def test_a_rotation_without_a_reason_is_refused(line: Line, operator: User):
    with pytest.raises(Invalid, match="Say why"):
        rotation.rotate(line, "add", actor=operator, reason=" ")


def test_a_suite_that_nobody_has_looked_at_has_nothing_to_rotate(line: Line, fill: Fill, operator: User):
    fill()

    with pytest.raises(Conflict, match="no others to take"):
        rotation.rotate(line, "add", actor=operator, reason="Early.")


def test_what_a_rotation_would_do_is_told_and_not_done(line: Line, fill: Fill):
    fill()
    look(line)
    before = split(Split.SEALED)

    found = rotation.prospect(line, "add")

    assert found is not None
    assert (found.retired, len(found.retiring), found.sealed) == (8, 8, 8)
    assert split(Split.SEALED) == before


def test_a_rotation_that_breaks_between_its_two_halves_leaves_nothing(
    line: Line, fill: Fill, operator: User, monkeypatch: pytest.MonkeyPatch
):
    fill()
    look(line)
    before = (split(Split.SEALED), split(Split.VALIDATION), HeldOutItem.objects.count())
    monkeypatch.setattr(rotation, "crash_point", _break)

    with pytest.raises(RuntimeError):
        rotation.rotate(line, "add", actor=operator, reason="Enough.")

    assert (split(Split.SEALED), split(Split.VALIDATION), HeldOutItem.objects.count()) == before
    assert not SuiteRotation.objects.exists()


def _break(point: str) -> None:
    raise RuntimeError(f"the worker was killed at {point}")


@pytest.mark.django_db(transaction=True)
def test_two_starts_at_once_rotate_once(two_looks: Line, fill: Fill):
    fill()
    look(two_looks), look(two_looks)
    waiting = [candidate(two_looks), candidate(two_looks)]
    together = Barrier(2)

    def start(version: ModelVersion) -> int:
        together.wait()
        try:
            return evaluations.start(version, actor=None).pk
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        started = list(threads.map(start, waiting))

    assert len(set(started)) == 2
    assert SuiteRotation.objects.filter(name="add").count() == 1
    assert rotation.used(two_looks, "add") == 2


@pytest.mark.django_db(transaction=True)
def test_what_is_being_mixed_waits_for_a_rotation_and_does_not_get_its_rows(
    two_looks: Line, fill: Fill, operator: User, monkeypatch: pytest.MonkeyPatch
):
    fill()
    look(two_looks)
    recipe = recipes.create(two_looks, "all", {}, actor=operator)
    halfway, seal = Signal(), sealing.seal

    def slowly(*given: Any, **told: Any) -> int:
        halfway.set()
        time.sleep(0.5)
        return seal(*given, **told)

    monkeypatch.setattr(sealing, "seal", slowly)

    def mix() -> None:
        halfway.wait(10)
        try:
            recipes.build(recipe, actor=None)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        mixed = threads.submit(mix)
        rotation.rotate(two_looks, "add", actor=None, reason="Enough.")
        mixed.result()

    assert not Mixture.objects.get().entries.filter(task__split=Split.SEALED).exists()
