"""Wrappers of a space: decided by its reviewers, then carried through what is stored."""

from typing import Any

import pytest
from django.db import connection

from tasks.errors import Conflict, Forbidden, Invalid
from tasks.models import Dataset, Event, Task, TaskFinding, Upload, Wrapper
from tasks.services import sweeping, wrapping
from tests.cast import Person
from tests.tasks.pipeline import imported, tasks

pytestmark = pytest.mark.django_db

LINE = "You are a pirate who knows sums."
PLAIN = "How many of the 12 boats are left when 5 have sailed?"
WRAPPED = f"{LINE} {PLAIN}"
Outcome = list[tuple[Any, ...]]


def row(prompt: str, reference: int = 7) -> dict[str, Any]:
    return {"prompt": prompt, "reference": reference}


def proposed(dataset: Dataset, text: str = "start you are a pirate who knows sums.") -> Wrapper:
    return Wrapper.objects.create(space=dataset.space, text=text, rows=30)


def approve(dataset: Dataset) -> Wrapper:
    """Decided, and carried through."""
    wrapper = wrapping.approve(proposed(dataset), reviewer=None)
    wrapping.rekey(dataset.space_id)
    return wrapper


def copies(dataset: Dataset) -> list[tuple[int, int]]:
    """(place of a task in its dataset, place of the older one) of every wrapped copy."""
    places = {task.pk: place for place, task in enumerate(tasks(dataset))}
    found = (
        TaskFinding.objects.filter(task__in=places, rule="wrapped").order_by("task", "pk").values_list("task", "other")
    )
    return [(places[task], places[other]) for task, other in found]


def outcome(dataset: Dataset) -> Outcome:
    """What a comparison decides of each task, without ids."""
    rows = tasks(dataset)
    places = {task.pk: place for place, task in enumerate(rows)}
    kept = [(task.stripped_key, places.get(task.family or 0)) for task in rows]
    return [*kept, *copies(dataset)]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapping, "CHUNK", 2)


# Decisions


def test_a_reviewer_approves_what_an_upload_has_proposed(contributed: Dataset, reviewer: Person):
    wrapper = wrapping.approve(proposed(contributed), reviewer=reviewer.user)

    assert (wrapper.state, wrapper.decided_by) == ("approved", reviewer.user)
    assert wrapping.texts_of(contributed.space_id) == (wrapper.text,)


def test_a_decision_is_an_event_of_its_space(contributed: Dataset, reviewer: Person):
    wrapper = wrapping.approve(proposed(contributed), reviewer=reviewer.user)

    event = Event.objects.get(kind="wrapper.approved")
    assert (event.team_id, event.actor, event.subject_id) == (contributed.space_id, reviewer.user, str(wrapper.pk))


@pytest.mark.parametrize("person", ["contributor", "stranger", "operator"])
@pytest.mark.parametrize("verb", [wrapping.approve, wrapping.refuse])
def test_nobody_else_decides(contributed: Dataset, verb: Any, person: str, request: pytest.FixtureRequest):
    with pytest.raises(Forbidden):
        verb(proposed(contributed), reviewer=request.getfixturevalue(person).user)


def test_the_same_decision_is_not_taken_twice(contributed: Dataset, reviewer: Person):
    wrapper = wrapping.approve(proposed(contributed), reviewer=reviewer.user)

    with pytest.raises(Conflict, match="approved already"):
        wrapping.approve(wrapper, reviewer=reviewer.user)


def test_what_was_refused_can_be_approved_after_all(contributed: Dataset, reviewer: Person):
    refused = wrapping.refuse(proposed(contributed), reviewer=reviewer.user)

    assert wrapping.approve(refused, reviewer=reviewer.user).state == "approved"


def test_a_refused_proposal_leaves_stored_tasks_alone(contributed: Dataset, reviewer: Person):
    wrapping.refuse(proposed(contributed), reviewer=reviewer.user)

    assert not wrapping.due().exists()


def test_a_line_is_added_by_hand_as_a_person_writes_it(contributed: Dataset, reviewer: Person):
    wrapper = wrapping.add(contributed.space, "end", " Think  like a PIRATE. ", reviewer=reviewer.user)

    assert (wrapper.text, wrapper.state) == ("end think like a pirate", "approved")


