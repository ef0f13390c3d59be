from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.engine.curriculum import Curriculum, Outcome, Position, Resting

NEVER = Resting(above=1.1, steps=0, floor=1.0)
SOLVED, MIXED, FAILED = 1.0, 0.5, 0.0


def _curriculum(rows=10, *, seed=0, resting=NEVER, domains=None, position=None):
    return Curriculum(domains or ["sums"] * rows, seed, resting, position)


def _outcomes(rows, mean, *, spread=False):
    return [Outcome(row, mean, spread) for row in rows]


def test_the_first_pass_keeps_the_order_of_the_file():
    assert _curriculum(5).next(3, 1) == [0, 1, 2]


def test_a_second_pass_has_an_order_of_its_own():
    order = _curriculum(50).next(100, 1)

    assert order[50:] != order[:50]


def test_no_row_comes_again_before_all_have_come():
    assert set(Counter(_curriculum(7, seed=3).next(21, 1)).values()) == {3}


def test_the_same_seed_gives_the_same_order():
    assert _curriculum(seed=5).next(40, 1) == _curriculum(seed=5).next(40, 1)


def test_another_seed_gives_another_order():
    assert _curriculum(seed=5).next(40, 1) != _curriculum(seed=6).next(40, 1)


def test_a_longer_run_begins_like_a_shorter_one():
    assert _curriculum(seed=1).next(60, 1)[:25] == _curriculum(seed=1).next(25, 1)


def test_steps_go_on_where_the_last_one_ended():
    one, many = _curriculum(), _curriculum()

    assert one.next(12, 1) == [row for step in (1, 2, 3) for row in many.next(4, step)]


def test_a_solved_prompt_rests():
    curriculum = _curriculum(4, resting=Resting(above=0.875, steps=5, floor=1.0))
    curriculum.learn(_outcomes(curriculum.next(4, 1)[:1], SOLVED), 1)

    assert 0 not in curriculum.next(3, 2)


def test_a_rested_prompt_comes_again():
    curriculum = _curriculum(4, resting=Resting(above=0.875, steps=5, floor=1.0))
    curriculum.learn(_outcomes(curriculum.next(4, 1)[:1], SOLVED), 1)

    assert 0 in curriculum.next(4, 6)


@pytest.mark.parametrize("mean", [None, FAILED, MIXED])
def test_what_is_not_solved_does_not_rest(mean):
    curriculum = _curriculum(4, resting=Resting(above=0.875, steps=5, floor=1.0))
    curriculum.learn(_outcomes(curriculum.next(4, 1), mean), 1)

    assert curriculum.resting(2) == 0


def test_no_steps_of_rest_mean_that_nothing_rests():
    curriculum = _curriculum(4, resting=Resting(above=0.0, steps=0, floor=1.0))
    curriculum.learn(_outcomes(curriculum.next(4, 1), SOLVED), 1)

    assert curriculum.resting(1) == 0


def test_those_that_rest_are_counted_until_they_have_rested():
    curriculum = _curriculum(4, resting=Resting(above=0.875, steps=5, floor=1.0))
    curriculum.learn(_outcomes(curriculum.next(3, 1), SOLVED), 1)

    assert [curriculum.resting(step) for step in (2, 5, 6)] == [3, 3, 0]


def test_where_everything_rests_it_comes_all_the_same():
    curriculum = _curriculum(4, resting=Resting(above=0.0, steps=1000, floor=1.0))
    curriculum.learn(_outcomes(curriculum.next(4, 1), SOLVED), 1)

    assert len(curriculum.next(8, 2)) == 8


def test_those_passed_over_are_counted():
    curriculum = _curriculum(4, resting=Resting(above=0.875, steps=5, floor=1.0))
    curriculum.learn(_outcomes(curriculum.next(4, 1)[:2], SOLVED), 1)

    curriculum.next(2, 2)

    assert curriculum.state.passed_over >= 0
    assert set(curriculum.next(2, 2)) <= {2, 3}


def _drawn_by_domain(floor, *, rounds=200):
    domains = ["flat", "lively"] * 50
    curriculum = _curriculum(domains=domains, resting=Resting(above=1.1, steps=0, floor=floor))
    drawn = Counter()
    for step in range(1, rounds + 1):
        rows = curriculum.next(10, step)
        drawn.update(domains[row] for row in rows)
        curriculum.learn([Outcome(row, MIXED, spread=domains[row] == "lively") for row in rows], step)
    return drawn


def test_a_domain_without_spread_is_drawn_less():
    drawn = _drawn_by_domain(0.1)

    assert drawn["flat"] < 0.2 * drawn["lively"]


def test_a_domain_without_spread_is_drawn_as_often_as_the_floor_has_it():
    drawn = _drawn_by_domain(0.5)

    assert drawn["flat"] / drawn["lively"] == pytest.approx(0.5, abs=0.08)


def test_a_floor_of_one_spares_nothing():
    drawn = _drawn_by_domain(1.0)

    assert drawn["flat"] == drawn["lively"]


def test_where_no_domain_shows_spread_none_is_spared():
    curriculum = _curriculum(domains=["a", "b"] * 5, resting=Resting(above=1.1, steps=0, floor=0.0))
    for step in range(1, 400):
        curriculum.learn(_outcomes(curriculum.next(10, step), FAILED), step)

    assert Counter(curriculum.next(100, 400)).most_common()[-1][1] == 10


MEANS = st.lists(st.sampled_from([None, FAILED, MIXED, SOLVED]), min_size=40, max_size=40)


@given(rows=st.integers(1, 12), seed=st.integers(0, 99), means=MEANS, cut=st.integers(0, 10))
def test_a_resumed_order_has_the_same_future(rows, seed, means, cut):
    resting = Resting(above=0.875, steps=3, floor=0.2)
    domains = ["odd" if row % 2 else "even" for row in range(rows)]

    def walk(curriculum, steps):
        drawn = []
        for step in steps:
            chosen = curriculum.next(4, step)
            earned = means[4 * (step - 1) :][:4]
            curriculum.learn([Outcome(r, m, m == MIXED) for r, m in zip(chosen, earned, strict=True)], step)
            drawn.append((chosen, curriculum.resting(step)))
        return drawn

    whole = walk(_curriculum(domains=domains, seed=seed, resting=resting), range(1, 11))
    stopped = _curriculum(domains=domains, seed=seed, resting=resting)
    before = walk(stopped, range(1, cut + 1))
    kept = msgspec.json.decode(msgspec.json.encode(stopped.state), type=Position)
    after = walk(_curriculum(domains=domains, seed=seed, resting=resting, position=kept), range(cut + 1, 11))

    assert before + after == whole


@given(rows=st.integers(1, 8), count=st.integers(1, 40), until=st.integers(1, 10**9), floor=st.floats(0, 1))
def test_there_are_always_as_many_rows_as_asked_for(rows, count, until, floor):
    position = Position(rests_until=dict.fromkeys(range(rows), until), spread={"sums": 0.0})
    curriculum = _curriculum(rows, resting=Resting(above=0.0, steps=5, floor=floor), position=position)

    assert len(curriculum.next(count, 1)) == count
