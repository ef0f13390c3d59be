"""The sentence above a curve says what its numbers say."""

from trainer.views import findings


def steps(rewards):
    return [{"step": n, "reward_mean": reward} for n, reward in enumerate(rewards)]


def estimate(mean, error=0.01):
    return {"mean": mean, "standard_error": error, "n": 96}


def test_a_run_without_steps_says_what_it_waits_for():
    assert findings.sentences([])["reward"] == "No step has finished yet."


def test_a_rising_reward_rose():
    assert findings.sentences(steps([0.2] * 10 + [0.4] * 10))["reward"].startswith(
        "Training reward rose from 0.20 to 0.40"
    )


def test_a_falling_reward_fell():
    assert "fell from 0.40 to 0.20" in findings.sentences(steps([0.4] * 10 + [0.2] * 10))["reward"]


def test_a_flat_reward_stayed():
    assert "stayed at 0.30" in findings.sentences(steps([0.3] * 20))["reward"]


def test_intervals_that_overlap_are_said_to_overlap():
    measured = [{"step": 0, "validation_reward": estimate(0.30)}, {"step": 1, "validation_reward": estimate(0.31)}]

    assert findings.sentences(measured)["validation"].endswith("the intervals overlap.")


def test_intervals_that_are_apart_are_said_to_be_apart():
    measured = [{"step": 0, "validation_reward": estimate(0.20)}, {"step": 1, "validation_reward": estimate(0.40)}]

    assert findings.sentences(measured)["validation"].endswith("the intervals do not overlap.")


def test_a_curve_has_a_value_for_every_step_and_none_where_nothing_was_measured():
    drawn = findings.columns([{"step": 0}, {"step": 1, "kl": estimate(1.0, 0.1)}])

    assert (drawn["kl"], drawn["kl_low"]) == ([None, 1.0], [None, 1.0 - 1.96 * 0.1])


def test_every_chart_has_a_finding():
    assert {chart[0] for chart in findings.CHARTS} == set(findings.sentences([]))
