"""Another look: asked by its contributor, answered by a reviewer of the space."""

import pytest

from tasks.errors import Conflict, Forbidden, Invalid, NotFound
from tasks.models import Appeal, Dataset, Event, RowIssue, Task, Upload
from tasks.services import appeals, heldout, reviews
from tasks.types import Message
from tests.cast import Person
from tests.tasks.pipeline import proved, sums, tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def rejected(contributed: Dataset, reviewer: Person) -> Task:
    """By a reviewer."""
    proved(contributed, sums(1))
    task = tasks(contributed)[0]
    reviews.reject(task, reviewer=reviewer.user, reason_code="unclear")
    task.refresh_from_db()
    return task


@pytest.fixture
def refused(contributed: Dataset) -> Upload:
    """Its second row was refused by a check that a person may lift."""
    upload = proved(contributed, [*sums(1), {"prompt": "no reference"}])
    RowIssue.objects.filter(upload=upload).update(code="personal_data")
    return upload


def asked(task: Task, person: Person) -> Appeal:
    return appeals.ask_for_task(task, note="It is clear.", actor=person.user)


def state(task: Task) -> str:
    return Task.objects.get(pk=task.pk).state


def test_its_contributor_asks_for_another_look(rejected: Task, contributor: Person):
    appeal = asked(rejected, contributor)

    assert (appeal.state, appeal.code, appeal.space_id) == ("open", "unclear", rejected.space_id)


def test_an_appeal_needs_a_note(rejected: Task, contributor: Person):
    with pytest.raises(Invalid):
        appeals.ask_for_task(rejected, note=" ", actor=contributor.user)


@pytest.mark.parametrize("person", ["stranger", "reviewer"])
def test_nobody_else_asks(rejected: Task, person: str, request: pytest.FixtureRequest):
    with pytest.raises(Forbidden):
        asked(rejected, request.getfixturevalue(person))


def test_one_asks_once_at_a_time(rejected: Task, contributor: Person):
    asked(rejected, contributor)

    with pytest.raises(Conflict, match="asked this already"):
        asked(rejected, contributor)


def test_a_task_that_is_not_rejected_has_nothing_to_appeal(contributed: Dataset, contributor: Person):
    proved(contributed, sums(1))

    with pytest.raises(Conflict):
        asked(tasks(contributed)[0], contributor)


def test_a_task_that_made_way_for_its_correction_has_nothing_to_appeal(rejected: Task, contributor: Person):
    Task.objects.filter(pk=rejected.pk).update(reason_code="corrected")

    with pytest.raises(Conflict):
        asked(rejected, contributor)


def test_reviewers_of_the_space_see_it_in_their_queue(
    rejected: Task, contributor: Person, reviewer: Person, stranger: Person
):
    appeal = asked(rejected, contributor)

    assert list(appeals.queue(reviewer.user)) == [appeal]
    assert not appeals.queue(stranger.user).exists()


def test_a_granted_task_is_back_where_its_review_found_it(rejected: Task, contributor: Person, reviewer: Person):
    appeal = asked(rejected, contributor)

    appeals.grant(appeal, reviewer=reviewer.user, answer="You are right.")

    assert (state(rejected), appeal.state, appeal.answer) == ("proved", "granted", "You are right.")


def test_what_proof_rejected_is_left_to_a_person(contributed: Dataset, contributor: Person, reviewer: Person):
    proved(contributed, [{"prompt": "What is 2 + 2?", "reference": 4, "gold": "5"}])
    task = tasks(contributed)[0]

    appeals.grant(asked(task, contributor), reviewer=reviewer.user)

    task.refresh_from_db()
    assert (task.state, task.reason_code) == ("unproved", "gold_failed")


def test_a_task_without_a_proof_is_proved(contributed: Dataset, contributor: Person, reviewer: Person, rejected: Task):
    from tasks.models import Proof, Review

    Review.objects.all().delete()
    Proof.objects.all().delete()

    appeals.grant(asked(rejected, contributor), reviewer=reviewer.user)

    assert state(rejected) == "valid"


def test_a_refusal_needs_an_answer(rejected: Task, contributor: Person, reviewer: Person):
    with pytest.raises(Invalid):
        appeals.refuse(asked(rejected, contributor), reviewer=reviewer.user, answer="")


def test_a_refused_task_stays_rejected(rejected: Task, contributor: Person, reviewer: Person):
    appeals.refuse(asked(rejected, contributor), reviewer=reviewer.user, answer="Two readings.")

    assert state(rejected) == "rejected"
    assert appeals.of_task(rejected)[0].answer == "Two readings."


@pytest.mark.parametrize("person", ["contributor", "stranger", "operator"])
def test_only_reviewers_of_the_space_answer(
    rejected: Task, contributor: Person, person: str, request: pytest.FixtureRequest
):
    appeal = asked(rejected, contributor)

    with pytest.raises(Forbidden):
        appeals.grant(appeal, reviewer=request.getfixturevalue(person).user)


