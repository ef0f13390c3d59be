"""Freezing: the same items give the same digest, anything a grader reads changes it."""

import msgspec
import pytest
from msgspec.structs import replace

from tasks.errors import Invalid
from trainer.contract import ChatMessage, EvalItem
from trainer.evaluation.suites import SealedTask, choose, graders_digest, suite_digest

SEALED = [SealedTask(f"t{at}", f"k{at}") for at in range(50)]
ITEMS = [
    EvalItem(f"t{at}", "add", "", [ChatMessage("user", f"{at}+1?")], {"answer": at + 1}, {"type": "number"}, "add")
    for at in range(3)
]


def test_choosing_does_not_depend_on_the_order_of_the_input():
    assert choose(SEALED[::-1], size=20) == choose(SEALED, size=20)


def test_a_larger_suite_begins_with_the_smaller_one():
    assert choose(SEALED, size=30)[:10] == choose(SEALED, size=10)


def test_another_seed_chooses_other_items():
    assert choose(SEALED, size=10, seed=1) != choose(SEALED, size=10, seed=2)


def test_size_zero_takes_all():
    assert len(choose(SEALED)) == 50


def test_one_prompt_is_chosen_once():
    assert choose([SealedTask("b", "same"), SealedTask("a", "same")]) == ["a"]


def test_a_family_is_capped_where_asked():
    twins = [SealedTask(f"t{at}", f"k{at}", family="f") for at in range(9)]

    assert len(choose(twins, per_family=2)) == 2


def test_a_negative_size_is_refused():
    with pytest.raises(Invalid, match="0 \\(no limit\\) or more"):
        choose(SEALED, size=-1)


def test_the_same_items_have_the_same_digest():
    decoded = msgspec.json.decode(msgspec.json.encode(ITEMS), type=list[EvalItem])

    assert suite_digest(decoded) == suite_digest(ITEMS)


def test_the_order_of_a_graders_fields_is_no_change():
    there = [replace(ITEMS[0], grader={"type": "number", "tolerance": 0})]
    back = [replace(ITEMS[0], grader={"tolerance": 0, "type": "number"})]

    assert suite_digest(there) == suite_digest(back)


@pytest.mark.parametrize(
    "change",
    [
        {"key": "other"},
        {"cluster": "f"},
        {"messages": [ChatMessage("user", "0+1 ?")]},
        {"item": {"answer": 2}},
        {"grader": {"type": "number", "tolerance": 1}},
    ],
)
def test_what_the_comparison_reads_changes_the_digest(change):
    assert suite_digest([replace(ITEMS[0], **change), *ITEMS[1:]]) != suite_digest(ITEMS)


def test_another_order_is_another_suite():
    assert suite_digest(ITEMS[::-1]) != suite_digest(ITEMS)


def test_a_changed_grader_changes_the_graders_digest():
    changed = [replace(ITEMS[0], grader={"type": "choice"}), *ITEMS[1:]]

    assert graders_digest(changed) != graders_digest(ITEMS)


def test_a_changed_prompt_leaves_the_graders_digest():
    changed = [replace(ITEMS[0], messages=[ChatMessage("user", "?")]), *ITEMS[1:]]

    assert graders_digest(changed) == graders_digest(ITEMS)
