"""Policies: refused when they make no sense, hashed so that a change is seen, planned before they are run."""

import msgspec
import pytest

from tasks.errors import Invalid
from trainer.evaluation.planning import BIMODAL, items_needed
from trainer.evaluation.policy import (
    GatePolicy,
    Guard,
    as_evaluated,
    named,
    plan_for,
    policy_from,
    with_guards,
)
from trainer.evaluation.sequential import Spending


def test_the_same_policy_has_the_same_digest():
    assert GatePolicy(guards=(Guard("add"),)).digest() == GatePolicy(guards=(Guard("add"),)).digest()


def test_a_changed_margin_changes_the_digest():
    assert GatePolicy(guards=(Guard("add"),)).digest() != GatePolicy(guards=(Guard("add", margin=0.03),)).digest()


def test_a_policy_survives_json_with_its_digest():
    policy = GatePolicy(target="add", guards=(Guard("sub", tier="critical"),), sign_off=True)

    assert msgspec.json.decode(msgspec.json.encode(policy), type=GatePolicy).digest() == policy.digest()


def test_a_critical_guard_allows_one_point():
    assert Guard("add", tier="critical").allowed == 0.01


def test_a_supporting_guard_allows_two_points():
    assert Guard("add").allowed == 0.02


def test_a_weak_champion_bounds_the_margin_to_a_tenth_of_its_mean():
    assert GatePolicy().margin_for(Guard("add"), 0.10) == pytest.approx(0.01)


def test_a_champion_at_twenty_percent_keeps_the_plain_margin():
    assert GatePolicy().margin_for(Guard("add"), 0.20) == 0.02


def test_a_champion_at_zero_keeps_the_plain_margin():
    assert GatePolicy().margin_for(Guard("add"), 0.0) == 0.02


@pytest.mark.parametrize(
    "config",
    [
        {"target": ""},
        {"alpha": 0.6},
        {"delta_min": -0.01},
        {"guards": [{"suite": "add", "margin": 0}]},
        {"guards": [{"suite": "add"}, {"suite": "add"}]},
        {"power": 0.2},
        {"answers_per_item": 0},
        {"error_budget": 0.5},
        {"anchor_factor": 0.5},
        {"permutations": 10},
        {"minimum_clusters": 1},
        {"compares": "reward"},
        {"unknown": 1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(config):
    with pytest.raises(Invalid, match="This is not a gate policy"):
        policy_from(config)


def test_a_plan_gives_a_guard_its_margin_and_its_own_power():
    policy = GatePolicy(target="add", guards=(Guard("sub"),), answers_per_item=4)

    planned = {s.suite: s for s in plan_for(policy, {"add": 9000, "sub": 9000}).suites}

    assert planned["sub"].n == items_needed(BIMODAL.variance(4), 0.02, power=0.95)


def test_a_plan_counts_the_effect_a_guard_is_expected_to_have():
    policy = GatePolicy(target="add", guards=(Guard("sub"),), expected_guard_effect=0.02)

    planned = {s.suite: s for s in plan_for(policy, {"add": 9000, "sub": 9000}).suites}

    assert planned["sub"].n == items_needed(BIMODAL.under(0.02).variance(4), 0.04, power=0.95)


def test_a_plan_for_the_pooled_target_sums_what_there_is():
    policy = GatePolicy(guards=(Guard("add"),))

    assert plan_for(policy, {"add": 400, "sub": 350}).suites[0].suite == "overall"


# Looks


def test_a_policy_that_looks_once_reads_all_of_alpha_at_the_plan():
    assert GatePolicy().look(1).alpha == 0.025


@pytest.mark.parametrize("spending", ["late", "even", "early"])
def test_however_alpha_is_divided_all_of_it_is_spent_at_the_last_look(spending: Spending):
    policy = GatePolicy(looks=(0.5, 1.0, 2.0), spending=spending)

    assert policy.look(3).spent == pytest.approx(0.025)


def test_early_spending_keeps_a_fifth_of_alpha_for_a_second_look():
    assert GatePolicy(looks=(1.0, 2.0), spending="early").look(1).alpha == pytest.approx(0.8 * 0.025, rel=0.03)


def test_pococks_boundaries_are_nearly_level():
    """2.178 at both of two looks at a two-sided 0.05 (Pocock 1977, table 1); his spending function comes near it."""
    policy = GatePolicy(looks=(0.5, 1.0), spending="even")

    assert [policy.look(number).z for number in (1, 2)] == pytest.approx([2.178, 2.178], abs=0.05)


@pytest.mark.parametrize("looks", [[], [0.5], [2.0], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0], [1.0, 11.0]])
def test_looks_that_do_not_grow_through_the_plan_are_refused(looks: list[float]):
    with pytest.raises(Invalid, match="look"):
        policy_from({"looks": looks})


def test_a_look_that_was_not_declared_is_refused():
    with pytest.raises(Invalid, match="looks 1 times"):
        GatePolicy().look(2)


def test_the_plan_is_made_at_the_level_of_the_look_that_reads_it():
    policies = [GatePolicy(expected_effect=0.02, looks=looks, spending="early") for looks in ((1.0,), (1.0, 2.0))]

    once, twice = (plan_for(policy, {"a": 50_000}) for policy in policies)

    assert once.answers_per_item == twice.answers_per_item
    assert once.answers < twice.answers < 1.15 * once.answers


# Guards by default


SMALL, LARGE = 40, 2_000  # items that cannot, and that can, show that nothing fell by 2 pp


def test_a_suite_that_could_show_it_is_a_guard_that_must():
    (guard,) = with_guards(GatePolicy(), {"add": LARGE}).guards

    assert (guard.suite, guard.passes, guard.by_default) == ("add", "when_shown", True)


def test_a_suite_too_small_to_show_it_is_held_by_a_shown_fall_only():
    (guard,) = with_guards(GatePolicy(), {"add": SMALL}).guards

    assert guard.passes == "unless_worse"


def test_guards_that_a_policy_names_are_left_as_they_are():
    policy = GatePolicy(guards=(Guard("add"),))

    assert with_guards(policy, {"add": SMALL, "sub": LARGE}) == policy


def test_a_suite_that_asks_for_no_proof_does_not_drive_up_the_answers():
    policy = GatePolicy(target="add", guards=(Guard("add"), Guard("sub", passes="unless_worse")))

    planned = plan_for(policy, {"add": 9_000, "sub": SMALL})

    assert planned.answers_per_item == policy.answers_per_item


def test_an_evaluation_keeps_its_default_guards_whatever_is_sealed_since():
    evaluated = with_guards(GatePolicy(), {"add": SMALL})

    assert as_evaluated(GatePolicy(), evaluated) == evaluated


def test_guards_that_were_named_and_are_no_more_are_a_change_of_policy():
    evaluated = GatePolicy(guards=(Guard("add"),))

    assert as_evaluated(GatePolicy(), evaluated).digest() != evaluated.digest()


def test_a_policy_that_is_copied_from_an_evaluation_names_its_guards():
    copied = named(with_guards(GatePolicy(), {"add": SMALL}))

    assert as_evaluated(GatePolicy(), copied).guards == ()
