import pytest

from tasks.models import Dataset, HeldOutItem, Task
from tasks.services import heldout
from tasks.states import Split
from tasks.types import Message
from tests.cast import Person
from tests.tasks.pipeline import imported, states, sums, tasks

pytestmark = pytest.mark.django_db


def _prompt(text: str) -> list[Message]:
    return [Message("user", text)]


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


def test_a_new_suite_rejects_what_is_stored_outside_the_sealed_split(dataset: Dataset):
    imported(dataset, sums(3))
    Task.objects.filter(pk=tasks(dataset)[0].pk).update(split=Split.TRAIN)

    heldout.register(dataset.space, "d1", "suite", [_prompt(sums(1)[0]["prompt"])])

    assert states(dataset) == ["rejected", "valid", "valid"]
    assert tasks(dataset)[0].reason_code == "contaminated"


def test_the_same_suite_is_registered_once(dataset: Dataset):
    first = heldout.register(dataset.space, "d1", "suite", [_prompt("Why?"), _prompt("why")])

    assert heldout.register(dataset.space, "d1", "suite", [_prompt("How?")]) == first
    assert HeldOutItem.objects.count() == 1
