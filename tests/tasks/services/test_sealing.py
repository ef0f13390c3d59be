"""Retired items become validation with all that must share their split, and bind imports no more; untouched tasks are
sealed the same way."""

import pytest

from tasks.models import Dataset, Event, HeldOutItem, Task
from tasks.services import heldout, sealing
from tasks.states import Split
from tasks.types import Message
from tests.tasks.pipeline import imported, sums, tasks

pytestmark = pytest.mark.django_db

STORY = (
    "A train leaves Ulm at 9 with 240 passengers on board. At every one of its 12 stops a third of the people get off, "
    "and 50 others find a seat. How many of them are still sitting there when it reaches Kiel?"
)


def _row(prompt: str, reference: str = "7") -> dict[str, str]:
    return {"prompt": prompt, "reference": reference}


def _held_out(dataset: Dataset, *prompts: str) -> list[Task]:
    """Sealed tasks, as a suite registered them."""
    imported(dataset, [_row(prompt) for prompt in prompts])
    Task.objects.update(split=Split.SEALED)
    found = tasks(dataset)
    heldout.register(
        dataset.space, "d1", "suite", [[Message(**message) for message in task.messages] for task in found]
    )
    return found


def _retire(dataset: Dataset, *found: Task) -> None:
    pks = [pk for group in sealing.groups(dataset.space_id, [task.pk for task in found]) for pk in group]
    sealing.retire(dataset.space, pks, actor=None, reason="Its looks were spent.")


def test_a_retired_item_is_validation_and_held_out_no_more(dataset: Dataset):
    story, other = _held_out(dataset, STORY, "How much is 2 + 2?")

    _retire(dataset, story)

    assert [task.split for task in tasks(dataset)] == ["validation", "sealed"]
    assert [item.exact_key for item in HeldOutItem.objects.all()] == [other.exact_key]


def test_a_release_makes_a_new_generation(dataset: Dataset):
    (story,) = _held_out(dataset, STORY)
    before = heldout.generation(dataset.space_id)

    _retire(dataset, story)

    assert heldout.generation(dataset.space_id) == before + 1
    assert len(heldout.index_of(dataset.space_id)) == 0


@pytest.mark.parametrize(
    "copy",
    [STORY, STORY.replace("find a seat", "find some seat"), f"Solve this step by step. {STORY}"],
    ids=["the same", "nearly the same", "holding it"],
)
def test_a_copy_of_a_retired_item_is_no_longer_rejected(dataset: Dataset, copy: str):
    (story,) = _held_out(dataset, STORY)
    _retire(dataset, story)

    upload = imported(dataset, [_row(copy), _row("How much is 3 + 3?")])

    assert upload.counts["rejected"] == {}


@pytest.mark.parametrize("copy", [STORY, STORY.replace("find a seat", "find some seat")], ids=["same", "near"])
def test_no_training_row_repeats_a_retired_item(dataset: Dataset, copy: str):
    (story,) = _held_out(dataset, STORY)
    _retire(dataset, story)

    imported(dataset, [_row(copy)])

    assert {task.split for task in Task.objects.filter(messages__0__content__startswith="A train")} == {"validation"}


def test_a_suite_that_is_compared_later_leaves_retired_items_alone(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(heldout, "AT_ONCE", 0)
    (story,) = _held_out(dataset, STORY)
    suite = heldout.unscanned(dataset.space_id).get()
    _retire(dataset, story)

    heldout.rescan(suite.pk)

    assert tasks(dataset)[0].state == "valid"


def test_a_family_moves_as_a_whole(dataset: Dataset):
    first, near = _held_out(dataset, STORY, STORY.replace("find a seat", "find some seat"))
    assert near.family == first.pk

    _retire(dataset, near)

    assert [task.split for task in tasks(dataset)] == ["validation", "validation"]


def test_tasks_with_the_same_prompt_move_together(dataset: Dataset):
    first, _ = (imported(dataset, [_row(STORY, "7"), _row(STORY, "8")]), None)
    Task.objects.update(split=Split.SEALED)

    _retire(dataset, tasks(dataset)[0])

    assert {task.split for task in tasks(dataset)} == {"validation"}
    assert first.counts["conflicts"] == 2


def test_only_sealed_tasks_are_retired_and_only_training_tasks_are_sealed(dataset: Dataset):
    imported(dataset, sums(3))
    one, two, three = tasks(dataset)
    for task, split in ((one, Split.TRAIN), (two, Split.VALIDATION), (three, Split.SEALED)):
        Task.objects.filter(pk=task.pk).update(split=split)
    every = [one.pk, two.pk, three.pk]

    assert sealing.retire(dataset.space, every, actor=None, reason="") == 1
    assert sealing.seal(dataset.space, every, actor=None, reason="") == 1
    assert [task.split for task in tasks(dataset)] == ["sealed", "validation", "validation"]


def test_each_move_is_an_event_with_its_reason(dataset: Dataset):
    (story,) = _held_out(dataset, STORY)

    _retire(dataset, story)

    event = Event.objects.get(kind="tasks.unsealed")
    assert (event.data["count"], event.data["released"], event.data["reason"]) == (1, 1, "Its looks were spent.")


def test_another_space_is_never_touched(dataset: Dataset, contributed: Dataset):
    imported(contributed, [_row(STORY)])
    Task.objects.update(split=Split.SEALED)

    assert sealing.retire(dataset.space, [tasks(contributed)[0].pk], actor=None, reason="") == 0
    assert tasks(contributed)[0].split == "sealed"
