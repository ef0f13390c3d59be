import msgspec
import pyarrow.parquet
import pytest

from tasks.types import Grade, Outcome
from tests.trainer.engine.conftest import prepare_training, prompt_line, train_spec
from trainer import rewards
from trainer.contract import StepMetrics
from trainer.engine import drawing, grpo, sampling
from trainer.engine.drawing import Group
from trainer.engine.progress import Progress

LIKE = {
    "type": "text_similarity",
    "input": "{{ sample.output_text }}",
    "reference": "7",
    "evaluation_metric": "fuzzy_match",
}
SAME = {"type": "string_check", "input": "same", "reference": "same", "operation": "eq"}


def _group(*earned):
    answers = [sampling.Answer("x", (1, 2), (0.0, 0.0), truncated=False) for _ in earned]
    grades = [Grade(Outcome.CORRECT, score=value or 0.0, read=None, reason="") for value in earned]
    return Group(0, [1, 2, 3], answers, grades, list(earned))


@pytest.mark.parametrize("earned", [(1.0, 0.0), (0.0, 0.0, 0.1), (None, 1.0, 0.0)])
def test_a_group_whose_answers_earn_differently_has_spread(earned):
    assert _group(*earned).spread


@pytest.mark.parametrize("earned", [(1.0, 1.0), (0.0, 0.0), (None, None), (None, 1.0)])
def test_a_group_whose_graded_answers_earn_the_same_has_none(earned):
    assert not _group(*earned).spread


def test_what_could_not_be_graded_is_left_out_of_a_groups_mean():
    assert _group(None, 1.0, 0.0).outcome.mean == 0.5


def test_a_group_without_a_grade_has_no_mean():
    assert _group(None, None).outcome.mean is None


def test_no_more_groups_are_learned_than_a_step_asks_for():
    assert drawing._learned([_group(1, 0), _group(1, 1), _group(0, 1), _group(1, 0)], 2) == {0, 2}


@pytest.fixture
def step(tiny, tmp_path):
    """The metrics and the rollouts of a run's first step."""

    def step(lines, **recipe):
        spec = train_spec(tiny, **{"steps": 1, "max_completion_tokens": 8, "group_size": 6, **recipe})
        directory = prepare_training(tmp_path, spec, lines)
        with Progress(directory, 1) as progress:
            grpo.train(spec, directory, progress)
        last = (directory / "metrics.jsonl").read_bytes().splitlines()[-1]
        table = pyarrow.parquet.read_table(directory / "rollouts" / "step-000001.parquet")
        return msgspec.json.decode(last, type=StepMetrics), table.to_pylist()

    return step


def _half_flat():
    return [prompt_line(number, grader=LIKE if number % 2 else SAME) for number in range(40)]


def test_groups_without_spread_are_replaced(step):
    metrics, _ = step(_half_flat(), refill_rounds=8)

    assert metrics.groups_learned == 4
    assert metrics.groups_drawn > 4


def test_without_rounds_of_refilling_they_are_dropped(step):
    metrics, _ = step(_half_flat(), refill_rounds=0)

    assert metrics.groups_drawn == 4
    assert metrics.groups_learned == 4 * (1 - metrics.zero_spread_share) < 4


def test_where_nothing_shows_spread_the_rounds_come_to_an_end(step):
    metrics, _ = step([prompt_line(number, grader=SAME) for number in range(40)], refill_rounds=2)

    assert (metrics.groups_drawn, metrics.groups_learned) == (12, 0)


def test_all_rollouts_of_a_step_are_kept_and_say_whether_they_were_learned(step):
    metrics, kept = step(_half_flat(), refill_rounds=8)

    assert len(kept) == 6 * metrics.groups_drawn
    assert sum(line["learned"] for line in kept) == 6 * metrics.groups_learned


def test_what_is_learned_has_advantages_and_the_rest_has_none(step):
    _, kept = step(_half_flat(), refill_rounds=8)

    assert any(line["advantage"] for line in kept if line["learned"])
    assert not any(line["advantage"] for line in kept if not line["learned"])


def test_a_group_that_could_not_be_graded_is_not_learned(step, monkeypatch):
    monkeypatch.setattr(rewards, "ERROR_BUDGET", 1.0)
    broken = {"type": "number", "reference": "{{ item.nothing }}"}

    _, kept = step([prompt_line(n, grader=LIKE if n % 2 else broken) for n in range(40)])

    assert {line["learned"] for line in kept if line["reward"] is None} == {False}