def test_an_appeal_is_answered_once(rejected: Task, contributor: Person, reviewer: Person):
    appeal = asked(rejected, contributor)
    appeals.refuse(appeal, reviewer=reviewer.user, answer="No.")

    with pytest.raises(Conflict):
        appeals.grant(appeal, reviewer=reviewer.user)


def test_asking_and_answering_are_events(rejected: Task, contributor: Person, reviewer: Person):
    appeals.refuse(asked(rejected, contributor), reviewer=reviewer.user, answer="No.")

    kinds = Event.objects.filter(subject_type="appeal").values_list("kind", flat=True)
    assert set(kinds) == {"appeal.asked", "appeal.refused"}


# Rows that were refused


def test_a_refused_row_comes_in_with_its_check_lifted(refused: Upload, contributor: Person, reviewer: Person):
    appeal = appeals.ask_for_row(refused, 2, note="It is nobody's.", actor=contributor.user)

    appeals.grant(appeal, reviewer=reviewer.user)

    made = appeals.let_in_by(appeal)
    assert made is not None
    assert (made.waived, made.corrects_id, made.state) == (["personal_data"], refused.pk, "received")


def test_the_row_that_comes_in_is_the_row_of_the_file(refused: Upload, contributor: Person, reviewer: Person):
    from tasks.services.uploads import stored_file

    appeal = appeals.ask_for_row(refused, 2, note="It is nobody's.", actor=contributor.user)
    appeals.grant(appeal, reviewer=reviewer.user)

    made = appeals.let_in_by(appeal)
    assert made is not None
    assert b'"_line":2' in stored_file(made).read_bytes()
    assert b'"prompt": "no reference"' in stored_file(made).read_bytes()


def test_a_row_that_cannot_be_read_is_nobodys_to_waive(contributed: Dataset, contributor: Person):
    upload = proved(contributed, ["{oops", *sums(1)])

    with pytest.raises(Conflict, match="correct it"):
        appeals.ask_for_row(upload, 1, note="Please.", actor=contributor.user)


def test_a_line_that_was_not_refused_is_not_found(refused: Upload, contributor: Person):
    with pytest.raises(NotFound):
        appeals.ask_for_row(refused, 1, note="Please.", actor=contributor.user)


@pytest.fixture
def held_out(contributed: Dataset) -> Upload:
    """Its first row is an item of a suite as it stands, its second holds one."""
    item = "A train leaves Ulm at 9 with 240 passengers, and 50 more find a seat in Kiel. How many are on it now?"
    heldout.register(contributed.space, "d1", "the yardstick", [[Message("user", item)]])
    return proved(contributed, [{"prompt": item, "reference": 290}, {"prompt": f"Hello. {item}", "reference": 290}])


def test_about_an_exact_copy_of_a_held_out_prompt_nobody_asks(held_out: Upload, contributor: Person):
    with pytest.raises(Conflict, match="“the yardstick” asks exactly this") as refused:
        appeals.ask_for_row(held_out, 1, note="Please.", actor=contributor.user)

    assert refused.value.code == "held_out_exactly"


def test_about_a_prompt_that_contains_a_held_out_one_one_may_ask(held_out: Upload, contributor: Person):
    assert appeals.ask_for_row(held_out, 2, note="Please.", actor=contributor.user).state == "open"


def test_what_one_may_ask_about_leaves_exact_copies_out(held_out: Upload):
    assert list(appeals.askable(held_out).values_list("line", flat=True)) == [2]


def test_refusals_without_evidence_can_be_asked_about(refused: Upload):
    assert appeals.askable(refused).count() == 1


def test_about_a_stored_task_that_a_suite_holds_exactly_nobody_asks(
    contributed: Dataset, contributor: Person, rejected: Task
):
    Task.objects.update(split="train")
    heldout.register(contributed.space, "d1", "the yardstick", [[Message(**rejected.messages[0])]])

    with pytest.raises(Conflict, match="asks exactly this"):
        asked(rejected, contributor)

    assert not appeals.may_appeal(rejected)


def test_a_suite_that_came_after_the_question_keeps_the_task_out(
    contributed: Dataset, contributor: Person, reviewer: Person, rejected: Task
):
    appeal = asked(rejected, contributor)
    Task.objects.update(split="train")
    heldout.register(contributed.space, "d1", "the yardstick", [[Message(**rejected.messages[0])]])

    with pytest.raises(Conflict, match="asks exactly this"):
        appeals.grant(appeal, reviewer=reviewer.user)

    assert (state(rejected), Appeal.objects.get().state) == ("rejected", "open")


def test_a_stranger_asks_for_no_row(refused: Upload, stranger: Person):
    with pytest.raises(Forbidden):
        appeals.ask_for_row(refused, 2, note="Please.", actor=stranger.user)