def test_adding_what_was_proposed_approves_it(contributed: Dataset, reviewer: Person):
    proposal = proposed(contributed, "start you are a pirate")

    assert wrapping.add(contributed.space, "start", "You are a PIRATE", reviewer=reviewer.user) == proposal


@pytest.mark.parametrize("text", ["", "?", "...", "x", "x" * 251])
def test_a_line_that_says_nothing_or_too_much_is_refused(contributed: Dataset, reviewer: Person, text: str):
    with pytest.raises(Invalid):
        wrapping.add(contributed.space, "start", text, reviewer=reviewer.user)


def test_a_line_stands_at_the_start_or_at_the_end(contributed: Dataset, reviewer: Person):
    with pytest.raises(Invalid, match="start or end"):
        wrapping.add(contributed.space, "middle", LINE, reviewer=reviewer.user)


def test_a_built_in_wrapper_need_not_be_added(contributed: Dataset, reviewer: Person):
    with pytest.raises(Conflict, match="everywhere already"):
        wrapping.add(contributed.space, "start", "Let's think step by step", reviewer=reviewer.user)


@pytest.mark.parametrize("person", ["contributor", "stranger"])
def test_nobody_else_adds(contributed: Dataset, person: str, request: pytest.FixtureRequest):
    with pytest.raises(Forbidden):
        wrapping.add(contributed.space, "start", LINE, reviewer=request.getfixturevalue(person).user)


def test_wrappers_are_shown_to_reviewers_of_their_space(contributed: Dataset, reviewer: Person, contributor: Person):
    wrapper = proposed(contributed)

    assert list(wrapping.visible_to(reviewer.user)) == [wrapper]
    assert not wrapping.visible_to(contributor.user).exists()


# Stored tasks


def test_after_an_approval_a_stored_copy_is_found(dataset: Dataset):
    imported(dataset, [row(PLAIN), row(WRAPPED)])
    TaskFinding.objects.all().delete()

    approve(dataset)

    found = TaskFinding.objects.get(rule="wrapped")
    assert copies(dataset) == [(1, 0)]
    assert (found.kind, found.similarity, found.evidence) == (
        "near_duplicate",
        1.0,
        {
            "shared": "how many of the 12 boats are left when 5 have sailed",
            "wrapper": ["you are a pirate who knows sums."],
        },
    )


def test_the_evidence_names_the_wrappers_of_both_sides(dataset: Dataset):
    imported(dataset, [row(f"{LINE} Why?"), row(f"Question: {LINE} Why? Think step by step.")])
    TaskFinding.objects.all().delete()

    approve(dataset)

    assert TaskFinding.objects.get(rule="wrapped").evidence == {
        "shared": "why",
        "wrapper": ["question:", "you are a pirate who knows sums.", "think step by step"],
        "other_wrapper": ["you are a pirate who knows sums."],
    }


def test_a_plain_task_that_came_later_is_the_copy(dataset: Dataset):
    imported(dataset, [row(f"{LINE} Why?"), row("Why?")])

    approve(dataset)

    assert copies(dataset) == [(1, 0)]


def test_the_copy_joins_the_family_and_keeps_its_split(dataset: Dataset):
    imported(dataset, [row("Why?"), row(f"{LINE} Why?")])
    Task.objects.filter(pk=tasks(dataset)[1].pk).update(split="validation")

    approve(dataset)

    first, second = tasks(dataset)
    assert (first.family, second.family, second.split) == (None, first.pk, "validation")


def test_with_another_answer_it_is_no_copy(dataset: Dataset):
    imported(dataset, [row("Why?", 1), row(f"{LINE} Why?", 2)])

    approve(dataset)

    assert copies(dataset) == []


def test_a_rejected_task_has_no_copies(dataset: Dataset):
    imported(dataset, [row("Why?"), row(f"{LINE} Why?")])
    Task.objects.filter(pk=tasks(dataset)[0].pk).update(state="rejected")

    approve(dataset)

    assert copies(dataset) == []


