"""Which items make way: the oldest looks first, whole families, never more than can be replaced."""

import pytest

from trainer.evaluation.rotation import Asked, quarter, retiring

ITEMS = [Asked(str(at), "", since=at) for at in range(1, 41)]


@pytest.mark.parametrize(("items", "wanted"), [(20, 5), (21, 6), (0, 0), (400, 100)])
def test_a_quarter_is_rounded_up(items: int, wanted: int):
    assert quarter(items) == wanted


def test_those_asked_first_go_first():
    assert sorted(map(int, retiring(ITEMS, 10))) == list(range(1, 11))


def test_the_order_of_the_input_changes_nothing():
    assert retiring(ITEMS[::-1], 10) == retiring(ITEMS, 10)


def test_what_nobody_has_asked_stays():
    assert retiring([Asked("1", "", 0), Asked("2", "", 7)], 2) == ["2"]


def test_a_family_goes_as_a_whole_and_is_as_old_as_its_oldest():
    items = [Asked("1", "", 2), Asked("2", "f", 1), Asked("3", "f", 9), Asked("4", "", 3)]

    assert retiring(items, 3) == ["2", "3", "1"]


def test_a_family_that_is_too_large_for_what_is_left_stays():
    items = [Asked("1", "f", 1), Asked("2", "f", 1), Asked("3", "f", 1), Asked("4", "", 2)]

    assert retiring(items, 2) == ["4"]


def test_of_equally_old_items_a_seeded_hash_decides():
    alike = [Asked(str(at), "", 1) for at in range(40)]

    assert retiring(alike, 10, seed=1) != retiring(alike, 10, seed=2)


def test_never_more_than_can_be_replaced():
    assert [len(retiring(ITEMS, most)) for most in (0, 1, 99)] == [0, 1, 40]
