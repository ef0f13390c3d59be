"""From answers to per-item numbers, errors counted and never dropped."""

import numpy as np
import pytest

from tasks.errors import Invalid
from trainer.contract import ChatMessage, EvalItem, Score
from trainer.evaluation.scoring import Flips, discordance, flips, pooled, side_of, suite_of, suites_from


def line(key: str, side: str, sample: int, outcome: str = "correct", score: float | None = None, **more: str) -> Score:
    value = float(outcome == "correct") if score is None else score
    suite, cluster = more.get("suite", "add"), more.get("cluster", "")
    return Score(suite, key, cluster, side, sample, outcome, value, 5, False, "", "")


def item(key: str, cluster: str = "") -> EvalItem:
    return EvalItem(key, "add", cluster, [ChatMessage("user", key)], {}, {"type": "number"}, "add")


def both(key: str, **more: str) -> list[Score]:
    return [line(key, side, sample, **more) for side in ("champion", "candidate") for sample in (0, 1)]


def two_sided(champion: list[list[float]], candidate: list[list[float]]):
    sides = {"champion": side_of(np.array(champion)), "candidate": side_of(np.array(candidate))}
    return suite_of("add", [f"k{at}" for at in range(len(champion))], sides)


def test_an_items_mean_is_over_its_answers():
    suite = two_sided([[1, 0, 0, 0]], [[1, 1, 1, 0]])

    assert suite.difference_n("score").tolist() == [0.5]


def test_score_and_outcome_are_two_readings_of_the_same_answers():
    lines = [line("k", "champion", 0, "incorrect", 0.6), line("k", "candidate", 0, "correct", 1.0)]
    suite = suites_from(lines)[0]

    assert (suite.difference_n("score")[0], suite.difference_n("outcome")[0]) == pytest.approx((0.4, 1.0))


def test_an_error_counts_one_half_in_the_headline():
    lines = [line("k", "champion", 0), line("k", "candidate", 0, "ungradable")]

    assert suites_from(lines)[0].difference_n("score").tolist() == [-0.5]


def test_errors_are_bounded_both_ways():
    lines = [line("k", "champion", 0, "ungradable"), line("k", "candidate", 0, "ungradable")]
    suite = suites_from(lines)[0]

    assert (suite.difference_n("score", errors="against")[0], suite.difference_n("score", errors="for")[0]) == (-1, 1)


def test_a_missing_answer_is_an_error():
    lines = [*both("a"), *both("b")][:-1]

    assert suites_from(lines)[0].sides["candidate"].errors == 1


def test_an_item_nobody_answered_is_an_error_on_both_sides():
    suite = suites_from(both("a"), items=[item("a"), item("b")], answers_per_item=2)[0]

    assert (suite.n, suite.sides["champion"].errors, suite.sides["candidate"].errors) == (2, 2, 2)


def test_a_score_for_an_item_outside_the_suite_is_refused():
    with pytest.raises(Invalid, match="has no item b"):
        suites_from(both("b"), items=[item("a")])


def test_a_repeated_line_replaces_the_earlier_one():
    lines = [line("k", "champion", 0), line("k", "candidate", 0, "incorrect"), line("k", "candidate", 0)]

    assert suites_from(lines)[0].difference_n("score").tolist() == [0.0]


def test_the_order_of_the_lines_does_not_matter():
    lines = [*both("a"), *both("b", cluster="f")]

    there, back = suites_from(lines)[0], suites_from(lines[::-1])[0]

    assert (there.keys, there.clusters) == (back.keys, back.clusters)


def test_an_item_without_a_family_is_its_own_cluster():
    assert suites_from([*both("a"), *both("b", cluster="f")])[0].clusters == ("a", "f")


def test_the_clusters_of_the_frozen_items_count_and_not_the_lines():
    assert suites_from(both("a", cluster="wrong"), items=[item("a", "right")])[0].clusters == ("right",)


def test_lines_of_several_suites_are_told_apart():
    suites = suites_from([*both("a"), *both("b", suite="sub")])

    assert [(suite.suite, suite.n) for suite in suites] == [("add", 1), ("sub", 1)]


def test_sources_name_the_dataset_of_an_item():
    assert suites_from(both("a"), sources={"a": "d7"})[0].sources == ("d7",)


def test_an_item_listed_twice_is_refused():
    with pytest.raises(Invalid, match="lists an item twice"):
        suite_of("add", ["k", "k"], {"champion": side_of(np.ones((2, 1)))})


def test_within_variance_is_numpys_over_the_answers_of_an_item():
    answers = np.array([[0.2, 0.4, 0.9], [1.0, 1.0, 1.0]])

    assert side_of(answers).within_variance_n("score") == pytest.approx(answers.var(axis=1, ddof=1))


def test_within_variance_leaves_errors_out():
    answers = np.array([[0.2, 0.4, np.nan]])

    assert side_of(answers).within_variance_n("score")[0] == pytest.approx(np.var([0.2, 0.4], ddof=1))


def test_one_answer_has_no_within_variance():
    assert np.isnan(side_of(np.array([[1.0]])).within_variance_n("score")[0])


def test_the_pool_holds_an_item_of_two_suites_once():
    suites = suites_from([*both("a"), *both("b"), *both("b", suite="sub"), *both("c", suite="sub")])

    assert sorted(pooled(suites).keys) == ["a", "b", "c"]


def test_a_family_across_suites_is_one_cluster_in_the_pool():
    suites = suites_from([*both("a", cluster="f"), *both("b", suite="sub", cluster="f")])

    assert pooled(suites).clusters == ("f", "f")


def test_the_pool_keeps_each_suites_own_number_of_answers():
    wide = [line("b", side, sample, suite="sub") for side in ("champion", "candidate") for sample in range(4)]

    assert pooled(suites_from([*both("a"), *wide])).answers_per_item == 2


def test_flips_count_the_two_by_two_table():
    suite = two_sided([[1, 1], [1, 1], [0, 0], [0, 0]], [[1, 1], [0, 0], [1, 1], [0, 0]])

    assert flips(suite) == Flips(both=1, only_champion=1, only_candidate=1, neither=1)


def test_discordance_is_the_share_of_items_that_differ():
    assert discordance(two_sided([[1.0], [1.0], [0.0], [0.0]], [[1.0], [0.0], [0.0], [0.0]])) == 0.25