def test_a_copy_that_is_told_as_nearly_the_same_is_not_told_twice(dataset: Dataset):
    imported(dataset, [row("Why?"), row(f"{LINE} Why?")])
    first, second = tasks(dataset)
    second.findings.create(kind="near_duplicate", rule="near", other=first.pk, similarity=0.9)

    approve(dataset)

    assert second.findings.count() == 1


def test_what_followed_the_copy_comes_with_it(dataset: Dataset):
    """A family is named by its oldest member: when that one joins another, all do."""
    imported(dataset, [row("Why?"), row(f"{LINE} Why?"), row("Who?")])
    first, second, third = tasks(dataset)
    Task.objects.filter(pk=third.pk).update(family=second.pk)

    approve(dataset)

    assert [task.family for task in tasks(dataset)] == [None, first.pk, first.pk]


def test_another_space_is_left_alone(dataset: Dataset, contributed: Dataset):
    imported(contributed, [row("Why?"), row(f"{LINE} Why?")])

    approve(dataset)

    assert [task.stripped_key for task in tasks(contributed)] == [None, None]


ROWS = [
    *(row("Why?"), row(f"{LINE} Why?"), row("Who?"), row(f"{LINE} How?"), row("How?"), row(f"Question: {LINE} Why?")),
    *(row(f"{LINE} Where?"), row(f"{LINE} Where? Think step by step."), row(LINE), row(f"{LINE} Who?", 3)),
]


def test_keys_and_findings_are_those_of_an_import_that_knew_the_wrapper(dataset: Dataset, contributed: Dataset):
    wrapping.approve(proposed(contributed), reviewer=None)
    imported(contributed, ROWS)
    imported(dataset, ROWS)

    approve(dataset)

    keys = [[task.stripped_key for task in tasks(one)] for one in (dataset, contributed)]
    assert (keys[0], copies(dataset)) == (keys[1], copies(contributed))


