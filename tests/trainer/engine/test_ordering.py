from collections import Counter

from trainer.engine.ordering import training_order


def test_the_first_pass_keeps_the_order_of_the_file():
    assert training_order(rows=5, needed=3, seed=0) == [0, 1, 2]


def test_a_second_pass_has_an_order_of_its_own():
    order = training_order(rows=50, needed=100, seed=0)

    assert order[50:] != order[:50]


def test_no_row_comes_again_before_all_have_come():
    order = training_order(rows=7, needed=21, seed=3)

    assert set(Counter(order).values()) == {3}


def test_the_same_seed_gives_the_same_order():
    assert training_order(10, 40, seed=5) == training_order(10, 40, seed=5)


def test_another_seed_gives_another_order():
    assert training_order(10, 40, seed=5) != training_order(10, 40, seed=6)


def test_a_longer_run_begins_like_a_shorter_one():
    assert training_order(10, 60, seed=1)[:25] == training_order(10, 25, seed=1)
