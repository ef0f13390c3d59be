"""The pace of an estimate is that of earlier runs like it."""

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from django.utils import timezone

from tasks.models import Dataset
from tasks.services import datasets
from trainer.estimating import Pace, forecast
from trainer.models import Line, RunMetric, TrainingRun, Usage
from trainer.runspec import RunSpec
from trainer.services import pace
from trainer.states import AliasName

SPEC = RunSpec(preset="expert", steps=10, prompts_per_step=4, group_size=8, max_completion_tokens=64)
Ran = Callable[..., TrainingRun]


@pytest.fixture
def ran(line: Line, fill: Callable[..., Dataset]) -> Ran:
    """A run that has ended, at 2 s a step, 3 s a measurement and 20 s around them, unless said otherwise."""
    version = datasets.freeze(fill("letters", visibility="private"), actor=None)
    start = line.alias(AliasName.CHAMPION)
    type(start).objects.filter(pk=start.pk).update(parameters=1_000_000)

    def make(seconds_step: float = 2.0, spec: RunSpec = SPEC, steps: int = 10, state: str = "succeeded") -> TrainingRun:
        run = TrainingRun.objects.create(
            line=line,
            start=start,
            dataset_version=version,
            state=state,
            spec=msgspec.to_builtins(spec),
            step=steps,
            finished_at=timezone.now() + timedelta(seconds=TrainingRun.objects.count()),
        )
        RunMetric.objects.create(run=run, step=0, data={"step": 0, "seconds_measuring": 3.0})
        for step in range(1, steps + 1):
            data = {
                "step": step,
                "seconds_step": seconds_step,
                "tokens_seen": 1600 * step,
                "groups_drawn": 5,
                "completion_tokens_mean": 16.0,
            }
            RunMetric.objects.create(run=run, step=step, data=data)
        wall = 20.0 + 3.0 + steps * seconds_step
        Usage.objects.create(team=line.team, kind="run", work=run.pk, attempt=1, began_at=timezone.now(), seconds=wall)
        return run

    return make


def test_without_earlier_runs_the_figures_are_assumed(ran: Ran):
    assert pace.of(SPEC, 1_000_000) == Pace()


def test_a_runs_pace_is_read_off_its_metrics(ran: Ran):
    measured = pace.of_run(ran())

    assert measured == Pace(
        seconds_start=pytest.approx(20.0),
        seconds_per_token=pytest.approx(2 / 1600),
        prompt_tokens=pytest.approx(24.0),  # 1,600 tokens of 40 answers, 16 of each its own
        answer_tokens=16.0,
        drawn_again=1.25,
        seconds_measurement=3.0,
        runs=1,
    )


def test_a_run_that_started_twice_tells_of_one_start(ran: Ran):
    run = ran()
    Usage.objects.create(team=run.line.team, kind="run", work=run.pk, attempt=2, began_at=timezone.now(), seconds=20.0)

    measured = pace.of_run(run)

    assert measured is not None
    assert measured.seconds_start == pytest.approx(20.0)


def test_the_same_run_again_is_forecast_to_take_what_it_took(ran: Ran):
    ran()

    expected = forecast(SPEC, parameters=1_000_000, pace=pace.of(SPEC, 1_000_000))

    assert expected.seconds == pytest.approx(20 + 10 * 2 + 3, rel=0.01)
    assert expected.tokens == pytest.approx(16_000, rel=0.01)


def test_the_median_of_the_newest_five_counts(ran: Ran):
    for seconds in (100.0, 1.0, 2.0, 3.0, 4.0, 50.0):
        ran(seconds_step=seconds)

    assert pace.of(SPEC, 1_000_000).seconds_per_token == pytest.approx(3 / 1600)


@pytest.mark.parametrize("parameters", [100_000, 10_000_000])
def test_a_model_of_another_size_tells_nothing(ran: Ran, parameters: int):
    ran()

    assert pace.of(SPEC, parameters).runs == 0


def test_another_preset_with_answers_of_another_length_tells_nothing(ran: Ran):
    ran()

    assert pace.of(RunSpec(preset="flywheel", max_completion_tokens=1024), 1_000_000).runs == 0


def test_runs_that_failed_tell_nothing(ran: Ran):
    ran(state="failed")

    assert pace.of(SPEC, 1_000_000).runs == 0
