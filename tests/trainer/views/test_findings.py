"""The sentence above a curve says what its numbers say."""

from trainer.contract import StepMetrics
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


SITUATION = findings.Situation(measure_every=10, validation_prompts=96)


def sentence(of: list[dict[str, object]], name: str, situation: findings.Situation = SITUATION) -> str:
    return findings.sentences(of, situation)[name]


def test_every_field_of_the_metrics_is_shown_somewhere():
    shown = {metric.field for metric in findings.METRICS} | {field.split(".")[0] for _, field, _, _ in findings.NAMED}

    assert shown | findings.NO_METRIC == set(StepMetrics.__struct_fields__)


def test_every_metric_is_drawn_or_at_least_listed():
    listed = [row["title"] for row in findings.rows([], SITUATION)]

    assert len(listed) == len(findings.METRICS) + len(findings.NAMED)


def test_no_metric_without_a_number_is_without_a_reason():
    for of in ([], steps([0.3] * 3)):
        for row in findings.rows(of, SITUATION):
            assert (row["n"] > 0) != bool(row["why"])


def test_no_chart_is_without_a_sentence():
    assert all(findings.sentences(steps([0.3] * 3), SITUATION).values())


def test_a_run_that_nothing_validates_says_so():
    told = sentence(steps([0.3]), "validation", findings.Situation(validation_prompts=0))

    assert "no rows validate this run" in told


def test_data_without_a_validation_split_is_said_to_be_the_reason():
    measured = [{"step": 0, "kl": estimate(0.0)}, {"step": 1, "reward_mean": 0.3}]

    assert "the data has no validation rows" in sentence(measured, "validation_domain")


def test_before_the_first_measurement_it_is_said_when_it_comes():
    assert sentence(steps([0.3]), "kl") == "Not measured yet: it comes every 10 steps."


def test_a_run_that_ended_before_its_first_step_says_so():
    assert sentence([], "reward", findings.Situation(ended=True)) == "The run ended before its first step."


def test_what_an_older_engine_did_not_record_is_said_to_be_so():
    assert sentence(steps([0.3]), "sampler_gap") == "The engine of this run recorded none."


def test_each_domain_has_a_curve_and_a_row():
    of = [{"step": 1, "reward_mean": 0.3, "reward_by_domain": {"add": 0.5, "reverse": 0.1}}]

    assert findings.columns(of)["reward_domain_1"] == [0.1]
    assert findings.labels(of)["reward_domain_1"] == "reverse"
    assert sentence(of, "reward_domain") == "Highest now: add, 0.50; lowest: reverse, 0.10."


def test_each_part_of_a_grader_has_a_curve_and_a_row():
    of = [
        {"step": 1, "reward_mean": 0.3, "grading": {"answers": 8, "parts": {"name": 0.25, "total": 0.5}}},
        {"step": 2, "reward_mean": 0.4, "grading": {"answers": 8}},
        {"step": 3, "reward_mean": 0.5, "grading": {"answers": 8, "parts": {"name": 0.75, "total": 0.5}}},
    ]

    assert findings.columns(of)["reward_part_0"] == [0.25, None, 0.75]
    assert sentence(of, "reward_part") == "Highest now: name, 0.75; lowest: total, 0.50."
    assert {
        "title": "Training score by part of the grader: name",
        "unit": "",
        "first": 0.25,
        "last": 0.75,
        "n": 2,
        "why": "",
    } in findings.rows(of, SITUATION)


def test_a_grader_without_parts_is_the_reason_for_no_curve():
    assert sentence(steps([0.3]), "reward_part").startswith("The graders of this run have no parts")


def test_a_halved_learning_rate_is_told_with_its_cause():
    of = [{"step": 1, "learning_rate": 3e-4}, {"step": 2, "learning_rate": 1.5e-4}]

    assert sentence(of, "learning_rate") == "Down from 0.0003 to 0.00015: the run went back."


def test_a_curve_that_alone_is_missing_is_not_blamed_on_the_data():
    measured = [{"step": 1, "reward_mean": 0.3, "kl": estimate(0.0), "validation_reward": estimate(0.3)}]

    assert sentence(measured, "change") == "The engine of this run recorded none."


def test_no_empty_chart_is_drawn_once_a_run_has_ended():
    ended = findings.Situation(ended=True, measure_every=10)

    drawn = {chart["name"]: chart["curves"] for chart in findings.charts(steps([0.3]), ended)}

    assert (drawn["reward"], drawn["kl"]) == ("reward", "")


def test_domains_that_stand_equal_are_neither_highest_nor_lowest():
    of = [{"step": 1, "reward_mean": 0.3, "reward_by_domain": {"add": 0.5, "reverse": 0.5}}]

    assert sentence(of, "reward_domain") == "All 2 are at 0.50."


def test_every_chart_stands_in_one_group_and_what_is_folded_tells_its_first_finding():
    groups = findings.groups(steps([0.3]), findings.Situation())

    assert [chart["name"] for group in groups for chart in group["charts"]] == [name for name, *_ in findings.CHARTS]
    assert [group["title"] for group in groups] == [title for title, *_ in findings.GROUPS]
    assert all(group["finding"] == group["charts"][0]["finding"] for group in groups)
