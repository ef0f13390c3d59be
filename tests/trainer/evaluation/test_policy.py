"""Policies: refused when they make no sense, hashed so that a change is seen, planned before they are run."""

import msgspec
import pytest

from tasks.errors import Invalid
from trainer.evaluation.planning import BIMODAL, items_needed
from trainer.evaluation.policy import GatePolicy, Guard, plan_for, policy_from


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

    assert planned["sub"].n == items_needed(BIMODAL.variance(4), 0.04, power=0.95)


def test_a_plan_for_the_pooled_target_sums_what_there_is():
    policy = GatePolicy(guards=(Guard("add"),))

    assert plan_for(policy, {"add": 400, "sub": 350}).suites[0].suite == "overall"
