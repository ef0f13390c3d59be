import msgspec
import pytest

from tests.trainer.engine.conftest import prepare_training, train_spec
from trainer.contract import Estimate, StepMetrics
from trainer.engine import grpo, watching
from trainer.engine.history import History
from trainer.engine.progress import Progress
from trainer.engine.run import State
from trainer.runspec import RunSpec


def test_two_measurements_are_compared_prompt_by_prompt():
    change = watching.paired({"a": 1.0, "b": 0.5}, {"a": 0.5, "b": 0.0})

    assert change == Estimate(mean=0.5, standard_error=0.0, n=2)


def test_a_prompt_that_only_one_measurement_has_is_left_out():
    assert watching.paired({"a": 1.0, "b": 0.5}, {"a": 0.5, "c": 0.0}).n == 1


@pytest.mark.parametrize(
    ("mean", "error", "expected"),
    [(0.1, 0.05, 0.0), (0.0, 0.0, 0.0), (-0.1, 0.05, 2.0), (-0.1, 0.0, watching.FAR_BELOW)],
)
def test_a_measurement_is_so_many_standard_errors_below_the_best(mean, error, expected):
    assert watching.errors_below(Estimate(mean, error, 96)) == expected


def test_measurements_without_a_common_prompt_are_not_compared():
    assert watching.paired({"a": 1.0}, {"b": 1.0}) is None


@pytest.mark.parametrize(
    ("budget", "code"),
    [
        ({"max_steps": 5}, "budget_steps"),
        ({"max_minutes": 2.0}, "budget_minutes"),
        ({"max_tokens": 900}, "budget_tokens"),
    ],
)
def test_a_budget_is_spent_when_it_is_reached_and_not_before(budget, code):
    recipe = RunSpec(**budget)

    assert watching._spent(recipe, 4, 119.0, 899) is None
    assert watching._spent(recipe, 5, 120.0, 900).code == code


def test_no_budget_is_never_spent():
    assert watching._spent(RunSpec(), 10**6, 1e9, 10**12) is None


class _Tired:
    def __init__(self, patience, since_best):
        self.recipe, self.state = RunSpec(patience=patience), State(since_best=since_best, best_step=40)


def test_a_run_ends_early_when_its_patience_is_at_its_end():
    ending = watching.early_stopping(_Tired(3, 3)).ending

    assert ending.code == "early_stopping"
    assert "step 40" in ending.sentence


@pytest.mark.parametrize(("patience", "since_best"), [(3, 2), (0, 100)])
def test_a_patient_run_goes_on(patience, since_best):
    assert watching.early_stopping(_Tired(patience, since_best)) is None


def _train(directory, spec):
    prepare_training(directory, spec)
    with Progress(directory, spec.attempt) as progress:
        return grpo.train(spec, directory, progress)


def test_weights_without_a_better_measurement_end_the_run_and_the_best_are_published(tiny, tmp_path):
    trained = _train(tmp_path, train_spec(tiny, steps=20, learning_rate=0.0, patience=2, measure_every=2))

    assert (trained.ending.code, trained.step) == ("early_stopping", 6)


def test_a_run_killed_after_it_had_ended_early_makes_no_further_step(tiny, tmp_path):
    spec = train_spec(tiny, steps=20, learning_rate=0.0, patience=2, measure_every=2)
    first = _train(tmp_path, spec)

    again = _train(tmp_path, msgspec.structs.replace(spec, attempt=2))

    assert (again.ending, again.step, again.kept_step) == (first.ending, first.step, first.kept_step)
    assert again.model.digest == first.model.digest


def test_the_divergence_is_that_of_the_weights_that_are_published(tiny, tmp_path):
    trained = _train(tmp_path, train_spec(tiny, steps=6))
    lines = [
        msgspec.json.decode(line, type=StepMetrics) for line in (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    ]

    assert trained.kl == next(line.kl for line in lines if line.step == trained.kept_step)
    assert trained.kept_step == History(tmp_path / "checkpoints").best().step
