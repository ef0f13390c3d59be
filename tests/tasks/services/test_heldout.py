from pathlib import Path

import pytest

from tasks.dedup.contamination import Index, Verdict
from tasks.errors import Conflict
from tasks.models import Dataset, Event, HeldOutItem, HeldOutSuite, Task, TaskFinding
from tasks.services import heldout, sweeping, wrapping
from tasks.states import Split, TaskState
from tasks.types import Message
from tests.cast import Person
from tests.tasks.pipeline import imported, states, sums, tasks

pytestmark = pytest.mark.django_db

STORY = (
    "A train leaves Ulm at 9 with 240 passengers on board. At every one of its 12 stops a third of the people get off, "
    "and 50 others find a seat. How many of them are still sitting there when it reaches Kiel?"
)


def _prompt(text: str) -> list[Message]:
    return [Message("user", text)]


def _stored(dataset: Dataset, *prompts: str) -> list[Task]:
    """Tasks outside the sealed split."""
    imported(dataset, [{"prompt": prompt, "reference": "7"} for prompt in prompts])
    Task.objects.update(split=Split.TRAIN)
    return tasks(dataset)


@pytest.fixture
def a_large_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stored tasks are too many for a registration, and a chunk holds two."""
    monkeypatch.setattr(heldout, "AT_ONCE", 1)
    monkeypatch.setattr(heldout, "CHUNK", 2)


def test_a_row_that_repeats_a_held_out_prompt_is_rejected(dataset: Dataset):
    heldout.register(dataset.space, "d1", "outside suite", [_prompt(sums(1)[0]["prompt"])])

    upload = imported(dataset, sums(3))

    assert upload.counts["rejected"] == {"contaminated": 1}
    assert upload.counts["rows"] == 3
    assert upload.issues.get().line == 1


def test_a_held_out_prompt_of_the_sealed_split_may_come_in(dataset: Dataset):
    imported(dataset, sums(1))
    Task.objects.update(split=Split.SEALED)
    heldout.register(dataset.space, "d1", "own suite", [_prompt(sums(1)[0]["prompt"])])

    again = imported(dataset, [*sums(1), *sums(1, start=1)])

    assert again.counts["duplicates"] == 1
    assert tasks(dataset)[0].split == Split.SEALED


def test_suites_of_one_space_do_not_bind_another(dataset: Dataset, stranger: Person):
    heldout.register(stranger.team, "d1", "their suite", [_prompt(sums(1)[0]["prompt"])])

    imported(dataset, sums(1))

    assert states(dataset) == ["valid"]


def test_the_same_suite_is_registered_once(dataset: Dataset):
    first = heldout.register(dataset.space, "d1", "suite", [_prompt("Why?"), _prompt("why")])

    assert heldout.register(dataset.space, "d1", "suite", [_prompt("How?")]) == first
    assert HeldOutItem.objects.count() == 1


# A new suite against what is stored


def test_a_new_suite_rejects_what_is_stored_outside_the_sealed_split(dataset: Dataset):
    imported(dataset, sums(3))
    Task.objects.filter(pk=tasks(dataset)[0].pk).update(split=Split.TRAIN)

    heldout.register(dataset.space, "d1", "suite", [_prompt(sums(1)[0]["prompt"])])

    assert states(dataset) == ["rejected", "valid", "valid"]
    assert tasks(dataset)[0].reason_code == "contaminated"


def test_a_sealed_task_is_never_touched(dataset: Dataset):
    _stored(dataset, STORY)
    Task.objects.update(split=Split.SEALED)

    heldout.register(dataset.space, "d1", "suite", [_prompt(STORY)])

    assert states(dataset) == ["valid"]
    assert not TaskFinding.objects.exists()


def test_a_stored_task_that_contains_an_item_is_rejected_with_what_it_shares(dataset: Dataset):
    (task,) = _stored(dataset, f"Here comes a question. {STORY.upper()} Think well!")

    heldout.register(dataset.space, "d1", "our suite", [_prompt(STORY)])

    found = TaskFinding.objects.get()
    assert states(dataset) == ["rejected"]
    assert (found.task_id, found.kind, found.rule, found.similarity) == (task.pk, "overlap", "contained", 1.0)
    assert found.evidence["suite"] == "our suite"
    assert found.evidence["shared"].startswith("a train leaves ulm at 9 with 240 passengers")


def test_a_stored_task_that_shares_half_of_an_item_is_only_pointed_out(dataset: Dataset):
    _stored(dataset, f"{STORY[: STORY.index(' How many')]} Where does the driver live?")

    heldout.register(dataset.space, "d1", "suite", [_prompt(STORY)])

    assert states(dataset) == ["valid"]
    assert TaskFinding.objects.get().evidence["verdict"] == Verdict.REVIEW


def test_other_questions_are_left_alone(dataset: Dataset):
    _stored(dataset, STORY.replace("240", "250"), "How much is 2 + 2?")

    heldout.register(dataset.space, "d1", "suite", [_prompt(STORY)])

    assert states(dataset) == ["valid", "valid"]
    assert not TaskFinding.objects.exists()


def test_an_approved_task_leaves_and_one_that_was_rejected_before_keeps_its_reason(dataset: Dataset):
    first, second = _stored(dataset, STORY, f"{STORY} Now.")
    Task.objects.filter(pk=first.pk).update(state=TaskState.APPROVED)
    Task.objects.filter(pk=second.pk).update(state=TaskState.REJECTED, reason_code="wrong")

    heldout.register(dataset.space, "d1", "suite", [_prompt(STORY)])

    assert [(task.state, task.reason_code) for task in tasks(dataset)] == [
        ("rejected", "contaminated"),
        ("rejected", "wrong"),
    ]
    assert TaskFinding.objects.filter(kind="overlap").count() == 2


# Wrappers of the space

LINE = "You are a pirate who has learned to count and who loves the sea and all the ships on it more than his mother."
SHORT = "How many of the 12 boats are left when 5 have sailed?"


def _approve(dataset: Dataset, reviewer: Person, line: str = LINE) -> None:
    wrapping.add(dataset.space, "start", line, reviewer=reviewer.user)


def test_an_item_is_found_without_the_wrapper_that_its_space_has_approved(contributed: Dataset, reviewer: Person):
    _approve(contributed, reviewer)
    heldout.register(contributed.space, "d1", "suite", [_prompt(f"{LINE} {SHORT}")])

    upload = imported(contributed, [{"prompt": f"Hello. {SHORT}", "reference": 7}])

    assert upload.counts["rejected"] == {"contaminated": 1}


def test_a_new_suite_finds_stored_tasks_without_the_wrapper(contributed: Dataset, reviewer: Person):
    _approve(contributed, reviewer)
    _stored(contributed, f"Hello. {SHORT}")

    heldout.register(contributed.space, "d1", "suite", [_prompt(f"{LINE} {SHORT}")])

    assert states(contributed) == ["rejected"]


def test_a_wrapper_of_another_space_counts_for_nothing(dataset: Dataset, contributed: Dataset, reviewer: Person):
    _approve(contributed, reviewer)
    heldout.register(dataset.space, "d1", "suite", [_prompt(f"{LINE} {SHORT}")])

    imported(dataset, [{"prompt": f"Hello. {SHORT}", "reference": 7}])

    assert states(dataset) == ["valid"]


def test_after_an_approval_suites_that_hold_the_line_are_compared_again(contributed: Dataset, reviewer: Person):
    _stored(contributed, f"Hello. {SHORT}")
    holding = heldout.register(contributed.space, "d1", "one", [_prompt(f"{LINE} {SHORT}")])
    heldout.register(contributed.space, "d2", "two", [_prompt(STORY)])

    _approve(contributed, reviewer)

    assert list(heldout.unscanned()) == [holding]
    heldout.rescan(holding.pk)
    assert states(contributed) == ["rejected"]


def test_comparing_again_finds_nothing_twice_and_leaves_what_was_let_in(contributed: Dataset, reviewer: Person):
    (task,) = _stored(contributed, f"{LINE} {STORY}")
    suite = heldout.register(contributed.space, "d1", "suite", [_prompt(f"{LINE} {STORY} Say why.")])
    Task.objects.filter(pk=task.pk).update(state=TaskState.PROVED)

    _approve(contributed, reviewer)
    heldout.rescan(suite.pk)

    assert TaskFinding.objects.filter(kind="overlap").count() == 1
    assert states(contributed) == ["proved"]


def test_an_item_of_which_too_little_would_be_left_keeps_its_wrapper(contributed: Dataset, reviewer: Person):
    _approve(contributed, reviewer, "What is the capital city of")
    heldout.register(contributed.space, "d1", "suite", [_prompt("What is the capital city of France?")])

    upload = imported(contributed, [{"prompt": "Listen. What is the capital city of France?", "reference": 7}])

    assert upload.counts["rejected"] == {"contaminated": 1}


def test_helpers_read_another_file_once_a_wrapper_is_approved(contributed: Dataset, reviewer: Person, tmp_path: Path):
    heldout.register(contributed.space, "d1", "one", [_prompt(STORY)])
    before = heldout.index_file(contributed.space_id, tmp_path)

    _approve(contributed, reviewer)

    assert heldout.index_file(contributed.space_id, tmp_path) != before


# Large spaces


@pytest.mark.usefixtures("a_large_space")
def test_in_a_large_space_the_suite_binds_imports_before_stored_tasks_are_compared(dataset: Dataset):
    _stored(dataset, f"{STORY} One.", "Two?", "Three?")

    suite = heldout.register(dataset.space, "d1", "suite", [_prompt(STORY)])

    assert (suite.scanned, suite.scanned_at) == (0, None)
    assert heldout.generation(dataset.space_id) == suite.pk
    assert states(dataset) == ["valid"] * 3


@pytest.mark.usefixtures("a_large_space")
def test_the_job_compares_every_stored_task_once(dataset: Dataset):
    _stored(dataset, "One?", f"{STORY} Two.", "Three?", f"{STORY} Four.", "Five?")
    suite = heldout.register(dataset.space, "d1", "suite", [_prompt(STORY)])

    heldout.rescan(suite.pk)
    heldout.rescan(suite.pk)

    assert states(dataset) == ["valid", "rejected", "valid", "rejected", "valid"]
    assert TaskFinding.objects.filter(kind="overlap").count() == 2
    assert not heldout.unscanned().exists()


@pytest.mark.usefixtures("a_large_space")
def test_a_killed_comparison_goes_on_where_it_stopped(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    stored = _stored(dataset, f"{STORY} One.", "Two?", f"{STORY} Three.", "Four?")
    suite = heldout.register(dataset.space, "d1", "suite", [_prompt(STORY)])

    def killed(_: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(heldout, "crash_point", killed)
        with pytest.raises(KeyboardInterrupt):
            heldout.rescan(suite.pk)
    stopped = HeldOutSuite.objects.get().scanned
    heldout.rescan(suite.pk)

    assert stopped == stored[1].pk
    assert states(dataset) == ["rejected", "valid", "rejected", "valid"]
    assert TaskFinding.objects.filter(kind="overlap").count() == 2


@pytest.mark.usefixtures("a_large_space")
def test_the_sweep_finds_a_comparison_whose_wake_up_was_lost(dataset: Dataset):
    _stored(dataset, "One?", "Two?")
    heldout.register(dataset.space, "d1", "suite", [_prompt(STORY)])

    assert sweeping.sweep()["suites"] == 1


@pytest.mark.usefixtures("a_large_space")
def test_nothing_is_mixed_while_a_comparison_is_under_way(dataset: Dataset, stranger: Person):
    _stored(dataset, "One?", "Two?")
    suite = heldout.register(dataset.space, "d1", "suite", [_prompt(STORY)])

    with pytest.raises(Conflict) as refused:
        heldout.require_scanned(dataset.space_id)
    heldout.require_scanned(stranger.team.pk)
    heldout.rescan(suite.pk)
    heldout.require_scanned(dataset.space_id)

    assert refused.value.code == "suite_scan_running"


def test_a_comparison_that_found_something_is_told_as_an_event(dataset: Dataset):
    _stored(dataset, f"{STORY} One.", STORY.replace("240", "250"))

    heldout.register(dataset.space, "d1", "suite", [_prompt(STORY)])

    told = Event.objects.get(kind="heldoutsuite.compared").data
    assert (told["rejected"], told["found"], told["siblings"]) == (1, 1, 1)


# What imports ask


def test_the_generation_rises_with_every_suite_of_the_space(dataset: Dataset, stranger: Person):
    before = heldout.generation(dataset.space_id)
    heldout.register(stranger.team, "d0", "theirs", [_prompt("Where?")])
    first = heldout.register(dataset.space, "d1", "one", [_prompt("Why?")])
    middle = heldout.generation(dataset.space_id)
    second = heldout.register(dataset.space, "d2", "two", [_prompt("How?")])

    assert [before, middle, heldout.generation(dataset.space_id)] == [0, first.pk, second.pk]


def test_the_index_holds_the_items_of_all_suites_of_the_space_once(dataset: Dataset, stranger: Person):
    heldout.register(stranger.team, "d0", "theirs", [_prompt("Where?")])
    heldout.register(dataset.space, "d1", "one", [_prompt("Why?"), _prompt(STORY)])
    heldout.register(dataset.space, "d2", "two", [_prompt("How?"), _prompt(STORY)])

    assert len(heldout.index_of(dataset.space_id)) == 3


def test_helpers_read_the_index_from_a_file_of_its_generation(dataset: Dataset, tmp_path: Path):
    none = heldout.index_file(dataset.space_id, tmp_path)
    heldout.register(dataset.space, "d1", "one", [_prompt(STORY)])
    first = heldout.index_file(dataset.space_id, tmp_path)
    heldout.register(dataset.space, "d2", "two", [_prompt("How?")])
    second = heldout.index_file(dataset.space_id, tmp_path)

    assert none is None
    assert first is not None
    assert second is not None
    assert [len(Index.from_bytes(path.read_bytes())) for path in (first, second)] == [1, 2]
