import pytest

from tasks.types import Grade, Outcome
from trainer import rewards

NUMBER = {"type": "number", "reference": "{{ item.reference }}"}
EXACT = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "ja", "operation": "eq"}


def test_a_reward_is_the_score_as_it_is():
    assert rewards.reward(Grade(Outcome.INCORRECT, 0.4, "x", "partly")) == 0.4


def test_an_ungradable_rollout_has_no_reward_rather_than_zero():
    assert rewards.reward(Grade(Outcome.UNGRADABLE, 0.0, None, "the judge is down")) is None


def test_each_task_brings_its_own_grader():
    grades = rewards.grade_rollouts(["7", "ja"], [{"reference": 7}, {}], [NUMBER, EXACT])

    assert [grade.correct for grade in grades] == [True, True]


def test_the_graders_of_the_rows_yield_to_the_graders_of_the_run():
    grades = rewards.grade_rollouts(["7"], [{"reference": 7}], [NUMBER], replacement=EXACT)

    assert not grades[0].correct


def test_advantages_are_measured_from_the_mean_of_the_group():
    assert rewards.advantages([1.0, 0.0, 0.0, 0.0]) == [0.75, -0.25, -0.25, -0.25]


def test_the_mean_leaves_out_what_could_not_be_graded():
    assert rewards.advantages([1.0, None, 0.0]) == [0.5, 0.0, -0.5]


def test_a_group_without_any_grade_teaches_nothing():
    assert rewards.advantages([None, None]) == [0.0, 0.0]


def test_a_group_without_spread_teaches_nothing():
    assert rewards.advantages([1.0, 1.0]) == [0.0, 0.0]


def test_domains_are_averaged_apart_and_without_the_ungradable():
    means = rewards.mean_by_domain([1.0, 0.0, None, 0.5], ["a", "a", "a", "b"])

    assert means == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(("graded", "errors", "exceeded"), [(1000, 10, False), (1000, 11, True), (16, 2, False)])
def test_one_percent_of_errors_is_the_budget_and_two_are_forgiven(graded, errors, exceeded):
    assert rewards.ErrorBudget(graded, errors).exceeded is exceeded


def test_the_budget_counts_through_the_whole_run():
    budget = rewards.ErrorBudget(98, 0)

    budget.count([1.0, None])

    assert budget.share == 0.01


def test_a_fault_names_the_kind_of_grader_and_its_flags():
    down = Grade(Outcome.UNGRADABLE, 0.0, None, "It is down.", errors=("model_grader_server_error",))

    assert rewards.fault(NUMBER, down) == "The number grader (model_grader_server_error): It is down."


def test_coins_fall_evenly():
    tossed = rewards.coins(7, 2000)

    assert 0.45 < sum(tossed) / 2000 < 0.55


def test_the_same_seed_tosses_the_same_coins():
    assert rewards.coins(7, 50) == rewards.coins(7, 50) != rewards.coins(8, 50)


def test_what_graders_made_of_answers_is_counted_by_part_and_flag():
    good = Grade(Outcome.CORRECT, 1.0, None, "", {"form": 1.0, "value": 0.5}, (), 0.2)
    torn = Grade(Outcome.INCORRECT, 0.0, None, "", {"form": 0.0, "value": 0.0}, ("sample_parse_error",), 0.4)
    lost = Grade(Outcome.UNGRADABLE, 0.0, None, "", {"form": 0.7}, ("other_error",))

    found = rewards.graded([good, torn, lost])

    assert (found.answers, found.parts) == (3, {"form": 0.5, "value": 0.25})
    assert found.errors == {"other_error": 1, "sample_parse_error": 1}


@pytest.mark.parametrize(
    ("flags", "outcome"),
    [
        (("python_grader_runtime_error",), Outcome.INCORRECT),
        (("model_grader_parse_error",), Outcome.INCORRECT),
        (("python_grader_runtime_error", "python_grader_server_error"), Outcome.UNGRADABLE),
        (("sandbox_unavailable",), Outcome.UNGRADABLE),
        ((), Outcome.UNGRADABLE),
    ],
)
def test_a_grader_that_broke_over_an_answer_earns_it_nothing_and_our_own_fault_leaves_it_out(flags, outcome):
    found = rewards.earning_nothing(Grade(Outcome.UNGRADABLE, 0.0, None, "It broke.", errors=flags))

    assert (found.outcome, found.errors, found.reason) == (outcome, flags, "It broke.")


def test_a_graded_answer_keeps_its_score():
    grade = Grade(Outcome.CORRECT, 0.7, None, "", errors=("python_grader_runtime_error",))

    assert rewards.earning_nothing(grade) is grade
