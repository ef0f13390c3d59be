from contextlib import ExitStack

import msgspec
import pytest

from tasks.types import Grade, Outcome
from tests.trainer.engine.conftest import prepare_training, train_spec
from trainer import rewards
from trainer.engine.faults import Fault
from trainer.engine.progress import Progress
from trainer.engine.run import Run

BROKE = Grade(Outcome.UNGRADABLE, 0.0, None, "It raised.", errors=("python_grader_runtime_error",))
GOOD = Grade(Outcome.CORRECT, 1.0, None, "")


@pytest.fixture
def run_of(tiny, tmp_path):
    def made(*, faults_earn_nothing: bool) -> Run:
        spec = msgspec.structs.replace(train_spec(tiny), faults_earn_nothing=faults_earn_nothing)
        directory = prepare_training(tmp_path, spec)
        return Run(spec, directory, stack.enter_context(Progress(directory, spec.attempt)))

    with ExitStack() as stack:
        yield made


def graded(run: Run, monkeypatch, *grades: Grade) -> list[Grade]:
    monkeypatch.setattr(rewards, "grade_rollouts", lambda *_, **__: list(grades))
    return run.grade([run.items[0]] * len(grades), ["x"] * len(grades))


def test_an_answer_over_which_the_grader_breaks_earns_nothing_where_the_run_asks_for_it(run_of, monkeypatch):
    run = run_of(faults_earn_nothing=True)

    found = graded(run, monkeypatch, GOOD, BROKE)

    assert [rewards.reward(grade) for grade in found] == [1.0, 0.0]


def test_elsewhere_it_is_left_out(run_of, monkeypatch):
    run = run_of(faults_earn_nothing=False)

    found = graded(run, monkeypatch, GOOD, BROKE)

    assert [rewards.reward(grade) for grade in found] == [1.0, None]


def test_a_grader_that_breaks_over_everything_ends_the_run(run_of, monkeypatch):
    run = run_of(faults_earn_nothing=True)

    with pytest.raises(Fault, match="The last: It raised"):
        graded(run, monkeypatch, *[BROKE] * 80)