@pytest.mark.usefixtures("small_chunks")
def test_chunks_make_no_difference(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    imported(dataset, ROWS)
    wrapper = approve(dataset)
    in_chunks = outcome(dataset)
    wrapping.refuse(wrapper, reviewer=None)
    wrapping.rekey(dataset.space_id)
    monkeypatch.setattr(wrapping, "CHUNK", 100)

    wrapping.approve(wrapper, reviewer=None)
    wrapping.rekey(dataset.space_id)

    assert outcome(dataset) == in_chunks


@pytest.mark.usefixtures("small_chunks")
def test_refusing_puts_everything_back(dataset: Dataset):
    imported(dataset, ROWS)
    before = outcome(dataset)
    wrapper = approve(dataset)
    between = outcome(dataset)

    wrapping.refuse(wrapper, reviewer=None)
    wrapping.rekey(dataset.space_id)

    assert between != before
    assert outcome(dataset) == before


@pytest.mark.usefixtures("small_chunks")
def test_a_killed_job_goes_on_where_it_stopped(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    imported(dataset, ROWS)
    wrapper = wrapping.approve(proposed(dataset), reviewer=None)

    def killed(_: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(wrapping, "crash_point", killed)
        with pytest.raises(KeyboardInterrupt):
            wrapping.rekey(dataset.space_id)
    wrapper.refresh_from_db()
    stopped = wrapper.rekeyed
    wrapping.rekey(dataset.space_id)
    wrapper.refresh_from_db()

    assert (stopped, wrapper.rekeyed) == (tasks(dataset)[1].pk, wrapping.DONE)
    assert len(copies(dataset)) == 4


@pytest.mark.usefixtures("small_chunks")
def test_one_pass_serves_two_decisions(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    imported(dataset, [row(f"{LINE} Why?"), row("Why?"), row("Why? Arr!"), row("Who?")])
    wrapping.approve(proposed(dataset), reviewer=None)
    wrapping.add(dataset.space, "end", "Arr", reviewer=None)
    chunks: list[Any] = []
    monkeypatch.setattr(wrapping, "_rekey", lambda space, pks: chunks.append(pks))

    wrapping.rekey(dataset.space_id)

    assert [len(pks) for pks in chunks] == [2, 2]
    assert not wrapping.due().exists()


def test_a_job_that_has_nothing_to_do_does_nothing(dataset: Dataset):
    approve(dataset)
    events = Event.objects.count()

    wrapping.rekey(dataset.space_id)

    assert Event.objects.count() == events


def test_what_changed_is_told_as_an_event(dataset: Dataset):
    imported(dataset, [row("Why?"), row(f"{LINE} Why?")])

    approve(dataset)

    told = Event.objects.get(kind="team.rekeyed")
    assert told.data == {"keys": 1, "found": 1, "gone": 0, "to": tasks(dataset)[1].pk}


def test_the_sweep_finds_a_job_whose_wake_up_was_lost(dataset: Dataset):
    wrapping.approve(proposed(dataset), reviewer=None)

    assert sweeping.sweep()["rekeyed"] == 1


# Imports


def test_an_import_takes_an_approved_wrapper_off(dataset: Dataset):
    wrapping.approve(proposed(dataset), reviewer=None)

    imported(dataset, [row("Why?"), row(f"{LINE} Why?")])

    assert copies(dataset) == [(1, 0)]


@pytest.mark.parametrize("apart", [True, False], ids=["in two files", "in one"])
def test_a_wrapped_copy_names_what_stands_around_it_and_around_the_older_one(dataset: Dataset, apart: bool):
    wrapping.approve(proposed(dataset), reviewer=None)
    rows = [row(f"{LINE} Why?"), row("Question: Why?\nAnswer:")]

    for part in [rows[:1], rows[1:]] if apart else [rows]:
        imported(dataset, part)

    assert TaskFinding.objects.get(rule="wrapped").evidence == {
        "shared": "why",
        "wrapper": ["question: … answer"],
        "other_wrapper": ["you are a pirate who knows sums."],
    }


def test_a_plain_copy_names_the_wrapper_of_the_older_one_only(dataset: Dataset):
    imported(dataset, [row("Why? Think step by step.")])

    imported(dataset, [row("Why?")])

    evidence = TaskFinding.objects.get(rule="wrapped").evidence
    assert evidence == {"shared": "why", "other_wrapper": ["think step by step"]}


def test_a_stored_task_is_compared_nearly_without_the_spaces_own_wrappers(dataset: Dataset):
    """The wrapper is half of the text: only without it are the two nearly the same."""
    wrapping.approve(proposed(dataset), reviewer=None)
    story = "A cook has 12 eggs in a basket and uses 5 of them for the cakes she bakes. How many eggs are there now?"
    imported(dataset, [row(f"{LINE} {story}")])

    imported(dataset, [row(story.replace("are there now", "are left now"))])

    assert TaskFinding.objects.get().rule == "near"


CLOSED = [
    "not (a and b) or c where a is true",
    "b or not c and a where b is false",
    "c and c or not a where c is true",
    "a or b or not b where a is false",
]
RULES = "Evaluate this boolean expression by the usual rules of precedence and answer with one word, true or false."


@pytest.mark.parametrize(("added", "near"), [(False, 3), (True, 0)])
def test_closed_questions_are_one_family_until_the_line_that_they_share_is_a_wrapper(
    dataset: Dataset, added: bool, near: int
):
    if added:
        wrapping.add(dataset.space, "start", RULES, reviewer=None)

    upload = imported(dataset, [row(f"{RULES} {question}", 1) for question in CLOSED])

    assert (upload.counts["valid"], upload.counts["found"].get("near_duplicate", 0)) == (4, near)


def test_an_upload_does_not_propose_what_is_approved(dataset: Dataset):
    wrapping.approve(proposed(dataset), reviewer=None)

    imported(dataset, [row(f"{LINE} Name number {n}", n) for n in range(30)])

    assert not Wrapper.objects.filter(state="proposed").exists()
    assert Upload.objects.get().counts["valid"] == 30


@pytest.mark.parametrize("index", ["one_task_per_key", "task_wrapped"])
def test_those_who_ask_the_same_are_looked_up_by_index(index: str, dataset: Dataset, contributed: Dataset):
    imported(dataset, [row(f"Why {n}?") for n in range(500)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE tasks_task")
        space = contributed.space_id
        cursor.execute("EXPLAIN " + wrapping._ASKING, ["{" + "a" * 32 + "}", space, space])
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert index in plan
    assert "Seq Scan" not in plan
