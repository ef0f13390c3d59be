"""Looks of a suite against its budget, and what a rotation leaves counted."""

import pytest

from trainer.evaluation.exposure import Exposure, carried, is_spent


@pytest.mark.parametrize(("used", "budget", "spent"), [(19, 20, False), (20, 20, True), (21, 20, True), (99, 0, False)])
def test_the_budget_is_spent_when_the_next_look_would_be_one_too_many(used: int, budget: int, spent: bool):
    assert is_spent(used, budget) is spent


def test_a_whole_rotation_leaves_no_look_counted():
    assert carried(20, 25, 25) == 0


@pytest.mark.parametrize(("replaced", "left"), [(0, 20), (1, 20), (10, 12), (24, 1)])
def test_as_large_a_share_of_the_looks_stays_as_of_the_items(replaced: int, left: int):
    assert carried(20, 25, replaced) == left


def test_within_the_budget_there_is_no_warning():
    assert Exposure("sums", 20, 20).warning == ""


def test_over_the_budget_the_warning_names_both_numbers():
    assert Exposure("sums", 23, 20).warning.startswith(
        "sums was looked at by 23 candidates, 3 more than its budget of 20"
    )


def test_without_a_limit_nothing_is_over():
    assert Exposure("sums", 999, 0).over == 0
